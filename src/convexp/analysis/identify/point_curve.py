"""A curve that every value goes through, whatever is around it: gamma, or any other."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from convexp.analysis.identify.observation import Agreement, Observation
from convexp.operators import autocontrast, equalize

Kind = Literal["gamma", "curve", "equalize", "autocontrast"]

LEVELS = 256
ENOUGH = 8  # pixels for each level of a curve
ROUND = 0.02  # of an exponent: a rounder one is tried that is so near
FLAT = 0.02  # by which a curve may differ from the picture's own cumulated histogram


@dataclass(frozen=True, eq=False)
class PointCurve:
    """What maps each value on its own.

    Args:
        kind: ``equalize`` and ``autocontrast`` depend on the whole picture.
        agreement: With the second picture.
        exponent: Of a gamma, else None.
        error: Its standard error.
        curve: (C, 256), what each level of each channel becomes; NaN where there is none.
        same: Whether all channels have the same curve.
    """

    kind: Kind
    agreement: Agreement
    exponent: float | None
    error: float | None
    curve: Tensor
    same: bool


def global_curve(observation: Observation) -> PointCurve | None:
    """The operator of the catalogue that depends on the whole picture and makes the second one of the first, if any."""
    whole = observation.whole_before
    if whole.shape != observation.whole_after.shape:
        return None
    (y, x), (height, width) = observation.origin, observation.after.shape[1:]
    before, _ = _aligned(observation)
    operators: dict[Kind, Callable[[Tensor], Tensor]] = {"autocontrast": autocontrast, "equalize": equalize}
    for kind, operator in operators.items():
        made = operator(whole[None])[0, :, y : y + height, x : x + width].double()
        unchanged = float((made - before).abs().max()) < 1 / 512
        agreement = observation.agreement(made, (0, height, 0, width))
        if agreement.explained and not unchanged:
            return PointCurve(kind, agreement, None, None, _curve(observation)[0], same=False)
    return None


def unchanged(observation: Observation) -> bool:
    """Whether the second picture is the first, but for what its file loses."""
    before, after = _aligned(observation)
    if before.shape != after.shape:
        return False
    return observation.agreement(before, (0, after.shape[1], 0, after.shape[2])).explained


def point_curve(observation: Observation) -> PointCurve | None:
    """The curve that explains the second picture, or None."""
    before, after = _aligned(observation)
    if len(before) != len(after):
        return None
    there = (0, after.shape[1], 0, after.shape[2])
    exponent, error = _exponent(before, after)
    curve, counts = _curve(observation)
    if exponent is not None:
        found: list[tuple[float, int, PointCurve]] = []
        for digits in (1, 2, 3, 12):
            rounded = round(exponent, digits)
            if rounded > 0 and abs(rounded - exponent) <= ROUND * exponent:
                agreement = observation.agreement(before.pow(rounded), there)
                if agreement.explained:
                    own = PointCurve("gamma", agreement, rounded, error, curve, True)
                    found.append((agreement.mismatch, digits, own))
        if found:
            return min(found, key=lambda item: item[:2])[2]
    if before[0].numel() < ENOUGH * LEVELS or int((counts > 0).sum()) < 3 * len(before):
        return None
    levels = (before * (LEVELS - 1)).round().long()
    made = torch.stack([channel[level] for channel, level in zip(curve, levels, strict=True)])
    agreement = observation.agreement(made, there)
    if not agreement.explained:
        return None
    kind: Kind = "equalize" if _is_cumulated(curve, counts) else "curve"
    both = (counts > 3).all(dim=0)
    same = bool(((curve - curve[:1])[:, both].abs() < 2.5 / 255).all())
    return PointCurve(kind, agreement, None, None, curve, same)


def _aligned(observation: Observation) -> tuple[Tensor, Tensor]:
    (top, left), (height, width) = observation.offset, observation.after.shape[1:]
    return observation.before[:, top : top + height, left : left + width], observation.after


def _curve(observation: Observation) -> tuple[Tensor, Tensor]:
    """The mean of the second picture where the first has a level, and how often it has: (C, 256) each."""
    before, after = _aligned(observation)
    if len(before) != len(after):
        nothing = torch.full((len(before), LEVELS), math.nan, dtype=torch.float64)
        return nothing, torch.zeros_like(nothing)
    levels = (before * (LEVELS - 1)).round().long().flatten(1)
    sums = torch.zeros(len(before), LEVELS, dtype=torch.float64).scatter_add_(1, levels, after.flatten(1))
    counts = torch.zeros_like(sums).scatter_add_(1, levels, torch.ones_like(after.flatten(1)))
    return sums / counts.where(counts > 0, torch.nan), counts


def _exponent(before: Tensor, after: Tensor) -> tuple[float | None, float | None]:
    """Of after = before^γ, by Gauss and Newton's method, where both are inside of (0, 1)."""
    use = (before > 0.02) & (before < 0.98) & (after > 0.02) & (after < 0.98)
    if int(use.sum()) < 100:
        return None, None
    x, y = before[use], after[use]
    exponent = float((x.log() * y.log()).sum() / x.log().square().sum())
    if not 0.05 < exponent < 20:
        return None, None
    slope = residual = x
    for _ in range(8):
        made = x.pow(exponent)
        slope, residual = made * x.log(), y - made
        exponent += float((slope * residual).sum() / slope.square().sum())
        if not 0.05 < exponent < 20:
            return None, None
    error = float(residual.square().mean().sqrt() / slope.square().sum().sqrt())
    return exponent, error


def _is_cumulated(curve: Tensor, counts: Tensor) -> bool:
    """Whether each curve is the channel's own cumulated histogram: equalization, by whatever rounding."""
    cumulated = counts.cumsum(1) / counts.sum(1, keepdim=True)
    middle = cumulated - counts / (2 * counts.sum(1, keepdim=True))
    there = counts > 0
    tolerance = FLAT + (counts / counts.sum(1, keepdim=True))[there]
    return bool(((curve - middle).abs()[there] <= tolerance).all())
