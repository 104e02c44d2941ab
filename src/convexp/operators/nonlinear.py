"""Nonlinear operators."""

import math
from numbers import Real

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.operators.border import Border, Bordered, padded
from convexp.operators.kernels import check_kernel_size


def magnitude(gradients: Tensor, norm: int = 2) -> Tensor:
    """Compute the length over the channels: one channel, ≥ 0.

    Where the Euclidean length is 0 its gradient is taken as 0.

    Args:
        gradients: ``(B, C, H, W)``, usually the derivatives along x and y (C = 2).
        norm: 2, the Euclidean length ``√(gx² + gy²)``, or 1, ``|gx| + |gy|``.

    Raises:
        ConvexpError: If the norm is neither.

    Example:
        >>> magnitude(torch.tensor([3.0, -4.0]).reshape(1, 2, 1, 1))
        tensor([[[[5.]]]])
        >>> magnitude(torch.tensor([3.0, -4.0]).reshape(1, 2, 1, 1), norm=1)
        tensor([[[[7.]]]])
    """
    _check_norm(norm)
    # vector_norm does the same, but takes 20 times as long over the channels of a contiguous image.
    return gradients.abs().sum(1, keepdim=True) if norm == 1 else _root(gradients.square().sum(1, keepdim=True))


def gamma(image: Tensor, exponent: float) -> Tensor:
    """Compute ``max(image, 0) ** exponent`` at each pixel: > 1 darkens, < 1 brightens, [0, 1] stays [0, 1].

    Where the image is not positive its gradient is taken as 0.

    Args:
        image: Of any shape, floating point.
        exponent: Positive.

    Raises:
        ConvexpError: If the exponent is not positive and finite.

    Example:
        >>> gamma(torch.tensor([-1.0, 0.0, 0.25, 1.0]), 0.5)
        tensor([0.0000, 0.0000, 0.5000, 1.0000])
    """
    _check_exponent(exponent)
    return image.relu().pow(exponent)  # what is infinite in the power's derivative at 0 ends at relu


def local_maximum(image: Tensor, kernel_size: int, *, border: Border | None = None) -> Tensor:
    """Compute the largest value of each channel in a square window.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels.
        border: As in `padded`; ``zeros`` surrounds the image by 0, which is larger than what is negative.

    Raises:
        ConvexpError: As `padded`, and if the size is even or not positive.

    Example:
        >>> local_maximum(torch.tensor([[[[1.0, 5.0, 2.0, 3.0]]]]), 3, border="replicate")
        tensor([[[[5., 5., 5., 3.]]]])
    """
    check_kernel_size(kernel_size)
    image = padded(image, kernel_size, kernel_size, border)
    # Columns, then rows: of large windows this takes a small part of the time.
    columns = nn.functional.max_pool2d(image, (kernel_size, 1), stride=1)
    return nn.functional.max_pool2d(columns, (1, kernel_size), stride=1)


def local_deviation(image: Tensor, kernel_size: int, *, border: Border | None = None) -> Tensor:
    """Compute the standard deviation of each channel in a square window: ``√(Σ(x − mean)² / kernel_size²)``.

    It is exactly 0 where a window is flat, and its gradient is taken as 0 there.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels.
        border: As in `padded`.

    Raises:
        ConvexpError: As `padded`, and if the size is even or not positive.

    Example:
        >>> local_deviation(torch.tensor([[0.0, 0.0, 3.0]]).repeat(3, 1)[None, None], 3)
        tensor([[[[1.4142]]]])
    """
    check_kernel_size(kernel_size)
    _, squares = window_moments(padded(image, kernel_size, kernel_size, border), (1, kernel_size, kernel_size))
    return _root(squares / kernel_size**2)


def window_moments(image: Tensor, size: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Compute the mean in every window and the sum of the squared deviations from it, without cancellation.

    Windows are joined to larger ones: ``Σ = Σ₁ + Σ₂ + (mean₂ − mean₁)² · n₁ n₂ / (n₁ + n₂)``, in which nothing is
    subtracted but means (Chan, Golub & LeVeque 1979, https://doi.org/10.1080/00031305.1983.10483115). The usual
    ``mean(x²) − mean(x)²`` loses the deviations of a bright window; this errs as if each pixel had been rounded once
    more. Flat windows have exactly 0.

    Args:
        image: ``(B, C, H, W)``, floating point.
        size: Channels, rows and columns of a window.

    Returns:
        Both ``(B, C − channels + 1, H − rows + 1, W − columns + 1)``.

    Example:
        >>> mean, squares = window_moments(torch.tensor([[[[1.0, 2.0, 6.0]]]]), (1, 1, 3))
        >>> mean, squares
        (tensor([[[[3.]]]]), tensor([[[[14.]]]]))
    """
    moments, count = (image, torch.zeros_like(image)), 1
    for dim, length in enumerate(size, start=1):
        moments = _moments_along(dim, length, moments, count)
        count *= length
    return moments


class Magnitude(nn.Module):
    """``magnitude`` as a module."""

    def __init__(self, norm: int = 2) -> None:
        super().__init__()
        _check_norm(norm)
        self.norm = norm

    def forward(self, gradients: Tensor) -> Tensor:
        """Return the length, one channel."""
        return magnitude(gradients, self.norm)

    def extra_repr(self) -> str:
        """Show the argument."""
        return f"norm={self.norm!r}"


class Gamma(nn.Module):
    """``gamma`` as a module."""

    def __init__(self, exponent: float) -> None:
        super().__init__()
        _check_exponent(exponent)
        self.exponent = exponent

    def forward(self, image: Tensor) -> Tensor:
        """Return the power of the image."""
        return gamma(image, self.exponent)

    def extra_repr(self) -> str:
        """Show the argument."""
        return f"exponent={self.exponent!r}"


class Windowed(Bordered):
    """Holds the side of a square window, and the border.

    Args:
        kernel_size: Odd side of the window in pixels.
        border: As in `padded`.
    """

    def __init__(self, kernel_size: int, *, border: Border | None = None) -> None:
        super().__init__(border)
        check_kernel_size(kernel_size)
        self.kernel_size = kernel_size


class LocalMaximum(Windowed):
    """``local_maximum`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the largest values."""
        return local_maximum(image, self.kernel_size, border=self.border)


class LocalDeviation(Windowed):
    """``local_deviation`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the standard deviations."""
        return local_deviation(image, self.kernel_size, border=self.border)


def _root(squared: Tensor) -> Tensor:
    # The derivative of √ is infinite at 0 and would turn into NaN, so 0 goes around it.
    zero = squared == 0
    return squared.masked_fill(zero, 1).sqrt().masked_fill(zero, 0)


_Moments = tuple[Tensor, Tensor]


def _moments_along(dim: int, length: int, moments: _Moments, count: int) -> _Moments:
    """Join windows of `count` pixels, which are next to each other along a dimension, to windows of `length` such."""
    if length == 1:
        return moments
    half = _moments_along(dim, length // 2, moments, count)
    whole = _joined(dim, half, length // 2, half, length // 2, count)
    return whole if length % 2 == 0 else _joined(dim, whole, length - 1, moments, 1, count)


def _joined(dim: int, first: _Moments, length: int, second: _Moments, further: int, count: int) -> _Moments:
    number = second[0].shape[dim] - length
    mean, squares = (moment.narrow(dim, 0, number) for moment in first)
    next_mean, next_squares = (moment.narrow(dim, length, number) for moment in second)
    difference, share = next_mean - mean, further / (length + further)
    return mean + share * difference, squares + next_squares + count * length * share * difference.square()


def _check_norm(norm: int) -> None:
    if norm not in (1, 2):
        raise ConvexpError(f"norm={norm!r} must be 2, the Euclidean length, or 1, the sum of the absolute values")


def _check_exponent(exponent: float) -> None:
    if not isinstance(exponent, Real) or not 0 < exponent < math.inf:
        raise ConvexpError(
            f"exponent={exponent!r} must be a positive number, e.g. exponent=2.2 (1 changes nothing, less brightens)"
        )
