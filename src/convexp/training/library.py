"""Pairs of a folder of any size: all in memory where they fit, else the last ones that were used."""

import sys
from collections import OrderedDict
from collections.abc import Callable, ItemsView, Iterator, Mapping, Sequence, ValuesView
from itertools import pairwise
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.strategies import Strategy

from convexp.errors import ConvexpError
from convexp.training.pairs import Pair

SAMPLE = 64  # of the pairs of a library that does not fit, where all would take too long


class Library(Mapping[str, Pair]):
    """Pairs by name, each read and made when it is asked for, and kept as long as there is room.

    Where all of them fit into the room, they are made at once. A picture that cannot be read is said on stderr and left
    out; processes that share a library share what they know of that.

    Args:
        names: Of the pairs.
        read: Reads what belongs to a name.
        make: Makes a pair of it.
        sizes: Height and width of each input, as far as known before it is read.
        nbytes: What all pairs take in memory; None if that is not known, and they are few.
        room: Bytes that they may take.
        tolerant: Whether what cannot be read is left out; else it is an error.
        lenient: Whether that of which no pair can be made is left out, too.

    Raises:
        ConvexpError: If a picture cannot be read and `tolerant` is False, no picture can be read, or `make` fails and
            `lenient` is False.
    """

    def __init__(
        self,
        names: Sequence[str],
        read: Callable[[str], Any],
        make: Callable[[str, Any], Pair],
        *,
        sizes: Mapping[str, tuple[int, int]] | None = None,
        nbytes: int | None = None,
        room: float = float("inf"),
        tolerant: bool = False,
        lenient: bool = False,
    ) -> None:
        self.names = list(names)
        self._index = {name: index for index, name in enumerate(self.names)}
        self._read, self._make, self._sizes, self._tolerant = read, make, sizes or {}, tolerant
        self._lenient = lenient
        self.room = room
        self.held = nbytes is None or nbytes <= room
        self._kept: OrderedDict[int, Pair] = OrderedDict()
        self._bytes = 0
        self._flags = torch.zeros(len(self.names), dtype=torch.uint8)  # 1: cannot be read
        if not self.held:
            self._flags.share_memory_()  # with the processes that read for this one
            self.at(0)
            return
        for index in range(len(self.names)):
            self._get(index)
            if self._bytes > self.room:  # more than was expected, as of a target of many channels
                self.held = False
                self._flags.share_memory_()
                self._shrink()
                return
        if self.names and not self._kept:
            raise ConvexpError(_NONE.format(len(self.names)))

    @classmethod
    def of(cls, pairs: Mapping[str, Pair]) -> "Library":
        """Pairs that are there, as a library."""
        return Library(list(pairs), pairs.__getitem__, lambda _name, pair: pair)

    def __getitem__(self, name: str) -> Pair:
        pair = self._get(self._index[name])
        if pair is None:
            raise KeyError(name)
        return pair

    def __iter__(self) -> Iterator[str]:
        return (name for index, name in enumerate(self.names) if not self._flags[index])

    def __len__(self) -> int:
        return len(self.names) - int(self._flags.sum())

    def values(self) -> ValuesView[Pair]:
        """The pairs, one after the other."""
        return _Pairs(self, [range(index, index + 1) for index in range(len(self.names))])

    def items(self) -> ItemsView[str, Pair]:
        """Names and pairs, one after the other."""
        return _Items(self)

    def sample(self) -> ValuesView[Pair]:
        """All pairs if they fit, else 64 of them, evenly spread."""
        count = len(self.names)
        if self.held or count <= SAMPLE:
            return self.values()
        starts = [index * count // SAMPLE for index in range(SAMPLE + 1)]
        return _Pairs(self, [range(start, end) for start, end in pairwise(starts)])

    def at(self, index: int) -> Pair:
        """The pair of a number, or of the next one that can be read.

        Raises:
            ConvexpError: If none can be read.
        """
        for step in range(len(self.names)):
            pair = self._get((index + step) % len(self.names))
            if pair is not None:
                return pair
        raise ConvexpError(_NONE.format(len(self.names)))

    def divide_room(self, count: int) -> None:
        """Leaves this process its part of the room, one of so many."""
        self.room /= count

    def agree(self, strategy: Strategy) -> None:
        """Lets processes that do not share a library know what each of them has found damaged; all have to ask."""
        flags = self._flags.int().to(strategy.root_device)
        self._flags = strategy.reduce(flags, reduce_op="max").to(self._flags)

    @property
    def damaged(self) -> list[str]:
        """The names of those that are left out."""
        return [name for name, damaged in zip(self.names, self._flags.tolist(), strict=True) if damaged]

    def shapes(self) -> Iterator[tuple[str, tuple[int, int], tuple[int, int]]]:
        """Name, and height and width of input and target, without reading more than one of those that do not fit."""
        if self.held:
            for index, pair in self._kept.items():
                yield self.names[index], _size(pair.input), _size(pair.target)
            return
        first = self.at(0)
        less = [whole - part for whole, part in zip(_size(first.input), _size(first.target), strict=True)]
        for name in self:
            height, width = self._sizes.get(name, _size(first.input))
            yield name, (height, width), (height - less[0], width - less[1])

    def smallest(self) -> tuple[str, Pair]:
        """Name and pair of the input with the shortest side."""
        for name, _, _ in sorted(self.shapes(), key=lambda shape: min(shape[1])):
            pair = self._get(self._index[name])
            if pair is not None:
                return name, pair
        raise ConvexpError(_NONE.format(len(self.names)))

    def leave_out(self, name: str, error: ConvexpError) -> None:
        """Says why a picture is left out from now on.

        Raises:
            ConvexpError: If it is the only one.
        """
        if len(self.names) == 1:
            raise error
        self._flags[self._index[name]] = 1
        _say(f"convexp: {error}; it is left out")

    def _get(self, index: int) -> Pair | None:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        if self._flags[index]:
            return None
        name, tolerant = self.names[index], self._tolerant
        try:
            found = self._read(name)
            tolerant = self._lenient
            pair = self._make(name, found)
        except ConvexpError as error:
            if not tolerant:
                raise
            self.leave_out(name, error)
            return None
        self._kept[index] = pair
        self._bytes += sum(part.nbytes for part in pair)
        if not self.held:
            self._shrink()
        return pair

    def _shrink(self) -> None:
        while self._bytes > self.room and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= sum(part.nbytes for part in oldest)


class _Pairs(ValuesView[Pair]):
    """The first of each range of a library that can be read, as often as they are asked for."""

    def __init__(self, library: Library, ranges: Sequence[range]) -> None:
        super().__init__(library)
        self._library, self._ranges = library, ranges

    def __len__(self) -> int:
        return len(self._ranges)

    def __iter__(self) -> Iterator[Pair]:
        for indices in self._ranges:
            for index in indices:
                pair = self._library._get(index)  # pyright: ignore[reportPrivateUsage]  # of the same file
                if pair is not None:
                    yield pair
                    break


class _Items(ItemsView[str, Pair]):
    """Those that can be read, with their names."""

    def __init__(self, library: Library) -> None:
        super().__init__(library)
        self._library = library

    def __iter__(self) -> Iterator[tuple[str, Pair]]:
        for index, name in enumerate(self._library.names):
            pair = self._library._get(index)  # pyright: ignore[reportPrivateUsage]  # of the same file
            if pair is not None:
                yield name, pair


_NONE = "none of the {} pictures can be used; above stands what is wrong with each"


def _size(images: torch.Tensor) -> tuple[int, int]:
    height, width = images.shape[-2:]
    return height, width


@rank_zero_only
def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
