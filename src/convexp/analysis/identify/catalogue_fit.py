"""Which kernel of the catalogue it was: parameters by least squares, on the statistics alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convexp.analysis.identify.families import Family, Values
from convexp.analysis.identify.samples import Samples
from convexp.exact import Statistics

STEPS = 25
SMALL = 1e-4  # relative step of a numerical derivative
SETTLED = 1e-7  # fraction of the loss below which a step counts as none
FAR = 30  # times the variance that is hoped for
NATURAL = 0.01  # fraction of the variance that a gain and a constant must save, to be told from 1 and 0


@dataclass(frozen=True, eq=False)
class CatalogueFit:
    """``after = gain · (kernel of the family ∗ before) + constant``.

    Args:
        family: Which kernels.
        size: Side of the kernel in pixels, as the family counts.
        values: Of its parameters.
        errors: Their standard errors; NaN where the pictures do not determine them.
        gain: What the kernel is multiplied by.
        gain_error: Its standard error; 0 where it is taken to be its natural value.
        constant: What is added.
        natural: Whether the gain is one that the operator has by itself, and nothing is added.
        variance: Of what it leaves, corrected for the parameters.
    """

    family: Family
    size: int
    values: Values
    errors: Values
    gain: float
    gain_error: float
    constant: float
    natural: bool
    variance: float

    @property
    def kernel(self) -> Tensor:
        """(kh, kw), the gain included."""
        return self.gain * self.family.kernel(self.size, self.values)

    @property
    def unknowns(self) -> int:
        """How many numbers were fitted."""
        return len(self.family.parameters) + (0 if self.natural else 2)


class Problem:
    """The loss of any kernel of a size on the samples, as the statistics give it: no pixel is read again."""

    def __init__(self, whole: Statistics, height: int, width: int) -> None:
        reach = whole.kernel_size[0] // 2
        top, left = reach - (height - 1) // 2, reach - (width - 1) // 2
        part = whole.restrict(kernel_size=(height, width), at=(top, left))
        gram, moments = part.gram[0], part.moments[0, :, 0]
        self.count = part.count
        self.gram, self.moments, self.energy = gram[:-1, :-1], moments[:-1], float(part.yy[0, 0]) / part.count
        self.means, self.mean = gram[:-1, -1], float(moments[-1])

    def products(self, kernel: Tensor) -> tuple[float, float, float]:
        """Mean of p², p·y and p, with p what the kernel makes."""
        flat = kernel.flatten()
        return float(flat @ (self.gram @ flat)), float(flat @ self.moments), float(flat @ self.means)

    def loss(self, kernel: Tensor, gain: float | None) -> tuple[float, float, float]:
        """The least mean squared error with a gain and nothing added, or any gain and constant; and both of them."""
        square, product, mean = self.products(kernel)
        if gain is not None:
            return gain**2 * square - 2 * gain * product + self.energy, gain, 0.0
        spread, together = square - mean**2, product - mean * self.mean
        gain = together / spread if spread > 1e-15 * max(square, 1e-30) else 0.0
        left = self.energy - self.mean**2 - gain * together
        return left, gain, self.mean - gain * mean


def fit_family(
    family: Family,
    samples: Samples,
    best: Tensor,
    *,
    gains: Sequence[float],
    sizes: Sequence[int],
    least: float,
    near: float = 0.0,
) -> list[CatalogueFit]:
    """A family's best parameters at each size, without standard errors.

    Args:
        family: Which kernels.
        samples: Of a source of one channel.
        best: The best kernel without a name, (side, side), for starts.
        gains: Which gains are natural; others are fitted, with a constant, where that leaves less.
        sizes: Which sizes to try.
        least: The variance that is hoped for; what stays far above it is given up early.
        near: The variance up to which a natural gain stays beside a fitted one that leaves much less.
    """
    found: list[CatalogueFit] = []
    reach = samples.side // 2
    allowed = set(family.sizes(samples.side))
    for size in sizes:
        if size not in allowed:
            continue
        half = size // 2
        start = best[reach - half : reach + half + 1, reach - half : reach + half + 1]
        starts = family.starts(size, start)
        if not starts:
            continue
        height, width = family.kernel(size, starts[0]).shape
        if max(height, width) > samples.side:
            continue
        problem = Problem(samples.statistics, height, width)
        own = [_fit(family, size, starts, problem, gain, least) for gain in gains]
        natural = min((fit.variance for fit in own), default=math.inf)
        if natural > (1 + NATURAL) * least:
            free = _fit(family, size, starts, problem, None, least)
            if natural - free.variance > NATURAL * free.variance:
                found.append(free)
                if natural > max(3 * free.variance, near):
                    continue
        found += own
    return found


def with_errors(fit: CatalogueFit, samples: Samples) -> CatalogueFit:
    """The same with standard errors of parameters and gain, from the pixels' own residuals."""
    kernel = fit.family.kernel(fit.size, fit.values)
    height, width = kernel.shape
    box = (-((height - 1) // 2), height // 2, -((width - 1) // 2), width // 2)
    columns = [
        fit.gain * _derivative(fit.family, fit.size, fit.values, number).flatten() for number in range(len(fit.values))
    ]
    if not fit.natural:
        columns.append(kernel.flatten())
    if not columns:
        return fit
    covariance = samples.covariance(torch.stack(columns, 1), fit.kernel.flatten(), fit.constant, box)
    deviations = covariance.diagonal().clamp_min(0).sqrt().tolist()
    count = len(fit.values)
    return CatalogueFit(
        fit.family,
        fit.size,
        fit.values,
        tuple(deviations[:count]),
        fit.gain,
        0.0 if fit.natural else deviations[count],
        fit.constant,
        fit.natural,
        fit.variance,
    )


def _fit(
    family: Family, size: int, starts: Sequence[Values], problem: Problem, given: float | None, least: float
) -> CatalogueFit:
    ranked = sorted((problem.loss(family.kernel(size, values), given)[0], values) for values in starts)
    count = 1 if len(family.parameters) < 2 else 2
    descents = [_descend(family, size, values, problem, given, least) for _, values in ranked[:count]]
    loss, values = min(descents)
    _, gain, constant = problem.loss(family.kernel(size, values), given)
    unknowns = len(values) + (0 if given is not None else 2)
    variance = max(loss, 0.0) * problem.count / max(problem.count - unknowns, 1)
    nothing = (math.nan,) * len(values)
    return CatalogueFit(family, size, values, nothing, gain, 0.0, constant, given is not None, variance)


def _descend(
    family: Family, size: int, values: Values, problem: Problem, given: float | None, least: float
) -> tuple[float, Values]:
    """Levenberg and Marquardt's descent of the loss, in logarithms of what must be positive."""
    loss, gain, _ = problem.loss(family.kernel(size, values), given)
    damping = 1e-3
    for _ in range(STEPS if values else 0):
        kernel = family.kernel(size, values)
        scales = [_scale(family, number, value) for number, value in enumerate(values)]
        changes = [scale * _derivative(family, size, values, number).flatten() for number, scale in enumerate(scales)]
        if given is None:
            changes.append(kernel.flatten())
        tangents = torch.stack(changes, 1)
        gram, moments = problem.gram, problem.moments
        if given is None:  # the constant follows
            gram = gram - torch.outer(problem.means, problem.means)
            moments = moments - problem.means * problem.mean
        tangents[:, : len(values)] *= gain
        hessian = tangents.T @ gram @ tangents
        downhill = tangents.T @ (moments - gram @ (gain * kernel.flatten()))
        for _ in range(8):
            damped = hessian + damping * torch.diag(hessian.diagonal() + 1e-30)
            step = (torch.linalg.pinv(damped) @ downhill)[: len(values)].tolist()
            moved = tuple(
                _moved(family, number, value, change)
                for number, (value, change) in enumerate(zip(values, step, strict=True))
            )
            new, new_gain, _ = problem.loss(family.kernel(size, moved), given)
            if new < loss:
                break
            damping *= 5
        else:
            return loss, values
        settled = loss - new < SETTLED * max(new, 1e-15) or (new > FAR * least and loss - new < 0.1 * new)
        loss, gain, values, damping = new, new_gain, moved, max(damping / 10, 1e-9)
        if settled:
            break
    return loss, values


def _scale(family: Family, number: int, value: float) -> float:
    """What a unit step of the descent changes a value by: where it is positive, steps are relative."""
    low = family.parameters[number].low
    return 1.0 if low == -math.inf else value - low if low >= 1 else value


def _moved(family: Family, number: int, value: float, change: float) -> float:
    parameter = family.parameters[number]
    if parameter.low == -math.inf:
        return value + min(max(change, -40.0), 40.0)
    base = parameter.low if parameter.low >= 1 else 0.0
    moved = base + (value - base) * math.exp(min(max(change, -0.7), 0.7))
    return min(max(moved, parameter.low + 1e-6), parameter.high)


def _derivative(family: Family, size: int, values: Values, number: int) -> Tensor:
    step = SMALL * (abs(values[number]) if family.parameters[number].low > -math.inf else 10.0)
    above = tuple(value + step * (place == number) for place, value in enumerate(values))
    below = tuple(value - step * (place == number) for place, value in enumerate(values))
    if min(below) < family.parameters[number].low and below[number] <= family.parameters[number].low:
        below = values
    return (family.kernel(size, above) - family.kernel(size, below)) / (above[number] - below[number])
