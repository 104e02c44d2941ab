"""An operator of the catalogue, and what it makes of the two pictures."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from convexp.analysis.identify.catalogue_fit import NATURAL, CatalogueFit
from convexp.analysis.identify.linear_fit import coloured
from convexp.analysis.identify.mixing import Mixing
from convexp.analysis.identify.observation import Agreement, Observation
from convexp.analysis.identify.samples import Box

CERTAIN = 0.05  # of the variance that is lost in writing: nothing more complicated is tried
EDGE = 0.02  # of a limit: a parameter that comes so near to it has ended there
VAGUE = 0.2  # of a parameter's value: an error that is larger says that nothing is known of it
MERE = 0.1  # of what is left where the first picture was compressed, too: so much may fewer numbers cost
SLACK = 1.5  # of the mismatch: what is within is taken to be as good, and the one of fewer numbers counts


@dataclass(frozen=True, eq=False)
class Match:
    """An operator of the catalogue, and what it makes of the pictures.

    Args:
        fit: Family, size, and values with standard errors.
        kernels: (O, I, kh, kw), gain and colours included.
        box: Where they lie.
        constant: (O,).
        agreement: With the second picture.
    """

    fit: CatalogueFit
    kernels: Tensor
    box: Box
    constant: Tensor
    agreement: Agreement


def applied(observation: Observation, mixing: Mixing, candidate: CatalogueFit, target: Tensor, use: Tensor) -> Match:
    """What a kernel with a name makes of the first picture, and how near that is to the second one.

    Args:
        observation: The pictures.
        mixing: How the colours were reduced.
        candidate: The kernel.
        target: (O, h, w), the second picture, or what it was before it was written.
        use: (h, w), the pixels that count for what is fitted: matrix of colours, and constant.
    """
    kernel = candidate.kernel
    height, width = kernel.shape
    box = (-((height - 1) // 2), height // 2, -((width - 1) // 2), width // 2)
    kernels, constant = coloured(observation, mixing, kernel, box, target, use)
    if candidate.natural:
        constant = torch.zeros_like(constant)
    made, place = observation.predicted(kernels, box, constant)
    return Match(candidate, kernels, box, constant, observation.agreement(made, place))


def determined(found: Match) -> bool:
    """Whether the pictures say what the parameters are: any value would do of one that ends at what it may be at most.

    A wide σ in a small kernel is such a parameter, and so is the amount of a sharpening that hardly blurs.
    """
    limits = zip(found.fit.family.parameters, found.fit.values, found.fit.errors, strict=True)
    return all(
        parameter.low == -math.inf
        or (parameter.low * (1 + EDGE) < value < parameter.high * (1 - EDGE) and not error > VAGUE * abs(value))
        for parameter, value, error in limits
    )


def certain(found: Match) -> bool:
    """Whether what is written is next to nowhere anything else than what it gives: no other kernel can do better."""
    return found.agreement.mismatch <= CERTAIN * found.agreement.expected + 1e-12


def as_good(found: Match, other: Agreement) -> bool:
    """Whether a named kernel comes about as near to the second picture as another prediction does."""
    if other.inherited:
        return found.agreement.mismatch <= (1 + MERE) * other.mismatch
    if found.agreement.compressed or other.compressed:
        return found.agreement.mismatch <= SLACK * other.mismatch + 0.02 * other.expected
    return found.agreement.left <= (1 + 2 * NATURAL) * other.left
