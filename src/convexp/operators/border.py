"""What lies outside an image."""

from typing import Literal, get_args

from torch import Tensor, nn

from convexp.errors import ConvexpError

Border = Literal["reflect", "replicate", "zeros", "circular"]


def padded(image: Tensor, kernel_height: int, kernel_width: int, border: Border | None) -> Tensor:
    """Surround an image by what a kernel needs for a result as large as the image.

    Added are ``(kh − 1) // 2`` rows above and ``kh // 2`` below, columns likewise, so that the extra row of an even
    kernel goes below, and the common centre of the padded and the valid result is the valid result.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_height: kh.
        kernel_width: kw.
        border: What lies outside; None adds nothing.

    Returns:
        ``(B, C, H + kh − 1, W + kw − 1)``, or the image itself.

    Raises:
        ConvexpError: If the image is not a floating-point ``(B, C, H, W)`` tensor or is too small for the kernel, or if
            border is none of the above.

    Example:
        >>> import torch
        >>> padded(torch.tensor([[[[1.0, 2.0, 4.0]]]]), 1, 4, "reflect")
        tensor([[[[2., 1., 2., 4., 2., 1.]]]])
    """
    if image.dim() != 4 or not image.is_floating_point():
        raise ConvexpError(
            f"image is a {image.dtype} tensor of shape {tuple(image.shape)}; "
            "must be floating point and (B, C, H, W): image[None] adds B, image.float() / 255 converts 8 bits"
        )
    check_border(border)
    height, width = image.shape[-2:]
    least_height, least_width = _least_size(kernel_height, border), _least_size(kernel_width, border)
    if height < least_height or width < least_width:
        raise ConvexpError(
            f"image is {height}x{width} (HxW), kernel is {kernel_height}x{kernel_width}: with border={border} the "
            f"image must be at least {least_height}x{least_width}; take a larger image, a smaller kernel or another "
            "border"
        )
    if border is None:
        return image
    padding = ((kernel_width - 1) // 2, kernel_width // 2, (kernel_height - 1) // 2, kernel_height // 2)
    return nn.functional.pad(image, padding, mode="constant" if border == "zeros" else border)


def check_border(border: Border | None) -> None:
    """Refuse what is no border.

    Raises:
        ConvexpError: If it is none of them, and not None either.
    """
    if border is not None and border not in get_args(Border):
        raise ConvexpError(f"border={border!r} must be one of {', '.join(get_args(Border))}, or None (null): valid")


class Bordered(nn.Module):
    """Holds arguments, the border among them. Bad ones are refused when built, not at the first image.

    Args:
        border: As in `padded`.
    """

    def __init__(self, border: Border | None) -> None:
        super().__init__()
        check_border(border)
        self.border: Border | None = border

    def extra_repr(self) -> str:
        """Show the arguments."""
        arguments = {name: value for name, value in vars(self).items() if name[0] != "_" and name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in arguments.items())


def _least_size(kernel_side: int, border: Border | None) -> int:
    """Return the smallest image side that a kernel side can be applied to."""
    if border is None:
        return kernel_side
    if border == "reflect":  # mirrors about the edge pixel, which is not repeated
        return kernel_side // 2 + 1
    if border == "circular":  # goes round once at most
        return max(kernel_side // 2, 1)
    return 1
