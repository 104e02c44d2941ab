"""A model that works between images of zero mean and unit variance, and is used between those of the user."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Standardised(nn.Module):
    """y = mean_y + std_y · model((x − mean_x) / std_x).

    The scales are buffers: they are saved with the weights, so that the filter maps a [0, 1] image to target units.

    Args:
        model: Maps standardised images (B, C, H, W) to standardised targets (B, C', H', W').
        input_mean: Mean of the images, over all channels and pixels.
        input_std: Their standard deviation.
        target_mean: Mean of the targets.
        target_std: Their standard deviation.
    """

    input_mean: Tensor
    input_std: Tensor
    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        input_mean: float = 0.0,
        input_std: float = 1.0,
        target_mean: float = 0.0,
        target_std: float = 1.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("input_mean", torch.tensor(input_mean))
        self.register_buffer("input_std", torch.tensor(input_std))
        self.register_buffer("target_mean", torch.tensor(target_mean))
        self.register_buffer("target_std", torch.tensor(target_std))

    def forward(self, image: Tensor) -> Tensor:
        """Filters images (B, C, H, W)."""
        output = self.model((image - self.input_mean) / self.input_std)
        return self.target_mean + self.target_std * output


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
