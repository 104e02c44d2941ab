"""Images of one colour and size turned into another."""

import torch
from torch import Tensor

from convexp.errors import ConvexpError


def to_gray(image: Tensor) -> Tensor:
    """Average the channels of a (..., C, H, W) image: (..., 1, H, W).

    Every channel counts the same, ȳ = Σ_c x_c / C; this is not luminance.

    Args:
        image: (..., C, H, W), floats.

    Raises:
        ConvexpError: the tensor is no float image.

    Example:
        >>> to_gray(torch.tensor([0.0, 0.5, 1.0]).reshape(3, 1, 1))
        tensor([[[0.5000]]])
    """
    _require_floats(image)
    return image.mean(dim=-3, keepdim=True)


def to_colour(image: Tensor) -> Tensor:
    """Repeat the channel of a (..., 1, H, W) image three times; an image of three channels is returned as it is.

    Args:
        image: (..., C, H, W), floats, with C = 1 or 3.

    Raises:
        ConvexpError: the tensor is no float image, or has another number of channels.

    Example:
        >>> to_colour(torch.zeros(1, 4, 5)).shape
        torch.Size([3, 4, 5])
    """
    _require_floats(image)
    if image.shape[-3] not in (1, 3):
        raise ConvexpError(f"an image of shape {tuple(image.shape)} has no colour version: C must be 1 or 3")
    return image if image.shape[-3] == 3 else image.repeat_interleave(3, dim=-3)


def resize(image: Tensor, shorter_side: int) -> Tensor:
    """Scale a (..., C, H, W) image so that its shorter side has the given length, keeping the aspect ratio.

    Bilinear interpolation with an anti-aliasing (triangle) filter: it averages, so nothing leaves [0, 1]. The longer
    side is rounded to whole pixels.

    Args:
        image: (..., C, H, W), floats in [0, 1].
        shorter_side: of the result, in pixels.

    Raises:
        ConvexpError: the tensor is no float image, or the side is below 1.

    Example:
        >>> resize(torch.zeros(3, 300, 451), 128).shape
        torch.Size([3, 128, 192])
    """
    _require_floats(image)
    if shorter_side < 1:
        raise ConvexpError(f"shorter_side={shorter_side} is no image size: it must be at least 1 pixel")
    H, W = image.shape[-2:]
    if shorter_side == min(H, W):
        return image
    size = resized(H, W, shorter_side)
    scaled = torch.nn.functional.interpolate(image.reshape(-1, 1, H, W), size=size, mode="bilinear", antialias=True)
    # The filter's weights sum to 1 only up to rounding.
    return scaled.clamp(0, 1).reshape(*image.shape[:-2], *size)


def resized(height: int, width: int, shorter_side: int) -> tuple[int, int]:
    """Height and width in pixels of what `resize` makes of an image.

    >>> resized(300, 451, 128)
    (128, 192)
    """
    return round(height * shorter_side / min(height, width)), round(width * shorter_side / min(height, width))


def _require_floats(image: Tensor) -> None:
    if image.ndim < 3 or image.numel() == 0 or not image.is_floating_point():
        raise ConvexpError(
            f"a tensor of shape {tuple(image.shape)} and {image.dtype} is no image: it must be (..., C, H, W) floats"
        )
