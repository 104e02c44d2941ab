"""Pairs of an image and what the operator makes of it."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from convexp.errors import ConvexpError


class Pair(NamedTuple):
    """An input and its target, (B, C, H, W) and (B, C', H', W'), around one centre; the target may be smaller."""

    input: Tensor
    target: Tensor


class Whole(NamedTuple):
    """A whole image, its target and its name."""

    input: Tensor
    target: Tensor
    name: str


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
        except ConvexpError as error:
            raise ConvexpError(f"{name}: {error}") from error
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
    return as_pair(image, target[0].float())


def as_pair(image: Tensor, target: Tensor) -> Pair:
    """An image (C, H, W) and its target (C', H', W'), as they are trained on: with a batch size, and channels last."""
    return Pair(_channels_last(image[None]), _channels_last(target[None]))


def _channels_last(images: Tensor) -> Tensor:
    # More than halves a training step of a stack with few channels on the CPU. Of one channel the order in memory is
    # both, and a convolution goes by the strides.
    _, channels, height, width = images.shape
    images = images.contiguous(memory_format=torch.channels_last)
    return images.as_strided(images.shape, (channels * height * width, 1, channels * width, channels))


def crop(pair: Pair, top: int, left: int, height: int, width: int) -> Pair:
    """Cuts height×width from the input, and what belongs to it from the target, at one place.

    A target that is smaller than its input (a valid operator) loses the same border in the crop as in the whole image,
    so that input and target crop share their centre as the whole pair does.
    """
    lower, narrower = (whole - part for whole, part in zip(pair.input.shape[-2:], pair.target.shape[-2:], strict=True))
    bottom, right = top + height, left + width
    return Pair(
        pair.input[..., top:bottom, left:right], pair.target[..., top : bottom - lower, left : right - narrower]
    )


def join_sizes(pairs: Iterable[Pair]) -> list[Pair]:
    """Stacks the pairs of each size, in the order in which the sizes first come."""
    sizes: dict[tuple[torch.Size, torch.Size], list[Pair]] = {}
    for pair in pairs:
        sizes.setdefault((pair.input.shape, pair.target.shape), []).append(pair)
    return [Pair(*(_channels_last(torch.cat(images)) for images in zip(*same, strict=True))) for same in sizes.values()]
