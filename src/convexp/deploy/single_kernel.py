"""A linear filter as one kernel, a constant and a border, as most software takes it."""

from dataclasses import dataclass, replace
from operator import itemgetter
from typing import get_args

import torch
from torch import Tensor, nn

from convexp.analysis.effective_kernel import effective_kernel
from convexp.models import Standardised
from convexp.models.geometry import border_of, padding_of
from convexp.operators.border import Border

LINEAR = 1e-4  # of the output's deviation: what a linear filter may differ from the mean of two answers
SAME = 1e-5  # of the largest output: as the run's own border, or another


@dataclass(frozen=True, eq=False)
class SingleKernel:
    """``out[o, y, x] = constant[o] + Σᵢⱼₖ kernel[o, i, j, k] · image[i, y − above + j, x − left + k]``.

    Args:
        kernel: (O, I, kh, kw) float32, as ``Conv2d`` holds it: correlated with the image, not flipped.
        constant: (O,) float32, in the target's units.
        above: Rows that the image is continued by at its top.
        below: At its bottom.
        left: Columns at its left.
        right: At its right.
        border: What these are; None where there are none.
        outside: Where the border is `zeros`, the value that stands for them: the mean of a standardised image.
        exact_border: Whether the run does the same there. Of several padded convolutions no one kernel does.
    """

    kernel: Tensor
    constant: Tensor
    above: int = 0
    below: int = 0
    left: int = 0
    right: int = 0
    border: Border | None = None
    outside: float = 0.0
    exact_border: bool = True

    @property
    def outputs(self) -> int:
        """O."""
        return self.kernel.shape[0]

    @property
    def inputs(self) -> int:
        """I."""
        return self.kernel.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.kernel.shape[2], self.kernel.shape[3]

    @property
    def padded(self) -> bool:
        """Whether it reaches over the image's edge."""
        return self.border is not None

    @property
    def growth(self) -> tuple[int, int]:
        """Rows and columns that the output has more than the image: less, where negative."""
        height, width = self.size
        return self.above + self.below - height + 1, self.left + self.right - width + 1

    @property
    def mixing(self) -> float:
        """What other channels than its own can add to an output at most; infinite if an output has none of its own."""
        if self.outputs != self.inputs:
            return float("inf")
        amounts = self.kernel.abs().sum(dim=(2, 3))
        return float((amounts.sum(dim=1) - amounts.diagonal()).max())

    @property
    def own(self) -> Tensor:
        """(O, kh, kw): every output's weights of its own channel."""
        return self.kernel.diagonal().movedim(-1, 0)

    @property
    def anchor(self) -> tuple[int, int] | None:
        """Row and column of the weight over the output pixel, where the output is laid over the image.

        It is the centre, for kernels with an even side the pixel before it, as `images.alignment` has it, unless the
        run pads more above. None if the output would not fit on the image.
        """
        anchor = [max(before, (side - 1) // 2) for before, side in zip((self.above, self.left), self.size, strict=True)]
        for at, behind, side in zip(anchor, (self.below, self.right), self.size, strict=True):
            if not (at < side and behind <= side - 1 - at):
                return None
        return anchor[0], anchor[1]

    @property
    def reach(self) -> tuple[int, int]:
        """Rows and columns at a side of the output that depend on the border."""
        return max(self.above, self.below), max(self.left, self.right)

    def __call__(self, image: Tensor) -> Tensor:
        """The filtered image (B, O, H', W') of (B, I, H, W), in float64."""
        padding = (self.left, self.right, self.above, self.below)
        image = image.double()
        if self.border == "zeros":
            image = nn.functional.pad(image, padding, value=self.outside)
        elif self.border is not None:
            image = nn.functional.pad(image, padding, mode=self.border)
        return nn.functional.conv2d(image, self.kernel.double(), self.constant.double())


def single_kernel(model: nn.Module, in_channels: int, *, field: tuple[int, int]) -> SingleKernel | None:
    """The kernel, constant and border that a linear model equals.

    Those of one convolution are computed from its weights, those of any other model found by experiment.

    Args:
        model: Maps (B, I, H, W) to (B, O, H', W').
        in_channels: I.
        field: Height and width of its receptive field.

    Returns:
        None if the model is not linear, up to a constant, or not the same everywhere but near the border.

    Example:
        >>> layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")
        >>> found = single_kernel(Standardised(layer, std=0.5, offset=2.0), 1, field=(3, 3))
        >>> found.kernel.equal(2 * layer.weight), found.constant.equal(2 + layer.bias), found.above, found.border
        (True, True, 1, 'reflect')
    """
    inner = model.model if isinstance(model, Standardised) else model
    if type(inner) is nn.Conv2d and inner.stride == (1, 1):
        return _of_convolution(inner, model if isinstance(model, Standardised) else None)
    with torch.no_grad():
        return _by_experiment(model, in_channels, field)


@torch.no_grad()
def _of_convolution(layer: nn.Conv2d, scales: Standardised | None) -> SingleKernel:
    """The sums y = offset + scale·(bias + Σ k·(x − mean)/std), in float64."""
    kernel = _dilated(_ungrouped(layer.weight.double(), layer.groups), layer.dilation)
    constant = torch.zeros(len(kernel)).double() if layer.bias is None else layer.bias.double()
    outside = 0.0
    if scales is not None:
        mean, std, offset, scale = (
            number.double() for number in (scales.mean, scales.std, scales.offset, scales.scale)
        )
        constant = offset + scale * (constant - mean / std * kernel.sum(dim=(1, 2, 3)))
        kernel, outside = kernel * scale / std, float(mean)
    border = border_of(layer)
    return SingleKernel(
        kernel.float(),
        constant.float(),
        *padding_of(layer),
        border=border,
        outside=outside if border == "zeros" else 0.0,
    )


def _ungrouped(weight: Tensor, groups: int) -> Tensor:
    """(O, I, kh, kw) of (O, I / groups, kh, kw): outputs read the channels of their own group alone."""
    outputs, inputs = weight.shape[:2]
    whole = weight.new_zeros(outputs, inputs * groups, *weight.shape[2:])
    for output in range(outputs):
        first = output * groups // outputs * inputs
        whole[output, first : first + inputs] = weight[output]
    return whole


def _dilated(kernel: Tensor, dilation: tuple[int, ...]) -> Tensor:
    height, width = ((side - 1) * step + 1 for side, step in zip(kernel.shape[2:], dilation, strict=True))
    wide = kernel.new_zeros(*kernel.shape[:2], height, width)
    wide[..., :: dilation[0], :: dilation[1]] = kernel
    return wide


def _by_experiment(model: nn.Module, in_channels: int, field: tuple[int, int]) -> SingleKernel | None:
    generator = torch.Generator().manual_seed(3)
    sides = field[0] + 24, field[1] + 30
    first, second = torch.rand(2, 1, in_channels, *sides, generator=generator)
    if not _halfway(model, first, second):  # cheaper than what comes next, by far
        return None
    found = effective_kernel(model, in_channels, field=field)
    if found is None:
        return None
    answer = model(first)
    lost = [sides[axis] - answer.shape[axis - 2] for axis in (0, 1)]
    top, left = found.top + lost[0] // 2, found.left + lost[1] // 2
    # Rows of zeros where the model's output begins further inside than its kernel.
    kernel = nn.functional.pad(found.kernel, (max(left, 0), 0, max(top, 0), 0))
    above, before = max(-top, 0), max(-left, 0)
    below, behind = _needed(kernel, lost, above, before)
    kernel = nn.functional.pad(kernel, (0, max(-behind, 0), 0, max(-below, 0)))
    plain = SingleKernel(kernel, found.constant, above, max(below, 0), before, max(behind, 0))
    if not any((plain.above, plain.below, plain.left, plain.right)):
        return plain
    mean = float(model.mean) if isinstance(model, Standardised) else 0.0
    candidates = [
        replace(plain, border=border, outside=mean if border == "zeros" else 0.0) for border in get_args(Border)
    ]
    errors = [float((candidate(first) - answer).abs().max()) for candidate in candidates]
    least, nearest = min(zip(errors, candidates, strict=True), key=itemgetter(0))
    return replace(nearest, exact_border=least <= SAME * float(answer.abs().max()))


def _needed(kernel: Tensor, lost: list[int], above: int, left: int) -> tuple[int, int]:
    """Rows below and columns behind that a kernel needs for an output which lacks so many rows and columns."""
    height, width = kernel.shape[-2:]
    return height - 1 - lost[0] - above, width - 1 - lost[1] - left


def _halfway(model: nn.Module, first: Tensor, second: Tensor) -> bool:
    """Whether the answer to the mean of two images is the mean of the answers."""
    ends = (model(first) + model(second)) / 2
    middle = model((first + second) / 2)
    return bool((middle - ends).abs().max() <= LINEAR * ends.std() + SAME * ends.abs().max())
