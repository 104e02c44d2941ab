"""Images that are drawn instead of photographed."""

import numpy as np
import torch
from torch import Tensor

from convexp.errors import ConvexpError


def shapes(height: int = 300, width: int = 400, *, count: int = 24, seed: int) -> Tensor:
    """Draw white filled circles and rectangles, in turn and overlapping, on black: a (1, H, W) tensor of 0 and 1.

    Radii and half sides lie between 1/30 and 1/8 of the shorter side. Only integers are drawn and compared, so that a
    seed gives the same image on every machine.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        count: how many shapes; the first is a circle.
        seed: which image.

    Raises:
        ConvexpError: a size or the count is below 1, or the seed is negative.

    Example:
        >>> shapes(17, 23, count=3, seed=0).shape
        torch.Size([1, 17, 23])
    """
    for name, value, least in (("height", height, 1), ("width", width, 1), ("count", count, 1), ("seed", seed, 0)):
        if value < least:
            raise ConvexpError(f"{name}={value} is too small for shapes: it must be at least {least}")
    random = np.random.default_rng(seed)
    y, x = np.ogrid[:height, :width]
    shorter = min(height, width)
    smallest, largest = max(1, shorter // 30), max(2, shorter // 8)
    image = np.zeros((height, width), np.float32)
    for index in range(count):
        dy, dx = y - random.integers(height), x - random.integers(width)
        ry, rx = random.integers(smallest, largest, size=2, endpoint=True)
        inside = dy**2 + dx**2 <= ry**2 if index % 2 == 0 else (abs(dy) <= ry) & (abs(dx) <= rx)
        image[inside] = 1
    return torch.from_numpy(image)[None]
