"""Files that are being written, beside those that they are to become."""

import fcntl
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_SUFFIX = ".convexp-unfinished"


@contextmanager
def unfinished(path: Path) -> Generator[Path, None, None]:
    """Makes an empty file beside another, to be written and renamed; at the end it is gone, if it was not renamed.

    As long as this lasts it is locked, so that `remove_unfinished` knows it from one whose process was killed.

    Raises:
        OSError: If it cannot be made.
    """
    beside = path.with_name(f".{uuid.uuid4().hex}{_SUFFIX}")
    with beside.open("xb") as held:
        try:
            with suppress(OSError):  # a file system without locks, where nothing will be removed
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield beside
        finally:
            beside.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Removes from a folder what processes have left there that were killed, and nothing that one still writes."""
    for path in folder.glob(f".{'[0-9a-f]' * 32}{_SUFFIX}"):
        with suppress(OSError):  # it is locked, or cannot be
            if path.is_file() and not path.is_symlink():
                with path.open("r+b") as left:  # not only to read, or it could not be locked over NFS
                    fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()
