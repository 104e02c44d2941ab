"""What is where in an image: flat areas, edges and textures."""

import math

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.alignment import center_crop
from convexp.operators import filter2d, gradients
from convexp.operators.kernels import gaussian

FLAT, EDGE, TEXTURE = 0, 1, 2
NAMES = ("flat", "edge", "texture")

LEAST_GRADIENT = 0.01  # root mean square, of the range of the image a pixel: 2.5 of 255 grey values
LEAST_COHERENCE = 0.5  # 1.4 % of the pixels of white noise reach it by chance
SIGMA = 2.0  # of the window in which gradients are compared, in pixels
WIDE_SIGMA = 6.0  # of the window in which a flat place is sought


def content(image: Tensor) -> Tensor:
    """What each pixel lies in: 0 a flat area, 1 an edge, 2 a texture; (H, W) int8.

    With the eigenvalues λ₁ ≥ λ₂ of the structure tensor, which averages the products of the derivatives in a Gaussian
    window (σ = 2 pixels), an area is flat where the gradient √(λ₁ + λ₂) is below 0.01 a pixel. Elsewhere it is an edge
    where the gradients have one direction, (λ₁ − λ₂)/(λ₁ + λ₂) > 0.5, and a texture where they have not: corners count
    as texture, stripes as edges.
    Bigün and Granlund, Optimal orientation detection of linear symmetry, ICCV 1987.

    Args:
        image: (1, C, H, W), values in [0, 1]; its channels are averaged.

    Example:
        >>> step = torch.cat([torch.zeros(1, 1, 32, 16), torch.ones(1, 1, 32, 16)], dim=3)
        >>> content(step)[16, ::5]
        tensor([0, 0, 1, 1, 1, 0, 0], dtype=torch.int8)
    """
    return _classes(*_structure(_gradients(image)))


def places(image: Tensor, *, margin: int = 24) -> dict[str, tuple[int, int]]:
    """A good example of each content: the (row, column) of the strongest edge, the flattest place, the best texture.

    The flattest place has the least gradient in a wide window (σ = 6 pixels), whether it is flat or not. The others are
    left out if the image has none.

    Args:
        image: (1, C, H, W), values in [0, 1].
        margin: Least distance from the border in pixels; less if the image is smaller than that.

    Example:
        >>> step = torch.cat([torch.zeros(1, 1, 64, 40), torch.ones(1, 1, 64, 40)], dim=3)
        >>> places(step)["edge"]
        (24, 39)
    """
    derivatives = _gradients(image)
    energy, difference = _structure(derivatives)
    classes = _classes(energy, difference)
    # The strength of an edge is that of its direction, the strength of a texture that across it.
    scores = {"edge": (EDGE, difference), "texture": (TEXTURE, (energy - difference) / 2)}
    found: dict[str, tuple[int, int]] = {}
    for name, (kind, score) in scores.items():
        place = _best(score.masked_fill(classes != kind, 0), margin)
        if score[place] > 0 and classes[place] == kind:
            found[name] = place
    steepness = _smooth(derivatives.square().sum(dim=1, keepdim=True), WIDE_SIGMA)[0, 0]
    found["flat"] = _best(-steepness, margin)
    return found


def error_by_content(error: Tensor, classes: Tensor) -> dict[str, dict[str, float]]:
    """How an error is spread over flat areas, edges and textures.

    Args:
        error: (C, H, W) or (H, W), output − target.
        classes: (H', W'), as `content` returns them; both are cut to their common centre.

    Returns:
        For each of flat, edge and texture: the fraction of `pixels`, the `rmse` over them (NaN if there are none) and
        their `share` of the squared error (0 if there is no error).

    Raises:
        ConvexpError: If either has other dimensions.

    Example:
        >>> error_by_content(torch.tensor([[0.0, 3.0]]), torch.tensor([[0, 1]]))["edge"]
        {'pixels': 0.5, 'rmse': 3.0, 'share': 1.0}
    """
    if error.dim() not in (2, 3) or classes.dim() != 2:
        raise ConvexpError(
            f"error has shape {tuple(error.shape)} and classes {tuple(classes.shape)}; must be (C, H, W) or (H, W), "
            "and (H, W): take one image of a batch"
        )
    height, width = (min(pair) for pair in zip(error.shape[-2:], classes.shape, strict=True))
    squares = center_crop(error, height, width).detach().double().square().reshape(-1, height, width).mean(dim=0)
    classes = center_crop(classes, height, width)
    total = float(squares.sum())
    spread: dict[str, dict[str, float]] = {}
    for kind, name in enumerate(NAMES):
        inside = squares[classes == kind]
        spread[name] = {
            "pixels": inside.numel() / squares.numel(),
            "rmse": math.sqrt(float(inside.mean())),
            "share": float(inside.sum()) / total if total > 0 else 0.0,
        }
    return spread


def _structure(derivatives: Tensor) -> tuple[Tensor, Tensor]:
    """The sum λ₁ + λ₂ of the structure tensor's eigenvalues and their difference, (H, W) each."""
    along_x, along_y = derivatives[0]
    products = torch.stack([along_x * along_x, along_y * along_y, along_x * along_y])[None]
    xx, yy, xy = _smooth(products, SIGMA)[0]
    return xx + yy, torch.hypot(xx - yy, 2 * xy)


def _gradients(image: Tensor) -> Tensor:
    """The derivatives along x and y of the channels' mean, in units of the image a pixel: (1, 2, H, W) float64."""
    return gradients(image.detach().double().mean(dim=1, keepdim=True), border="reflect") / 8


def _classes(energy: Tensor, difference: Tensor) -> Tensor:
    kinds = torch.where(difference > LEAST_COHERENCE * energy, EDGE, TEXTURE)
    return kinds.masked_fill(energy < LEAST_GRADIENT**2, FLAT).to(torch.int8)


def _smooth(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur to 3σ, as large as the image. By rows and columns, which is much faster."""
    for dim in (2, 3):
        radius = min(math.ceil(3 * sigma), image.shape[dim] - 1)  # as far as a reflected border goes
        profile = gaussian(2 * radius + 1, sigma, dtype=torch.float64).sum(dim=0)
        image = filter2d(image, profile[:, None] if dim == 2 else profile[None], border="reflect")
    return image


def _best(score: Tensor, margin: int) -> tuple[int, int]:
    """The first place with the highest score that keeps away from the border."""
    height, width = score.shape
    top, left = (min(margin, (side - 1) // 2) for side in (height, width))
    inner = score[top : height - top, left : width - left]
    row, column = divmod(int(inner.argmax()), inner.shape[1])
    return top + row, left + column
