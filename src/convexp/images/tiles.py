"""Kernels and feature maps as tiles on symmetric blue–white–red scales."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.colours import Scale, diverging, magnitude, number, plain, visible_limit
from convexp.images.layout import (
    below,
    beside,
    enlarged,
    framed,
    grid,
    line,
    numbered,
    scale_bar,
    shrunk,
    with_margin,
)

SIDE = 480  # about the longer side of a grid of tiles in pixels
MOST_KERNELS = 16  # in either direction; more only where the other direction has fewer
MOST_MAPS = 16
SMALLEST_TEXT = 13
TEXT = 24  # a third of it survives the 350 pixels of a TensorBoard card
LARGE_TEXT = 36  # where two grids of tiles share such a card
MARGIN = 20
GAP = 4


def kernel_tiles(weight: Tensor, *, caption: str | None = None) -> Tensor:
    """Show the kernels of one convolution: one row for each output, one column for each input.

    All kernels share one symmetric scale, whose ends are written under it. The few weights of a small layer are
    written into their cells. A grid that would be a thin strip is folded: outputs continue to the right of the first
    ones, inputs below them. Of more than 16 × 16 kernels the first are shown.

    Args:
        weight: (outputs, inputs, height, width), as `torch.nn.Conv2d` holds it.
        caption: What is written above, for example the layer's name.

    Returns:
        (3, height, width) uint8.

    Raises:
        ConvexpError: If `weight` has not four dimensions or holds nothing.

    >>> import torch
    >>> kernel_tiles(torch.randn(2, 1, 3, 3), caption="edges").shape[0]
    3
    """
    _check(weight, "kernel_tiles")
    return with_margin(_kernels(weight, caption), MARGIN)


def kernel_sheet(weights: Mapping[str, Tensor]) -> Tensor:
    """Show all convolutions of a model, in reading order, each as by `kernel_tiles` and with its own scale.

    Args:
        weights: Layer name → (outputs, inputs, height, width).

    Returns:
        (3, height, width) uint8.

    Raises:
        ConvexpError: If there is no layer, or one has not four dimensions.

    >>> import torch
    >>> kernel_sheet({"edges": torch.randn(2, 1, 2, 2), "blur": torch.randn(1, 2, 3, 3)}).shape[0]
    3
    """
    if not weights:
        raise ConvexpError("kernel_sheet: there is no layer to show; pass at least one convolution's weight")
    for name, weight in weights.items():
        _check(weight, f"kernel_sheet: {name}")
    layers = [_kernels(weight, name) for name, weight in weights.items()]
    return grid(layers, columns=math.ceil(math.sqrt(len(layers))), gap=2 * MARGIN, margin=MARGIN)


def kernels_beside(kernels: Mapping[str, Tensor]) -> Tensor:
    """Show some kernels, each as by `kernel_tiles` and all on one scale, for example learned ones and the true ones.

    They stand beside each other, or below each other where that is less of a strip.

    Args:
        kernels: Name → (outputs, inputs, height, width).

    Returns:
        (3, height, width) uint8.

    Raises:
        ConvexpError: If there is none, or one has not four dimensions or holds nothing.

    >>> import torch
    >>> picture = kernels_beside({"learned": torch.randn(1, 1, 24, 24), "true": torch.randn(1, 1, 24, 24)})
    >>> picture.shape[2] > 1.5 * picture.shape[1]
    True
    """
    if not kernels:
        raise ConvexpError("kernels_beside: there is no kernel to show; pass at least one by its name")
    for name, weight in kernels.items():
        _check(weight, f"kernels_beside: {name}")
    limit = magnitude(torch.cat([plain(weight).flatten() for weight in kernels.values()]))
    across = beside(
        [_kernels(weight, name, limit=limit, text=LARGE_TEXT) for name, weight in kernels.items()], gap=2 * MARGIN
    )
    down = below([_kernels(weight, name, limit=limit) for name, weight in kernels.items()], gap=2 * MARGIN)
    return with_margin(min(across, down, key=lambda picture: max(picture.shape)), MARGIN)


class KernelComparison:
    """Shows the kernels that a convolution has learned beside the best ones, and what they still differ by.

    Each cell is as by `kernel_tiles`: learned and optimum, both on the scale of the optimum so that pictures over time
    compare, and below them difference = learned − optimum and the kernels of the operator itself, each on its own. They
    stand in two columns, or in one where the kernels of a cell are a strip whose numbers would be too small.

    Args:
        optimal: (outputs, inputs, height, width).
        truth: (outputs, inputs, height', width') of the operator, if it has them.

    Raises:
        ConvexpError: If one has not four dimensions or holds nothing, or they do not fit each other.

    >>> import torch
    >>> KernelComparison(torch.randn(1, 3, 3, 3), truth=torch.randn(1, 3, 7, 7)).picture(torch.randn(1, 3, 3, 3)).shape[
    ...     0
    ... ]
    3
    """

    def __init__(self, optimal: Tensor, *, truth: Tensor | None = None) -> None:
        for name, weight in {"optimal": optimal, "truth": truth}.items():
            if weight is not None:
                _check(weight, f"kernel_comparison: {name}")
        if truth is not None and truth.shape[:2] != optimal.shape[:2]:
            shapes = f"truth {tuple(truth.shape)} and optimal {tuple(optimal.shape)}"
            raise ConvexpError(f"kernel_comparison: {shapes} must have as many outputs and inputs as each other")
        self.optimal = plain(optimal)
        self.limit = magnitude(self.optimal)
        self.optimum = _kernels(self.optimal, "optimum")
        _, height, width = self.optimum.shape
        # Of two columns a card shows each smaller; letters that are as large beside small kernels need fewer pixels.
        large = max(TEXT, min(LARGE_TEXT, width // 12))
        self.columns, self.text = (1, TEXT) if width > 1.5 * height else (2, large)
        if self.text != TEXT:
            self.optimum = _kernels(self.optimal, "optimum", text=self.text)
        self.true = [] if truth is None else [_kernels(truth, "true", text=self.text)]

    def picture(self, learned: Tensor) -> Tensor:
        """Draws it for learned kernels, as large as the optimal ones.

        Returns:
            (3, height, width) uint8.

        Raises:
            ConvexpError: If they are not as large.
        """
        if learned.shape != self.optimal.shape:
            shapes = f"learned {tuple(learned.shape)} and optimal {tuple(self.optimal.shape)}"
            raise ConvexpError(f"kernel_comparison: {shapes} must have one shape; pass kernels of the same convolution")
        ours = plain(learned)
        cells = [
            _kernels(ours, "learned", limit=self.limit, text=self.text),
            self.optimum,
            _kernels(ours - self.optimal, "difference", text=self.text),
            *self.true,
        ]
        return grid(cells, columns=self.columns, gap=2 * MARGIN, margin=MARGIN)


def feature_tiles(features: Tensor, *, caption: str | None = None, most: int = MOST_MAPS) -> Tensor:
    """Show feature maps, each on its own symmetric scale, whose limit is written above it; the first ones of many.

    Args:
        features: (C, H, W).
        caption: What is written above all, for example the block's name.
        most: How many are shown.

    Returns:
        (3, height, width) uint8.

    Raises:
        ConvexpError: If `features` has not three dimensions or holds nothing.

    >>> import torch
    >>> feature_tiles(torch.randn(4, 17, 23), caption="edges").shape[0]
    3
    """
    if features.ndim != 3 or not features.numel():
        raise ConvexpError(f"feature_tiles: features have shape {tuple(features.shape)}; pass one image's, (C, H, W)")
    shown = features[:most]
    columns = math.ceil(math.sqrt(len(shown)))
    longest = min(SIDE, 2 * SIDE // columns)
    cells = [_map(index, plain(feature_HW), longest) for index, feature_HW in enumerate(shown)]
    maps = grid(cells, columns=columns, gap=MARGIN)
    return with_margin(_titled(maps, caption, _left_out("maps", len(shown), len(features))), MARGIN)


def _map(index: int, values_HW: Tensor, longest: int) -> Tensor:
    limit = visible_limit(values_HW)
    shown = shrunk(values_HW[None], longest)[0]
    panel = framed(enlarged(diverging(shown, limit), longest // max(shown.shape)))
    return below([line(f"{index}:  ±{number(limit)}", size=TEXT), panel], gap=4)


def _check(weight: Tensor, where: str) -> None:
    if weight.ndim != 4 or not weight.numel():
        shape = tuple(weight.shape)
        raise ConvexpError(f"{where}: weight has shape {shape}; pass (outputs, inputs, height, width), none of them 0")


def _kernels(weight: Tensor, caption: str | None, *, limit: float | None = None, text: int = TEXT) -> Tensor:
    values = plain(weight)
    outputs, inputs, height, width = values.shape
    most = max(1, min(MOST_KERNELS, SIDE // max(height, width)))
    shown = values[: max(most, most**2 // inputs), : max(most, most**2 // outputs)]
    blocks = _folded(shown)
    across = sum(block.shape[1] * width for block in blocks[0])
    down = sum(row[0].shape[0] * height for row in blocks)
    pixel = max(1, min(4 * text, SIDE // max(across, down)))
    limit = magnitude(values) if limit is None else limit
    gap = GAP if 1 in shown.shape[:2] else 4 * GAP  # outputs of several kernels stay recognisable
    picture = below([beside([_block(block, limit, pixel, text) for block in row], gap=gap) for row in blocks], gap=gap)
    bar = scale_bar(Scale.around_zero(limit), width=max(SIDE // 2, picture.shape[2]), size=text)
    count = shown.shape[0] * shown.shape[1]
    left_out = _left_out("kernels", count, outputs * inputs)
    return _titled(below([picture, bar], gap=MARGIN), caption, left_out, text=text)


def _folded(weight_OIHW: Tensor) -> list[list[Tensor]]:
    """Cut a grid that would be a thin strip into blocks, outputs side by side or inputs below each other."""
    outputs, inputs, height, width = weight_OIHW.shape
    slenderness = outputs * height / (inputs * width)
    if slenderness >= 2:
        return [list(weight_OIHW.split(math.ceil(outputs / math.ceil(math.sqrt(2 * slenderness))), dim=0))]
    if slenderness < 1 / 4:
        return [[b] for b in weight_OIHW.split(math.ceil(inputs / math.ceil(math.sqrt(0.5 / slenderness))), dim=1)]
    return [[weight_OIHW]]


def _block(weight_OIHW: Tensor, limit: float, pixel: int, text: int) -> Tensor:
    outputs, inputs = weight_OIHW.shape[:2]
    kernels = shrunk(weight_OIHW.flatten(0, 1), SIDE).unflatten(0, (outputs, inputs))
    table = kernels.transpose(1, 2).flatten(2).flatten(0, 1)  # (outputs · height, inputs · width)
    picture = enlarged(diverging(table, limit), pixel)
    decimals = max(0, 1 - math.floor(math.log10(limit)))
    size = 3 * pixel // (2 * len(f"{-limit:.{decimals}f}"))  # a digit is somewhat more than half as wide as high
    if size >= SMALLEST_TEXT:
        texts = [[_fixed(value, decimals) for value in row] for row in table.tolist()]
        picture = numbered(picture, texts, light=table.abs() > 0.6 * limit, size=min(size, text))
    return framed(picture, rows=outputs, columns=inputs, gap=GAP)


def _fixed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no "-0.00"


def _left_out(things: str, shown: int, all_: int) -> str | None:
    return f"first {shown} of {all_} {things}, {all_ - shown} left out" if shown < all_ else None


def _titled(picture: Tensor, *titles: str | None, text: int = TEXT) -> Tensor:
    lines = [line(title, size=text) for title in titles if title]
    return below([*lines, picture], gap=12)
