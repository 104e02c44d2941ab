"""The GPUs of a machine, of which each run of a sweep takes one for itself."""

import fcntl
import os
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from convexp.runs.folder import slug


def gpus_to_choose_from(trainer: Mapping[str, Any]) -> int:
    """How many GPUs this process sees, of which a run with this trainer takes one; 0 if it takes none, or several."""
    accelerator, devices = (trainer.get(key, "auto") for key in ("accelerator", "devices"))
    if accelerator not in ("auto", "gpu", "cuda") or devices != 1 or trainer["strategy"] == "ddp_spawn":
        return 0

    import torch  # takes seconds to import

    return torch.cuda.device_count()


@contextmanager
def own_gpu(count: int, folder: str | Path | None = None) -> Generator[int | None, None, None]:
    """Keeps a GPU for one run, away from this user's other sweeps too; where all are taken, waits for one.

    Args:
        count: How many there are.
        folder: Where they are marked as taken; the machine's own folder of temporary files, if none is given.

    Returns:
        Its number as Lightning's `devices=[…]` takes it, or None where there is nothing to choose.
    """
    if count < 2:
        yield None
        return
    # A scheduler may show a process some of the GPUs only, and number these from 0.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",")[:count] if visible else [str(number) for number in range(count)]
    locks = [
        Path(folder or tempfile.gettempdir(), f"convexp-{os.getuid()}-gpu-{slug(name.strip())}.lock") for name in names
    ]
    while (taken := _take(locks)) is None:
        time.sleep(0.2)
    number, file = taken
    with file:
        yield number


def _take(locks: Sequence[Path]) -> tuple[int, IO[str]] | None:
    for number, path in enumerate(locks):
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
        else:
            return number, file
    return None
