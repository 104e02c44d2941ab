"""The same kernel in rounder numbers, which people prefer, if it comes as near."""

import math
from collections.abc import Iterable
from dataclasses import replace

from convexp.analysis.identify.catalogue_fit import CatalogueFit
from convexp.analysis.identify.linear_fit import LinearFit
from convexp.analysis.identify.match import Match
from convexp.analysis.identify.observation import Observation
from convexp.operators.colour import GRAYSCALE, SEPIA

ROUND = 1e-3  # of the variance that is lost in writing: so much may round numbers cost


def in_round_values(fit: CatalogueFit) -> Iterable[CatalogueFit]:
    """The same with rounder parameters, the roundest first."""
    for digits in (0, 1, 2, 3):
        values = tuple(round(value, digits) + 0.0 for value in fit.values)
        close = all(
            abs(new - old) <= max(0.02 * abs(old), 0.02 if parameter.low > -math.inf else 0.6)
            for new, old, parameter in zip(values, fit.values, fit.family.parameters, strict=True)
        )
        allowed = all(
            parameter.low < value < parameter.high
            for value, parameter in zip(values, fit.family.parameters, strict=True)
        )
        if values != fit.values and close and allowed:
            yield replace(fit, values=values)


def in_round_gain(observation: Observation, found: Match) -> Match:
    """The same with a rounder gain and constant, the roundest first, if they were fitted and that comes as near.

    Or nearer than fitted ones: where half a level is added, values are rounded up and down in turn, which no gain
    explains.
    """
    fit, near = found.fit, found.agreement.left < 2 * found.agreement.expected and not found.agreement.compressed
    if fit.natural or not (found.agreement.explained or near):
        return found
    for digits in (1, 2, 3):
        gain = round(fit.gain, digits)
        if gain == 0 or abs(gain - fit.gain) > 0.02 * abs(fit.gain):
            continue
        levels = (255 * found.constant).round() / 255
        for constant in (0 * levels, found.constant.round(decimals=2), levels, found.constant.round(decimals=3)):
            if float((constant - found.constant).abs().max()) > 0.02:
                continue
            kernels = found.kernels * (gain / fit.gain)
            agreement = observation.agreement(*observation.predicted(kernels, found.box, constant))
            rounded = Match(replace(fit, gain=gain), kernels, found.box, constant, agreement)
            if agreement.explained and (not found.agreement.explained or nearly_as_good(rounded, found)):
                return rounded
    return found


def in_round_colours(observation: Observation, linear: LinearFit, found: Match) -> Match:
    """The same with a matrix of colours that is known, or rounder, if that comes as near."""
    if linear.mixing.kind != "mixed":
        return found
    kernel = found.fit.family.kernel(found.fit.size, found.fit.values)  # the matrix has the gain
    place = divmod(int(kernel.abs().argmax()), kernel.shape[1])
    matrix = found.kernels[..., place[0], place[1]] / kernel[place]
    known = [(rows, 0.1) for rows in map(matrix.new_tensor, (SEPIA, GRAYSCALE)) if rows.shape == matrix.shape]
    for rounded, near in [*known, *((matrix.round(decimals=digits), 0.02) for digits in (1, 2, 3))]:
        if float((rounded - matrix).abs().max()) > near:
            continue
        kernels, constant = rounded[..., None, None] * kernel, 0 * found.constant
        agreement = observation.agreement(*observation.predicted(kernels, found.box, constant))
        if agreement.mismatch <= found.agreement.mismatch * (1 + 1e-9) + 1e-15:
            return replace(found, kernels=kernels, constant=constant, agreement=agreement)
    return found


def nearly_as_good(rounded: Match, found: Match) -> bool:
    """Whether round numbers cost next to nothing."""
    allowed = 1.02 * found.agreement.mismatch + ROUND * found.agreement.expected
    return rounded.agreement.mismatch <= allowed
