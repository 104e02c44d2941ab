"""Windows of a picture and the values that a kernel would have to make of them: the statistics of a kernel's fit."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from convexp.exact import Statistics
from convexp.operators.fourier import correlate

TILE = 32  # pixels: residuals of different tiles are taken to be independent, those within one need not be
LEVELS = 255  # steps of a picture of 8 bits
CHUNK = 8192  # windows at a time

Box = tuple[int, int, int, int]  # top, bottom, left, right from the centre, inclusive


@dataclass(frozen=True, eq=False)
class Samples:
    """Pixels of the second picture, each with the window of the first one around it.

    Args:
        source: (C, H, W) float64.
        target: (n,) float64.
        rows: (n,) of the windows' centres in the source.
        columns: (n,) likewise.
        side: Of the windows, odd.
        statistics: Of a `Conv2d(C, 1, side)` with a bias, of these pixels.
        rounding: Variance that rounding adds to each value of the target.
    """

    source: Tensor
    target: Tensor
    rows: Tensor
    columns: Tensor
    side: int
    statistics: Statistics
    rounding: float = 0.0

    def windows(self, box: Box) -> Iterator[tuple[slice, Tensor]]:
        """Which samples, and what a box around each holds, (m, C·kh·kw)."""
        top, bottom, left, right = box
        unfolded = self.source.unfold(1, bottom - top + 1, 1).unfold(2, right - left + 1, 1)
        for start in range(0, len(self.target), CHUNK):
            part = slice(start, start + CHUNK)
            windows = unfolded[:, self.rows[part] + top, self.columns[part] + left]
            yield part, windows.transpose(0, 1).reshape(windows.shape[1], -1)

    def retargeted(self, target: Tensor, offset: tuple[int, int]) -> "Samples":
        """The same windows with other values, those of a picture (h, w) that lies as the first one did."""
        values = target[self.rows - offset[0], self.columns - offset[1]]
        reach = self.side // 2
        source = nn.functional.pad(self.source, (reach, reach, reach, reach))
        placed = source.new_zeros(self.source.shape[1:])
        placed[self.rows, self.columns] = values
        uy = correlate(source[:, None], placed[None, None]).flatten()
        uy = torch.cat([uy, values.sum()[None]])[None, :, None]
        statistics = replace(self.statistics, uy=uy, yy=values.square().sum()[None, None])
        return replace(self, target=values, statistics=statistics)

    def covariance(self, directions: Tensor, weights: Tensor, constant: float, box: Box) -> Tensor:
        """Covariance of the coefficients of a least-squares fit, right also where residuals go together.

        (JᵀJ)⁻¹ · Σ_clusters (Jᵀr)(Jᵀr)ᵀ · (JᵀJ)⁻¹ with the residuals r and J, their derivatives: the sandwich of Huber
        (1967), of clusters after Liang & Zeger (1986). Of independent residuals it is σ²·(JᵀJ)⁻¹. Clusters are tiles of
        the picture. All pixels of a level are rounded alike by a kernel of one pixel: of such a kernel the covariance
        of as many independent roundings as there are levels counts, if it is larger.

        Args:
            directions: (P, p) the changes of the kernel with each coefficient; a constant is added as the last one.
            weights: (P,) the fitted kernel.
            constant: What the fit adds to every pixel.
            box: Where the kernel lies.

        Returns:
            (p + 1, p + 1).
        """
        tiles = (self.rows // TILE) * (int(self.columns.max()) // TILE + 1) + self.columns // TILE
        levels = (self.source[0, self.rows, self.columns] * LEVELS).round().long()
        levels -= levels.min()  # of channels that are subtracted, below 0
        size = directions.shape[1] + 1
        inner, scores = weights.new_zeros(size, size), weights.new_zeros(int(tiles.max()) + 1, size)
        rounded = weights.new_zeros(int(levels.max()) + 1, size)
        for part, windows in self.windows(box):
            derivatives = torch.cat([windows @ directions, windows.new_ones(len(windows), 1)], 1)
            residuals = self.target[part] - windows @ weights - constant
            inner += derivatives.T @ derivatives
            scores.index_add_(0, tiles[part], derivatives * residuals[:, None])
            rounded.index_add_(0, levels[part], derivatives)
        used = max(int((scores.abs().sum(1) > 0).sum()), 2)
        inverse = torch.linalg.pinv(inner, hermitian=True)
        found = inverse @ (scores.T @ scores) @ inverse * used / (used - 1)
        if box != (0, 0, 0, 0) or len(self.source) > 1:
            return found
        least = inverse @ (rounded.T @ rounded) @ inverse * self.rounding
        return least if float(least.trace()) > float(found.trace()) else found


def take(
    source: Tensor,
    target: Tensor,
    use: Tensor,
    *,
    side: int,
    offset: tuple[int, int],
    most: int,
    rounding: float = 0.0,
) -> Samples | None:
    """Samples of pixels that are used, spread evenly at random.

    Args:
        source: (C, H, W) float64.
        target: (h, w) float64.
        use: (h, w) bool.
        side: Of the windows, odd.
        offset: Row and column of the source that lie under the target's first pixel.
        most: How many samples at most.
        rounding: Variance that rounding adds to each value of the target.

    Returns:
        None if there are fewer than four times as many as unknowns.
    """
    reach, (top, left) = side // 2, offset
    height, width = source.shape[-2:]
    rows = torch.arange(target.shape[0]) + top
    columns = torch.arange(target.shape[1]) + left
    inside = ((rows >= reach) & (rows < height - reach))[:, None] & ((columns >= reach) & (columns < width - reach))
    places = (inside & use).flatten().nonzero().flatten()
    if len(places) > most:
        chosen = torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:most]
        places = places[chosen].sort().values
    if len(places) < 4 * (len(source) * side**2 + 1):
        return None
    values = target.flatten()[places]
    rows, columns = places // target.shape[1] + top, places % target.shape[1] + left
    size = len(source) * side**2 + 1
    uu, uy = source.new_zeros(size, size), source.new_zeros(size)
    empty = Statistics(uu[None], uy[None, :, None], values.square().sum()[None, None], len(values), (side, side), True)
    samples = Samples(source, values, rows, columns, side, empty, rounding)
    for part, windows in samples.windows((-reach, reach, -reach, reach)):
        ones = torch.cat([windows, windows.new_ones(len(windows), 1)], 1)
        uu += ones.T @ ones
        uy += ones.T @ values[part]
    return samples
