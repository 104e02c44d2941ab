"""Where the least loss of a convolution comes from, in parts that add up to it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from convexp.exact.least_squares import solve
from convexp.exact.statistics import gather
from convexp.exact.strips import Axis, Two, geometry

MOST_UNKNOWNS = 3000  # solving for so many takes about two seconds
MOST_MARGIN = 14


class Floor(NamedTuple):
    """Parts of the least mean squared error, each what one restriction of the model costs.

    Args:
        border: What the pixels cost whose surroundings reach out of the image, where the model invents others than the
            target did.
        kernel: What the kernel costs by being smaller than `kernel_size`.
        channels: What it costs that an output sees its own group of channels only.
        bias: What it costs to have no constant.
        remaining: What no linear filter of that size can do: noise, non-linearity, or an even larger kernel.
        kernel_size: Of the larger kernel.
    """

    border: float
    kernel: float
    channels: float
    bias: float
    remaining: float
    kernel_size: Two


def floor(
    layer: nn.Conv2d, pairs: Sequence[Sequence[Tensor]], *, loss: float, reach: tuple[int, int, int, int] | None = None
) -> Floor | None:
    """Divides the least loss among the model's restrictions, by lifting one after the other.

    On the pixels inside, of which a larger kernel still sees all surroundings, the losses of model, larger kernel, all
    channels and constant fall in this order, since each contains the one before. What the border adds is the rest.

    Args:
        layer: The model, with stride 1.
        pairs: Images (B, C, H, W) and targets (B, O, H', W').
        loss: Its least mean squared error on them, as `least_squares` gives it.
        reach: First and last row, first and last column that the target depends on, counted from the pixel that lies
            over it when both centres do; a larger kernel sees them, as far as it can be afforded. None tries a few more
            pixels on every side.

    Returns:
        The parts; None if the stride is not 1, or no pixel is inside.
    """
    kernel_size, stride, dilation = geometry(layer)
    boxes = [_box(layer, axis, pairs, reach) for axis in (0, 1)]
    if stride != (1, 1) or None in boxes:
        return None
    (top, bottom, own_top), (left, right, own_left) = (box for box in boxes if box is not None)
    larger = nn.Conv2d(layer.in_channels, layer.out_channels, (bottom - top + 1, right - left + 1), device="meta")
    everything = gather(larger, _inside(pairs, (top, bottom), (left, right)))

    def least(**restrictions: object) -> float:
        return solve(everything.restrict(**restrictions)).loss  # pyright: ignore[reportArgumentType]

    bias = layer.bias is not None
    own = {"kernel_size": kernel_size, "at": (own_top - top, own_left - left), "dilation": dilation}
    losses = [
        least(**own, bias=bias, groups=layer.groups),
        least(bias=bias, groups=layer.groups),
        least(bias=bias),
        least(),
    ]
    share = everything.count / sum(len(image) * _compared(layer, image, target) for image, target in pairs)
    inside = [share * value for value in losses]
    steps = [max(0.0, before - after) for before, after in zip([loss, *inside], inside, strict=False)]
    return Floor(*steps, remaining=inside[-1], kernel_size=everything.kernel_size)


def _compared(layer: nn.Conv2d, image: Tensor, target: Tensor) -> int:
    """How many pixels of one image count."""
    return (
        Axis.of(layer, 0, image.shape[2], target.shape[2]).count
        * Axis.of(layer, 1, image.shape[3], target.shape[3]).count
    )


def _box(
    layer: nn.Conv2d, axis: int, pairs: Sequence[Sequence[Tensor]], reach: tuple[int, int, int, int] | None
) -> tuple[int, int, int] | None:
    """First and last pixel of the larger kernel, and the first of the layer's own, from a pixel of the target."""
    side, wanted = pairs[0][0].shape[2 + axis], pairs[0][1].shape[2 + axis]
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
            return low, high, first
    return None


def _inside(pairs: Sequence[Sequence[Tensor]], rows: Two, columns: Two) -> Iterator[tuple[Tensor, Tensor]]:
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
