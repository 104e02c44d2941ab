"""Which operator of the catalogue it was, if none of its kernels: medians, extremes, magnitudes, edge-keeping blurs."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convexp.analysis.identify.observation import Agreement, Observation
from convexp.operators import (
    Bilateral,
    Blur,
    Canny,
    Closing,
    Dilation,
    Erosion,
    Gradients,
    Guided,
    LocalDeviation,
    Magnitude,
    Median,
    Opening,
    Pipeline,
)

CROP = 112  # pixels: side of the part on which operators are compared
CERTAIN = 0.05  # of the variance that is lost in writing: nothing else is tried
MOST = 8  # operators that are compared on the whole picture
SMALL_CROP = 64  # on which parameters are fitted
MORE = 0.5  # of what the best kernel leaves: an operator must leave less


@dataclass(frozen=True)
class Candidate:
    """An operator with its arguments.

    Args:
        target: Name of the choice under `configs/target`.
        words: What it is called.
        operator: Maps (1, C, H, W).
        overrides: Its configuration.
        reach: How far it sees, in pixels.
    """

    target: str
    words: str
    operator: Callable[[Tensor], Tensor]
    overrides: dict[str, Any]
    reach: int


Numbers = tuple[float, ...]
Build = Callable[[int, Numbers], Candidate]


@dataclass(frozen=True)
class NonlinearFit:
    """An operator that is no kernel, and explains the pictures.

    Args:
        candidate: Which.
        gain: What its output is multiplied by.
        constant: What is added.
        agreement: With the second picture.
    """

    candidate: Candidate
    gain: float
    constant: float
    agreement: Agreement


def fit_nonlinear(observation: Observation, *, left: float, keeps_edges: bool) -> NonlinearFit | None:
    """The operator that explains the second picture, or None.

    Args:
        observation: The pictures.
        left: The variance that the best kernel leaves.
        keeps_edges: Whether blurs that keep edges are tried; their parameters take seconds.
    """
    smooths = len(observation.before) == len(observation.after)
    region, there = _crop(observation)
    ranked: list[tuple[float, int, Candidate]] = []
    for number, candidate in enumerate(_candidates(observation)):
        ranked.append((_left_on(region, there, observation, candidate), number, candidate))
    if smooths and keeps_edges and min((value for value, _, _ in ranked), default=math.inf) > 4 * observation.floor:
        ranked += [(value, -1, candidate) for value, candidate in _edge_keeping(observation, left)]
    ranked.sort(key=lambda item: item[:2])
    best: NonlinearFit | None = None
    for value, _, candidate in ranked[:MOST]:
        if (
            observation.recording.compression is None
            and value > MORE * max(left, observation.floor) + observation.floor
        ):
            break
        found = _verified(observation, candidate)
        if found is None or (best is not None and found.agreement.mismatch >= best.agreement.mismatch):
            continue
        best = found
        if best.agreement.mismatch <= CERTAIN * best.agreement.expected:
            break
    return best


def _candidates(observation: Observation) -> Iterator[Candidate]:
    if len(observation.before) == len(observation.after):
        windows: list[tuple[str, str, Callable[[int], Callable[[Tensor], Tensor]], tuple[int, ...], int]] = [
            ("dilation", "dilation (the local maximum)", Dilation, (3, 5, 7, 9, 11, 15), 1),
            ("erosion", "erosion (the local minimum)", Erosion, (3, 5, 7, 9, 11, 15), 1),
            ("median", "the median", Median, (3, 5, 7, 9), 1),
            ("opening", "opening", Opening, (3, 5, 7, 9), 2),
            ("closing", "closing", Closing, (3, 5, 7, 9), 2),
            ("local_deviation", "the local standard deviation", LocalDeviation, (3, 5, 7, 9, 11), 1),
        ]
        for target, words, build, sizes, times in windows:
            for size in sizes:
                yield Candidate(
                    target, f"{words} over {size}×{size}", build(size), {"kernel_size": size}, times * (size // 2)
                )
    if len(observation.after) == 1:
        for kernels, norm in itertools.product(("sobel", "scharr", "prewitt", "edges"), (2, 1)):
            overrides = {} if norm == 2 else {"stages.magnitude.norm": 1}
            title = f"the gradient's magnitude ({kernels}{'' if norm == 2 else ', |gx| + |gy|'})"
            yield Candidate(
                kernels, title, Pipeline({"gradients": Gradients(kernels), "magnitude": Magnitude(norm)}), overrides, 1
            )
        stages = {"gradients": Gradients("edges"), "magnitude": Magnitude(2), "blur": Blur(5)}
        yield Candidate("edges_blur", "edges + blur", Pipeline(stages), {}, 11)
        if bool(((observation.after < 0.1) | (observation.after > 0.9)).all()):
            for low, high in ((0.05, 0.1), (0.1, 0.2), (0.1, 0.3), (0.2, 0.4), (0.3, 0.6), (0.5, 1.0)):
                title = f"Canny's edges, low={low:g}, high={high:g}"
                yield Candidate("canny", title, Canny(low, high), {"low": low, "high": high}, 5)


def _crop(observation: Observation, side: int = CROP) -> tuple[Tensor, tuple[int, int]]:
    """A part of the first picture, (1, I, h, w) float32, and the row and column of `after` under its first pixel."""
    (top, left), (height, width) = observation.offset, observation.after.shape[1:]
    tall, wide = min(side, height), min(side, width)
    y, x = (height - tall) // 2, (width - wide) // 2
    return observation.before[None, :, y + top : y + top + tall, x + left : x + left + wide].float(), (y, x)


def _left_on(region: Tensor, there: tuple[int, int], observation: Observation, candidate: Candidate) -> float:
    made = _made(candidate.operator, region)
    if made is None:
        return math.inf
    y, x = ((whole - part) // 2 for whole, part in zip(region.shape[2:], made.shape[1:], strict=True))
    wanted = observation.after[:, there[0] + y :, there[1] + x :][:, : made.shape[1], : made.shape[2]]
    if made.shape != wanted.shape:
        return math.inf
    natural = float((made.clamp(0, 1) - wanted).square().mean())
    gain, constant = _line(made, wanted)
    return min(natural, float(((gain * made + constant).clamp(0, 1) - wanted).square().mean()))


def _line(made: Tensor, wanted: Tensor) -> tuple[float, float]:
    """Gain and constant that bring an output nearest to the picture, where that is not clipped."""
    use = (wanted > 1 / 512) & (wanted < 1 - 1 / 512)
    if int(use.sum()) < 50:
        return 1.0, 0.0
    x, y = made[use], wanted[use]
    spread = float((x - x.mean()).square().mean())
    gain = float(((x - x.mean()) * (y - y.mean())).mean()) / max(spread, 1e-12)
    return gain, float(y.mean() - gain * x.mean())


def _made(operator: Callable[[Tensor], Tensor], image: Tensor) -> Tensor | None:
    """What an operator makes of (1, C, H, W), as float64 (C', H', W'); None where the picture is too small for it."""
    with torch.no_grad():
        try:
            return operator(image)[0].double()
        except (ValueError, RuntimeError):
            return None


def _edge_keeping(observation: Observation, left: float) -> Iterable[tuple[float, Candidate]]:
    """The best bilateral and guided filters on a part, their parameters by successively finer steps."""
    region, there = _crop(observation, SMALL_CROP)

    def loss(build: Build, size: int, values: Numbers) -> float:
        return _left_on(region, there, observation, build(size, values))

    for build, axes in (
        (_bilateral, ((0.02, 0.05, 0.1, 0.2, 0.4), (0.7, 1.2, 2.0, 3.5))),
        (_guided, ((0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1),)),
    ):
        coarse: list[tuple[float, Numbers, int]] = []
        for size in (3, 5, 7, 9, 11):

            def of_size(values: Numbers, build: Build = build, size: int = size) -> float:
                return loss(build, size, values)

            least, best = min((of_size(values), values) for values in itertools.product(*axes))
            coarse.append((*_descended(of_size, least, best, (1.25, 1.1)), size))
        for least, best, size in sorted(coarse)[:2]:
            if least > left:
                continue

            def of_this_size(values: Numbers, build: Build = build, size: int = size) -> float:
                return loss(build, size, values)

            least, best = _descended(of_this_size, least, best, (1.04, 1.015, 1.005, 1.002))
            for digits in (1, 2):
                values = tuple(float(f"{value:.{digits}g}") for value in best)
                if (new := of_this_size(values)) <= least * 1.02 + 0.01 * observation.floor:
                    least, best = new, values
                    break
            yield least, build(size, best)


def _descended(
    loss: Callable[[Numbers], float], least: float, best: Numbers, widths: Iterable[float]
) -> tuple[float, Numbers]:
    """The least loss, by steps of one number at a time, or of two against each other, that become finer."""
    for width in widths:
        moved = True
        while moved:
            moved = False
            for factors in _steps(len(best), width):
                values = tuple(value * factor for value, factor in zip(best, factors, strict=True))
                new = loss(values)
                if new < least * (1 - 1e-6):
                    least, best, moved = new, values, True
    return least, best


def _steps(count: int, width: float) -> Iterator[Numbers]:
    if count == 1:
        yield from ((width,), (1 / width,))
        return
    yield from ((width, 1.0), (1 / width, 1.0), (1.0, width), (1.0, 1 / width), (width, 1 / width), (1 / width, width))


def _bilateral(size: int, values: Numbers) -> Candidate:
    colour, space = values
    words = f"the bilateral filter, {size}×{size}, σ of colour {colour:.3g}, σ of space {space:.3g}"
    overrides = {"kernel_size": size, "sigma_color": round(colour, 5), "sigma_space": round(space, 4)}
    return Candidate("bilateral", words, Bilateral(size, colour, space), overrides, size // 2)


def _guided(size: int, values: Numbers) -> Candidate:
    words = f"the guided filter, {size}×{size}, eps {values[0]:.3g}"
    return Candidate(
        "guided", words, Guided(size, values[0]), {"kernel_size": size, "eps": round(values[0], 7)}, size - 1
    )


def _verified(observation: Observation, candidate: Candidate) -> NonlinearFit | None:
    (top, left), (rows, columns) = observation.offset, observation.after.shape[1:]
    made = _made(candidate.operator, observation.before[None].float())
    if made is None:
        return None
    y, x = ((whole - part) // 2 for whole, part in zip(observation.before.shape[1:], made.shape[1:], strict=True))
    first, last = max(0, y - top), min(rows, y - top + made.shape[1])
    start, end = max(0, x - left), min(columns, x - left + made.shape[2])
    made = made[:, first + top - y : last + top - y, start + left - x : end + left - x]
    place = (first, last, start, end)
    wanted = observation.after[:, first:last, start:end]
    if made.shape != wanted.shape:
        return None
    for gain, constant in ((1.0, 0.0), _line(made, wanted)):
        agreement = observation.agreement(gain * made + constant, place)
        if agreement.explained:
            return NonlinearFit(candidate, gain, constant, agreement)
    return None
