"""Operators that blur or move an image, each channel on its own."""

from numbers import Integral

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.operators import kernels
from convexp.operators.border import Border, Bordered
from convexp.operators.linear import filter2d


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
    return filter2d(image, kernels.gaussian(kernel_size, sigma, dtype=torch.float64), border=border)


def box_blur(image: Tensor, kernel_size: int, *, border: Border | None = None) -> Tensor:
    """Take the mean over a square.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the square in pixels.
        border: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> box_blur(torch.tensor([[[[0.0, 3.0, 6.0], [0.0, 3.0, 6.0], [0.0, 3.0, 6.0]]]]), 3)
        tensor([[[[3.]]]])
    """
    return filter2d(image, kernels.box(kernel_size, dtype=torch.float64), border=border)


def motion_blur(image: Tensor, kernel_size: int, angle: float, *, border: Border | None = None) -> Tensor:
    """Take the mean along a line, as a camera does that moves.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd length of the line in pixels.
        angle: Of the line in degrees: 0 is horizontal, 45 falls to the right, 90 is vertical.
        border: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> motion_blur(torch.tensor([[[[0.0, 3.0, 6.0, 3.0]] * 3]]), 3, angle=0.0)
        tensor([[[[3., 4.]]]])
    """
    return filter2d(image, kernels.motion_blur(kernel_size, angle, dtype=torch.float64), border=border)


def blur(image: Tensor, times: int = 1, *, border: Border | None = None) -> Tensor:
    """Blur each channel with the 5×5 integer approximation of a Gaussian (σ = 1), once or several times.

    Args:
        image: ``(B, C, H, W)``, floating point.
        times: How many times.
        border: As in ``filter2d``; it is continued anew each time.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> blur(torch.ones(1, 1, 9, 9), 2)
        tensor([[[[1.]]]])
    """
    _check_times(times)
    for _ in range(times):
        image = filter2d(image, kernels.integer_gaussian(dtype=torch.float64), border=border)
    return image


def shift(image: Tensor, right: int = 0, down: int = 0, *, border: Border | None = None) -> Tensor:
    """Move an image by whole pixels.

    Args:
        image: ``(B, C, H, W)``, floating point.
        right: Pixels to the right; negative ones to the left.
        down: Pixels down; negative ones up.
        border: What comes in; None keeps only the pixels that stay around the centre.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> shift(torch.tensor([[[[1.0, 2.0, 3.0]]]]), right=1, border="zeros")
        tensor([[[[0., 1., 2.]]]])
    """
    return filter2d(image, kernels.shift(right, down), border=border)


class GaussianBlur(Bordered):
    """``gaussian_blur`` as a module."""

    def __init__(self, kernel_size: int, sigma: float, *, border: Border | None = None) -> None:
        super().__init__(border)
        kernels.gaussian(kernel_size, sigma)
        self.kernel_size, self.sigma = kernel_size, sigma

    def forward(self, image: Tensor) -> Tensor:
        """Return the blurred image."""
        return gaussian_blur(image, self.kernel_size, self.sigma, border=self.border)


class BoxBlur(Bordered):
    """``box_blur`` as a module."""

    def __init__(self, kernel_size: int, *, border: Border | None = None) -> None:
        super().__init__(border)
        kernels.box(kernel_size)
        self.kernel_size = kernel_size

    def forward(self, image: Tensor) -> Tensor:
        """Return the blurred image."""
        return box_blur(image, self.kernel_size, border=self.border)


class MotionBlur(Bordered):
    """``motion_blur`` as a module."""

    def __init__(self, kernel_size: int, angle: float, *, border: Border | None = None) -> None:
        super().__init__(border)
        kernels.motion_blur(kernel_size, angle)
        self.kernel_size, self.angle = kernel_size, angle

    def forward(self, image: Tensor) -> Tensor:
        """Return the blurred image."""
        return motion_blur(image, self.kernel_size, self.angle, border=self.border)


class Blur(Bordered):
    """``blur`` as a module."""

    def __init__(self, times: int = 1, *, border: Border | None = None) -> None:
        super().__init__(border)
        _check_times(times)
        self.times = times

    def forward(self, image: Tensor) -> Tensor:
        """Return the blurred image."""
        return blur(image, self.times, border=self.border)


class Shift(Bordered):
    """``shift`` as a module."""

    def __init__(self, right: int = 0, down: int = 0, *, border: Border | None = None) -> None:
        super().__init__(border)
        kernels.shift(right, down)
        self.right, self.down = right, down

    def forward(self, image: Tensor) -> Tensor:
        """Return the moved image."""
        return shift(image, self.right, self.down, border=self.border)


def _check_times(times: int) -> None:
    if not isinstance(times, Integral) or times < 1:
        raise ConvexpError(f"times={times!r} must be a whole number of at least 1, e.g. times=5")
