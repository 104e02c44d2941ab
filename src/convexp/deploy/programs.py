"""Programs of others, run for a minute at most: compilers, ffmpeg, a browser."""

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

SECONDS = 60


class UnverifiedError(Exception):
    """What would run an exported file is not there, or does not work; the message says why."""


def find_program(*names: str, what: str) -> str:
    """The path of the first of some programs that is installed.

    Args:
        names: What it may be called.
        what: What it is, for the message.

    Raises:
        UnverifiedError: If none is.
    """
    for name in names:
        path = shutil.which(name)
        if path is not None:
            return path
    raise UnverifiedError(f"no {what} is installed ({', '.join(names)})")


def execute(command: Sequence[str], folder: Path) -> bytes:
    """What a program prints.

    Args:
        command: Its path and arguments.
        folder: Where it runs, and what it says on stderr is kept.

    Raises:
        UnverifiedError: If it cannot be started, fails or takes longer than a minute.
    """
    name = Path(command[0]).name
    answer, remarks = folder / "stdout", folder / "stderr"  # files: a pipe stays open as long as a grandchild lives
    try:
        with answer.open("wb") as out, remarks.open("wb") as err:
            # In a session of its own, so that its children end with it.
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
            try:
                status = process.wait(timeout=SECONDS)
            finally:
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    except subprocess.TimeoutExpired as error:
        raise UnverifiedError(f"{name} took longer than {SECONDS} s") from error
    except OSError as error:
        raise UnverifiedError(f"{name} cannot be started ({error.strerror})") from error
    if status != 0:
        said = remarks.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line.strip() for line in reversed(said) if line.strip()), f"status {status}")
        raise UnverifiedError(f"{name} failed: {last[:200]}")
    return answer.read_bytes()
