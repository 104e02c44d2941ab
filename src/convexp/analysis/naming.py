"""What a kernel is called: the kernel of the catalogue that it looks like, and the direction of an edge."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from convexp.operators import kernels
from convexp.operators.kernels import FIXED

SIGMAS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
LARGEST = 15  # side of the templates: with larger ones, a large kernel would take minutes
EQUAL = 1e-6  # what float32 leaves of a difference between cosines
LITTLE_DC = 0.2  # of Σ|k|
ODD = 0.5  # of Σk²: three quarters of the energy are odd

# Derivatives along x and along y, orthogonal and of one norm.
_DERIVATIVES = (("vertical_edge", "horizontal_edge"), ("sobel_x", "sobel_y"))


@dataclass(frozen=True)
class Name:
    """What a kernel looks like.

    Args:
        name: Of the nearest kernel, with its parameters, as ``gaussian σ=1.5``.
        cosine: Similarity to it, up to the sign, from 0 to 1.
        angle: Of an edge, the direction in degrees in which the image grows brighter where the kernel answers
            positively: 0 is to the right, 90 downwards, above −180, up to 180. None if the kernel is no edge.
        steered: Of an edge, the similarity to the nearest mixture of a derivative along x and one along y, from 0 to 1:
            1 for an edge in any direction.
    """

    name: str
    cosine: float
    angle: float | None = None
    steered: float | None = None


def nearest(kernel: Tensor) -> Name:
    """The kernel of the catalogue that a kernel looks most like, up to sign and scale.

    Similarity is |cos| of the angle between kernels as vectors, in the best of all places of the smaller one inside
    the larger one. A kernel that reads several channels is compared with one that sums over them. Of kernels that are
    equally near, the simplest counts.

    A kernel counts as an edge if its sum is small (at most a fifth of Σ|k|) and it is more nearly odd about some point
    than it is even about any. Its angle is that of the nearest mixture of two derivatives, which noise far from the
    edge turns less than it turns the first moments Σ x·k and Σ y·k.

    Args:
        kernel: (I, kh, kw).

    Example:
        >>> nearest(-2 * kernels.sobel_y()[None])
        Name(name='sobel_y', cosine=1.0, angle=-90.0, steered=1.0)
    """
    kernel = kernel.detach().cpu().double()
    if not kernel.isfinite().all():
        return Name("not finite", math.nan)
    norm = float(kernel.norm())
    if norm == 0:
        return Name("zero", 0.0)
    # The cosine with a template that all I channels repeat: Σ template·sum / (norm · √I · norm of the template).
    summed = kernel.sum(dim=0) / (norm * len(kernel) ** 0.5)
    names, templates = _catalogue(min(max(kernel.shape[1:]), LARGEST))
    cosines = torch.stack([_cosines(summed, template).abs().max() for template in templates])
    best = int((cosines >= cosines.max() - EQUAL).nonzero()[0])
    cosine = _rounded(float(cosines[best]))
    steered, angle = max(_steered(summed, *pair) for pair in _DERIVATIVES)
    return Name(names[best], cosine, angle, steered) if _is_edge(kernel) and steered > 0 else Name(names[best], cosine)


@lru_cache
def _catalogue(side: int) -> tuple[list[str], list[Tensor]]:
    """Names and kernels that may look like one of a given side, the simplest first."""
    sizes = range(3, side + 3, 2)
    found = [(name, function().double()) for name, function in FIXED.items()]
    found += [(f"box {size}×{size}", torch.ones(size, size)) for size in range(2, side + 3)]
    found += [
        (f"motion_blur {size} pixels at {angle}°", kernels.motion_blur(size, angle))
        for angle in (0, 90, 45, 135)
        for size in sizes
    ]
    bands = (
        kernels.gaussian,
        kernels.gaussian_highpass,
        kernels.laplacian_of_gaussian,
        kernels.difference_of_gaussians,
    )
    found += [
        (f"{band.__name__} σ={sigma:g}", band(size, sigma, dtype=torch.float64))
        for band in bands
        for sigma in SIGMAS
        for size in sizes
    ]
    found += [
        (f"unsharp σ={sigma:g} amount={amount:g}", kernels.unsharp(size, sigma, amount=amount, dtype=torch.float64))
        for amount in (0.5, 1.0, 2.0)
        for sigma in SIGMAS
        for size in sizes
    ]
    found += [
        (
            f"gabor λ={wavelength:g} at {angle:g}°" + ("" if phase else " even"),
            kernels.gabor(size, wavelength, angle=angle, sigma=wavelength / 2, phase=phase, dtype=torch.float64),
        )
        for phase in (-90.0, 0.0)
        for wavelength in (3.0, 4.0, 6.0, 8.0)
        for angle in (0.0, 45.0, 90.0, 135.0)
        for size in sizes
        if size >= wavelength
    ]
    return [name for name, _ in found], [template.double() / template.double().norm() for _, template in found]


def _cosines(kernel: Tensor, template: Tensor) -> Tensor:
    """Σ kernel·template in all places of the smaller one inside the larger one, along each axis."""
    lacking = [max(wanted - side, 0) for wanted, side in zip(template.shape, kernel.shape, strict=True)]
    padding = (lacking[1], lacking[1], lacking[0], lacking[0])
    return nn.functional.conv2d(nn.functional.pad(kernel, padding)[None, None], template[None, None])


def _is_edge(kernel: Tensor) -> bool:
    """Tell whether a kernel (I, kh, kw) has next to no sum and is odd about some point."""
    if float(kernel.sum().abs()) > LITTLE_DC * float(kernel.abs().sum()):
        return False
    # Σ k(p)·k(2c − p) for all centres c, in steps of half a pixel: Σk² if k is even about c, −Σk² if it is odd.
    height, width = kernel.shape[1:]
    padded = nn.functional.pad(kernel, (width - 1, width - 1, height - 1, height - 1))
    evenness = nn.functional.conv2d(padded[None], kernel.flip(1, 2)[None]) / kernel.square().sum()
    odd = -float(evenness.min())
    return odd >= ODD and odd > float(evenness.max())


def _steered(kernel: Tensor, along_x: str, along_y: str) -> tuple[float, float]:
    """The cosine of the angle between a kernel and the plane of two orthogonal ones, and its direction in degrees."""
    templates = (FIXED[name]().double() for name in (along_x, along_y))
    x, y = (_cosines(kernel, template / template.norm()).flatten() for template in templates)
    best = int(torch.hypot(x, y).argmax())
    # Rounded, so that −0 and 1e-15 above −180 do not count as other directions.
    degrees = round(math.degrees(math.atan2(y[best], x[best])), 6) + 0.0
    return _rounded(math.hypot(x[best], y[best])), 180.0 if degrees == -180 else degrees


def _rounded(cosine: float) -> float:
    return round(min(cosine, 1.0), 9)
