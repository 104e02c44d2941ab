"""What it takes to imitate an operator, found by experiment."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from convexp.operators.pipeline import Pipeline
from convexp.operators.response import ROUNDING, Operator, Response, apply_each, impulse_response, support

SIDES = (65, 193)  # the second one for what the first is too small for
CORNER = 8  # side of the square that is changed: a single pixel hardly moves the ranks of many

Kind = Literal["linear", "pointwise", "local", "global"]


@dataclass(frozen=True)
class Verdict:
    """What it takes to imitate an operator.

    Args:
        kind: ``linear``: one kernel is the operator. ``pointwise``: a chain of kernels and of functions of single
            pixels, so that a small non-linearity between convolutions will do. ``local``: it sees a bounded
            neighbourhood, so that a stack that sees as much can come close. ``global``: a far pixel changes the output
            here, and no convolution can imitate it.
        size: Height and width of the smallest centred kernel or receptive field that sees all the operator does; None
            of a global one, or where that is not known.
        mixes: Whether a kernel has to weigh the colours differently.
    """

    kind: Kind
    size: tuple[int, int] | None = None
    mixes: bool = False

    def facts(self) -> dict[str, Any]:
        """The same as JSON has it."""
        return {"kind": self.kind, "size": None if self.size is None else list(self.size), "mixes": self.mixes}

    def __str__(self) -> str:
        pixels = "" if self.size is None else "×".join(map(str, self.size))
        if self.kind == "linear":
            return f"linear, one {pixels} kernel holds it exactly" + (" and mixes the colours" if self.mixes else "")
        if self.kind == "global":
            return "global, a far pixel changes the output here: no convolution can imitate it"
        sees = f"not linear, sees {pixels} pixels" if pixels else "not linear"
        if self.kind == "pointwise":
            return f"{sees}: kernels with a small non-linearity between them can hold it"
        return f"{sees}: no kernel holds it, a stack that sees as much can come close"


def verdict(operator: Operator, in_channels: int) -> Verdict | None:
    """Find out what it takes to imitate an operator.

    Args:
        operator: Anything that maps (1, C, H, W) float32 in [0, 1] to (1, C', H', W').
        in_channels: C.

    Returns:
        None if the operator fails on images of 65 to 193 pixels, changes their scale, or sees more of them than fits.

    Raises:
        ConvexpError: If `in_channels` is not positive.

    Example:
        >>> from convexp.operators import Highpass
        >>> print(verdict(Highpass(7, 4.0), in_channels=3))
        linear, one 7×7 kernel holds it exactly
        >>> print(verdict(lambda image: image / image.mean(), in_channels=1))
        global, a far pixel changes the output here: no convolution can imitate it
    """
    for side in SIDES:
        response = impulse_response(operator, in_channels, side=side)
        if response is not None:
            return Verdict("linear", _field(response.box), _mixes(response))
        box = support(operator, in_channels, side=side)
        size = None if box is None else _field(box)
        if size is not None and max(size) > side // 2 and side != SIDES[-1]:
            continue  # a kernel as large as that shows itself in a larger image only
        if size is not None:
            return Verdict("pointwise" if size == (1, 1) or _is_chain(operator, in_channels, side) else "local", size)
    return Verdict("global") if _sees_far(operator, in_channels) else None


def _field(box: tuple[int, int, int, int]) -> tuple[int, int]:
    """The smallest kernel that holds a box of offsets from the aligned pixel, if it lies as common centres do."""
    top, bottom, left, right = box
    return max(2 * bottom, 1 - 2 * top, 1), max(2 * right, 1 - 2 * left, 1)


def _mixes(response: Response) -> bool:
    """Whether it does more than filter each channel alike on its own, or all alike."""
    kernel = response.kernel
    tolerance = 1e-5 * kernel.abs().max()
    alike = (kernel - kernel[:, :1]).abs().max() <= tolerance
    own = torch.eye(*kernel.shape[:2])[..., None, None] * kernel[:1, :1]
    return not alike and (kernel.shape[0] != kernel.shape[1] or bool((kernel - own).abs().max() > tolerance))


def _is_chain(operator: Operator, in_channels: int, side: int) -> bool:
    """Whether an operator has stages, each linear or a function of single pixels."""
    if not isinstance(operator, Pipeline):
        return False
    channels = in_channels
    outputs = operator.intermediate(torch.rand(1, in_channels, side, side))
    for stage, output in zip(operator.stages, outputs.values(), strict=True):
        if impulse_response(stage, channels) is None and support(stage, channels) != (0, 0, 0, 0):
            return False
        channels = output.shape[1]
    return True


def _sees_far(operator: Operator, in_channels: int) -> bool:
    """Whether a pixel near one corner changes the output near the opposite one, in a large image as in a small one."""
    generator = torch.Generator().manual_seed(3)
    return all(
        any(
            _reaches(operator, contrast * torch.rand(in_channels, side, side, generator=generator))
            for contrast in (0.02, 1)
        )
        for side in SIDES
    )


def _reaches(operator: Operator, noise: Tensor) -> bool:
    images = noise.repeat(3, 1, 1, 1)
    images[1, :, :CORNER, :CORNER], images[2, :, :CORNER, :CORNER] = 0, 1
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = apply_each(operator, images)
    if outputs is None:
        return False
    height, width = outputs.shape[-2:]
    opposite = outputs[..., height * 3 // 4 :, width * 3 // 4 :]
    return bool((opposite[1:] - opposite[0]).abs().max() > ROUNDING * opposite.abs().max())
