"""A kernel, applied to an image by cross-correlation."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.operators.border import Border, Bordered, padded
from convexp.operators.kernels import FIXED, as_kernel

Channels = Literal["each", "sum", "mean"]

#: Derivatives along x and along y.
GRADIENTS = {
    "sobel": ("sobel_x", "sobel_y"),
    "scharr": ("scharr_x", "scharr_y"),
    "prewitt": ("prewitt_x", "prewitt_y"),
    "edges": ("vertical_edge", "horizontal_edge"),
}


def filter2d(image: Tensor, kernels: Tensor, *, border: Border | None = None, channels: Channels = "each") -> Tensor:
    """Cross-correlate an image with one kernel or a stack of kernels.

    ``out[y, x] = Σᵢⱼ kernel[i, j] · image[y + i, x + j]``. With a border the result is as large as the image: it is
    padded by ``(kh − 1) // 2`` rows above and ``kh // 2`` below (columns likewise), so the extra row of an even kernel
    goes below, and the common centre of the padded and the valid result is the valid result.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernels: ``(kh, kw)`` or ``(K, kh, kw)``; taken to the type and device of the image.
        border: What lies outside the image; None computes only the ``(H − kh + 1, W − kw + 1)`` pixels that need
            nothing from outside.
        channels: ``each`` filters every channel on its own (C·K channels out, those of the first input channel first),
            ``sum`` adds the channels up as ``Conv2d`` does, ``mean`` averages them (both K channels out).

    Raises:
        ConvexpError: As `padded`, and if the kernels are not ``(kh, kw)`` or ``(K, kh, kw)``, or channels is none of
            them.

    Example:
        >>> ramp = torch.tensor([[[[0.0, 1.0, 3.0, 6.0]]]])
        >>> filter2d(ramp, torch.tensor([[-1.0, 1.0]]))
        tensor([[[[1., 2., 3.]]]])
        >>> filter2d(ramp, torch.tensor([[-1.0, 1.0]]), border="zeros")
        tensor([[[[ 1.,  2.,  3., -6.]]]])
    """
    if kernels.dim() not in (2, 3) or kernels.numel() == 0:
        raise ConvexpError(f"kernels has shape {tuple(kernels.shape)}; must be (kh, kw) or (K, kh, kw), none of them 0")
    check_channels(channels)
    kh, kw = kernels.shape[-2:]
    image = padded(image, kh, kw, border)
    if channels != "each":  # filtering is linear: combining the channels first gives the same for less work
        image = image.sum(1, keepdim=True) if channels == "sum" else image.mean(1, keepdim=True)
    # Type first: not every device has the float64 in which the kernels may come.
    weight = kernels.to(image.dtype).to(image.device).reshape(-1, 1, kh, kw).repeat(image.shape[1], 1, 1, 1)
    return nn.functional.conv2d(image, weight, groups=image.shape[1])


def gradients(image: Tensor, kernels: str = "sobel", *, border: Border | None = None) -> Tensor:
    """Compute the derivatives along x and along y, summed over the channels: two channels.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernels: ``sobel``, ``scharr`` or ``prewitt`` (3×3), or ``edges`` (2×2 differences).
        border: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> gradients(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]), "edges").flatten()
        tensor([2., 0.])
    """
    return filter2d(image, _gradient_kernels(kernels), border=border, channels="sum")


class Filter(Bordered):
    """``filter2d`` with one kernel as a module.

    Args:
        kernel: A name, as `sobel_x`, or rows of numbers; `convexp.operators.kernels` has the names.
        border: As in ``filter2d``.
        channels: As in ``filter2d``.

    Raises:
        ConvexpError: If there is no such kernel, border or channels, or the rows are not equally long.

    Example:
        >>> Filter([[-1, 1]])(torch.tensor([[[[0.0, 1.0, 3.0, 6.0]]]]))
        tensor([[[[1., 2., 3.]]]])
    """

    def __init__(
        self, kernel: str | Sequence[Sequence[float]], *, border: Border | None = None, channels: Channels = "each"
    ) -> None:
        super().__init__(border)
        as_kernel(kernel)
        check_channels(channels)
        self.kernel = kernel
        self.channels: Channels = channels

    def forward(self, image: Tensor) -> Tensor:
        """Return the filtered image."""
        return filter2d(image, as_kernel(self.kernel), border=self.border, channels=self.channels)


class Gradients(Bordered):
    """``gradients`` as a module."""

    def __init__(self, kernels: str = "sobel", *, border: Border | None = None) -> None:
        super().__init__(border)
        _gradient_kernels(kernels)
        self.kernels = kernels

    def forward(self, image: Tensor) -> Tensor:
        """Return the derivatives along x and y, two channels."""
        return gradients(image, self.kernels, border=self.border)


def check_channels(channels: Channels) -> None:
    """Refuse what is no way to combine channels.

    Raises:
        ConvexpError: If it is none of them.
    """
    if channels not in get_args(Channels):
        raise ConvexpError(f"channels={channels!r} must be one of {', '.join(get_args(Channels))}")


def _gradient_kernels(name: str) -> Tensor:
    if name not in GRADIENTS:
        raise ConvexpError(f"kernels={name!r} must be one of {', '.join(GRADIENTS)}")
    return torch.stack([FIXED[kernel]() for kernel in GRADIENTS[name]])
