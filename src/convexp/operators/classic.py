"""Classic operators of kornia, with the borders of convexp.

kornia's operators keep the size of an image, and each invents a border of its own. Here the image is padded as far as
an operator reaches, if a border is named, and what it makes of its own border is cut off. An operator with several
stages thus sees an image that goes on outside as the border says, not stages that are padded one by one.

kornia is imported when an operator is applied: it takes a second.
"""

import math
from collections.abc import Callable
from numbers import Integral, Real

from torch import Tensor

from convexp.errors import ConvexpError
from convexp.operators.border import Border, Bordered, padded
from convexp.operators.kernels import check_kernel_size, check_length
from convexp.operators.nonlinear import Windowed


def median(image: Tensor, kernel_size: int, *, border: Border | None = None) -> Tensor:
    """Compute the median of each channel in a square window.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels; 3 and 5 take a small part of the time of larger ones.
        border: As in `padded`.

    Raises:
        ConvexpError: If an argument is not as above, as all functions here.

    Example:
        >>> import torch
        >>> median(torch.tensor([[3.0, 1.0, 4.0], [1.0, 5.0, 9.0], [2.0, 6.0, 5.0]])[None, None], 3)
        tensor([[[[4.]]]])
    """
    from kornia.filters import median_blur

    check_kernel_size(kernel_size)
    return applied(lambda image: median_blur(image, kernel_size), image, kernel_size // 2, border)


def bilateral(
    image: Tensor, kernel_size: int, sigma_color: float, sigma_space: float, *, border: Border | None = None
) -> Tensor:
    """Average neighbours that are near in place and in colour: a blur that keeps edges.

    A neighbour weighs ``exp(−distance² / 2 sigma_space² − difference² / 2 sigma_color²)``; the difference is the sum of
    the absolute differences of the channels, as in OpenCV (Tomasi & Manduchi 1998).

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels.
        sigma_color: Standard deviation in units of the image, e.g. 0.1.
        sigma_space: Standard deviation in pixels.
        border: As in `padded`.

    Example:
        >>> import torch
        >>> bilateral(torch.tensor([[0.0, 0.0, 1.0]]).repeat(3, 1)[None, None], 3, 0.1, 1.0) < 1e-6
        tensor([[[[True]]]])
    """
    from kornia.filters import bilateral_blur

    _check_bilateral(kernel_size, sigma_color, sigma_space)
    sigmas = (sigma_space, sigma_space)
    return applied(
        lambda image: bilateral_blur(image, kernel_size, sigma_color, sigmas), image, kernel_size // 2, border
    )


def guided(image: Tensor, kernel_size: int, eps: float, *, border: Border | None = None) -> Tensor:
    """Smooth an image guided by itself: windows whose variance is far above eps stay, others become their mean.

    ``out = ā · image + b̄``, where a and b fit the image to itself in each window, ``a = Σ (Σ + eps)⁻¹`` with the
    covariance Σ of the channels, ``b = (1 − a) · mean``, and the bars average over all windows around a pixel
    (He, Sun & Tang 2010, https://doi.org/10.1109/TPAMI.2012.213). It reaches twice as far as its window.

    Args:
        image: ``(B, C, H, W)``, floating point.
        kernel_size: Odd side of the window in pixels.
        eps: Positive variance, e.g. 0.01: the square of a contrast.
        border: As in `padded`.

    Example:
        >>> import torch
        >>> guided(torch.rand(1, 3, 17, 23), 5, 0.01).shape
        torch.Size([1, 3, 9, 15])
    """
    from kornia.filters import guided_blur

    _check_guided(kernel_size, eps)
    # separable: faster, and rounds ten times less.
    return applied(
        lambda image: guided_blur(image, image, kernel_size, eps, separable=True), image, kernel_size - 1, border
    )


def canny(
    image: Tensor,
    low: float,
    high: float,
    *,
    kernel_size: int = 5,
    sigma: float = 1.0,
    hysteresis: int | None = 1,
    border: Border | None = None,
) -> Tensor:
    """Mark edges by 1, everything else by 0: one channel, without a gradient (Canny 1986).

    The image, gray or the luma of its colours, is blurred; of its Sobel gradients those are kept that are larger than
    their two neighbours along the gradient. What is above ``high`` is an edge, what is above ``low`` is one if it is
    next to an edge. The latter is repeated: each time an edge may go on by a pixel, and the operator reaches a pixel
    further than ``kernel_size // 2 + 2``. To be a local operator it is done once unless told otherwise.

    Args:
        image: ``(B, 1 or 3, H, W)``, floating point.
        low: Positive length of a Sobel gradient; a step by 1 has 2.6, blurred as by default.
        high: Not less than low.
        kernel_size: Odd side of the Gaussian in pixels; 1 does not blur.
        sigma: Standard deviation of the Gaussian in pixels.
        hysteresis: How often edges go on; None follows them to their ends (or that of the result), as is usual.
        border: As in `padded`.

    Example:
        >>> import torch
        >>> image = torch.zeros(1, 1, 17, 23)
        >>> image[..., 10:] = 1
        >>> canny(image, 0.5, 1.0).sum(dim=2)
        tensor([[[0., 0., 0., 0., 7., 0., 0., 0., 0., 0., 0., 0., 0.]]])
    """
    from kornia.filters import canny as marks
    from kornia.morphology import reconstruction

    _check_canny(low, high, kernel_size, sigma, hysteresis)
    rounds, reach = hysteresis or 0, kernel_size // 2 + 2
    image = padded(image, 2 * (reach + rounds) + 1, 2 * (reach + rounds) + 1, border)
    if image.shape[1] not in (1, 3):
        raise ConvexpError(f"image has {image.shape[1]} channels; canny takes 1 (gray) or 3 (red, green, blue)")
    # kornia's own hysteresis would start from edges of the border that is cut off here.
    _, edges = marks(image, low, high, (kernel_size, kernel_size), (sigma, sigma), hysteresis=False)
    edges = _inside(edges, reach)  # 0, ½ above low, 1 above high
    strong, weak = (edges == 1).to(image.dtype), (edges > 0).to(image.dtype)
    return _inside(reconstruction(strong, weak, num_iters=hysteresis), rounds)


def applied(operation: Callable[[Tensor], Tensor], image: Tensor, reach: int, border: Border | None) -> Tensor:
    """Apply what keeps the size of an image, without its border: the result is valid, or has the border that is named.

    Args:
        operation: Maps ``(B, C, H, W)`` to ``(B, C', H, W)`` and does as it likes with the border.
        image: ``(B, C, H, W)``, floating point.
        reach: How far the operation reaches, in pixels on all sides.
        border: As in `padded`.

    Example:
        >>> import torch
        >>> applied(lambda image: image.roll(1, 3), torch.tensor([[[[1.0, 5.0, 2.0, 3.0]] * 3]]), 1, None)
        tensor([[[[1., 5.]]]])
    """
    return _inside(operation(padded(image, 2 * reach + 1, 2 * reach + 1, border)), reach)


class Median(Windowed):
    """``median`` as a module."""

    def forward(self, image: Tensor) -> Tensor:
        """Return the medians."""
        return median(image, self.kernel_size, border=self.border)


class Bilateral(Bordered):
    """``bilateral`` as a module."""

    def __init__(
        self, kernel_size: int, sigma_color: float, sigma_space: float, *, border: Border | None = None
    ) -> None:
        super().__init__(border)
        _check_bilateral(kernel_size, sigma_color, sigma_space)
        self.kernel_size, self.sigma_color, self.sigma_space = kernel_size, sigma_color, sigma_space

    def forward(self, image: Tensor) -> Tensor:
        """Return the averages."""
        return bilateral(image, self.kernel_size, self.sigma_color, self.sigma_space, border=self.border)


class Guided(Bordered):
    """``guided`` as a module."""

    def __init__(self, kernel_size: int, eps: float, *, border: Border | None = None) -> None:
        super().__init__(border)
        _check_guided(kernel_size, eps)
        self.kernel_size, self.eps = kernel_size, eps

    def forward(self, image: Tensor) -> Tensor:
        """Return the smooth image."""
        return guided(image, self.kernel_size, self.eps, border=self.border)


class Canny(Bordered):
    """``canny`` as a module."""

    def __init__(
        self,
        low: float,
        high: float,
        *,
        kernel_size: int = 5,
        sigma: float = 1.0,
        hysteresis: int | None = 1,
        border: Border | None = None,
    ) -> None:
        super().__init__(border)
        _check_canny(low, high, kernel_size, sigma, hysteresis)
        self.low, self.high, self.kernel_size, self.sigma, self.hysteresis = low, high, kernel_size, sigma, hysteresis

    def forward(self, image: Tensor) -> Tensor:
        """Return the edges, one channel."""
        return canny(
            image,
            self.low,
            self.high,
            kernel_size=self.kernel_size,
            sigma=self.sigma,
            hysteresis=self.hysteresis,
            border=self.border,
        )


def _inside(image: Tensor, reach: int) -> Tensor:
    height, width = image.shape[-2:]
    return image[..., reach : height - reach, reach : width - reach]


def _check_bilateral(kernel_size: int, sigma_color: float, sigma_space: float) -> None:
    check_kernel_size(kernel_size)
    check_length("sigma_space", sigma_space)
    if not isinstance(sigma_color, Real) or not 0 < sigma_color < math.inf:
        raise ConvexpError(f"sigma_color={sigma_color!r} must be a positive difference of brightness, e.g. 0.1")


def _check_guided(kernel_size: int, eps: float) -> None:
    check_kernel_size(kernel_size)
    if not isinstance(eps, Real) or not 0 < eps < math.inf:
        raise ConvexpError(f"eps={eps!r} must be a positive variance, e.g. eps=0.01")


def _check_canny(low: float, high: float, kernel_size: int, sigma: float, hysteresis: int | None) -> None:
    check_kernel_size(kernel_size)
    check_length("sigma", sigma)
    if not isinstance(low, Real) or not isinstance(high, Real) or not 0 < low <= high < math.inf:
        raise ConvexpError(f"low={low!r} and high={high!r} must be 0 < low ≤ high, e.g. low=0.5 and high=1.0")
    # True would be 1, and is kornia's "to their ends".
    if hysteresis is not None and (hysteresis is True or not isinstance(hysteresis, Integral) or hysteresis < 0):
        raise ConvexpError(
            f"hysteresis={hysteresis!r} must be how often edges go on by a pixel, e.g. 1, or None (null): to their ends"
        )
