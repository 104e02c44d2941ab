"""Plain gradient descent on a squared loss, in closed form: which rates hold, and how long it takes."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from convexp.exact.least_squares import Optimum


@dataclass(frozen=True, eq=False)
class Descent:
    """Gradient descent w ← w − η·∇L from given weights, with a constant rate η and no momentum.

    Along each eigenvector of the Hessian H = 2G/Q (Q outputs in all) the distance to the optimum shrinks by the factor
    1 − ηh a step, h being its eigenvalue, so that after s steps

    L = L* + Σ excess · (1 − ηh)^(2s).

    Args:
        optimum: Where it leads.
        weights: Where it starts, (groups, P, Q).

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from convexp.exact import Descent, gather, solve
        >>> image = torch.tensor([[[[1.0, 1.0]]]])
        >>> optimum = solve(gather(nn.Conv2d(1, 1, 1, bias=False), [(image, 3 * image)]))
        >>> descent = Descent(optimum, torch.zeros(1, 1, 1))  # L = (w − 3)²
        >>> descent.limit, descent.losses(0.25, torch.tensor([0, 1, 2])).tolist()
        (1.0, [9.0, 2.25, 0.5625])
    """

    optimum: Optimum
    weights: Tensor

    @cached_property
    def curvatures(self) -> Tensor:
        """Eigenvalues h of the Hessian, (groups, P)."""
        groups, _, outputs = self.optimum.weights.shape
        return 2 * self.optimum.eigenvalues / (groups * outputs)

    @cached_property
    def excess(self) -> Tensor:
        """What each eigenvector's distance from the optimum adds to the loss, (groups, P)."""
        away = self.optimum.eigenvectors.mT @ (self.weights - self.optimum.weights)
        return 0.5 * self.curvatures * away.square().sum(dim=2)

    @property
    def limit(self) -> float:
        """The largest stable rate, 2/λmax(H): above it the loss grows without bound."""
        largest = float(self.curvatures.max())
        return 2 / largest if largest > 0 else math.inf

    @property
    def best_rate(self) -> float:
        """The rate whose slowest eigenvector is fastest, 2/(λmax + λmin), of those that the images determine."""
        curvatures = self.curvatures[self.curvatures > 0]
        return float(2 / (curvatures.max() + curvatures.min())) if len(curvatures) else math.inf

    def losses(self, rate: float, steps: Tensor) -> Tensor:
        """The loss after each of some numbers of steps (N,): infinite where it leaves the range of float64."""
        factors = (1 - rate * self.curvatures).abs().flatten()
        remaining = self.excess.flatten()
        matters = remaining > 0
        powers = factors[matters] ** (2 * steps.double()[:, None])
        return self.optimum.loss + (powers * remaining[matters]).sum(dim=1)

    def steps_to(self, gap: float, rate: float) -> float:
        """Steps until loss/optimum − 1 ≤ gap at a rate; infinite if it never is.

        Where the optimum is 0 but for rounding, every loss is infinitely far above it.
        """
        if self.optimum.perfect:
            return math.inf

        def arrived(steps: int) -> bool:
            (loss,) = self.losses(rate, torch.tensor([steps])).tolist()
            return loss <= (1 + gap) * self.optimum.loss

        low, high = -1, 1
        if arrived(0):
            return 0
        while not arrived(high):
            low, high = high, 2 * high
            if high > 2**60:
                return math.inf
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if arrived(middle) else (middle, high)
        return high
