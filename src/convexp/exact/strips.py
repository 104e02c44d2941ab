"""Images and targets, cut into strips of rows that a convolution reads without padding."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.exact.gram import goes_by_structure

MOST_PIXELS = 2**19  # of a strip
MOST_VALUES = 2**22  # of a strip's patches, where all of them are held at once

Two = tuple[int, int]


class Strip(NamedTuple):
    """Some rows: what a convolution reads for them, (C, H, W), and the target there, (O, h, w), both float64."""

    region: Tensor
    target: Tensor


def geometry(layer: nn.Conv2d) -> tuple[Two, Two, Two]:
    """Kernel size, stride and dilation, each of height and width."""
    (kh, kw), (down, right), (dh, dw) = layer.kernel_size, layer.stride, layer.dilation
    return (kh, kw), (down, right), (dh, dw)


def strips(layer: nn.Conv2d, image: Tensor, target: Tensor) -> Iterator[Strip]:
    """Cuts images and targets, on the common centre of output and target.

    Args:
        layer: Its padding, of any mode, becomes a part of the regions.
        image: (B, C, H, W); only the rows of a strip are read at a time.
        target: (B, O, H', W').

    Raises:
        ConvexpError: If the channels are not the layer's, or the image is smaller than its kernel.
    """
    channels, outputs = image.shape[1], target.shape[1]
    if (channels, outputs, len(image)) != (layer.in_channels, layer.out_channels, len(target)):
        raise ConvexpError(
            f"images {tuple(image.shape)} and targets {tuple(target.shape)} do not fit a convolution from "
            f"{layer.in_channels} to {layer.out_channels} channels"
        )
    kernel_size, stride, dilation = geometry(layer)
    vertical = Axis.of(layer, 0, image.shape[2], target.shape[2])
    horizontal = Axis.of(layer, 1, image.shape[3], target.shape[3])
    width, columns = horizontal.count, horizontal.read(0, horizontal.count)
    if goes_by_structure(kernel_size, stride, dilation):
        spectra = max(1, channels**2 // 9)  # of each channel with each
        at_once = max(MOST_PIXELS // (width * spectra), 2 * kernel_size[0])
    else:
        at_once = max(MOST_VALUES // (width * channels * kernel_size[0] * kernel_size[1]), 1)
    left = horizontal.target
    for one, wanted in zip(image, target, strict=True):
        for first in range(0, vertical.count, at_once):
            count = min(at_once, vertical.count - first)
            region = taken(taken(one, vertical.read(first, count), dim=1), columns, dim=2)
            top = vertical.target + first
            yield Strip(region.double(), wanted[:, top : top + count, left : left + width].double())


@dataclass(frozen=True)
class Axis:
    """One direction: how many output pixels are compared, and where they lie."""

    count: int
    target: int  # the first of them in the target
    start: int  # the first pixel that the first of them reads, below 0 in the padding
    stride: int
    span: int  # the pixels from the kernel's first weight to its last
    side: int  # of the image
    mode: str

    @classmethod
    def of(cls, layer: nn.Conv2d, axis: int, side: int, wanted: int) -> "Axis":
        """Rows (axis 0) or columns (1) of an image and a target with so many of them.

        Raises:
            ConvexpError: If the image is smaller than the kernel.
        """
        kernel_size, stride, dilation = (value[axis] for value in geometry(layer))
        span = dilation * (kernel_size - 1) + 1
        before, after = _padding(layer, axis, span)
        made = (side + before + after - span) // stride + 1
        if made < 1:
            raise ConvexpError(f"an image's {side} pixels are fewer than the kernel's {span}; take a smaller kernel")
        count = min(made, wanted)
        start = (made - count) // 2 * stride - before
        return cls(count, (wanted - count) // 2, start, stride, span, side, layer.padding_mode)

    @property
    def offset(self) -> int:
        """From a pixel of the target to the first that the kernel reads for it, in rows or columns, if stride is 1."""
        return self.start - self.target

    def read(self, first: int, count: int) -> Tensor:
        """The pixels that some outputs read; −1 stands for a zero of the padding."""
        start = self.start + first * self.stride
        return source(start, start + (count - 1) * self.stride + self.span, side=self.side, mode=self.mode)


def _padding(layer: nn.Conv2d, axis: int, span: int) -> Two:
    """Pixels before and after; of "same" padding an odd one comes after, as in PyTorch."""
    if isinstance(layer.padding, str):
        total = span - 1 if layer.padding == "same" else 0
        return total // 2, total - total // 2
    return layer.padding[axis], layer.padding[axis]


def source(first: int, end: int, *, side: int, mode: str) -> Tensor:
    """Which pixels stand for those from `first` up to `end`, if an image goes on beyond its side; −1 is a zero."""
    index, last = torch.arange(first, end), side - 1
    match mode:
        case "reflect":
            return last - (last - index.abs()).abs()
        case "replicate":
            return index.clamp(0, last)
        case "circular":
            return index % side
        case _:
            return index.where((index >= 0) & (index <= last), -1)


def taken(values: Tensor, index: Tensor, *, dim: int) -> Tensor:
    """Picks rows or columns, as `source` numbers them."""
    if index[0] >= 0 and bool((index.diff() == 1).all()):  # a view is faster than a copy
        return values.narrow(dim, int(index[0]), len(index))
    taken = values.index_select(dim, index.clamp_min(0).to(values.device))
    return taken.index_fill_(dim, (index < 0).nonzero().flatten().to(values.device), 0)
