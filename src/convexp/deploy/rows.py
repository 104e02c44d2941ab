"""The rows of an image as a model reads them, and of what lies outside it."""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from convexp.images.conversion import to_colour, to_gray
from convexp.images.decoding import scaled
from convexp.operators.border import Border, padded

Rows = Callable[[int, int], Tensor]
"""Gives the rows (B, C, n, W) from one number to before another; they are asked for in order."""

Take = Callable[[NDArray[np.int64]], Tensor]
"""Gives rows (B, C, n, W) by their numbers, as a copy."""

Channels = Literal["own", "gray", "colour", "gray in colour", "each"]
"""What becomes of a picture's channels: nothing, their mean, three of one, three of the mean, an image of each."""


def rows_of(image: Tensor) -> Take:
    """The rows of an image (B, C, H, W)."""
    return lambda numbers: channels_last(image.index_select(2, torch.from_numpy(numbers).to(image.device)))


def rows_of_pixels(pixels: NDArray[Any], channels: Channels = "own", *, device: torch.device | None = None) -> Take:
    """The rows of a picture in its own depth; none but those that are asked for become floats.

    Args:
        pixels: (H, W) or (H, W, 3), as `images.decoding.decode` reads it.
        channels: What becomes of its channels.
        device: Where the rows are to be.

    Example:
        >>> take = rows_of_pixels(np.full((4, 5), 51, np.uint8), "colour")
        >>> take(np.array([0, 3])).shape, take(np.array([0])).max()
        (torch.Size([1, 3, 2, 5]), tensor(0.2000))
    """

    def take(numbers: NDArray[np.int64]) -> Tensor:
        rows_HWC = torch.from_numpy(np.atleast_3d(scaled(pixels[numbers])))
        rows = rows_HWC.permute(2, 0, 1)[None].to(device)
        if channels in ("gray", "gray in colour"):
            rows = to_gray(rows)
        if channels in ("colour", "gray in colour"):
            rows = to_colour(rows)
        return channels_last(rows.transpose(0, 1) if channels == "each" else rows)

    return take


def bordered(take: Take, height: int, width: int, kernel: tuple[int, int], border: Border | None) -> Rows:
    """The rows of an image with what lies outside it, as `operators.border.padded` makes it.

    Args:
        take: Gives the rows of the image itself.
        height: Of the image.
        width: Of the image.
        kernel: Height and width of what reads the rows.
        border: What lies outside; None adds nothing.

    Returns:
        The rows 0 to H + kh − 1, of W + kw − 1 pixels each.

    Raises:
        ConvexpError: If the image is too small for the border, or there is no such border.

    Example:
        >>> read = bordered(rows_of(torch.tensor([[[[1.0, 2.0, 4.0]]]])), 1, 3, (1, 4), "reflect")
        >>> read(0, 1)
        tensor([[[[2., 1., 2., 4., 2., 1.]]]])
    """
    padded(torch.empty(1, 1, height, width, device="meta"), *kernel, border)  # which says what is wrong
    if border is None:
        return lambda start, stop: take(np.arange(start, stop))
    top, left, right = (kernel[0] - 1) // 2, (kernel[1] - 1) // 2, kernel[1] // 2
    columns = torch.from_numpy(lines(-left, width + right, width, border))

    def read(start: int, stop: int) -> Tensor:
        numbers = lines(start - top, stop - top, height, border)
        rows = take(numbers)
        if border != "zeros":
            return channels_last(rows.index_select(3, columns.to(rows.device)))
        wanted = np.arange(start - top, stop - top)
        rows[:, :, torch.from_numpy((wanted < 0) | (wanted >= height))] = 0
        return channels_last(F.pad(rows, (left, right)))

    return read


def channels_last(image: Tensor) -> Tensor:
    """A (B, C, H, W) tensor in the order in which convolutions on a CPU are fastest, also of one channel."""
    _, channels, height, width = image.shape
    image = image.contiguous(memory_format=torch.channels_last)
    return image.as_strided(image.shape, (channels * height * width, 1, channels * width, channels))


def lines(start: int, stop: int, length: int, border: Border) -> NDArray[np.int64]:
    """The numbers of the lines that lie at the places from `start` to before `stop`, some of them outside an image.

    Args:
        start: The first place; negative ones lie before line 0.
        stop: The place behind the last.
        length: How many lines the image has.
        border: What lies outside; for `zeros`, the outer line.

    Example:
        >>> lines(-2, 5, 4, "reflect").tolist(), lines(-2, 5, 4, "circular").tolist()
        ([2, 1, 0, 1, 2, 3, 2], [2, 3, 0, 1, 2, 3, 0])
    """
    places = np.arange(start, stop)
    if border == "circular":
        return places % length
    if border == "reflect":
        places = np.abs(places)
        return length - 1 - np.abs(length - 1 - places)
    return places.clip(0, length - 1)
