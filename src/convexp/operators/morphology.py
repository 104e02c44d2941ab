"""Morphology with a square window, by kornia.

An image goes on outside as its border says, and is not padded anew between two stages.
"""

from torch import Tensor

from convexp.operators.border import Border
from convexp.operators.classic import applied
from convexp.operators.kernels import check_kernel_size
from convexp.operators.nonlinear import Windowed


def dilation(image: Tensor, kernel_size: int, *, border: Border | None = None) -> Tensor:
    """Compute the largest value of each channel in a square window.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels.
        border: As in `padded`; ``zeros`` surrounds the image by black, here and in the three that follow.

    Example:
        >>> import torch
        >>> dilation(torch.tensor([[[[1.0, 5.0, 2.0, 3.0]]]]), 3, border="replicate")
        tensor([[[[5., 5., 5., 3.]]]])
    """
    return _morphology(image, kernel_size, border, "dilation")


def erosion(image: Tensor, kernel_size: int, *, border: Border | None = None) -> Tensor:
    """Compute the smallest value of each channel in a square window.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels.
        border: As in `padded`.

    Example:
        >>> import torch
        >>> erosion(torch.tensor([[[[1.0, 5.0, 2.0, 3.0]]]]), 3, border="replicate")
        tensor([[[[1., 1., 2., 2.]]]])
    """
    return _morphology(image, kernel_size, border, "erosion")


def opening(image: Tensor, kernel_size: int, *, border: Border | None = None) -> Tensor:
    """Erode, then dilate: what is bright and smaller than the window disappears. It reaches ``kernel_size − 1``.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels.
        border: As in `padded`.

    Example:
        >>> import torch
        >>> opening(torch.tensor([[[[1.0, 5.0, 2.0, 3.0]]]]), 3, border="replicate")
        tensor([[[[1., 2., 2., 3.]]]])
    """
    return _morphology(image, kernel_size, border, "erosion", "dilation")


def closing(image: Tensor, kernel_size: int, *, border: Border | None = None) -> Tensor:
    """Dilate, then erode: what is dark and smaller than the window disappears. It reaches ``kernel_size − 1``.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels.
        border: As in `padded`.

    Example:
        >>> import torch
        >>> closing(torch.tensor([[[[1.0, 5.0, 2.0, 3.0]]]]), 3, border="replicate")
        tensor([[[[1., 5., 3., 3.]]]])
    """
    return _morphology(image, kernel_size, border, "dilation", "erosion")


class Dilation(Windowed):
    """``dilation`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the dilated image."""
        return dilation(image, self.kernel_size, border=self.border)


class Erosion(Windowed):
    """``erosion`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the eroded image."""
        return erosion(image, self.kernel_size, border=self.border)


class Opening(Windowed):
    """``opening`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the opened image."""
        return opening(image, self.kernel_size, border=self.border)


class Closing(Windowed):
    """``closing`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the closed image."""
        return closing(image, self.kernel_size, border=self.border)


def _morphology(image: Tensor, kernel_size: int, border: Border | None, *stages: str) -> Tensor:
    from kornia import morphology

    check_kernel_size(kernel_size)

    def operation(image: Tensor) -> Tensor:
        for stage in stages:  # by a column, then by a row: this is the square, in a small part of the time
            for shape in ((kernel_size, 1), (1, kernel_size)):
                image = getattr(morphology, stage)(image, image.new_ones(shape))
        return image

    return applied(operation, image, len(stages) * (kernel_size // 2), border)
