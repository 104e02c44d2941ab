"""How much of what a kernel leaves can be told from the pixels around: noise, or something that is not linear."""

from collections.abc import Generator

import torch
from torch import Tensor, nn

from convexp.analysis.identify.observation import Observation, luma

SIDES = (1, 3, 5, 9, 15)
TILE = 24  # pixels: the side of what is fitted or tested on as one


def predictability(observation: Observation, made: Tensor, place: tuple[int, int, int, int]) -> dict[int, float]:
    """How much of what a prediction leaves can be told from the pixels around, by side of the window.

    A regression on powers, means, deviations and extremes of the windows, on half of the tiles, tested on the others.

    Returns:
        The fraction of the variance that is left, of windows up to each side; the side 0 stands for the place in the
        picture alone.
    """
    residual = _residual(observation, made, place)
    found: dict[int, float] = {}
    for side, features in _features(observation, place):
        found[side] = max(_held_out(features, residual), max(found.values(), default=0.0))
    return found


def unevenness(observation: Observation, made: Tensor, place: tuple[int, int, int, int]) -> float:
    """How much of where a prediction leaves more, and where less, can be told from the pixels around.

    Returns:
        The fraction of the variance of the squared residual; about 0 if that is noise, as strong everywhere.
    """
    squares = _residual(observation, made, place).square()
    *_, (_, features) = _features(observation, place)
    return _held_out(features, squares - squares.mean())


def _residual(observation: Observation, made: Tensor, place: tuple[int, int, int, int]) -> Tensor:
    first, last, start, end = place
    return luma(observation.after[:, first:last, start:end] - made.clamp(0, 1))


def _features(
    observation: Observation, place: tuple[int, int, int, int]
) -> Generator[tuple[int, list[Tensor]], None, None]:
    """What windows up to each side tell of a pixel; the side 0 stands for its place."""
    first, last, start, end = place
    top, left = observation.offset
    source = luma(observation.before)
    pad = max(SIDES) // 2
    wide = nn.functional.pad(source[None, None], (pad,) * 4, mode="reflect")
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, last - first, dtype=torch.float64),
        torch.linspace(-1, 1, end - start, dtype=torch.float64),
        indexing="ij",
    )
    here = source[first + top : last + top, start + left : end + left]
    places = [torch.ones_like(here), rows, columns, rows * columns, rows.square(), columns.square()]
    features = [*places, *(here * place for place in places[1:])]
    yield 0, features
    for side in SIDES:
        if side == 1:
            features += [here.pow(power) for power in (2, 3, 4, 5)]
        else:
            half = side // 2
            part = wide[..., pad - half : wide.shape[2] - pad + half, pad - half : wide.shape[3] - pad + half]
            mean = nn.functional.avg_pool2d(part, side, 1)
            square = nn.functional.avg_pool2d(part.square(), side, 1)
            deviation = (square - mean.square()).clamp_min(0).sqrt()
            highest = nn.functional.max_pool2d(part, side, 1)
            lowest = -nn.functional.max_pool2d(-part, side, 1)
            local = [
                values[0, 0, first + top : last + top, start + left : end + left]
                for values in (mean, deviation, highest, lowest)
            ]
            features += [*local, local[1].square(), (local[2] - here) * (here - local[3]), (here - local[0]).pow(3)]
        yield side, features


def _held_out(features: list[Tensor], values: Tensor) -> float:
    rows = (torch.arange(values.shape[0]) // TILE)[:, None]
    odd = ((rows + torch.arange(values.shape[1]) // TILE) % 2 == 1).flatten()
    design, wanted = torch.stack([feature.flatten() for feature in features], 1), values.flatten()
    if int(odd.sum()) < 200 or int((~odd).sum()) < 200:
        return 0.0
    scale = design.abs().mean(0).clamp_min(1e-12)
    fitted, tested = design[~odd] / scale, design[odd] / scale
    gram = fitted.T @ fitted
    gram += 1e-9 * torch.diag(gram.diagonal())
    weights = torch.linalg.pinv(gram, rtol=1e-13, hermitian=True) @ (fitted.T @ wanted[~odd])
    left = (wanted[odd] - tested @ weights).square().mean()
    return max(1 - float(left / wanted[odd].square().mean().clamp_min(1e-15)), 0.0)
