"""What it takes to imitate an operator, found by experiment."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.operators.memory import remembered
from convexp.operators.pipeline import Pipeline
from convexp.operators.response import ROUNDING, Operator, Response, apply_each, impulse_response, support

SIDES = (65, 193)  # the second one for what the first is too small for
SHIFT = (7, 11)  # rows and columns; primes find blocks and mosaics out
CORNER = 8  # side of the square that is changed: a single pixel hardly moves the ranks of many
APPLICATIONS = 60  # of the operator to images of 65 pixels, in all
PATIENCE = 10.0  # seconds that they may take

Kind = Literal["linear", "pointwise", "local", "global", "placed", "random"]

HOPELESS = {
    "global": "global, a far pixel changes the output here",
    "placed": "bound to places, the same pixels give something else elsewhere in the image",
    "random": "random, the same image gives something else the next time",
}


@dataclass(frozen=True)
class Verdict:
    """What it takes to imitate an operator.

    Args:
        kind: ``linear``: one kernel is the operator. ``pointwise``: a chain of kernels and of functions of single
            pixels, so that a small non-linearity between convolutions will do. ``local``: it sees a bounded
            neighbourhood, so that a stack that sees as much can come close. ``global``: a far pixel changes the output
            here, ``placed``: the place in the image does, ``random``: chance does; no convolution can imitate these.
        size: Height and width of the smallest centred kernel or receptive field that sees all that changed the output
            in the experiment: a ``local`` operator may see more. None where no convolution will do.
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
        if self.kind in HOPELESS:
            return f"{HOPELESS[self.kind]}: no convolution can imitate it"
        if self.kind == "pointwise":
            return f"not linear, sees {pixels} pixels: kernels with a small non-linearity between them can hold it"
        return (
            f"not linear, sees at least {pixels} pixels: no kernel holds it, a stack that sees as much can come close"
        )

    @property
    def hopeless(self) -> bool:
        """Whether no convolution can imitate the operator."""
        return self.kind in HOPELESS


@remembered
def verdict(operator: Operator, in_channels: int) -> Verdict | None:
    """Find out what it takes to imitate an operator.

    Args:
        operator: Anything that maps (1, C, H, W) float32 in [0, 1] to (1, C', H', W').
        in_channels: C.

    Returns:
        None if the operator fails on images of 65 to 193 pixels, changes their scale, sees more of them than fits, or
        takes so long that nobody would wait.

    Raises:
        ConvexpError: If `in_channels` is not positive.

    Example:
        >>> from convexp.operators import Highpass
        >>> print(verdict(Highpass(7, 4.0), in_channels=3))
        linear, one 7×7 kernel holds it exactly
        >>> print(verdict(lambda image: image / image.mean(), in_channels=1))
        global, a far pixel changes the output here: no convolution can imitate it
    """
    if in_channels < 1:
        raise ConvexpError(f"in_channels={in_channels} must be positive: 1 for gray images, 3 for colour")
    if not _is_quick(operator, in_channels):
        return None
    if not _repeats(operator, in_channels):
        return Verdict("random")
    for side in SIDES:
        response = impulse_response(operator, in_channels, side=side)
        if response is not None:
            return Verdict("linear", _field(response.box), _mixes(response))
        box = support(operator, in_channels, side=side)
        size = None if box is None else _field(box)
        if size is not None and max(size) > side // 2 and side != SIDES[-1]:
            continue  # a kernel as large as that shows itself in a larger image only
        if size is not None:
            if not _moves_along(operator, in_channels, side):
                return Verdict("placed")
            return Verdict("pointwise" if size == (1, 1) or _is_chain(operator, in_channels, side) else "local", size)
    return Verdict("global") if _sees_far(operator, in_channels) else None


def _is_quick(operator: Operator, in_channels: int) -> bool:
    image = torch.rand(1, in_channels, SIDES[0], SIDES[0], generator=torch.Generator().manual_seed(4))
    elapsed = 0.0
    for _ in range(2):  # the first time, it may import or compile something
        start = time.perf_counter()
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            apply_each(operator, image)
        elapsed = time.perf_counter() - start
        if elapsed * APPLICATIONS < PATIENCE:
            return True
    return False


def _repeats(operator: Operator, in_channels: int) -> bool:
    """Whether the same image gives the same twice."""
    image = torch.rand(1, in_channels, SIDES[0], SIDES[0], generator=torch.Generator().manual_seed(5))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        outputs = apply_each(operator, image.repeat(2, 1, 1, 1))
    return outputs is None or bool((outputs[0] - outputs[1]).abs().max() <= ROUNDING * outputs.abs().max())


def _moves_along(operator: Operator, in_channels: int, side: int) -> bool:
    """Whether an image that is shifted gives the same, shifted, away from the border."""
    whole = torch.rand(1, in_channels, side + SHIFT[0], side + SHIFT[1], generator=torch.Generator().manual_seed(6))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        first = apply_each(operator, whole[..., :side, :side])
        second = apply_each(operator, whole[..., SHIFT[0] :, SHIFT[1] :])
    if first is None or second is None or first.shape != second.shape:
        return True
    edge = side // 8  # operators do as they like with a border
    moved = first[..., SHIFT[0] :, SHIFT[1] :][..., edge:-edge, edge:-edge]
    kept = second[..., : -SHIFT[0], : -SHIFT[1]][..., edge:-edge, edge:-edge]
    # An edge that a threshold decides may fall either way.
    return bool(((moved - kept).abs() > 1e-3 * second.abs().max()).double().mean() < 0.01)


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
    down, right = slice(height * 3 // 4, None), slice(width * 3 // 4, None)
    near = slice(0, CORNER)
    # Opposite, and far along the rows and the columns of the change.
    for rows, columns in ((down, right), (near, right), (down, near)):
        far = outputs[..., rows, columns]
        if (far[1:] - far[0]).abs().max() > ROUNDING * far.abs().max():
            return True
    return False
