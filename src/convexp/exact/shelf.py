"""What was summed and solved before, on disk, so that the runs of a sweep do it once."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import torch
from torch import Tensor, nn

from convexp.exact.floor import Floor, floor
from convexp.exact.least_squares import Optimum, least_squares
from convexp.exact.statistics import Statistics, gather

T = TypeVar("T")

#: Of a convolution, all but its weights.
_SHAPE = (
    *("in_channels", "out_channels", "kernel_size", "stride", "padding"),
    *("dilation", "groups", "padding_mode"),
)


class Shelf:
    """Keeps the statistics of images and targets, and what follows from them, by what they are of.

    A file's name is a digest of all that its content depends on: the pixels, the convolution's shape, and the code of
    this room. So nothing on the shelf is ever out of date, and all of it may be removed at any time. What cannot be
    read is found again; where there is no room to write, nothing is kept.

    Args:
        folder: Where the files are, made with the first of them; None keeps nothing.

    Example:
        >>> image = torch.ones(1, 1, 5, 7)
        >>> statistics, optimum = Shelf().solved(nn.Conv2d(1, 1, 1, bias=False), [(image, 2 * image)])
        >>> round(optimum.weights.item(), 12)
        2.0
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder

    def solved(self, layer: nn.Conv2d, pairs: Iterable[Sequence[Tensor]]) -> tuple[Statistics, Optimum]:
        """The statistics of a convolution on whole images and targets, and its optimum.

        Args:
            layer: As for `gather`.
            pairs: As for `gather`; they are gone through several times.

        Raises:
            ConvexpError: As `gather`.
        """

        def find() -> dict[str, Any]:
            statistics = gather(layer, pairs)
            optimum = least_squares(layer, pairs, statistics=statistics)
            return {field.name: getattr(part, field.name) for part in (statistics, optimum) for field in fields(part)}

        def made(parts: dict[str, Any]) -> tuple[Statistics, Optimum]:
            of = [{field.name: parts[field.name] for field in fields(kind)} for kind in (Statistics, Optimum)]
            return Statistics(**of[0]), Optimum(**of[1])

        return self._kept("solved", layer, pairs, find, made)

    def floor(
        self,
        layer: nn.Conv2d,
        pairs: Iterable[Sequence[Tensor]],
        *,
        loss: float,
        reach: tuple[int, int, int, int] | None,
    ) -> Floor | None:
        """As `convexp.exact.floor.floor`, of a loss that follows from layer and pairs."""

        def find() -> dict[str, Any]:
            parts = floor(layer, pairs, loss=loss, reach=reach)
            return {} if parts is None else parts._asdict()

        return self._kept(f"floor of {reach}", layer, pairs, find, lambda parts: Floor(**parts) if parts else None)

    def _kept(
        self,
        what: str,
        layer: nn.Conv2d,
        pairs: Iterable[Sequence[Tensor]],
        find: Callable[[], dict[str, Any]],
        made: Callable[[dict[str, Any]], T],
    ) -> T:
        """What is made of the parts that are on the shelf, or are found and then lie there."""
        if self.folder is None:
            return made(find())
        path = self.folder / f"{_digest(what, layer, pairs)}.pt"
        with suppress(Exception):  # a damaged file may raise anything
            return made(torch.load(path, weights_only=True))
        found = find()
        partial = path.with_name(f"{uuid4().hex}.partial")
        with suppress(OSError, RuntimeError):  # torch reports a full disk as RuntimeError
            self.folder.mkdir(parents=True, exist_ok=True)
            torch.save(found, partial)
            partial.replace(path)
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        return made(found)


NOWHERE = Shelf()


def _digest(what: str, layer: nn.Conv2d, pairs: Iterable[Sequence[Tensor]]) -> str:
    shape = [getattr(layer, name) for name in _SHAPE]
    digest = hashlib.sha256(f"{_code()} {what} {shape} {layer.bias is not None}".encode())
    for tensor in (tensor for pair in pairs for tensor in pair):
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:32]


@cache
def _code() -> str:
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
