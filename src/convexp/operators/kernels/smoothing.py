"""Kernels that average or move: they are nowhere negative and sum to 1."""

import math
from numbers import Integral

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.operators.kernels.checks import check_kernel_size, check_length, check_number


def identity() -> Tensor:
    """Return the 1×1 kernel that changes nothing.

    Example:
        >>> identity()
        tensor([[1.]])
    """
    return torch.ones(1, 1)


def impulse(kernel_size: int) -> Tensor:
    """Return the kernel that changes nothing: 1 at the centre, 0 elsewhere.

    Args:
        kernel_size: Odd side of the square kernel.

    Raises:
        ConvexpError: If the size is even or not positive.

    Example:
        >>> impulse(3)
        tensor([[0., 0., 0.],
                [0., 1., 0.],
                [0., 0., 0.]])
    """
    check_kernel_size(kernel_size)
    kernel = torch.zeros(kernel_size, kernel_size)
    kernel[kernel_size // 2, kernel_size // 2] = 1
    return kernel


def shift(right: int, down: int) -> Tensor:
    """Return the kernel that moves an image by whole pixels: an impulse off the centre.

    Args:
        right: Pixels to the right; negative ones to the left.
        down: Pixels down; negative ones up.

    Raises:
        ConvexpError: If one is not a whole number.

    Example:
        >>> shift(1, 0)
        tensor([[1., 0., 0.]])
    """
    for name, pixels in {"right": right, "down": down}.items():
        if not isinstance(pixels, Integral):
            raise ConvexpError(f"{name}={pixels!r} must be a whole number of pixels, e.g. {name}=2")
    kernel = torch.zeros(2 * abs(down) + 1, 2 * abs(right) + 1)
    kernel[abs(down) - down, abs(right) - right] = 1
    return kernel


def box(kernel_size: int, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the mean over a square.

    Args:
        kernel_size: Odd side of the square, in pixels.
        dtype: Type of the result.

    Raises:
        ConvexpError: If the size is even or not positive.

    Example:
        >>> (9 * box(3)).sum()
        tensor(9.)
    """
    check_kernel_size(kernel_size)
    return torch.full((kernel_size, kernel_size), 1 / kernel_size**2, dtype=dtype)


def gaussian(kernel_size: int, sigma: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a Gaussian sampled at the pixel centres and normalised to sum 1.

    ``g(y, x) ∝ exp(−(x² + y²) / 2σ²)`` for ``|x|, |y| ≤ kernel_size // 2``, computed in float64.

    Args:
        kernel_size: Odd side of the square kernel, in pixels.
        sigma: Standard deviation in pixels.
        dtype: Type of the result.

    Raises:
        ConvexpError: If the size is even or not positive, or sigma is not positive.

    Example:
        >>> gaussian(3, 1.0)
        tensor([[0.0751, 0.1238, 0.0751],
                [0.1238, 0.2042, 0.1238],
                [0.0751, 0.1238, 0.0751]])
    """
    check_kernel_size(kernel_size)
    check_length("sigma", sigma)
    radius = kernel_size // 2
    # (x/σ)² instead of x²/σ²: σ² of a tiny σ is 0, and 0/0 is not a number.
    profile = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    profile /= profile.sum()
    return torch.outer(profile, profile).to(dtype)


def integer_gaussian(*, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the classic 5×5 approximation of a Gaussian with σ = 1 by integers over 273.

    Args:
        dtype: Type of the result.

    Example:
        >>> (273 * integer_gaussian()).round().int()
        tensor([[ 1,  4,  7,  4,  1],
                [ 4, 16, 26, 16,  4],
                [ 7, 26, 41, 26,  7],
                [ 4, 16, 26, 16,  4],
                [ 1,  4,  7,  4,  1]], dtype=torch.int32)
    """
    rows = [[1, 4, 7, 4, 1], [4, 16, 26, 16, 4], [7, 26, 41, 26, 7], [4, 16, 26, 16, 4], [1, 4, 7, 4, 1]]
    return (torch.tensor(rows, dtype=torch.float64) / 273).to(dtype)


def motion_blur(kernel_size: int, angle: float, *, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the mean along a line through the centre: as many points as the kernel is wide, one pixel apart.

    A point between pixels is divided among the four around it, as bilinear interpolation does.

    Args:
        kernel_size: Odd number of points, and side of the square kernel, in pixels.
        angle: Of the line in degrees: 0 is horizontal, 45 falls to the right, 90 is vertical.
        dtype: Type of the result.

    Raises:
        ConvexpError: If the size is even or not positive, or the angle is not finite.

    Example:
        >>> motion_blur(3, angle=0.0)
        tensor([[0.0000, 0.0000, 0.0000],
                [0.3333, 0.3333, 0.3333],
                [0.0000, 0.0000, 0.0000]])
    """
    check_kernel_size(kernel_size)
    check_number("angle", angle, "angle=45 (degrees)")
    radius = kernel_size // 2
    along = torch.arange(-radius, radius + 1, dtype=torch.float64)
    x, y = along * math.cos(math.radians(angle)), along * math.sin(math.radians(angle))
    pixels = torch.arange(-radius, radius + 1, dtype=torch.float64)
    columns = (1 - (pixels - x[:, None]).abs()).clamp_min(0)  # (points, pixels)
    rows = (1 - (pixels - y[:, None]).abs()).clamp_min(0)
    kernel = rows.T @ columns / kernel_size
    # The cosine of 90° is not quite 0.
    return kernel.where(kernel > 1e-12, 0.0).to(dtype)
