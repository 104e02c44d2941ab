"""Template matching: where in an image a patch of it, or of another, is found."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.operators.border import Border, Bordered, padded
from convexp.operators.fourier import correlate
from convexp.operators.nonlinear import window_moments

Method = Literal["plain", "zero_mean", "normalised"]


def match_template(
    image: Tensor, template: Tensor, *, method: Method = "plain", border: Border | None = None
) -> Tensor:
    """Compute how well a template matches the window around each pixel: one channel.

    ``plain`` is the matched filter, ``mean(template · window)``; ``zero_mean`` is the same with the template less its
    mean. Both are one ``Conv2d`` kernel, and answer to brightness and contrast too. ``normalised`` is the correlation
    coefficient of template and window, ``Σ (t − t̄)(w − w̄) / √(Σ (t − t̄)² · Σ (w − w̄)²)``, in [−1, 1], and exactly 0
    where either is flat (Lewis, "Fast normalized cross-correlation", 1995). Means and sums are over all pixels and
    channels together.

    Args:
        image: ``(B, C, H, W)``, floating point.
        template: ``(C, h, w)``.
        method: ``plain``, ``zero_mean`` or ``normalised``.
        border: As in `padded`. Without one, pixel ``(y, x)`` of the result belongs to the window whose top left corner
            is pixel ``(y, x)`` of the image.

    Raises:
        ConvexpError: As `padded`, and if the method is none of them, or the template is not ``(C, h, w)``.

    Example:
        >>> image = torch.tensor([[[[0.0, 1.0, 3.0, 2.0]]]])
        >>> match_template(image, torch.tensor([[[1.0, 3.0]]]))
        tensor([[[[1.5000, 5.0000, 4.5000]]]])
        >>> match_template(image, torch.tensor([[[1.0, 3.0]]]), method="normalised")
        tensor([[[[ 1.,  1., -1.]]]])
    """
    _check_method(method)
    if template.dim() != 3 or template.numel() == 0:
        raise ConvexpError(f"template has shape {tuple(template.shape)}; must be (C, h, w), none of them 0")
    channels, height, width = template.shape
    image = padded(image, height, width, border)
    if image.shape[1] != channels:
        raise ConvexpError(f"the template has channels: {channels}, the image: {image.shape[1]}; must be as many")
    if method == "normalised":
        return _correlation_coefficient(image, template)
    dtype = _exact(image)  # thousands of products leave their rounding in a sum
    kernel = template.to(dtype).to(image.device)[None]
    if method == "zero_mean":
        kernel = kernel - kernel.mean()
    return correlate(image.to(dtype), kernel / kernel.numel()).to(image.dtype)


def best_place(response: Tensor) -> tuple[int, int]:
    """Return the row and the column of the largest value, the first one of several.

    Of a response without a border this is the top left corner of the match in the image.

    Args:
        response: ``(1, H, W)`` or ``(H, W)``.

    Raises:
        ConvexpError: If it has another shape.

    Example:
        >>> best_place(torch.tensor([[0.0, 0.5, 0.2], [0.1, 0.3, 0.9]]))
        (1, 2)
    """
    if response.dim() not in (2, 3) or response.shape[:-2] not in ((), (1,)) or response.numel() == 0:
        raise ConvexpError(f"response has shape {tuple(response.shape)}; must be (1, H, W) or (H, W): one of a batch")
    row, column = divmod(int(response.argmax()), response.shape[-1])
    return row, column


class Template(Bordered):
    """``match_template`` as a module, with a patch of an image as the template.

    The patch is cut once for all by `cut`, or else from each image for itself.

    Args:
        patch: Top, bottom, left and right: the rows ``top:bottom`` and the columns ``left:right`` of an image.
        method: As in `match_template`.
        border: As in `match_template`.

    Raises:
        ConvexpError: If the patch is not four whole numbers, is empty or begins outside, or the method is unknown.

    Example:
        >>> image = torch.rand(1, 3, 17, 23, generator=torch.Generator().manual_seed(0))
        >>> response = Template([4, 9, 10, 17], method="normalised")(image)
        >>> best_place(response[0]), response.shape
        ((4, 10), torch.Size([1, 1, 13, 17]))
    """

    template: Tensor | None

    def __init__(self, patch: Sequence[int], *, method: Method = "plain", border: Border | None = None) -> None:
        super().__init__(border)
        _check_patch(patch)
        _check_method(method)
        self.patch = tuple(patch)
        self.method: Method = method
        self.register_buffer("template", None, persistent=False)

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the template."""
        top, bottom, left, right = self.patch
        return bottom - top, right - left

    def cut(self, image_CHW: Tensor) -> None:
        """Cut the template from an image, for all that follow.

        Raises:
            ConvexpError: If the patch is not inside the image, or it is no floating-point ``(C, H, W)`` tensor.
        """
        if image_CHW.dim() != 3 or not image_CHW.is_floating_point():
            raise ConvexpError(
                f"image is a {image_CHW.dtype} tensor of shape {tuple(image_CHW.shape)}; a template is cut from one "
                "floating-point image (C, H, W): image[0] of a batch"
            )
        self.template = self._patch_of(image_CHW).detach().clone()

    def forward(self, image: Tensor) -> Tensor:
        """Return how well the template matches around each pixel, one channel."""
        template = self.template
        if template is None:
            image = padded(image, 1, 1, None)  # which refuses what is no image
            if len(image) != 1:
                raise ConvexpError(
                    f"image is a batch of {len(image)} and no template is cut yet; cut it from one of them by "
                    "cut(image[0]), or give one at a time"
                )
            template = self._patch_of(image[0])
        return match_template(image, template, method=self.method, border=self.border)

    def _patch_of(self, image_CHW: Tensor) -> Tensor:
        top, bottom, left, right = self.patch
        height, width = image_CHW.shape[-2:]
        if bottom > height or right > width:
            raise ConvexpError(
                f"patch={list(self.patch)} (top, bottom, left, right) is not inside the image, which is "
                f"{height}x{width} (HxW); bottom must be at most {height}, right at most {width}"
            )
        return image_CHW[:, top:bottom, left:right]


def _correlation_coefficient(image: Tensor, template: Tensor) -> Tensor:
    dtype = _exact(image)
    exact, kernel = image.to(dtype), template.to(dtype).to(image.device)[None]
    channels, height, width = template.shape
    mean, energy = window_moments(kernel, (channels, height, width))
    _, energies = window_moments(exact, (channels, height, width))
    products = correlate(exact, kernel - mean)  # which does not see the mean of a window
    squared = energies * energy
    flat = squared == 0
    coefficient = products / squared.masked_fill(flat, 1).sqrt()
    return coefficient.masked_fill(flat, 0).clamp(-1, 1).to(image.dtype)


def _exact(image: Tensor) -> torch.dtype:
    return torch.float32 if image.device.type == "mps" else torch.float64  # Apple's devices have no float64


def _check_method(method: str) -> None:
    if method not in get_args(Method):
        raise ConvexpError(f"method={method!r} must be one of {', '.join(get_args(Method))}")


def _check_patch(patch: Any) -> None:
    if not isinstance(patch, Sequence) or len(patch) != 4 or not all(isinstance(edge, Integral) for edge in patch):
        raise ConvexpError(
            f"patch={patch!r} must be four whole numbers, top, bottom, left and right, e.g. [100, 130, 40, 70]"
        )
    top, bottom, left, right = patch
    if min(top, left) < 0 or bottom <= top or right <= left:
        raise ConvexpError(f"patch={list(patch)!r} must have 0 ≤ top < bottom and 0 ≤ left < right, in pixels")
