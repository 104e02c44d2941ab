"""How far one image is shifted against another."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.alignment import common_center
from convexp.images.conversion import to_gray

SIDE = 512  # of the centre that is compared
FINENESS = 20  # parts of a pixel that are told apart
ALIKE = 0.1  # the least correlation of images that show the same
AGREEMENT = 0.4  # pixels by which the two estimates may differ


def offset(image: Tensor, other: Tensor) -> tuple[float, float] | None:
    """How far the content of another image lies below and to the right of where it lies in an image, in pixels.

    The peak of the cross-correlation (Guizar-Sicairos, Thurman and Fienup, Efficient subpixel image registration
    algorithms, Optics Letters 33, 2008, as scikit-image has it), if that of the phases alone is there, too. What a
    filter that differentiates makes of an image lies nowhere: its two estimates are on different sides.

    Args:
        image: (C, H, W).
        other: (C', H', W'), filtered or not; their common centre is compared.

    Returns:
        Down and right, to a tenth of a pixel; None if that cannot be said.

    Example:
        >>> import torch
        >>> scene = torch.rand(1, 67, 71)
        >>> offset(scene[:, 3:, 2:], scene[:, :-3, :-2])
        (3.0, 2.0)
    """
    first, second = (_windowed(part[0].double().numpy()) for part in common_center(to_gray(image), to_gray(other)))
    if not first.any() or not second.any():
        return None
    (down, right, height), phases = (_peak(first, second, normalization) for normalization in (None, "phase"))
    if height < ALIKE or max(abs(down - phases[0]), abs(right - phases[1])) > AGREEMENT:
        return None
    return down, right


def moved(image: Tensor, other: Tensor, *, down: int, right: int) -> tuple[Tensor, Tensor]:
    """What two images both show, if the content of the other lies so many pixels lower and further right.

    Args:
        image: (C, H, W).
        other: (C', H', W') that lies around the same centre, no larger; it stays as much smaller as it is.
        down: Whole pixels.
        right: Likewise.

    Raises:
        ConvexpError: If that leaves nothing.

    Example:
        >>> import torch
        >>> scene = torch.rand(1, 7, 9)
        >>> one, two = moved(scene[:, 2:], scene[:, :-2], down=2, right=0)
        >>> one.shape, one.equal(two)
        (torch.Size([1, 3, 9]), True)
    """
    height, width = other.shape[-2:]
    if abs(down) >= height or abs(right) >= width:
        raise ConvexpError(f"images of {height}×{width}, moved by {down} and {right} pixels, have nothing in common")
    return _cut(image, -down, -right), _cut(other, down, right)


def _cut(image: Tensor, down: int, right: int) -> Tensor:
    """Without its first rows, so many, or where that is negative without its last ones; of columns likewise."""
    height, width = image.shape[-2:]
    return image[..., max(down, 0) : height + min(down, 0), max(right, 0) : width + min(right, 0)]


def _windowed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The centre of a gray image, without its mean, and fading towards its border."""
    height, width = (min(side, SIDE) for side in values.shape)
    top, left = (values.shape[0] - height) // 2, (values.shape[1] - width) // 2
    centre = values[top : top + height, left : left + width]
    return (centre - centre.mean()) * np.hanning(height)[:, None] * np.hanning(width)


def _peak(
    first: NDArray[np.float64], second: NDArray[np.float64], normalization: Literal["phase"] | None
) -> tuple[float, float, float]:
    """Down, right, and the correlation there."""
    from skimage.registration import phase_cross_correlation  # takes a second to import

    how: Any = normalization  # annotated as text, documented as this
    found, error, _ = phase_cross_correlation(second, first, upsample_factor=FINENESS, normalization=how)
    # Rounded, as twentieths are no binary fractions; and 0 is not to be shown as −0.
    down, right = (round(float(part), 6) + 0.0 for part in found)
    return down, right, float(max(0.0, 1 - error**2)) ** 0.5
