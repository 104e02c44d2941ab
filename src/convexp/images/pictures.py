"""Input, target, output and error of one image in a single picture."""

import math

from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.alignment import center_crop
from convexp.images.colours import Scale, not_finite, plain, visible_limit, visible_range
from convexp.images.layout import below, enlarged, framed, grid, line, scale_bar, shrunk
from convexp.images.marks import Box, boxed

SMALLEST, LARGEST = 230, 640  # the longer side of a panel in pixels; of 256 a model's borders leave at least so many


class Comparison:
    """Shows what a model was given, what it should have made of it, what it made of it, and the difference.

    Four panels of one size, two above two so that they stay large on a TensorBoard card: input and target, output and
    error = output − target (its mean where there are several channels). Under each stands its scale. A range that
    reaches well below 0 makes target and output signed: 0 is white (mid-gray in colour images), blue is negative.

    The responses of a template have a best place, where they are largest. For the `size` of the template a box around
    the target's best place is drawn into input and target, one around the output's into the output; where the title has
    room it says which row and column of the input the template's upper left corner lies on.

    Args:
        input: (C, H, W) in [0, 1], at least as large as the target; its centre is shown.
        target: (C', H', W').
        value_range: The values of target and output at the ends of their scale, clipped beyond. The target's own
            visible range if None, so that pictures over time compare.
        error_limit: The error that gets the full colour; each error's own `visible_limit` if None.
        size: Height and width of a template in pixels.

    Raises:
        ConvexpError: If the shapes do not fit each other, a range is empty or not finite, or `size` is not positive.
    """

    def __init__(
        self,
        input: Tensor,
        target: Tensor,
        *,
        value_range: tuple[float, float] | None = None,
        error_limit: float | None = None,
        size: tuple[int, int] | None = None,
    ) -> None:
        _check(input, target)
        if error_limit is not None and not 0 < error_limit < math.inf:
            raise ConvexpError(f"comparison: error_limit={error_limit} must be a positive finite number")
        if size is not None and min(size) < 1:
            raise ConvexpError(f"comparison: size={size} must be the height and width of a template, both at least 1")
        self.target_CHW, self.error_limit, self.size = plain(target), error_limit, size
        self.cut = [(whole - part) // 2 for whole, part in zip(input.shape[-2:], target.shape[-2:], strict=True)]
        low, high = visible_range(self.target_CHW) if value_range is None else value_range
        if not -math.inf < low < high < math.inf:
            raise ConvexpError(f"comparison: value_range=({low}, {high}) must be two finite numbers, the smaller first")
        if low < -0.1 * high:  # clearly signed, not an image with a little undershoot
            low, high = -max(-low, high), max(-low, high)
            self.scale = Scale(low, high, signed=len(self.target_CHW) != 3)
        else:
            self.scale = Scale(low, high)
        input_CHW = plain(center_crop(input, *target.shape[-2:]))
        best = self._best(self.target_CHW)
        self.given = [
            _cell("input", input_CHW, Scale(0.0, 1.0), best),
            _cell("target", self.target_CHW, self.scale, best),
        ]

    def picture(self, output: Tensor) -> Tensor:
        """Draws it for an output, (C', H', W') as the target.

        Returns:
            (3, height, width) uint8.

        Raises:
            ConvexpError: If it has not the target's shape.
        """
        if output.ndim != 3 or not output.numel():
            raise ConvexpError(f"comparison: output has shape {tuple(output.shape)}; pass one image, (C, H, W)")
        if output.shape != self.target_CHW.shape:
            shapes = f"target {tuple(self.target_CHW.shape)} and output {tuple(output.shape)}"
            raise ConvexpError(f"comparison: {shapes} must have one shape; crop the larger one to their common centre")
        output_CHW = plain(output)
        error_HW = (output_CHW - self.target_CHW).mean(dim=0)
        limit = visible_limit(error_HW) if self.error_limit is None else self.error_limit
        made = [
            _cell("output", output_CHW, self.scale, self._best(output_CHW)),
            _cell("error" if len(output_CHW) == 1 else "mean error", error_HW[None], Scale.around_zero(limit)),
        ]
        gap = self.given[0].shape[2] // 16
        return grid([*self.given, *made], columns=2, gap=gap, margin=gap)

    def _best(self, values_CHW: Tensor) -> tuple[Box, str] | None:
        """Return the template's box around the largest value, in the panel, and where it lies in the input."""
        if self.size is None or not values_CHW.isfinite().any():
            return None
        highest_HW = values_CHW.nan_to_num(nan=-math.inf, posinf=math.inf, neginf=-math.inf).amax(dim=0)
        row, column = divmod(int(highest_HW.argmax()), highest_HW.shape[1])
        # As the offset of `center_crop`: the box of a valid response begins at its row and column in the whole input.
        height, width = self.size
        top, left = row - (height - 1) // 2, column - (width - 1) // 2
        return (top, top + height, left, left + width), f", best at ({top + self.cut[0]}, {left + self.cut[1]})"


def comparison(
    input: Tensor,
    target: Tensor,
    output: Tensor,
    *,
    value_range: tuple[float, float] | None = None,
    error_limit: float | None = None,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """One picture of a `Comparison`: (3, height, width) uint8.

    >>> import torch
    >>> image = torch.rand(3, 64, 64)
    >>> comparison(image, image[:1], image[:1]).shape[0]
    3
    """
    return Comparison(input, target, value_range=value_range, error_limit=error_limit, size=size).picture(output)


def _check(input: Tensor, target: Tensor) -> None:
    for name, image in {"input": input, "target": target}.items():
        if image.ndim != 3 or not image.numel():
            raise ConvexpError(f"comparison: {name} has shape {tuple(image.shape)}; pass one image, (C, H, W)")
    if input.shape[1] < target.shape[1] or input.shape[2] < target.shape[2]:
        shapes = f"input {tuple(input.shape)} is smaller than the target {tuple(target.shape)}"
        raise ConvexpError(f"comparison: {shapes}; pass the image that the target was computed from")


def _cell(name: str, values_CHW: Tensor, scale: Scale, best: tuple[Box, str] | None = None) -> Tensor:
    """Return a panel with its name above, its scale below, and its best place in a box."""
    shown = shrunk(values_CHW, LARGEST)
    painted = enlarged(scale.paint(shown), math.ceil(SMALLEST / max(shown.shape[1:])))
    width = max(SMALLEST, painted.shape[2] + 2)
    size = width // 14  # legible when two cells share the 350 pixels of a TensorBoard card
    title = line(_title(name, values_CHW), size=size)
    if best is not None:
        box, where = best
        painted = boxed(painted, [_scaled(box, values_CHW, painted)], labels=[""])
        longer = line(_title(name, values_CHW) + where, size=size)
        title = longer if longer.shape[2] <= width else title
    bar = scale_bar(scale, width=width, size=size * 3 // 4)
    return below([title, framed(painted), bar], gap=size // 4)


def _scaled(box: Box, values_CHW: Tensor, painted: Tensor) -> Box:
    down, across = (shown / true for shown, true in zip(painted.shape[1:], values_CHW.shape[1:], strict=True))
    top, bottom, left, right = (
        round(edge * ratio) for edge, ratio in zip(box, (down, down, across, across), strict=True)
    )
    return top, max(bottom, top + 1), left, max(right, left + 1)


def _title(name: str, values_CHW: Tensor) -> str:
    channels = len(values_CHW)
    part = "" if channels in (1, 3) else f", 1 of {channels} channels"
    strange_HW = not_finite(values_CHW)
    return name + part + ("" if strange_HW is None else f", {int(strange_HW.count_nonzero())} not finite")
