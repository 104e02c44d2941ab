"""Where the least loss of a convolution comes from, in parts that add up to it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from convexp.exact.least_squares import solve
from convexp.exact.statistics import Statistics, gather
from convexp.exact.strips import Axis, Two, geometry, source, taken

MOST_UNKNOWNS = 3000  # solving for so many takes about two seconds
MOST_MARGIN = 14


class Floor(NamedTuple):
    """Parts of the least mean squared error, each what one restriction of the model costs.

    Args:
        kernel: What the kernel costs by being smaller than `kernel_size`.
        border: What the pixels cost whose surroundings reach out of the image, if others are invented there than the
            target knew.
        channels: What it costs that an output sees its own group of channels only.
        bias: What it costs to have no constant.
        remaining: What no linear filter of that size can do: noise, non-linearity, or an even larger kernel.
        kernel_size: Of the larger kernel.
    """

    kernel: float
    border: float
    channels: float
    bias: float
    remaining: float
    kernel_size: Two


def floor(
    layer: nn.Conv2d, pairs: Iterable[Sequence[Tensor]], *, loss: float, reach: tuple[int, int, int, int] | None = None
) -> Floor | None:
    """Divides the least loss among the model's restrictions, by lifting one after the other.

    A larger kernel, which goes on beyond the image as the model does, leaves no more than the model. What it leaves on
    all pixels beyond what it would on those alone of which it sees all surroundings, is the border's. On these, all
    channels and a constant leave less and less.

    Args:
        layer: The model, with stride 1.
        pairs: Images (B, C, H, W) and targets (B, O, H', W'); they are gone through several times.
        loss: Its least mean squared error on them, as `least_squares` gives it.
        reach: First and last row, first and last column that the target depends on, counted from the pixel that lies
            over it when both centres do; a larger kernel sees them, as far as it can be afforded. None tries a few more
            pixels on every side.

    Returns:
        The parts; None if the stride is not 1, or no pixel is inside.
    """
    boxes = [_box(layer, axis, pairs, reach) for axis in (0, 1)]
    if geometry(layer)[1] != (1, 1) or None in boxes:
        return None
    rows, columns = (box for box in boxes if box is not None)
    if next(_inside(pairs, rows, columns), None) is None:
        return None
    size = rows[1] - rows[0] + 1, columns[1] - columns[0] + 1
    larger = nn.Conv2d(layer.in_channels, layer.out_channels, size, device="meta")
    own = (layer.bias is not None, layer.groups)
    everywhere = _least(gather(larger, _continued(layer, pairs, rows, columns)), *own)
    inside = gather(larger, _inside(pairs, rows, columns))
    grouped = _least(inside, *own)
    whole = grouped if layer.groups == 1 else _least(inside, own[0], 1)
    free = whole if own[0] else _least(inside, True, 1)
    kernel, border = max(0.0, loss - everywhere), max(0.0, everywhere - grouped)
    # Where the pixels inside are the worse ones, their parts stand for those of all.
    share = (loss - kernel - border) / grouped if grouped > 0 else 0.0
    channels, bias = share * max(0.0, grouped - whole), share * max(0.0, whole - free)
    return Floor(kernel, border, channels, bias, max(0.0, loss - kernel - border - channels - bias), size)


def _least(statistics: Statistics, bias: bool, groups: int) -> float:
    return solve(statistics.restrict(bias=bias, groups=groups)).loss


def _continued(
    layer: nn.Conv2d, pairs: Iterable[Sequence[Tensor]], rows: Two, columns: Two
) -> Iterator[tuple[Tensor, Tensor]]:
    """What a kernel from `rows[0]` to `rows[1]` of a target's pixel reads for all that count, also beyond the image."""
    for image, target in pairs:
        seen, wanted = image, target
        for axis, (low, high) in enumerate((rows, columns)):
            own = Axis.of(layer, axis, image.shape[2 + axis], target.shape[2 + axis])
            index = source(own.target + low, own.target + own.count + high, side=own.side, mode=own.mode)
            seen = taken(seen, index, dim=2 + axis)
            wanted = wanted.narrow(2 + axis, own.target, own.count)
        yield seen, wanted


def _box(
    layer: nn.Conv2d, axis: int, pairs: Iterable[Sequence[Tensor]], reach: tuple[int, int, int, int] | None
) -> Two | None:
    """First and last pixel of the larger kernel, counted from a pixel of the target."""
    side, wanted = (part.shape[2 + axis] for part in next(iter(pairs)))
    own = Axis.of(layer, axis, side, wanted)
    first, last = own.offset, own.offset + own.span - 1
    before = after = 4
    if reach is not None:
        centre = (side - wanted) // 2
        before, after = first - (centre + reach[2 * axis]), centre + reach[2 * axis + 1] - last
    smallest = min(image.shape[2 + axis] for image, _ in pairs)
    afforded = int((MOST_UNKNOWNS / layer.in_channels) ** 0.5)
    for margin in range(MOST_MARGIN, -1, -1):
        low, high = first - min(max(before, 0), margin), last + min(max(after, 0), margin)
        if high - low < min(afforded, smallest):
            return low, high
    return None


def _inside(pairs: Iterable[Sequence[Tensor]], rows: Two, columns: Two) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and targets, cut so that a valid kernel from `rows[0]` to `rows[1]` of a target's pixel fits exactly."""
    for image, target in pairs:
        cut_image, cut_target = image, target
        for dim, (low, high) in ((2, rows), (3, columns)):
            first = max(0, -low)
            count = min(target.shape[dim], image.shape[dim] - high) - first
            if count < 1:
                break
            cut_image = cut_image.narrow(dim, first + low, count + high - low)
            cut_target = cut_target.narrow(dim, first, count)
        else:
            yield cut_image, cut_target
