"""Linear operators: a kernel, applied by cross-correlation."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.operators.border import Border, Bordered, padded
from convexp.operators.kernels import (
    gaussian,
    gaussian_highpass,
    horizontal_edge,
    integer_gaussian,
    sobel_x,
    sobel_y,
    unsharp,
    vertical_edge,
)

Channels = Literal["each", "sum", "mean"]

# Derivatives along x and along y.
_GRADIENTS = {"sobel": (sobel_x, sobel_y), "edges": (vertical_edge, horizontal_edge)}


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
    if channels not in get_args(Channels):
        raise ConvexpError(f"channels={channels!r} must be one of {', '.join(get_args(Channels))}")
    kh, kw = kernels.shape[-2:]
    image = padded(image, kh, kw, border)
    if channels != "each":  # filtering is linear: combining the channels first gives the same for less work
        image = image.sum(1, keepdim=True) if channels == "sum" else image.mean(1, keepdim=True)
    # Type first: not every device has the float64 in which the kernels may come.
    weight = kernels.to(image.dtype).to(image.device).reshape(-1, 1, kh, kw).repeat(image.shape[1], 1, 1, 1)
    return nn.functional.conv2d(image, weight, groups=image.shape[1])


def gaussian_blur(image: Tensor, kernel_size: int, sigma: float, *, border: Border | None = None) -> Tensor:
    """Blur each channel with a sampled, normalised Gaussian.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the kernel in pixels.
        sigma: Standard deviation in pixels.
        border: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> gaussian_blur(torch.ones(1, 3, 9, 9), 5, 1.0).shape
        torch.Size([1, 3, 5, 5])
    """
    return filter2d(image, gaussian(kernel_size, sigma, dtype=torch.float64), border=border)


def blur(image: Tensor, *, border: Border | None = None) -> Tensor:
    """Blur each channel with the 5×5 integer approximation of a Gaussian (σ = 1).

    Args:
        image: ``(B, C, H, W)``, floating point.
        border: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> blur(torch.ones(1, 1, 5, 5))
        tensor([[[[1.]]]])
    """
    return filter2d(image, integer_gaussian(dtype=torch.float64), border=border)


def highpass(image: Tensor, kernel_size: int = 7, sigma: float = 4.0, *, border: Border | None = None) -> Tensor:
    """Compute image − Gaussian blur, averaged over the channels: one channel, around 0.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the kernel in pixels.
        sigma: Standard deviation of the blur in pixels.
        border: As in ``filter2d``; without one the image is cut to the centre that the blur has.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> highpass(torch.rand(1, 3, 17, 23)).shape
        torch.Size([1, 1, 11, 17])
    """
    kernel = gaussian_highpass(kernel_size, sigma, dtype=torch.float64)
    return filter2d(image, kernel, border=border, channels="mean")


def sharpen(
    image: Tensor, kernel_size: int, sigma: float, *, amount: float = 1.0, border: Border | None = None
) -> Tensor:
    """Compute image + amount · (image − Gaussian blur) in each channel: unsharp masking, not clipped to [0, 1].

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the kernel in pixels.
        sigma: Standard deviation of the blur in pixels.
        amount: How much detail is added; 0 changes nothing.
        border: As in ``filter2d``; without one the image is cut to the centre that the blur has.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> sharpen(torch.ones(1, 3, 9, 9), 5, 1.0).shape
        torch.Size([1, 3, 5, 5])
    """
    return filter2d(image, unsharp(kernel_size, sigma, amount=amount, dtype=torch.float64), border=border)


def gradients(image: Tensor, kernels: str = "sobel", *, border: Border | None = None) -> Tensor:
    """Compute the derivatives along x and along y, summed over the channels: two channels.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernels: ``sobel`` (3×3) or ``edges`` (2×2 differences).
        border: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> gradients(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]), "edges").flatten()
        tensor([2., 0.])
    """
    return filter2d(image, _gradient_kernels(kernels), border=border, channels="sum")


class GaussianBlur(Bordered):
    """``gaussian_blur`` as a module."""

    def __init__(self, kernel_size: int, sigma: float, *, border: Border | None = None) -> None:
        super().__init__(border)
        gaussian(kernel_size, sigma)
        self.kernel_size, self.sigma = kernel_size, sigma

    def forward(self, image: Tensor) -> Tensor:
        """Return the blurred image."""
        return gaussian_blur(image, self.kernel_size, self.sigma, border=self.border)


class Blur(Bordered):
    """``blur`` as a module."""

    def __init__(self, *, border: Border | None = None) -> None:
        super().__init__(border)

    def forward(self, image: Tensor) -> Tensor:
        """Return the blurred image."""
        return blur(image, border=self.border)


class Highpass(Bordered):
    """``highpass`` as a module."""

    def __init__(self, kernel_size: int = 7, sigma: float = 4.0, *, border: Border | None = None) -> None:
        super().__init__(border)
        gaussian_highpass(kernel_size, sigma)
        self.kernel_size, self.sigma = kernel_size, sigma

    def forward(self, image: Tensor) -> Tensor:
        """Return the detail, one channel."""
        return highpass(image, self.kernel_size, self.sigma, border=self.border)


class Sharpen(Bordered):
    """``sharpen`` as a module."""

    def __init__(self, kernel_size: int, sigma: float, *, amount: float = 1.0, border: Border | None = None) -> None:
        super().__init__(border)
        unsharp(kernel_size, sigma, amount=amount)
        self.kernel_size, self.sigma, self.amount = kernel_size, sigma, amount

    def forward(self, image: Tensor) -> Tensor:
        """Return the sharpened image."""
        return sharpen(image, self.kernel_size, self.sigma, amount=self.amount, border=self.border)


class Gradients(Bordered):
    """``gradients`` as a module."""

    def __init__(self, kernels: str = "sobel", *, border: Border | None = None) -> None:
        super().__init__(border)
        _gradient_kernels(kernels)
        self.kernels = kernels

    def forward(self, image: Tensor) -> Tensor:
        """Return the derivatives along x and y, two channels."""
        return gradients(image, self.kernels, border=self.border)


def _gradient_kernels(name: str) -> Tensor:
    if name not in _GRADIENTS:
        raise ConvexpError(f"kernels={name!r} must be one of {', '.join(_GRADIENTS)}")
    along_x, along_y = _GRADIENTS[name]
    return torch.stack([along_x(), along_y()])
