"""A model that works between images of zero mean and unit variance, and is used between those of the user."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Standardised(nn.Module):
    """y = offset + scale · model((x − mean) / std): a model between images of unit variance, used between any.

    The four numbers are buffers: saved with the weights, they make the filter map a [0, 1] image to target units.

    Args:
        model: Maps standardised images (B, C, H, W) to standardised targets (B, C', H', W').
        mean: Mean of the images.
        std: Their standard deviation.
        offset: Smallest value of the targets: standardised targets are positive, where ELU and ReLU are linear.
        scale: Standard deviation of the targets.
    """

    mean: Tensor
    std: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(
        self, model: nn.Module, *, mean: float = 0.0, std: float = 1.0, offset: float = 0.0, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.model = model
        for name, value in {"mean": mean, "std": std, "offset": offset, "scale": scale}.items():
            self.register_buffer(name, torch.tensor(value))

    def forward(self, image: Tensor) -> Tensor:
        """Filters images (B, C, H, W)."""
        return self.offset + self.scale * self.model(self.standardised_input(image))

    def standardised_input(self, image: Tensor) -> Tensor:
        """What the inner model gets for an image."""
        return (image - self.mean) / self.std

    def standardised_target(self, target: Tensor) -> Tensor:
        """What the inner model ought to return for a target."""
        return (target - self.offset) / self.scale


def mean_and_std(images: Iterable[Tensor]) -> tuple[float, float]:
    """Mean and standard deviation of all values of all images, in float64; the deviation of constant images is 1."""
    count, total, squares = 0, 0.0, 0.0
    images = list(images)
    for image in images:
        count += image.numel()
        total += image.double().sum().item()
    mean = total / count
    for image in images:
        squares += (image.double() - mean).square().sum().item()
    std = (squares / count) ** 0.5
    return mean, std if std > 1e-6 else 1.0
