"""What every format of an export can do: refuse, write, be run, and say how it is used."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from convexp.deploy.learned import Learned

Runner = Callable[[Tensor], Tensor]
"""Maps images (B, C, H, W) in [0, 1] to what the exported file makes of them, laid over what the run makes of them."""


@dataclass(frozen=True)
class Opened:
    """An exported file, ready to be run.

    Args:
        by: The program that runs it, with its version.
        run: Runs it; may raise `UnverifiedError`.
    """

    by: str
    run: Runner


@dataclass(frozen=True)
class Format:
    """A format that filters are exported to.

    Args:
        name: As it is typed.
        suffix: Of its files.
        what: In a few words.
        values: What it computes with: floats without bounds, or 8 bits, clipped to [0, 1].
        everywhere: Whether it is compared at several sizes; else on one photograph, as every run takes a process.
        refusal: Why it cannot hold a filter; None if it can.
        write: Writes the file, and may write others beside it.
        opened: The file, as a context; may raise `UnverifiedError`.
        example: Six lines at most that use the file.
        margin: Rows and columns at every side in which it differs from the run, as its borders are others.
        slack: What rounding of its weights may make of an image at most, in the run's units.
        notes: What else a user should know.
    """

    name: str
    suffix: str
    what: str
    values: Literal["float32", "8 bits"]
    everywhere: bool
    refusal: Callable[[Learned], str | None]
    write: Callable[[Learned, Path], None]
    opened: Callable[[Learned, Path], AbstractContextManager[Opened]]
    example: Callable[[Learned, Path], list[str]]
    margin: Callable[[Learned], tuple[int, int]] = lambda learned: (0, 0)
    slack: Callable[[Learned, Tensor], float] = lambda learned, image: 0.0
    notes: Callable[[Learned], list[str]] = lambda learned: []
