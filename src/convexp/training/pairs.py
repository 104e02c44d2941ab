"""Pairs of an image and what the operator makes of it, cut into batches that depend on (seed, step) alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from convexp.errors import ConvexpError


class Pair(NamedTuple):
    """An input and its target, (B, C, H, W) and (B, C', H', W'), around one centre; the target may be smaller."""

    input: Tensor
    target: Tensor


def make_pair(name: str, image: Tensor, operator: Callable[[Tensor], object]) -> Pair:
    """Applies the operator once, to the whole image.

    Args:
        name: What messages call the image.
        image: (C, H, W), values in [0, 1].
        operator: Any callable from (1, C, H, W) to (1, C', H', W').

    Raises:
        ConvexpError: If the operator fails, or returns anything but a finite (1, C', H', W') no larger than the image.
    """
    with torch.no_grad():
        try:
            target = operator(image[None])
        except ConvexpError:
            raise
        except Exception as error:  # a user's operator may raise anything
            raise ConvexpError(
                f"the target fails on {name} {tuple(image.shape)}: "
                + " ".join(f"{type(error).__name__}: {error}".split())
            ) from error
    if not isinstance(target, Tensor) or target.ndim != 4 or len(target) != 1:
        shown = tuple(target.shape) if isinstance(target, Tensor) else type(target).__name__
        raise ConvexpError(f"the target made {shown} of {name} {(1, *image.shape)}; it must return (1, C, H, W)")
    height, width = target.shape[-2:]
    if height > image.shape[-2] or width > image.shape[-1] or 0 in target.shape:
        raise ConvexpError(
            f"the target made {height}×{width} of {name}, {image.shape[-2]}×{image.shape[-1]}; "
            "it may not enlarge or empty an image"
        )
    if not target.isfinite().all():
        raise ConvexpError(f"the target of {name} has NaN or infinite values; mend the operator or leave the image out")
    return Pair(_channels_last(image[None]), _channels_last(target.float()))


def _channels_last(images: Tensor) -> Tensor:
    # More than halves a training step of a stack with few channels on the CPU. Of one channel the order in memory is
    # both, and a convolution goes by the strides.
    _, channels, height, width = images.shape
    images = images.contiguous(memory_format=torch.channels_last)
    return images.as_strided(images.shape, (channels * height * width, 1, channels * width, channels))


def crop(pair: Pair, top: int, left: int, size: int) -> Pair:
    """Cuts `size`×`size` from the input, and what belongs to it from the target, at one place.

    A target that is smaller than its input (a valid operator) loses the same border in the crop as in the whole image,
    so that input and target crop share their centre as the whole pair does.
    """
    height = size - (pair.input.shape[-2] - pair.target.shape[-2])
    width = size - (pair.input.shape[-1] - pair.target.shape[-1])
    return Pair(
        pair.input[..., top : top + size, left : left + size], pair.target[..., top : top + height, left : left + width]
    )


def join_sizes(pairs: Iterable[Pair]) -> list[Pair]:
    """Stacks the pairs of each size, in the order in which the sizes first come."""
    sizes: dict[tuple[torch.Size, torch.Size], list[Pair]] = {}
    for pair in pairs:
        sizes.setdefault((pair.input.shape, pair.target.shape), []).append(pair)
    return [Pair(*(_channels_last(torch.cat(images)) for images in zip(*same, strict=True))) for same in sizes.values()]


class Batches(IterableDataset[list[Pair]]):
    """The endless sequence of a run's batches, from a given step on.

    A batch is a list of stacked pairs, one for each image size: random crops are one entry, whole images of several
    sizes are several. Batch i depends on (seed, i) and the rank alone: a resumed run sees what it would have seen.
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

        Raises:
            ConvexpError: If an image is smaller than a crop, a crop leaves nothing of the target, or a process would
                get no image.
        """
        if batch_size is None and crop_size is not None:
            raise ConvexpError("data.batch_size=null means all whole images; with data.crop_size give a number, as 4")
        if batch_size is None and len(pairs) < world_size:
            raise ConvexpError(
                f"data.batch_size=null leaves {world_size - len(pairs)} of {world_size} processes without an image; "
                f"use trainer.devices={len(pairs)}, or crops, as data.crop_size=64 data.batch_size=4"
            )
        for name, pair in pairs.items():
            if crop_size is None:
                break
            (height, width), (inner_height, inner_width) = pair.input.shape[-2:], pair.target.shape[-2:]
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
        self.pairs = list(pairs.values())
        self.crop_size, self.batch_size = crop_size, batch_size
        self.seed, self.start, self.rank, self.world_size = seed, start, rank, world_size

    def __iter__(self) -> Iterator[list[Pair]]:
        step = self.start
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> list[Pair]:
        """The batch of one step."""
        random = np.random.default_rng((self.seed, step))
        count = len(self.pairs)
        if self.batch_size is None:
            return join_sizes(self.pairs[self.rank :: self.world_size])
        total = self.batch_size * self.world_size
        if self.crop_size is None:
            order = random.permutation(count)
            chosen = [self.pairs[order[index % count]] for index in range(self.rank, total, self.world_size)]
            return join_sizes(chosen)
        indices, places = random.integers(count, size=total), random.random((total, 2))
        return join_sizes(
            [
                self._crop(self.pairs[indices[index]], *places[index])
                for index in range(self.rank, total, self.world_size)
            ]
        )

    def _crop(self, pair: Pair, down: float, right: float) -> Pair:
        assert self.crop_size is not None
        height, width = pair.input.shape[-2:]
        top, left = int(down * (height - self.crop_size + 1)), int(right * (width - self.crop_size + 1))
        return crop(pair, top, left, self.crop_size)
