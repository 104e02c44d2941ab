"""Images that are drawn instead of photographed."""

import numpy as np
import torch
from torch import Tensor

from convexp.errors import ConvexpError

SNOWMAN = (33, 36)
"""Height and width of a snowman in pixels."""


def shapes(
    height: int = 300, width: int = 400, *, count: int = 24, seed: int, snowman: tuple[int, int] | None = None
) -> Tensor:
    """Draw white filled circles and rectangles, in turn and overlapping, on black: a (1, H, W) tensor of 0 and 1.

    Radii and half sides lie between 1/30 and 1/8 of the shorter side. Only integers are drawn and compared, so that a
    seed gives the same image on every machine.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.
        count: how many shapes; the first is a circle.
        seed: which image.
        snowman: top and left of a snowman, who stands in the foreground, 33 pixels high and 36 wide with his arms.

    Raises:
        ConvexpError: a size or the count is below 1, the seed is negative, or the snowman is not inside the image.

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
    if snowman is not None:
        _draw_snowman(image, *snowman)
    return torch.from_numpy(image)[None]


def _draw_snowman(image: np.ndarray, top: int, left: int) -> None:
    (height, width), (rows, columns) = SNOWMAN, image.shape
    if not (0 <= top <= rows - height and 0 <= left <= columns - width):
        raise ConvexpError(
            f"snowman=[{top},{left}] is not inside the image: top can be 0 to {rows - height} and left 0 to "
            f"{columns - width}, as he is {height}x{width} and the image {rows}x{columns}"
        )
    y, x = np.ogrid[:height, :width]
    head, body = (y - 8) ** 2 + (x - 18) ** 2 <= 6**2, (y - 21) ** 2 + (x - 18) ** 2 <= 10**2
    arms = (abs(y - 17) <= 1) & (abs(x - 18) <= 15)
    image[top : top + height, left : left + width] = head | body | arms
