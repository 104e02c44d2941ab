"""A run's batches: which images, and which places in them, depends on (seed, step) alone."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from convexp.errors import ConvexpError
from convexp.training.library import Library
from convexp.training.pairs import Pair, crop, join_sizes

LANES = 8  # steps that lie so far apart look at the same images, so that 2, 4 or 8 workers share none
CROPS = 16  # at most, of an image that was read, for as many steps of its lane
ROOM = 4e9  # bytes for the crops to come, where images are made, not read


class Failure(NamedTuple):
    """What a worker sends instead of a batch: an error that it would send itself comes with its traceback as text."""

    message: str


class Batches(IterableDataset[list[Pair] | Failure]):
    """The endless sequence of a run's batches, from a given step on.

    A batch is a list of stacked pairs, one for each image size: random crops are one entry, whole images of several
    sizes are several. Batch i depends on (seed, i) and the rank alone: a resumed run sees what it would have seen, and
    so does one with other numbers of workers.

    Crops are drawn from all images if these are in memory. Where they are not, or there is no end of them, each image
    gives 16 crops, or fewer if these would not fit into the library's room, which steps 8 apart use one by one; all
    images have been used once before one is used again.
    """

    def __init__(
        self,
        pairs: Mapping[str, Pair],
        *,
        crop_size: int | None,
        batch_size: int | None,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        fresh: Callable[[int], Pair] | None = None,
    ) -> None:
        """Checks that every image is large enough.

        Args:
            pairs: Whole images by name, each with B = 1.
            crop_size: Side of the square random crops in pixels; None takes whole images.
            batch_size: Crops or images for each process and step; None takes all images.
            seed: With the step's number decides every crop.
            start: Number of the first batch.
            rank: Which of the processes this is.
            world_size: How many processes share a step; together they see `world_size * batch_size` different crops.
            fresh: Makes a new pair of any number, from which crops are then cut instead.

        Raises:
            ConvexpError: If an image is smaller than a crop, a crop leaves nothing of the target, or a process would
                get no image.
        """
        self.library = pairs if isinstance(pairs, Library) else Library.of(pairs)
        if batch_size is None and crop_size is not None:
            raise ConvexpError("data.batch_size=null means all whole images; with data.crop_size give a number, as 4")
        if batch_size is None and len(pairs) < world_size:
            raise ConvexpError(
                f"data.batch_size=null leaves {world_size - len(pairs)} of {world_size} processes without an image; "
                f"use trainer.devices={len(pairs)}, or crops, as data.crop_size=64 data.batch_size=4"
            )
        for name, (height, width), (inner_height, inner_width) in self.library.shapes():
            if crop_size is None:
                break
            if crop_size > min(height, width):
                raise ConvexpError(
                    f"{name} is {height}×{width}, smaller than data.crop_size={crop_size}; "
                    "use smaller crops, or null for whole images"
                )
            if crop_size <= max(height - inner_height, width - inner_width):
                raise ConvexpError(
                    f"data.crop_size={crop_size} leaves no pixel of the target, which is "
                    f"{height - inner_height}×{width - inner_width} smaller than its image; use larger crops"
                )
        self.crop_size, self.batch_size = crop_size, batch_size
        self.seed, self.start, self.rank, self.world_size = seed, start, rank, world_size
        self.fresh = fresh
        self._cut: dict[tuple[int, int], tuple[int, Callable[[int], Pair]]] = {}  # by lane and slot
        self._crops_each = self._count_crops()

    def __iter__(self) -> Iterator[list[Pair] | Failure]:
        worker = get_worker_info()
        step, stride = (self.start, 1) if worker is None else (self.start + worker.id, worker.num_workers)
        self.library.divide_room(stride)
        while True:
            try:
                yield self.batch(step)
            except ConvexpError as error:
                if worker is None:
                    raise
                yield Failure(str(error))
            step += stride

    def batch(self, step: int) -> list[Pair]:
        """The batch of one step."""
        random = np.random.default_rng((self.seed, step))
        library, count = self.library, len(self.library.names)
        if self.batch_size is None:
            if not library.held:
                raise ConvexpError(
                    f"data.batch_size=null takes all {count} images at once, which do not fit into "
                    f"data.cache_gb={library.room / 1e9:g}; use crops, as data.crop_size=64 data.batch_size=4"
                )
            return join_sizes(list(library.values())[self.rank :: self.world_size])
        total = self.batch_size * self.world_size
        mine = range(self.rank, total, self.world_size)
        if self.crop_size is None:
            order = random.permutation(count)
            return join_sizes([library.at(order[index % count]) for index in mine])
        if self.fresh is not None or not library.held:
            return join_sizes([self._next_crop(step, slot, total) for slot in mine])
        indices, places = random.integers(count, size=total), random.random((total, 2))
        return join_sizes([self._crop(library.at(indices[index]), *places[index]) for index in mine])

    def _next_crop(self, step: int, slot: int, total: int) -> Pair:
        """The crop of one slot of a batch, from the image that its lane looks at then."""
        lane, turn = step % LANES, step // LANES
        # Slots change their images at different steps, so that these take equally long.
        number, which = divmod(turn + slot * self._crops_each // total, self._crops_each)
        known = self._cut.get((lane, slot))
        if known is None or known[0] != number:
            index = (number * LANES + lane) * total + slot
            pair = self.fresh(index) if self.fresh is not None else self.library.at(self._shuffled(index))
            places = np.random.default_rng((self.seed, index, 1)).random((self._crops_each, 2))
            known = self._cut[lane, slot] = number, self._crops(pair, places)
        return known[1](which)

    def _count_crops(self) -> int:
        """How many crops of an image there is room for, in all lanes; whatever the number of workers."""
        if self.crop_size is None or self.batch_size is None or (self.fresh is None and self.library.held):
            return CROPS
        pair = self.library.at(0)
        largest = max(height * width for _, (height, width), _ in self.library.shapes())
        channels = pair.input.shape[1] + pair.target.shape[1]
        slots = LANES * self.batch_size * self.world_size
        pixels = min(self.library.room, ROOM) // (slots * channels * pair.input.element_size())
        return CROPS if largest <= pixels else int(min(max(pixels // self.crop_size**2, 1), CROPS))

    def _crops(self, pair: Pair, places: NDArray[np.float64]) -> Callable[[int], Pair]:
        """The crops of an image by number; it is kept itself if they take more memory."""
        crops = [self._crop(pair, *place) for place in places]
        if sum(part.numel() for crop_ in crops for part in crop_) < sum(part.numel() for part in pair):
            crops = [Pair(*(part.clone() for part in crop_)) for crop_ in crops]
        return crops.__getitem__

    def _shuffled(self, index: int) -> int:
        round_, place = divmod(index, len(self.library.names))
        return int(_order(self.seed, round_, len(self.library.names))[place])

    def _crop(self, pair: Pair, down: float, right: float) -> Pair:
        assert self.crop_size is not None
        height, width = pair.input.shape[-2:]
        top, left = int(down * (height - self.crop_size + 1)), int(right * (width - self.crop_size + 1))
        return crop(pair, top, left, self.crop_size, self.crop_size)


@lru_cache(maxsize=4)  # slots are in two rounds at a time
def _order(seed: int, round_: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, round_, 2)).permutation(count)
