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


class Spread:
    """Mean and standard deviation of the values of many images, in float64, image by image.

    Chan, Golub and LeVeque, Updating formulae and a pairwise algorithm for computing sample variances (1979).

    Example:
        >>> spread = Spread()
        >>> for image in (torch.tensor([1.0, 2.0]), torch.tensor([6.0])):
        ...     spread.add(image)
        >>> round(spread.mean, 9), round(spread.std**2, 9)
        (3.0, 4.666666667)
    """

    def __init__(self) -> None:
        self.count, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, image: Tensor) -> None:
        """Adds all values of an image."""
        values = image.double()
        mean = values.mean().item()
        total = self.count + values.numel()
        self._squares += (values - mean).square().sum().item()
        self._squares += (mean - self.mean) ** 2 * self.count * values.numel() / total
        self.mean += (mean - self.mean) * values.numel() / total
        self.count = total

    @property
    def std(self) -> float:
        """The standard deviation; 1 of constant images."""
        std = (self._squares / self.count) ** 0.5
        return std if std > 1e-6 else 1.0


def standardised(model: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]]) -> Standardised:
    """A model between images and targets of zero mean and unit variance, for images and targets as these are.

    Args:
        model: As for `Standardised`.
        pairs: Images and targets; they are gone through once.
    """
    images, targets, offset = Spread(), Spread(), float("inf")
    for image, target in pairs:
        images.add(image)
        targets.add(target)
        offset = min(offset, target.min().item())
    return Standardised(model, mean=images.mean, std=images.std, offset=offset, scale=targets.std)
