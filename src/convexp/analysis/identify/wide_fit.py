"""Blurs that are wider than the kernels without a name that are fitted: by their few parameters, on the pixels."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from convexp.analysis.identify.catalogue_fit import CatalogueFit
from convexp.analysis.identify.families import Family, Values, families
from convexp.analysis.identify.linear_fit import WIDE_SIDE, given_back, unclipped
from convexp.analysis.identify.match import Match, applied, certain
from convexp.analysis.identify.mixing import Mixing
from convexp.analysis.identify.observation import Observation, luma
from convexp.analysis.identify.round_numbers import in_round_values
from convexp.operators.fourier import correlate

WIDEST = 0.45  # of the picture's side: larger kernels leave too little of it
NARROW, BROAD = 2.0, 40.0  # σ in pixels
GOLDEN = (math.sqrt(5) - 1) / 2
PASSES = 4  # in which what a JPEG lost is predicted, and given back
LIKELY = 0.04  # of the variance of the second picture: what leaves more is not pursued


def fit_wide(observation: Observation, mixing: Mixing) -> Match | None:
    """The Gaussian, box, repeated or motion blur above 31×31 that explains the second picture, or None."""
    problem = _Problem(observation, mixing)
    if problem.limit <= WIDE_SIDE or mixing.kind not in ("gray", "each", "equal", "luma"):
        return None
    best: Match | None = None
    for _ in range(1 if observation.recording.compression is None else PASSES):
        found = sorted((*_gaussian(problem), *_sized(problem), *_motion(problem)), key=lambda item: (item[0], item[2]))
        matches = [
            _match(observation, mixing, problem, item) for item in found[:4] if item[0] <= LIKELY * problem.energy
        ]
        better = min(matches, key=lambda match: match.agreement.mismatch, default=None)
        if better is None or (best is not None and better.agreement.mismatch >= best.agreement.mismatch):
            break
        best = better
        target, problem.use = given_back(observation, *observation.predicted(best.kernels, best.box, best.constant))
        problem.target = luma(target)
    return best if best is not None and certain(best) and best.fit.size > WIDE_SIDE else None


def _match(observation: Observation, mixing: Mixing, problem: "_Problem", found: "Found") -> Match:
    loss, target, size, values = found
    family = next(family for family in families(torch.ones(1, 1)) if family.target == target)
    error = (problem.error(family, size, values),) if values else ()
    return _best(observation, mixing, CatalogueFit(family, size, values, error, 1.0, 0.0, 0.0, True, loss))


def _best(observation: Observation, mixing: Mixing, fit: CatalogueFit) -> Match:
    use = unclipped(observation.after, observation)
    found = applied(observation, mixing, fit, observation.after, use)
    for rounded in in_round_values(fit):
        new = applied(observation, mixing, rounded, observation.after, use)
        if new.agreement.mismatch <= found.agreement.mismatch:
            return new
    return found


class _Problem:
    """What a kernel of any size leaves of the second picture."""

    def __init__(self, observation: Observation, mixing: Mixing) -> None:
        self.source, self.target = mixing.source(observation)[None], luma(observation.after)
        self.use, self.offset = unclipped(observation.after, observation), observation.offset
        self.energy = float(self.target.var())
        self.limit = int(WIDEST * min(self.target.shape))

    def made(self, kernel: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What it makes, what is there, and which pixels count."""
        reach = [side // 2 for side in kernel.shape]
        (top, left), (rows, columns) = self.offset, self.target.shape
        height, width = self.source.shape[2:]
        first, last = max(0, reach[0] - top), min(rows, height - top - reach[0])
        start, end = max(0, reach[1] - left), min(columns, width - left - reach[1])
        region = self.source[
            ..., first + top - reach[0] : last + top + reach[0], start + left - reach[1] : end + left + reach[1]
        ]
        made = correlate(region, kernel[None, None])[0, 0]
        return made, self.target[first:last, start:end], self.use[first:last, start:end]

    def loss(self, kernel: Tensor) -> float:
        """Mean square of what it leaves."""
        made, wanted, use = self.made(kernel)
        return float((made - wanted)[use].square().mean()) if bool(use.any()) else math.inf

    def error(self, family: Family, size: int, values: Values) -> float:
        """Standard error of the one parameter."""
        step = 1e-3 * max(abs(values[0]), 1.0)
        above, wanted, use = self.made(family.kernel(size, (values[0] + step,)))
        below = self.made(family.kernel(size, (values[0] - step,)))[0]
        slope = (above - below)[use] / (2 * step)
        left = ((above + below)[use] / 2 - wanted[use]).square().mean().sqrt()
        return float(left / slope.square().sum().sqrt().clamp_min(1e-12))


Found = tuple[float, str, int, Values]


def _gaussian(problem: _Problem) -> Iterator[Found]:
    family = next(family for family in families(torch.ones(1, 1)) if family.target == "gaussian_blur")

    def width(sigma: float) -> int:
        return min(2 * math.ceil(3 * sigma) + 1, problem.limit | 1)

    sigma = _least(lambda sigma: problem.loss(family.kernel(width(sigma), (sigma,))), NARROW, BROAD)
    if problem.loss(family.kernel(width(sigma), (sigma,))) > LIKELY * problem.energy:
        return
    smallest = max(WIDE_SIDE, 2 * math.ceil(1.5 * sigma) + 1)
    sizes = range(smallest | 1, min(2 * math.ceil(4.5 * sigma) + 1, problem.limit) + 1, 2)
    tried: dict[int, tuple[float, float]] = {}

    def at(size: int) -> float:
        if size not in tried:
            best = _least(lambda value: problem.loss(family.kernel(size, (value,))), 0.85 * sigma, 1.3 * sigma, 16)
            tried[size] = (problem.loss(family.kernel(size, (best,))), best)
        return tried[size][0]

    for step in (16, 6, 2):  # the loss has one valley along the size, too
        near = sizes[:: max(step // 2, 1)]
        if tried:
            best = min(tried, key=lambda size: tried[size][0])
            near = [size for size in near if abs(size - best) <= 3 * step]
        for size in near:
            at(size)
    for size, (loss, value) in tried.items():
        yield loss, "gaussian_blur", size, (value,)


def _sized(problem: _Problem) -> Iterator[Found]:
    for family in families(torch.ones(1, 1)):
        if family.target in ("box_blur", "blur"):
            for size in family.sizes(min(problem.limit, 121)):
                if size > WIDE_SIDE - 8:
                    yield problem.loss(family.kernel(size, ())), family.target, size, ()


def _motion(problem: _Problem) -> Iterator[Found]:
    family = next(family for family in families(torch.ones(1, 1)) if family.target == "motion_blur")
    lengths = range(WIDE_SIDE - 8, min(problem.limit, 121) + 1, 12)
    coarse = [
        (problem.loss(family.kernel(size, (float(angle),))), size, float(angle))
        for size in lengths
        for angle in range(0, 180, 10)
    ]
    loss, size, angle = min(coarse, default=(math.inf, 0, 0.0))
    if loss > LIKELY * problem.energy:
        return
    for spread in (12.0, 3.0):
        angle = _least(
            lambda value, size=size: problem.loss(family.kernel(size, (value,))), angle - spread, angle + spread, 14
        )
        near = range(max(size - 12, 3), min(size + 12, problem.limit | 1) + 1, 2)
        loss, size = min((problem.loss(family.kernel(other, (angle,))), other) for other in near)
    angle = _least(lambda value: problem.loss(family.kernel(size, (value,))), angle - 1, angle + 1, 16)
    yield problem.loss(family.kernel(size, (angle,))), "motion_blur", size, (angle % 180,)


def _least(function: Callable[[float], float], low: float, high: float, steps: int = 22) -> float:
    """Where a function with one valley is least: golden sections."""
    one, two = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    at_one, at_two = function(one), function(two)
    for _ in range(steps):
        if at_one < at_two:
            high, two, at_two = two, one, at_one
            one = high - GOLDEN * (high - low)
            at_one = function(one)
        else:
            low, one, at_one = one, two, at_two
            two = low + GOLDEN * (high - low)
            at_two = function(two)
    return (low + high) / 2
