"""The best kernel between two pictures, at growing sizes, with standard errors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convexp.analysis.identify.samples import Box, Samples
from convexp.exact import Statistics

RIDGE = 1e-9  # of the mean eigenvalue; keeps what the picture hardly tells from exploding
EQUAL = 0.02  # residual variances that differ by less than this fraction are taken to be one


@dataclass(frozen=True, eq=False)
class KernelFit:
    """A kernel that was fitted: ``after = constant + Σᵢⱼ kernel[i, j] · before[y + top + i, x + left + j]``.

    Args:
        kernel: (kh, kw) float64.
        errors: (kh, kw), the weights' standard errors.
        top: Row of its first weight from the aligned pixel.
        left: Column likewise.
        constant: What is added.
        variance: Of what it leaves, corrected for the number of unknowns.
        r2: Of the best centred kernel of each side, by side.
    """

    kernel: Tensor
    errors: Tensor
    top: int
    left: int
    constant: float
    variance: float
    r2: dict[int, float]

    @property
    def box(self) -> Box:
        """Offsets of the outer weights: top, bottom, left, right, inclusive."""
        height, width = self.kernel.shape
        return self.top, self.top + height - 1, self.left, self.left + width - 1


def best_kernel(samples: Samples, *, floor: float) -> KernelFit:
    """The smallest kernel that leaves as little as the largest one does.

    Sides are cut off the largest kernel as long as the variance of what is left stays the same: within 2 % of it, or of
    the floor.

    Args:
        samples: Of a source of one channel.
        floor: A variance that no kernel is expected to get below: that of rounding.

    Example:
        >>> from convexp.analysis.identify.samples import take
        >>> image = torch.rand(1, 40, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        >>> target = image[0, :, 1:] - image[0, :, :-1]
        >>> samples = take(image, target, target > -2, side=5, offset=(0, 0), most=10_000)
        >>> fit = best_kernel(samples, floor=1e-9)
        >>> fit.kernel.round(decimals=4), fit.left
        (tensor([[-1.,  1.]], dtype=torch.float64), 0)
    """
    whole = samples.statistics
    reach = samples.side // 2
    energy = _variance_of_target(whole)
    variances = {side: solve(whole.restrict(kernel_size=(side, side)))[2] for side in sides(samples.side)}
    least = min(variances.values())
    allowed = max(least * (1 + EQUAL), least + EQUAL * floor)
    side = min(side for side, variance in variances.items() if variance <= allowed)
    half = side // 2
    box = (-half, half, -half, half)
    if half < reach:  # else it may go on beyond the window
        box = _shrunk(whole, box, reach, allowed)
    statistics = _within(whole, box, reach)
    weights, constant, variance = solve(statistics)
    errors = samples.covariance(torch.eye(len(weights), dtype=weights.dtype), weights, constant, box).diagonal()
    shape = (box[1] - box[0] + 1, box[3] - box[2] + 1)
    return KernelFit(
        weights.reshape(shape),
        errors[:-1].clamp_min(0).sqrt().reshape(shape),
        box[0],
        box[2],
        constant,
        variance,
        {side: 1 - variance / energy for side, variance in variances.items()},
    )


def sides(largest: int) -> list[int]:
    """The sides that are tried, up to a largest one."""
    return [side for side in (1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 25, 31) if side < largest] + [largest]


def _shrunk(whole: Statistics, box: Box, reach: int, allowed: float) -> Box:
    """Cuts rows and columns off, as long as nothing is lost; the side that costs least first."""
    while True:
        smaller = [
            (box[0] + 1, box[1], box[2], box[3]),
            (box[0], box[1] - 1, box[2], box[3]),
            (box[0], box[1], box[2] + 1, box[3]),
            (box[0], box[1], box[2], box[3] - 1),
        ]
        possible = [part for part in smaller if part[0] <= part[1] and part[2] <= part[3]]
        found = [(solve(_within(whole, part, reach))[2], part) for part in possible]
        if not found or min(found)[0] > allowed:
            return box
        box = min(found)[1]


def _within(whole: Statistics, box: Box, reach: int) -> Statistics:
    size = (box[1] - box[0] + 1, box[3] - box[2] + 1)
    return whole.restrict(kernel_size=size, at=(box[0] + reach, box[2] + reach))


def _variance_of_target(statistics: Statistics) -> float:
    mean = float(statistics.moments[0, -1, 0])
    return max(float(statistics.yy[0, 0]) / statistics.count - mean**2, 1e-30)


def solve(statistics: Statistics) -> tuple[Tensor, float, float]:
    """Weights, constant, and the variance of what is left, corrected for the unknowns."""
    gram, moments = statistics.gram[0], statistics.moments[0]
    ridge = RIDGE * gram.diagonal()[:-1].mean()
    damped = gram + torch.diag(torch.cat([ridge.expand(len(gram) - 1), gram.new_zeros(1)]))
    factor, failed = torch.linalg.cholesky_ex(damped)
    solution = torch.cholesky_solve(moments, factor) if not int(failed) else torch.linalg.pinv(damped) @ moments
    loss = float(statistics.losses(solution[None])[0, 0])
    count = statistics.count
    return solution[:-1, 0], float(solution[-1, 0]), loss * count / max(count - len(gram), 1)
