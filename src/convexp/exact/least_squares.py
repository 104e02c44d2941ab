"""The optimum of a squared loss: the weights that no training can beat."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from convexp.exact.statistics import Statistics, gather, residual

# A float64 sum of squares that is so much smaller than the target's energy is made of rounding.
CANCELLED = 1e-9


@dataclass(frozen=True, eq=False)
class Optimum:
    """The least-squares solution of Gw = b and what it says of the problem.

    Where G is singular, many weights are optimal, and these are the ones of least norm.

    Args:
        weights: (groups, P, Q), float64.
        losses: The least mean squared error of each output, (groups, Q).
        energy: Mean of the target's squares: the loss of weights that are all 0.
        count: Number of pixels.
        eigenvalues: (groups, P) of G, ascending; those that are 0 but for rounding are 0.
        eigenvectors: (groups, P, P), in columns.
    """

    weights: Tensor
    losses: Tensor
    energy: float
    count: int
    eigenvalues: Tensor
    eigenvectors: Tensor

    @cached_property
    def loss(self) -> float:
        """The least mean squared error, over pixels and channels."""
        return float(self.losses.mean())

    @property
    def rank(self) -> int:
        """How many combinations of weights the images determine, summed over groups."""
        return int((self.eigenvalues > 0).sum())

    @property
    def determined(self) -> bool:
        """Whether the optimum is a single point."""
        return self.rank == self.eigenvalues.numel()

    @property
    def perfect(self) -> bool:
        """Whether nothing is left of the target but rounding: no loss can then be a fraction above the optimum."""
        return self.loss <= 1e-12 * self.energy

    @property
    def condition_number(self) -> float:
        """Largest over smallest eigenvalue of G, infinite if G is singular: how long the loss's valley is."""
        least = float(self.eigenvalues.min())
        return float(self.eigenvalues.max()) / least if least > 0 else float("inf")

    def gap(self, loss: float) -> float | None:
        """loss/optimum − 1: how far a loss is above the optimum. None if the optimum is 0 but for rounding."""
        return None if self.perfect else loss / self.loss - 1

    def standard_errors(self) -> Tensor:
        """Of each weight, (groups, P, Q): √(σ²·diag(G⁻¹)/n), with σ² = n/(n − P) · its output's least squared error.

        They assume that the residuals of different pixels are independent and of one variance. Neighbouring pixels of
        photographs are not quite independent, so that the true errors are larger. NaN where n ≤ P or G is singular.
        """
        unknowns = self.weights.shape[1]
        if not self.determined or self.count <= unknowns:
            return torch.full_like(self.weights, torch.nan)
        variances = self.losses * self.count / (self.count - unknowns)
        inverse = (self.eigenvectors.square() / self.eigenvalues[:, None]).sum(dim=2)
        return (inverse[..., None] * variances[:, None] / self.count).sqrt()


def solve(statistics: Statistics) -> Optimum:
    """The optimum of given statistics: w = G⁻¹b, through the eigenvectors of G, of least norm if G is singular.

    Its loss is exact to about 1e-16 of the energy; `least_squares` is exact below that, too.

    Example:
        >>> image = torch.tensor([[[[1.0, 2.0, 4.0]]]])
        >>> optimum = solve(gather(nn.Conv2d(1, 1, 1, bias=False), [(image, 3 * image)]))
        >>> round(optimum.weights.item(), 12), optimum.rank
        (3.0, 1)
    """
    eigenvalues, eigenvectors = torch.linalg.eigh(statistics.gram)
    # As numpy.linalg.matrix_rank does.
    rounding = eigenvalues.amax(dim=1, keepdim=True) * eigenvalues.shape[1] * torch.finfo(eigenvalues.dtype).eps
    eigenvalues = eigenvalues.where(eigenvalues > rounding, 0.0)
    weights = _solution(eigenvalues, eigenvectors, statistics.moments)
    return Optimum(weights, statistics.losses(weights), statistics.energy, statistics.count, eigenvalues, eigenvectors)


def least_squares(
    layer: nn.Conv2d, pairs: Iterable[Sequence[Tensor]], *, statistics: Statistics | None = None
) -> Optimum:
    """The optimum of a convolution on images and targets, refined on the pixels where the statistics' digits end.

    Args:
        layer: Its shape counts, not its weights.
        pairs: Images (B, C, H, W) and targets (B, O, H', W'), to be gone through twice.
        statistics: What `gather` made of them, if that is known.

    Raises:
        ConvexpError: As `gather`.
    """
    optimum = solve(gather(layer, pairs) if statistics is None else statistics)
    if optimum.loss > CANCELLED * optimum.energy or optimum.rank == 0:
        return optimum
    moments, left = residual(layer, pairs, optimum.weights)
    change = _solution(optimum.eigenvalues, optimum.eigenvectors, moments)
    losses = (left - (change * moments).sum(dim=1)).clamp_min(0)
    return replace(optimum, weights=optimum.weights + change, losses=losses)


def _solution(eigenvalues: Tensor, eigenvectors: Tensor, moments: Tensor) -> Tensor:
    inverse = (1 / eigenvalues).where(eigenvalues > 0, 0.0)
    return eigenvectors @ (inverse[..., None] * (eigenvectors.mT @ moments))
