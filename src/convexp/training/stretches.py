"""A run's steps in stretches, between which something is looked at."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import pairwise

import lightning as L
from torch.utils.data import DataLoader, IterableDataset

from convexp.training.data import whole_images
from convexp.training.pairs import Pair, Whole


class Stretches(L.LightningDataModule):
    """Batches that are numbers of steps, for `QuadraticTask`.

    Every stretch ends where something is due. Lightning counts batches from one validation to the next, so that every
    interval between two is made of equally many: `per_validation`.

    Args:
        max_steps: The last step.
        validate_every: Steps between two validations.
        every: Steps between two occasions to look, of several kinds.
        moments: Further steps at which to look.
        validation: Whole images to validate on, by name.
        longest: After so many steps at most a signal is heard, and the progress bar moves.

    Example:
        >>> stretches = Stretches(max_steps=20, validate_every=10, every=[4], moments=[1], validation={})
        >>> [list(stretches.interval(number)) for number in (0, 1)]
        [[1, 3, 4, 6, 8, 10], [11, 12, 14, 16, 18, 20]]
    """

    def __init__(
        self,
        *,
        max_steps: int,
        validate_every: int,
        every: Sequence[int],
        moments: Iterable[int],
        validation: Mapping[str, Pair],
        longest: int = 100,
    ) -> None:
        super().__init__()
        self.max_steps, self.validate_every = max_steps, min(validate_every, max_steps)
        self.periods = [*every, longest]
        self.moments = set(moments)
        self._validation = validation
        self.per_validation = min(self._most(), self.validate_every)

    def _most(self) -> int:
        """An upper bound of the ends in one interval."""
        fitting = [period for period in self.periods if self.validate_every % period == 0]
        regular = {step for period in fitting for step in range(period, self.validate_every + 1, period)}
        shifting = sum(self.validate_every // period + 1 for period in self.periods if period not in fitting)
        singular = Counter((moment - 1) // self.validate_every for moment in self.moments if moment > 0)
        return len(regular | {self.validate_every}) + shifting + max(singular.values(), default=0)

    def interval(self, number: int) -> list[int]:
        """The steps at which stretches end between two validations, counted from 0."""
        first = number * self.validate_every
        last = min(first + self.validate_every, self.max_steps)
        ends = {last} | {moment for moment in self.moments if first < moment < last}
        for period in self.periods:
            ends.update(range(first // period * period + period, last, period))
        cuts = [first, *sorted(ends)]
        if last - first == self.validate_every:
            longest = [(start - end, start) for start, end in pairwise(cuts)]
            heapify(longest)
            while len(cuts) <= self.per_validation:
                length, start = heappop(longest)
                middle = start - length // 2
                cuts.append(middle)
                heappush(longest, (start - middle, start))
                heappush(longest, (middle - (start - length), middle))
        return sorted(cuts)[1:]

    def train_dataloader(self) -> DataLoader[int]:
        """The lengths of all stretches from the trainer's step on."""
        return DataLoader(_Lengths(self, self.trainer.global_step if self.trainer else 0), batch_size=None)

    def val_dataloader(self) -> DataLoader[Whole]:
        """Whole validation images, one a batch."""
        return whole_images(self._validation)


class _Lengths(IterableDataset[int]):
    def __init__(self, stretches: Stretches, start: int) -> None:
        self.stretches, self.start = stretches, start

    def __iter__(self) -> Iterator[int]:
        step = self.start
        while step < self.stretches.max_steps:
            for end in self.stretches.interval(step // self.stretches.validate_every):
                if end > step:
                    yield end - step
                    step = end
        while True:  # Lightning asks for one batch more than it needs
            yield 1
