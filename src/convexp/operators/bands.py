"""Operators of a band of frequencies: high-pass, sharpening, band-pass, and Gabor filters."""

import torch
from torch import Tensor

from convexp.operators import kernels
from convexp.operators.border import Border, Bordered
from convexp.operators.linear import Channels, check_channels, filter2d


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
    kernel = kernels.gaussian_highpass(kernel_size, sigma, dtype=torch.float64)
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
    return filter2d(image, kernels.unsharp(kernel_size, sigma, amount=amount, dtype=torch.float64), border=border)


def laplacian_of_gaussian(
    image: Tensor, kernel_size: int, sigma: float, *, border: Border | None = None, channels: Channels = "each"
) -> Tensor:
    """Compute the Laplacian of the Gaussian blur (LoG): edges are where it crosses 0.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the kernel in pixels; 8σ hold nearly all of it.
        sigma: Standard deviation of the blur in pixels.
        border: As in ``filter2d``.
        channels: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> laplacian_of_gaussian(torch.rand(1, 3, 17, 23), 9, 1.0, channels="mean").shape
        torch.Size([1, 1, 9, 15])
    """
    kernel = kernels.laplacian_of_gaussian(kernel_size, sigma, dtype=torch.float64)
    return filter2d(image, kernel, border=border, channels=channels)


def difference_of_gaussians(
    image: Tensor,
    kernel_size: int,
    sigma: float,
    *,
    ratio: float = 1.6,
    border: Border | None = None,
    channels: Channels = "each",
) -> Tensor:
    """Compute the Gaussian blur less a wider one (DoG): details of about one size.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the kernel in pixels.
        sigma: Standard deviation of the narrower Gaussian in pixels.
        ratio: How many times as wide the other one is.
        border: As in ``filter2d``.
        channels: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> difference_of_gaussians(torch.rand(1, 3, 17, 23), 9, 1.0, channels="mean").shape
        torch.Size([1, 1, 9, 15])
    """
    kernel = kernels.difference_of_gaussians(kernel_size, sigma, ratio=ratio, dtype=torch.float64)
    return filter2d(image, kernel, border=border, channels=channels)


def gabor(
    image: Tensor,
    kernel_size: int,
    wavelength: float,
    *,
    angle: float = 0.0,
    sigma: float = 2.0,
    aspect: float = 1.0,
    phase: float = -90.0,
    border: Border | None = None,
    channels: Channels = "each",
) -> Tensor:
    """Filter with a wave under a Gaussian: stripes of one width and direction.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the kernel in pixels.
        wavelength: In pixels.
        angle: Direction in which the wave goes, in degrees: 0 is to the right, 90 downwards.
        sigma: Standard deviation of the Gaussian along the wave, in pixels.
        aspect: How many times as narrow the Gaussian is across the wave.
        phase: In degrees; −90 is an odd kernel, 0 an even one.
        border: As in ``filter2d``.
        channels: As in ``filter2d``.

    Raises:
        ConvexpError: If an argument is not as above.

    Example:
        >>> gabor(torch.rand(1, 3, 17, 23), 9, 5.0, channels="mean").shape
        torch.Size([1, 1, 9, 15])
    """
    kernel = kernels.gabor(
        kernel_size, wavelength, angle=angle, sigma=sigma, aspect=aspect, phase=phase, dtype=torch.float64
    )
    return filter2d(image, kernel, border=border, channels=channels)


class Highpass(Bordered):
    """``highpass`` as a module."""

    def __init__(self, kernel_size: int = 7, sigma: float = 4.0, *, border: Border | None = None) -> None:
        super().__init__(border)
        kernels.gaussian_highpass(kernel_size, sigma)
        self.kernel_size, self.sigma = kernel_size, sigma

    def forward(self, image: Tensor) -> Tensor:
        """Return the detail, one channel."""
        return highpass(image, self.kernel_size, self.sigma, border=self.border)


class Sharpen(Bordered):
    """``sharpen`` as a module."""

    def __init__(self, kernel_size: int, sigma: float, *, amount: float = 1.0, border: Border | None = None) -> None:
        super().__init__(border)
        kernels.unsharp(kernel_size, sigma, amount=amount)
        self.kernel_size, self.sigma, self.amount = kernel_size, sigma, amount

    def forward(self, image: Tensor) -> Tensor:
        """Return the sharpened image."""
        return sharpen(image, self.kernel_size, self.sigma, amount=self.amount, border=self.border)


class LaplacianOfGaussian(Bordered):
    """``laplacian_of_gaussian`` as a module."""

    def __init__(
        self, kernel_size: int, sigma: float, *, border: Border | None = None, channels: Channels = "each"
    ) -> None:
        super().__init__(border)
        kernels.laplacian_of_gaussian(kernel_size, sigma)
        check_channels(channels)
        self.kernel_size, self.sigma = kernel_size, sigma
        self.channels: Channels = channels

    def forward(self, image: Tensor) -> Tensor:
        """Return the filtered image."""
        return laplacian_of_gaussian(image, self.kernel_size, self.sigma, border=self.border, channels=self.channels)


class DifferenceOfGaussians(Bordered):
    """``difference_of_gaussians`` as a module."""

    def __init__(
        self,
        kernel_size: int,
        sigma: float,
        *,
        ratio: float = 1.6,
        border: Border | None = None,
        channels: Channels = "each",
    ) -> None:
        super().__init__(border)
        kernels.difference_of_gaussians(kernel_size, sigma, ratio=ratio)
        check_channels(channels)
        self.kernel_size, self.sigma, self.ratio = kernel_size, sigma, ratio
        self.channels: Channels = channels

    def forward(self, image: Tensor) -> Tensor:
        """Return the filtered image."""
        return difference_of_gaussians(
            image, self.kernel_size, self.sigma, ratio=self.ratio, border=self.border, channels=self.channels
        )


class Gabor(Bordered):
    """``gabor`` as a module."""

    def __init__(
        self,
        kernel_size: int,
        wavelength: float,
        *,
        angle: float = 0.0,
        sigma: float = 2.0,
        aspect: float = 1.0,
        phase: float = -90.0,
        border: Border | None = None,
        channels: Channels = "each",
    ) -> None:
        super().__init__(border)
        kernels.gabor(kernel_size, wavelength, angle=angle, sigma=sigma, aspect=aspect, phase=phase)
        check_channels(channels)
        self.kernel_size, self.wavelength, self.angle = kernel_size, wavelength, angle
        self.sigma, self.aspect, self.phase = sigma, aspect, phase
        self.channels: Channels = channels

    def forward(self, image: Tensor) -> Tensor:
        """Return the filtered image."""
        return gabor(
            image,
            self.kernel_size,
            self.wavelength,
            angle=self.angle,
            sigma=self.sigma,
            aspect=self.aspect,
            phase=self.phase,
            border=self.border,
            channels=self.channels,
        )
