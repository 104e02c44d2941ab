"""The linear operators of the catalogue as families of kernels: their parameters, and where a fit of them starts."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convexp.operators import kernels
from convexp.operators.kernels import FIXED

NO_SUM = 0.25  # of Σ|k|: a kernel with a larger sum is none that sums to 0
SOME_SUM = 0.02  # of Σ|k|: a kernel with a smaller sum is none that sums to 1
MOSTLY_SUM = 0.9  # of Σ|k|: a kernel with a larger sum is no wave

Values = tuple[float, ...]


@dataclass(frozen=True)
class Parameter:
    """A number that a family's kernel depends on smoothly.

    Args:
        key: As the target's configuration calls it.
        symbol: As a sentence does.
        unit: Behind the number.
        low: What it is above; where that is not −∞, steps are taken in its logarithm.
        high: What it is below.
    """

    key: str
    symbol: str
    unit: str = ""
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True)
class Family:
    """Kernels of one name.

    Args:
        target: Name of the choice under `configs/target`.
        words: What it is called in a sentence.
        kernel: Builds the kernel (kh, kw) float64 of a size and values.
        parameters: Of the values.
        starts: Where fits start, of a size and the best kernel without a name, (size, size).
        sizes: Which sizes there are up to a largest side, in the order of simplicity.
        overrides: The configuration of a size and values besides the parameters' own keys.
        size_words: What is said of a size; empty if the family has no size.
        channels: How it combines colours: None if `target.channels` chooses, else its own way.
        total: What the kernels sum to, 0 or 1; None if it varies.
        rank: Of two that explain as much with as many parameters, the lower one is named.
    """

    target: str
    words: str
    kernel: Callable[[int, Values], Tensor]
    parameters: tuple[Parameter, ...] = ()
    starts: Callable[[int, Tensor], Sequence[Values]] = lambda _size, _kernel: [()]
    sizes: Callable[[int], Sequence[int]] = lambda largest: list(range(3, largest + 1, 2))
    overrides: Callable[[int], dict[str, Any]] = lambda size: {"kernel_size": size}
    size_words: Callable[[int], str] = lambda size: f"{size}×{size}"
    channels: str | None = "each"
    total: int | None = 1
    rank: int = 0

    @property
    def tier(self) -> int:
        """What is tried first: 0 with one parameter at most, 1 with two, 2 with more."""
        return max(len(self.parameters) - 1, 0) if len(self.parameters) < 3 else 2


_SIGMA = Parameter("sigma", "σ", "", 0.2, 60.0)
_SIGMAS = (0.4, 0.6, 0.8, 1.0, 1.4, 2.0, 3.0, 4.5, 7.0)


def families(like: Tensor) -> list[Family]:
    """The families of kernels that a kernel (kh, kw) may be one of by its sum, the simplest first."""
    share = abs(float(like.sum())) / max(float(like.abs().sum()), 1e-30)
    found = [*_fixed(), *_smooth(), *_bands()]
    possible = {0: share < NO_SUM, 1: share > SOME_SUM, None: share < MOSTLY_SUM}
    return [family for family in found if possible[family.total]]


def shift_family(right: int, down: int) -> Family:
    """The kernel that moves an image by so many pixels."""
    return Family(
        "shift",
        f"a shift by {moved(right, down)}",
        lambda _size, _values: kernels.shift(right, down).double(),
        sizes=lambda _largest: [2 * max(abs(right), abs(down)) + 1],
        overrides=lambda _size: {"right": right, "down": down},
        size_words=lambda _size: "",
        rank=1,
    )


def moved(right: int, down: int) -> str:
    """A displacement in words.

    Example:
        >>> moved(2, -1)
        '2 to the right and 1 up'
    """
    parts = [
        f"{abs(pixels)} {one if pixels > 0 else other}"
        for pixels, one, other in ((right, "to the right", "to the left"), (down, "down", "up"))
        if pixels
    ]
    return " and ".join(parts)


_TITLES = {
    "identity": "the identity",
    "vertical_edge": "the 2×2 difference of columns (vertical_edge)",
    "horizontal_edge": "the 2×2 difference of rows (horizontal_edge)",
    "sobel_x": "Sobel's derivative along x",
    "sobel_y": "Sobel's derivative along y",
    "prewitt_x": "Prewitt's derivative along x",
    "prewitt_y": "Prewitt's derivative along y",
    "scharr_x": "Scharr's derivative along x",
    "scharr_y": "Scharr's derivative along y",
    "laplacian": "the Laplacian over four neighbours",
    "laplacian_8": "the Laplacian over eight neighbours",
    "emboss": "emboss",
}


def _fixed() -> list[Family]:
    found: list[Family] = []
    for name, words in _TITLES.items():
        build = FIXED[name]
        side = max(build().shape)
        found.append(
            Family(
                "kernel" if name == "laplacian_8" else name,
                words,
                lambda _size, _values, build=build: build().double(),
                sizes=lambda largest, side=side: [side] if side <= largest else [],
                overrides=lambda _size, name=name: {"kernel": name} if name == "laplacian_8" else {},
                size_words=lambda _size: "",
                channels=None,
                total=int(build().sum() != 0),
            )
        )
    return found


def _smooth() -> list[Family]:
    def sigmas(size: int, _kernel: Tensor) -> list[Values]:
        return [(sigma,) for sigma in _SIGMAS if sigma <= 2 * size]

    def repeated(size: int, _values: Values) -> Tensor:
        return powers(size // 4)

    def angles(_size: int, _kernel: Tensor) -> list[Values]:
        return [(float(angle),) for angle in range(0, 180, 10)]

    return [
        Family("box_blur", "the mean over a square", lambda size, _values: kernels.box(size, dtype=torch.float64)),
        Family(
            "blur",
            "the classic 5×5/273 blur",
            repeated,
            sizes=lambda largest: list(range(5, largest + 1, 4)),
            overrides=lambda size: {"times": size // 4},
            size_words=lambda size: "once" if size == 5 else f"{size // 4} times",
            rank=1,
        ),
        Family(
            "gaussian_blur",
            "Gaussian blur",
            lambda size, values: kernels.gaussian(size, values[0], dtype=torch.float64),
            (_SIGMA,),
            sigmas,
        ),
        Family(
            "motion_blur",
            "motion blur",
            lambda size, values: kernels.motion_blur(size, values[0], dtype=torch.float64),
            (Parameter("angle", "angle", "°"),),
            angles,
            size_words=lambda size: f"{size} pixels long",
        ),
    ]


def _bands() -> list[Family]:
    def sigmas(size: int, _kernel: Tensor) -> list[Values]:
        return [(sigma,) for sigma in _SIGMAS if sigma <= 2 * size]

    def amounts(size: int, _kernel: Tensor) -> list[Values]:
        return [(sigma, amount) for sigma in _SIGMAS[1::2] if sigma <= 2 * size for amount in (0.5, 1.5)]

    def ratios(size: int, _kernel: Tensor) -> list[Values]:
        return [(sigma, ratio) for sigma in _SIGMAS[:7] if sigma <= size for ratio in (1.3, 1.6, 2.5)]

    return [
        Family(
            "highpass",
            "high-pass (image − Gaussian blur)",
            lambda size, values: kernels.gaussian_highpass(size, values[0], dtype=torch.float64),
            (_SIGMA,),
            sigmas,
            channels="mean",
            total=0,
        ),
        Family(
            "laplacian_of_gaussian",
            "Laplacian of Gaussian",
            lambda size, values: kernels.laplacian_of_gaussian(size, values[0], dtype=torch.float64),
            (_SIGMA,),
            sigmas,
            channels=None,
            total=0,
        ),
        Family(
            "sharpen",
            "sharpening (unsharp mask)",
            lambda size, values: kernels.unsharp(size, values[0], amount=values[1], dtype=torch.float64),
            (_SIGMA, Parameter("amount", "amount", "", 0.02, 50.0)),
            amounts,
        ),
        Family(
            "difference_of_gaussians",
            "difference of Gaussians",
            lambda size, values: kernels.difference_of_gaussians(size, values[0], ratio=values[1], dtype=torch.float64),
            (_SIGMA, Parameter("ratio", "ratio", "", 1.02, 20.0)),
            ratios,
            channels=None,
            total=0,
            rank=1,
        ),
        Family(
            "gabor",
            "Gabor",
            lambda size, values: gabor_kernel(size, values),
            (
                Parameter("wavelength", "wavelength", "", 1.5, 100.0),
                Parameter("angle", "angle", "°"),
                Parameter("sigma", "σ", "", 0.3, 60.0),
                Parameter("phase", "phase", "°"),
                Parameter("aspect", "aspect", "", 0.1, 10.0),
            ),
            gabor_starts,
            channels=None,
            total=None,
            rank=2,
        ),
    ]


def powers(times: int) -> Tensor:
    """The 5×5/273 blur, so many times: (4·times + 1, 4·times + 1) float64."""
    kernel = kernels.integer_gaussian(dtype=torch.float64)
    whole = kernel
    for _ in range(times - 1):
        whole = torch.nn.functional.conv2d(whole[None, None], kernel[None, None], padding=4)[0, 0]
    return whole


def gabor_kernel(size: int, values: Values) -> Tensor:
    """Gabor's kernel of wavelength, angle, sigma, phase and aspect."""
    wavelength, angle, sigma, phase, aspect = values
    return kernels.gabor(size, wavelength, angle=angle, sigma=sigma, phase=phase, aspect=aspect, dtype=torch.float64)


def gabor_starts(size: int, kernel: Tensor) -> list[Values]:
    """Waves as the spectrum of the best kernel has them."""
    side = 64
    spectrum = torch.fft.fft2(kernel, s=(side, side))
    power = spectrum.abs()
    place = int(power[:, : side // 2 + 1].argmax())
    row, column = divmod(place, side // 2 + 1)
    y, x = (row if row <= side // 2 else row - side) / side, column / side
    frequency = math.hypot(x, y)
    if frequency < 1 / 40:
        return []
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    weight = kernel.square()
    spread = float((weight * (axis[:, None] ** 2 + axis**2)).sum() / weight.sum().clamp_min(1e-30))
    sigma = max(math.sqrt(max(spread, 0.2)), 0.6)  # Σ|k|² of a Gaussian spreads half as far, in both directions
    angle = math.degrees(math.atan2(y, x))
    even = float((kernel + kernel.flip(0, 1)).square().sum() / (4 * weight.sum()).clamp_min(1e-30))
    phases = (-90.0,) if even < 0.02 else (0.0,) if even > 0.98 else (-45.0, 45.0, 135.0, -135.0)
    return [(1 / frequency, angle, scale * sigma, phase, 1.0) for phase in phases for scale in (0.8, 1.2)]
