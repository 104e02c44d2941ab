"""Operators that look at all pixels of a channel."""

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.operators.border import padded


def equalize(image: Tensor) -> Tensor:
    """Make all brightnesses of each channel about equally frequent: histogram equalization in 256 levels, as Pillow.

    It has no gradient, and every pixel depends on all.

    Args:
        image: ``(B, C, H, W)`` in [0, 1], floating point. With fewer than 256 pixels it may stay as it is.

    Raises:
        ConvexpError: If the image is not as above.

    Example:
        >>> image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) / 2
        >>> equalize(image).quantile(0.5).round(decimals=1)
        tensor(0.5000)
    """
    from kornia.enhance import equalize as equalized

    image = padded(image, 1, 1, None).detach()
    least, largest = float(image.amin()), float(image.amax())
    # kornia says so too, but by an assertion on the device, after which CUDA is of no use.
    if not 0 <= least <= largest <= 1:
        raise ConvexpError(f"image has values from {least:g} to {largest:g}; equalize takes [0, 1]: clamp or scale it")
    return equalized(image)


def autocontrast(image: Tensor) -> Tensor:
    """Stretch each channel of each image to [0, 1]; a constant channel stays as it is.

    Args:
        image: ``(B, C, H, W)``, floating point.

    Example:
        >>> autocontrast(torch.tensor([[[[0.25, 0.5, 0.75]]]]))
        tensor([[[[0.0000, 0.5000, 1.0000]]]])
    """
    image = padded(image, 1, 1, None)
    # kornia makes constant channels black and does not reach 1, torchvision has no gradient and wants 1 or 3 channels.
    darkest = image.amin((2, 3), keepdim=True)
    span = image.amax((2, 3), keepdim=True) - darkest
    return torch.where(span == 0, image, (image - darkest) / span.masked_fill(span == 0, 1))


class Equalize(nn.Module):
    """``equalize`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the equalized image."""
        return equalize(image)


class Autocontrast(nn.Module):
    """``autocontrast`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the stretched image."""
        return autocontrast(image)
