"""Leaves that fall onto each other: endless images with the statistics of photographs."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convexp.errors import ConvexpError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_FINE = 2  # subpixels a pixel along each axis: edges are soft
_COVERED = 2**17  # subpixels, about, that the discs of the first round cover: what many cover at once takes memory
_NOBODY = np.iinfo(np.int64).max

# Of each image, uniform between two bounds: about as photographs have them.
_BRIGHTNESS, _CONTRAST, _SATURATION = (0.3, 0.6), (0.2, 0.9), (0.0, 0.5)
# Of each disc at most, as parts of the image's contrast.
_SHADE, _GRAIN = 0.3, 0.15


def dead_leaves(height: int, width: int, *, seed: int, smallest: float = 2.0, largest: float | None = None) -> Tensor:
    """Draw discs of all sizes that hide each other: a colour image (3, H, W), float32 in [0, 1].

    Discs lie at uniform places, also beyond the border, and their number falls with the radius as r⁻³: such images look
    alike at every scale. As those of photographs, their power spectrum falls about as 1/f², and most of their gradients
    are small while a few, where one disc hides another, are large (Lee, Mumford & Huang 2001, Occlusion models for
    natural images, https://doi.org/10.1023/A:1011109015675). Each image has its own brightness, contrast and
    saturation; each disc a colour, a shade that runs across it, and a grain.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        seed: Which image: the same on every machine.
        smallest: Least radius in pixels.
        largest: Largest radius in pixels; None: the image's longer side.

    Raises:
        ConvexpError: If a size is below 1, the seed is negative, or the radii are not 0.5 ≤ smallest < largest.

    Example:
        >>> dead_leaves(17, 23, seed=0).shape
        torch.Size([3, 17, 23])
    """
    for name, value, least in (("height", height, 1), ("width", width, 1), ("seed", seed, 0)):
        if value < least:
            raise ConvexpError(f"{name}={value} is too small for dead leaves: it must be at least {least}")
    largest = max(height, width, 2 * smallest) if largest is None else largest
    if not 0.5 <= smallest < largest < float("inf"):
        raise ConvexpError(f"smallest={smallest}, largest={largest}: radii of leaves must be 0.5 ≤ smallest < largest")
    random = np.random.default_rng(seed)
    discs, owner = fallen(random, _FINE * height, _FINE * width, _FINE * smallest, _FINE * largest)
    return torch.from_numpy(_painted(random, discs, owner))


def radii(random: np.random.Generator, count: int, smallest: float, largest: float, *, power: int) -> Floats:
    """Draw radii between two bounds, whose density falls as r to the minus `power`, which is 1, 2 or 3."""
    fraction = random.random(count)
    if power == 1:
        return smallest * (largest / smallest) ** fraction
    near, far = smallest ** (1.0 - power), largest ** (1.0 - power)
    inverse = near - fraction * (near - far)
    return 1 / (inverse if power == 2 else np.sqrt(inverse))


def discs_over(
    random: np.random.Generator, count: int, height: int, width: int, smallest: float, largest: float
) -> Floats:
    """Draw discs of the whole plane, with radii as r⁻³, of which only those that may touch an image: rows y, x, r."""
    # The centre of such a disc is in the image enlarged by r, and r⁻³ (H + 2r) (W + 2r) is a sum of three powers of r.
    shares = np.array(
        [
            4 * np.log(largest / smallest),
            2 * (height + width) * (1 / smallest - 1 / largest),
            height * width * (1 / smallest**2 - 1 / largest**2) / 2,
        ]
    )
    counts = random.multinomial(count, shares / shares.sum())
    r = np.concatenate([radii(random, int(n), smallest, largest, power=power) for power, n in enumerate(counts, 1)])
    random.shuffle(r)
    r = r.astype(np.float32).astype(np.float64)  # the last bit of a power differs between processors
    y, x = random.random((2, count))
    return np.stack([y * (height + 2 * r) - r, x * (width + 2 * r) - r, r])


def fallen(
    random: np.random.Generator, height: int, width: int, smallest: float, largest: float
) -> tuple[Floats, Indices]:
    """Lay discs below those before them until all is covered.

    Args:
        random: Where the discs come from.
        height: Of the image, in subpixels, as all lengths here.
        width: Of the image.
        smallest: Least radius.
        largest: Largest radius.

    Returns:
        Rows y, x, r of the discs, the uppermost first, and the number of the disc seen at each subpixel's centre.
    """
    owner = np.full(height * width, _NOBODY)
    rank = np.zeros(height * width + 1, np.int64)
    rounds: list[Floats] = []
    area = 2 * np.pi * np.log(largest / smallest) / (1 / smallest**2 - 1 / largest**2)  # of a disc, on average
    laid, count = 0, 1 + int(_COVERED / area)
    while len(free := np.flatnonzero(empty := owner == _NOBODY)):
        np.cumsum(empty, out=rank[1:])
        y, x, r = discs = discs_over(random, count, height, width, smallest, largest)
        disc, row = _ranges(_clipped(y - r, height), _clipped(y + r, height))
        half = np.sqrt(np.maximum(r[disc] ** 2 - (row + 0.5 - y[disc]) ** 2, 0))
        middle, start = x[disc], row * width
        first, last = (rank[start + _clipped(edge, width)] for edge in (middle - half, middle + half))
        span, place = _ranges(first, last)  # of the row's free subpixels alone
        np.minimum.at(owner, free[place], laid + disc[span])
        rounds.append(discs)
        laid, count = laid + count, 3 * count // 2 + 1
    return np.concatenate(rounds, axis=1), owner.reshape(height, width)


def _clipped(edge: Floats, size: int) -> Indices:
    """The first subpixel whose centre, at its number + ½, is not before an edge."""
    return np.clip(np.ceil(edge - 0.5), 0, size).astype(np.int64)


def _ranges(starts: Indices, stops: Indices) -> tuple[Indices, Indices]:
    """The whole numbers of several ranges, one range behind the other: which range each belongs to, and themselves."""
    lengths = stops - starts
    which = np.repeat(np.arange(len(lengths)), lengths)
    return which, np.arange(len(which)) + (stops - np.cumsum(lengths))[which]


def _painted(random: np.random.Generator, discs: Floats, owner: Indices) -> NDArray[np.float32]:
    """Colours each disc and takes the mean over each pixel's subpixels: (3, H, W)."""
    y, x, r = discs / _FINE
    brightness, contrast, saturation = (random.uniform(*span) for span in (_BRIGHTNESS, _CONTRAST, _SATURATION))
    light = brightness + contrast * (random.random(len(r)) + random.random(len(r)) - 1)
    signed = 2 * random.random((2, len(r))) - 1
    warm, green = signed * signed * signed * saturation * np.array([[1.0], [0.5]])  # mostly gray
    down, right = _SHADE * contrast * (2 * random.random((2, len(r))) - 1) / r
    light -= down * y + right * x
    grain = np.square(np.square(random.random(len(r)))) * _GRAIN * contrast
    table = np.array([light + warm, light + green, light - warm, down, right, grain], np.float32)
    parts = [np.take(table, owner[i::_FINE, j::_FINE], axis=1) for i in range(_FINE) for j in range(_FINE)]
    *colours, down, right, grain = np.mean(parts, axis=0)
    height, width = grain.shape
    rows, columns = (np.arange(size, dtype=np.float32) + np.float32(0.5) for size in (height, width))
    noise = 2 * random.random((height, width), dtype=np.float32) - 1
    return np.clip(np.stack(colours) + down * rows[:, None] + right * columns + grain * noise, 0, 1)
