"""From values to colours: blue–white–red for signed values, black–white for images."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from convexp.errors import ConvexpError

BLUE = (24, 78, 184)
RED = (196, 24, 36)
NOT_FINITE = (0, 200, 0)  # NaN and infinity; neither scale contains green
SHADES = 512  # of either sign: twice as many as a byte tells apart
SAMPLE = 65_536  # pixels that quantiles are taken of: exact ones would cost more time than the picture


def diverging(values: Tensor, limit: float) -> Tensor:
    """Colour signed values: blue is negative, white is exactly 0, red is positive.

    Args:
        values: (H, W), any real type, on any device.
        limit: The absolute value that gets the full colour, as does everything beyond it.

    Returns:
        (3, H, W) uint8; NaN and infinity are green.

    Raises:
        ConvexpError: If `values` has not two dimensions or `limit` is not a positive finite number.

    >>> diverging(torch.tensor([[-2.0, 0.0, 1.0]]), limit=1.0)[:, 0].T.tolist()
    [[24, 78, 184], [255, 255, 255], [196, 24, 36]]
    """
    values_HW = plain(values)
    if values_HW.ndim != 2:
        raise ConvexpError(f"diverging: values have shape {tuple(values.shape)}; pass one channel, (H, W)")
    if not 0 < limit < math.inf:
        raise ConvexpError(f"diverging: limit={limit} must be a positive finite number")
    shades = (values_HW / limit).mul_(SHADES).clamp_(-SHADES, SHADES)
    if (strange_HW := not_finite(values_HW[None])) is not None:
        shades[strange_HW] = SHADES + 1
    shades = shades.round_().add_(SHADES).int()
    return _COLOURS.index_select(0, shades.flatten()).view(*shades.shape, 3).permute(2, 0, 1)


def tone(image: Tensor, low: float, high: float) -> Tensor:
    """Show an image as it is seen: `low` becomes black, `high` white (or full colour), linearly, clipped beyond.

    Args:
        image: (C, H, W), gray or colour; of any other number of channels the first alone is shown.
        low: The value shown as 0.
        high: The value shown as 255.

    Returns:
        (3, H, W) uint8; pixels with a NaN or infinity are green.

    Raises:
        ConvexpError: If `image` has not three dimensions or the range is empty or not finite.

    >>> tone(torch.tensor([[[0.0, 0.5, 1.0]]]), low=0.0, high=1.0)[:, 0].T.tolist()
    [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
    """
    image_CHW = plain(image)
    if image_CHW.ndim != 3 or not len(image_CHW):
        raise ConvexpError(f"tone: the image has shape {tuple(image.shape)}; pass one image, (C, H, W)")
    if not -math.inf < low < high < math.inf:
        raise ConvexpError(f"tone: low={low}, high={high} must be two finite numbers, low < high")
    if len(image_CHW) != 3:
        image_CHW = image_CHW[:1]
    # Pixel by pixel in memory, as all pictures are.
    levels_HWC = ((image_CHW - low) / (high - low)).permute(1, 2, 0).contiguous().nan_to_num_().clamp_(0, 1).mul_(255)
    picture_HWC = levels_HWC.round_().to(torch.uint8).expand(-1, -1, 3).contiguous()
    if (strange_HW := not_finite(image_CHW)) is not None:
        picture_HWC[strange_HW] = _COLOURS[-1]
    return picture_HWC.permute(2, 0, 1)


@dataclass(frozen=True)
class Scale:
    """A fixed relation of values to colours.

    Args:
        low: The value at its left end.
        high: The value at its right end.
        signed: Blue–white–red instead of black–white; low is −high then.
    """

    low: float
    high: float
    signed: bool = False

    @classmethod
    def around_zero(cls, limit: float) -> "Scale":
        """Return the blue–white–red scale from −limit to limit."""
        return cls(-limit, limit, signed=True)

    def paint(self, values_CHW: Tensor) -> Tensor:
        """Colour values; a signed scale shows the first channel."""
        return diverging(values_CHW[0], self.high) if self.signed else tone(values_CHW, self.low, self.high)

    def ramp(self, width: int) -> Tensor:
        """Return all its colours from left to right, (3, 1, width) uint8."""
        return self.paint(torch.linspace(self.low, self.high, width, dtype=torch.float64)[None, None])

    def labels(self) -> list[str]:
        """Return the numbers at its ends, and 0 in its middle where that is 0."""
        middle = [0.0] if self.low == -self.high else []
        return [number(value) for value in [self.low, *middle, self.high]]


def number(value: float) -> str:
    """Write a number with three significant digits.

    >>> number(0.123456), number(-0.0), number(2.5278e-5)
    ('0.123', '0', '2.53e-05')
    """
    return f"{value + 0.0:.3g}"


def plain(values: Tensor) -> Tensor:
    """Return values as float32 (float64 stays) on the CPU, without a gradient."""
    values = values.detach().cpu()
    return values if values.dtype == torch.float64 else values.float()


def not_finite(values_CHW: Tensor) -> Tensor | None:
    """Tell, (H, W) bool, where a channel is not finite; None if there is no such place."""
    if math.isfinite(values_CHW.sum().item()):  # nearly always, and a tenth of the work
        return None
    strange_HW = ~values_CHW.isfinite().all(dim=0)
    return strange_HW if strange_HW.any() else None  # large numbers have an infinite sum, too


def visible_range(values: Tensor) -> tuple[float, float]:
    """Return the range in which an image is well seen: without its 0.5 % smallest and 0.5 % largest values.

    A few extreme pixels would leave all others pale. A range from just above 0 starts at 0; that of a constant image
    also holds 0 and 1. Values that are not finite do not count.

    >>> visible_range(torch.linspace(-1, 1, 1001)), visible_range(torch.tensor([0.01, 2.0]))
    ((-0.99..., 0.99...), (0.0, 2.0))
    >>> visible_range(torch.full((4, 4), 0.5))
    (0.0, 1.0)
    """
    low, high = _trimmed_span(values)
    if low == high:
        low, high = _span(values)
    if low == high:
        return min(low, 0.0), max(high, 1.0)
    return (0.0 if 0 < low < 0.1 * high else low), high


def visible_limit(values: Tensor) -> float:
    """Return the absolute value that only the 0.5 % largest exceed; as `magnitude` where it is 0.

    >>> visible_limit(torch.linspace(-1, 1, 1001)), visible_limit(torch.tensor([0.5, -2.0]))
    (0.99..., 2.0)
    """
    return _trimmed_span(values, absolute=True)[1] or magnitude(values)


def magnitude(values: Tensor) -> float:
    """Return the largest finite absolute value as the limit of a symmetric scale: 1 where all are 0.

    >>> magnitude(torch.tensor([0.5, -2.0])), magnitude(torch.zeros(3))
    (2.0, 1.0)
    """
    return _span(values.abs())[1] or 1.0


def _span(values: Tensor) -> tuple[float, float]:
    numbers = _finite(values)
    return (numbers.min().item(), numbers.max().item()) if len(numbers) else (0.0, 0.0)


def _finite(values: Tensor) -> Tensor:
    return values if math.isfinite(values.sum().item()) else values[values.isfinite()]


def _trimmed_span(values: Tensor, *, absolute: bool = False) -> tuple[float, float]:
    pixels = values.flatten()
    numbers = _finite(pixels[:: max(1, len(pixels) // SAMPLE)])
    if absolute:
        numbers = numbers.abs()
    if not len(numbers):
        return 0.0, 0.0
    cut = len(numbers) // 200
    return numbers.kthvalue(cut + 1).values.item(), numbers.kthvalue(len(numbers) - cut).values.item()


def _colours() -> Tensor:
    """Return the shades of the signed scale, from blue by way of white to red, and the colour of NaN: (…, 3) uint8."""
    white, strength = torch.tensor(255.0), torch.linspace(0, 1, SHADES + 1)[:, None]
    blue, red = (white + (torch.tensor(colour) - white) * strength for colour in (BLUE, RED))
    green = torch.tensor([NOT_FINITE], dtype=torch.float)
    return torch.cat([blue.flip(0), red[1:], green]).round().to(torch.uint8)


_COLOURS = _colours()
