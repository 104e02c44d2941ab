"""Named kernels: ``(kh, kw)`` tensors in the orientation in which cross-correlation applies them."""

import math
from numbers import Integral, Real

import torch
from torch import Tensor

from convexp.errors import ConvexpError


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
    _check_kernel_size(kernel_size)
    kernel = torch.zeros(kernel_size, kernel_size)
    kernel[kernel_size // 2, kernel_size // 2] = 1
    return kernel


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
    _check_kernel_size(kernel_size)
    if not isinstance(sigma, Real) or not 0 < sigma < math.inf:
        raise ConvexpError(f"sigma={sigma!r} must be a positive number of pixels, e.g. sigma=1.5")
    radius = kernel_size // 2
    # (x/σ)² instead of x²/σ²: σ² of a tiny σ is 0, and 0/0 is not a number.
    profile = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    profile /= profile.sum()
    return torch.outer(profile, profile).to(dtype)


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
    if not isinstance(amount, Real) or not math.isfinite(amount):
        raise ConvexpError(f"amount={amount!r} must be a finite number, e.g. amount=1.0 (0 changes nothing)")
    highpass = gaussian_highpass(kernel_size, sigma, dtype=torch.float64)
    return (impulse(kernel_size) + amount * highpass).to(dtype)


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


def sobel_x() -> Tensor:
    """Return Sobel's 3×3 horizontal derivative, positive where the image grows brighter to the right.

    Not normalised: on a ramp that grows by s a pixel it answers 8 s.

    Example:
        >>> sobel_x()
        tensor([[-1.,  0.,  1.],
                [-2.,  0.,  2.],
                [-1.,  0.,  1.]])
    """
    return torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel_y() -> Tensor:
    """Return Sobel's 3×3 vertical derivative, positive where the image grows brighter downwards.

    Example:
        >>> sobel_y()
        tensor([[-1., -2., -1.],
                [ 0.,  0.,  0.],
                [ 1.,  2.,  1.]])
    """
    return sobel_x().T


def vertical_edge() -> Tensor:
    """Return the 2×2 difference that answers to vertical edges, positive where it grows brighter to the right.

    Example:
        >>> vertical_edge()
        tensor([[-1.,  1.],
                [-1.,  1.]])
    """
    return torch.tensor([[-1.0, 1.0], [-1.0, 1.0]])


def horizontal_edge() -> Tensor:
    """Return the 2×2 difference that answers to horizontal edges, positive where it grows brighter downwards.

    Example:
        >>> horizontal_edge()
        tensor([[-1., -1.],
                [ 1.,  1.]])
    """
    return vertical_edge().T


def _check_kernel_size(kernel_size: int) -> None:
    if not isinstance(kernel_size, Integral) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ConvexpError(
            f"kernel_size={kernel_size!r} must be odd and positive (it needs a centre), e.g. kernel_size=7"
        )
