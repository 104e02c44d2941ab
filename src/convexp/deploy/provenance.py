"""What made the results in a folder, so that those of two runs are not taken for one."""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from convexp.errors import ConvexpError

NOTE = ".convexp-apply.json"


def provenance(checkpoint: Path, *, border: str | None, gray: bool) -> dict[str, object]:
    """All that a result depends on but the picture.

    Args:
        checkpoint: The file with the weights.
        border: What lies outside a picture.
        gray: Whether channels were averaged first.

    Raises:
        ConvexpError: If the file cannot be read; one that is not there is missed when the model is loaded.
    """
    try:
        weights = hashlib.sha256(checkpoint.read_bytes() if checkpoint.is_file() else b"").hexdigest()
    except OSError as error:
        raise ConvexpError(f"{checkpoint} cannot be read ({error.strerror})") from error
    return {"weights": weights, "border": border, "gray": gray}


def require_same(folder: Path, made_by: dict[str, object]) -> None:
    """Refuses a folder with results of something else; one without a note is taken as it is.

    Raises:
        ConvexpError: If other weights or another border have made what is there.
    """
    path, known = folder / NOTE, None
    with suppress(OSError, ValueError):  # none yet, or damaged
        known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    if known is not None and known != made_by:
        raise ConvexpError(
            f"{folder} holds what another run, or another border, has made; name another folder, as -o second, or "
            "write over it with --force"
        )


def note_provenance(folder: Path, made_by: dict[str, object], *, overwrite: bool) -> None:
    """Notes in a folder what makes the results in it, unless it says that something else did.

    Args:
        folder: Made if it is not there.
        made_by: As `provenance` gives it.
        overwrite: Whether what is there is made anew.

    Raises:
        ConvexpError: If other weights or another border have made what is there, or the folder cannot be written into.
    """
    if not overwrite:
        require_same(folder, made_by)
    path = folder / NOTE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_symlink():  # through which the note would go elsewhere
            path.write_text(json.dumps(made_by), encoding="utf-8")
    except OSError as error:
        raise ConvexpError(f"{folder} cannot be written into ({error.strerror}); name another place with -o") from error
