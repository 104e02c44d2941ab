"""Images of different size, compared on their common centre."""

from torch import Tensor

from convexp.errors import ConvexpError


def center_crop(image: Tensor, height: int, width: int) -> Tensor:
    """Cut the central (..., height, width) out of a (..., H, W) image, as a view.

    The offset is ⌊(H − height) / 2⌋, so an odd remainder drops the last row or column. A valid convolution with a
    kernel of odd size is aligned with its input's centre by this; of an even size, it lies half a pixel further.

    Args:
        image: (..., H, W).
        height: of the result, in pixels, from 1 to H.
        width: of the result, in pixels, from 1 to W.

    Raises:
        ConvexpError: the image is smaller than that.

    Example:
        >>> import torch
        >>> center_crop(torch.arange(20).reshape(4, 5), 1, 3)
        tensor([[6, 7, 8]])
    """
    if image.ndim < 2:
        raise ConvexpError(f"an image of shape {tuple(image.shape)} cannot be cropped: it must be (..., H, W)")
    H, W = image.shape[-2:]
    if not (1 <= height <= H and 1 <= width <= W):
        raise ConvexpError(
            f"cannot crop {height} x {width} out of an image of {H} x {W}: choose from 1 x 1 to {H} x {W}"
        )
    top, left = (H - height) // 2, (W - width) // 2
    return image[..., top : top + height, left : left + width]


def common_center(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Crop two images to the largest centre that both have, as views.

    Args:
        a: (..., C, H, W).
        b: (..., C, H', W'), with the same batch size and number of channels.

    Raises:
        ConvexpError: batch sizes or channels differ; nothing is ever broadcast.

    Example:
        >>> import torch
        >>> [tuple(image.shape) for image in common_center(torch.zeros(1, 17, 23), torch.zeros(1, 19, 21))]
        [(1, 17, 21), (1, 17, 21)]
    """
    shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
    if a.ndim != b.ndim:
        raise ConvexpError(f"images of shape {shapes} cannot be compared: give both the same number of dimensions")
    if a.shape[-3:-2] != b.shape[-3:-2]:
        raise ConvexpError(
            f"images of shape {shapes} differ in channels ({a.shape[-3]} and {b.shape[-3]}): give model and target the "
            "same number of channels, or convert one with to_gray or to_colour"
        )
    if a.shape[:-3] != b.shape[:-3]:
        raise ConvexpError(f"images of shape {shapes} differ in batch size: compare as many images with as many")
    height, width = min(a.shape[-2], b.shape[-2]), min(a.shape[-1], b.shape[-1])
    return center_crop(a, height, width), center_crop(b, height, width)
