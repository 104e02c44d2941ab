"""Kernels of a band of frequencies: high-pass, sharpening, band-pass, and Gabor's."""

import math

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.operators.kernels.checks import check_kernel_size, check_length, check_number
from convexp.operators.kernels.smoothing import gaussian, impulse


def gaussian_highpass(kernel_size: int, sigma: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return impulse − Gaussian: what a Gaussian blur takes away. It sums to 0.

    Args:
        kernel_size: Odd side of the square kernel, in pixels.
        sigma: Standard deviation of the Gaussian in pixels.
        dtype: Type of the result.

    Raises:
        ConvexpError: If the size is even or not positive, or sigma is not positive.

    Example:
        >>> gaussian_highpass(3, 1.0)
        tensor([[-0.0751, -0.1238, -0.0751],
                [-0.1238,  0.7958, -0.1238],
                [-0.0751, -0.1238, -0.0751]])
    """
    return (impulse(kernel_size) - gaussian(kernel_size, sigma, dtype=torch.float64)).to(dtype)


def unsharp(kernel_size: int, sigma: float, *, amount: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return impulse + amount · (impulse − Gaussian), the kernel of unsharp masking. It sums to 1.

    Args:
        kernel_size: Odd side of the square kernel, in pixels.
        sigma: Standard deviation of the Gaussian in pixels.
        amount: How much detail is added; 0 changes nothing, −1 blurs.
        dtype: Type of the result.

    Raises:
        ConvexpError: If the size is even or not positive, sigma is not positive, or amount is not finite.

    Example:
        >>> unsharp(3, 1.0, amount=1.0)
        tensor([[-0.0751, -0.1238, -0.0751],
                [-0.1238,  1.7958, -0.1238],
                [-0.0751, -0.1238, -0.0751]])
    """
    check_number("amount", amount, "amount=1.0 (0 changes nothing)")
    highpass = gaussian_highpass(kernel_size, sigma, dtype=torch.float64)
    return (impulse(kernel_size) + amount * highpass).to(dtype)


def laplacian_of_gaussian(kernel_size: int, sigma: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the Laplacian of a Gaussian (LoG): ``(x² + y² − 2σ²)/σ⁴ · g(y, x)``, less its mean, so that it sums to 0.

    Negative in the middle. Marr and Hildreth, Theory of edge detection, Proceedings of the Royal Society B 207 (1980).

    Args:
        kernel_size: Odd side of the square kernel, in pixels; 8σ hold nearly all of it.
        sigma: Standard deviation of the Gaussian in pixels.
        dtype: Type of the result.

    Raises:
        ConvexpError: If the size is even or not positive, or sigma is not positive or so small that σ⁴ is 0.

    Example:
        >>> laplacian_of_gaussian(3, 0.5)
        tensor([[ 0.4038,  0.8021,  0.4038],
                [ 0.8021, -4.8233,  0.8021],
                [ 0.4038,  0.8021,  0.4038]])
    """
    kernel = gaussian(kernel_size, sigma, dtype=torch.float64)
    if sigma < 0.05:
        raise ConvexpError(f"sigma={sigma!r} must be at least 0.05: a narrower Gaussian is a single pixel")
    x = torch.arange(-(kernel_size // 2), kernel_size // 2 + 1, dtype=torch.float64)
    kernel = ((x[:, None] ** 2 + x**2) / sigma**2 - 2) / sigma**2 * kernel
    return (kernel - kernel.mean()).to(dtype)


def difference_of_gaussians(
    kernel_size: int, sigma: float, *, ratio: float = 1.6, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return a Gaussian less a wider one (DoG): a band-pass that sums to 0.

    Args:
        kernel_size: Odd side of the square kernel, in pixels.
        sigma: Standard deviation of the narrower Gaussian in pixels.
        ratio: How many times as wide the other one is; at 1.6 the kernel is nearly a Laplacian of Gaussian, upside
            down (Marr and Hildreth 1980).
        dtype: Type of the result.

    Raises:
        ConvexpError: If the size is even or not positive, sigma is not positive, or the ratio is not above 1.

    Example:
        >>> difference_of_gaussians(3, 0.5)
        tensor([[-0.0458, -0.0409, -0.0458],
                [-0.0409,  0.3469, -0.0409],
                [-0.0458, -0.0409, -0.0458]])
    """
    narrow = gaussian(kernel_size, sigma, dtype=torch.float64)
    check_number("ratio", ratio, "ratio=1.6")
    if ratio <= 1:
        raise ConvexpError(f"ratio={ratio!r} must be above 1: the second Gaussian is the wider one, e.g. ratio=1.6")
    return (narrow - gaussian(kernel_size, ratio * sigma, dtype=torch.float64)).to(dtype)


def gabor(
    kernel_size: int,
    wavelength: float,
    *,
    angle: float = 0.0,
    sigma: float = 2.0,
    aspect: float = 1.0,
    phase: float = -90.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return a wave under a Gaussian, ``g(x′, γ y′) · cos(2π x′/λ + φ)`` with ``x′`` along the angle and Σ g = 1.

    Daugman, Uncertainty relation for resolution in space, spatial frequency, and orientation optimized by
    two-dimensional visual cortical filters, JOSA A 2 (1985).

    Args:
        kernel_size: Odd side of the square kernel, in pixels.
        wavelength: λ, in pixels.
        angle: Direction in which the wave goes, in degrees: 0 is to the right, 90 downwards.
        sigma: Standard deviation of the Gaussian along the wave, in pixels.
        aspect: γ, how many times as narrow the Gaussian is across the wave.
        phase: φ in degrees; at −90, as by default, the kernel is a derivative along the wave: odd, and it sums to 0.
        dtype: Type of the result.

    Raises:
        ConvexpError: If the size is even or not positive, a length or the aspect is not positive, or an angle is not
            finite.

    Example:
        >>> gabor(3, 4.0, sigma=1.0)
        tensor([[-0.0751,  0.0000,  0.0751],
                [-0.1238,  0.0000,  0.1238],
                [-0.0751,  0.0000,  0.0751]])
    """
    check_kernel_size(kernel_size)
    for name, pixels in {"wavelength": wavelength, "sigma": sigma}.items():
        check_length(name, pixels)
    for name, degrees in {"angle": angle, "phase": phase, "aspect": aspect}.items():
        check_number(name, degrees, f"{name}=1")
    if aspect <= 0:
        raise ConvexpError(f"aspect={aspect!r} must be positive, e.g. aspect=1 (as wide as long)")
    x = torch.arange(-(kernel_size // 2), kernel_size // 2 + 1, dtype=torch.float64)
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along, across = cosine * x + sine * x[:, None], cosine * x[:, None] - sine * x
    envelope = torch.exp(-0.5 * ((along / sigma) ** 2 + (aspect * across / sigma) ** 2))
    wave = torch.cos(2 * math.pi * along / wavelength + math.radians(phase))
    kernel = envelope / envelope.sum() * wave
    # The cosine of 90° is not quite 0.
    return kernel.where(kernel.abs() > 1e-12, 0.0).to(dtype)
