"""Any values as a picture of their own size."""

from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.colours import Scale, number, plain, visible_range
from convexp.images.layout import beside

IMAGE = (-0.2, 1.4)  # most values of an image lie in here, though sharpening goes somewhat beyond [0, 1]
GAP = 8


def display(values: Tensor) -> tuple[Tensor, str]:
    """Show values, one pixel for one, on the scale that suits them, and say which.

    An image (gray or colour, nearly all values in [0, 1]) stays what it is, clipped. Other values are stretched: what
    is nowhere much below 0 from black to white, what is signed from blue by way of white to red, or around mid-gray if
    it has three channels. Other numbers of channels stand beside each other, on one scale.

    Args:
        values: (C, H, W).

    Returns:
        The picture, (1 or 3, H, W) floats of an image, else (3, H, W') uint8; and the scale in words.

    Raises:
        ConvexpError: If `values` has not three dimensions or holds nothing.

    Example:
        >>> import torch
        >>> display(torch.tensor([[[-2.0, 0.0, 1.0]]]))[1]
        'values from -2 to 1: blue is -2, white 0, red 2'
    """
    if values.ndim != 3 or not values.numel():
        raise ConvexpError(f"display: values have shape {tuple(values.shape)}; pass one image, (C, H, W)")
    values = plain(values)
    low, high = visible_range(values)
    words = f"values from {number(values.min().item())} to {number(values.max().item())}"
    if max(IMAGE[0], IMAGE[0] * high) <= low and high <= IMAGE[1] and len(values) in (1, 3):
        outside = ((values < 0) | (values > 1)).double().mean().item()
        return values.clamp(0, 1), words + (f": {100 * outside:.2g} % are clipped to [0, 1]" if outside else "")
    limit = max(-low, high)
    if low >= -0.1 * high:
        scale, words = Scale(low, high), f"{words}: black is {number(low)}, white {number(high)}"
    elif len(values) == 3:
        scale = Scale(-limit, limit)
        words = f"{words}: black is {number(-limit)}, gray 0, white {number(limit)}"
    else:
        scale = Scale.around_zero(limit)
        words = f"{words}: blue is {number(-limit)}, white 0, red {number(limit)}"
    planes = [values] if len(values) == 3 else [plane[None] for plane in values]
    return beside([scale.paint(plane) for plane in planes], gap=GAP), words
