"""The kernel of the catalogue that explains two pictures as well as the best kernel does, with the fewest numbers."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from convexp.analysis.identify.catalogue_fit import CatalogueFit, fit_family, with_errors
from convexp.analysis.identify.families import Family, Values, families, shift_family
from convexp.analysis.identify.kernel_fit import KernelFit, solve
from convexp.analysis.identify.linear_fit import SIDE, WIDE_SIDE, LinearFit, polished, taken, unclipped
from convexp.analysis.identify.match import MERE, SLACK, Match, applied, as_good, certain, determined
from convexp.analysis.identify.observation import Observation, luma
from convexp.analysis.identify.round_numbers import in_round_colours, in_round_gain, in_round_values, nearly_as_good
from convexp.analysis.identify.samples import Samples

NEAR = 2.0  # times the variance that the best kernel leaves: what is beyond is no candidate
TIERS = 3
SIGNIFICANT = 200  # of squared errors, which go together in blocks: what another number must save, in noise
MOST = 10  # candidates that are compared on the pixels
PASSES = 6  # in which what the file lost is predicted, and given back
PIXEL = 1e-3  # of its peak, that a kernel with parameters must hold elsewhere: else it is the identity by another name
TAILS = 10  # pixels that a kernel may be larger than what is seen of it


def match(
    observation: Observation, linear: LinearFit, *, own_size: int | None = None
) -> tuple[Match | None, LinearFit]:
    """The kernel of the catalogue that it was, or None if none explains the pictures as the best kernel does.

    Every family is fitted at every size that the best kernel allows; what comes near is then compared pixel by pixel,
    and what the file lost of each is predicted and given back, so that two kernels that differ by less than a level
    can be told apart. Of those that are as good, the one with the fewest fitted numbers and the smallest size counts.

    Args:
        observation: The pictures.
        linear: The best kernel.
        own_size: The size that the second picture's own size speaks for, if it is smaller than the first.

    Returns:
        The named kernel, and the best one without a name: a better one, if it had to be known better.
    """
    side = linear.samples.side
    good, linear = _named(observation, linear, linear.samples, own_size)
    larger = 2 * max(map(abs, linear.fit.box)) + 1 + TAILS
    if not any(certain(found) for found in good) and larger > side >= SIDE:
        use = unclipped(observation.after, observation)
        samples = taken(observation, linear.mixing, observation.after, use, min(larger, WIDE_SIDE))
        if samples is not None:
            as_any = linear.polished and any(as_good(found, linear.agreement) for found in good)
            more, linear = _named(observation, linear, samples, own_size, tiers=1 if as_any else TIERS)
            good += more
    use = unclipped(observation.after, observation)
    while good:
        chosen = in_round_colours(observation, linear, _simplest(good, observation, own_size))
        if not certain(chosen):
            linear = polished(observation, linear)
            if linear.agreement.explained and not as_good(chosen, linear.agreement):
                return None, linear
        samples = taken(observation, linear.mixing, observation.after, use, max(chosen.kernels.shape[2:]))
        if samples is not None:
            chosen = replace(chosen, fit=with_errors(chosen.fit, samples))
        if determined(chosen):
            return chosen, linear
        good = [found for found in good if found.fit.family.words != chosen.fit.family.words]
    return None, polished(observation, linear)


def _named(
    observation: Observation, linear: LinearFit, samples: Samples, own_size: int | None, *, tiers: int = TIERS
) -> tuple[list[Match], LinearFit]:
    """All that explains the pictures, of the tier of fewest parameters that has something as good as any kernel is."""
    fit = linear.fit
    raw = replace(linear, samples=samples)
    samples = _given_back(observation, raw)
    reach = samples.side // 2
    top, bottom, left, right = fit.box
    best = torch.zeros(samples.side, samples.side, dtype=torch.float64)
    best[reach + top : reach + bottom + 1, reach + left : reach + right + 1] = fit.kernel
    seen = 2 * max(-top, bottom, -left, right) + 1
    sizes = list(range(1 if samples.side <= SIDE else max(seen - TAILS, 1), min(seen + TAILS, samples.side) + 1))
    _, _, variance = solve(samples.statistics)
    least = max(variance, 0.02 * observation.floor, 1e-12)
    # What is given back is nearer to the kernel that it was predicted by than to any other.
    near_by = NEAR * max(least, 0.0 if samples is raw.samples else 0.1 * linear.agreement.expected)
    good: list[Match] = []
    for tier in range(tiers):
        found: list[CatalogueFit] = []
        for family in _candidates(fit):
            if family.tier == tier:
                found += fit_family(
                    family, samples, best, gains=linear.mixing.gains, sizes=sizes, least=least, near=near_by
                )
        near = [candidate for candidate in found if candidate.variance <= near_by and not _is_pixel(candidate)]
        near.sort(key=lambda candidate: (candidate.variance, candidate.unknowns))
        matches = [_refined(observation, raw, candidate, least) for candidate in _few_of_each(near, own_size)]
        good += [match for match in matches if match.agreement.explained]
        simple = [match for match in good if match.fit.unknowns <= tier + 1]
        if any(certain(match) for match in simple):
            break
        if simple:
            linear = polished(observation, linear)
            if linear.agreement.explained and any(as_good(match, linear.agreement) for match in simple):
                break
    return good, linear


def _given_back(observation: Observation, linear: LinearFit) -> Samples:
    """What the best kernel was fitted to, as it was before it was written, if the best kernel is right."""
    if observation.recording.compression is None or observation.noise:
        return linear.samples
    made, place = observation.predicted(linear.kernels, linear.fit.box, linear.constant)
    return linear.samples.retargeted(luma(observation.cleaned(made, place)), observation.offset)


def _candidates(fit: KernelFit) -> Iterable[Family]:
    yield from families(fit.kernel)
    row, column = divmod(int(fit.kernel.argmax()), fit.kernel.shape[1])
    if (down := -(fit.top + row)) | (right := -(fit.left + column)):
        yield shift_family(right, down)


def _is_pixel(candidate: CatalogueFit) -> bool:
    kernel = candidate.kernel.abs()
    peak = float(kernel.max())
    return bool(candidate.family.parameters) and float(kernel.sum()) - peak < PIXEL * peak


def _few_of_each(near: list[CatalogueFit], own_size: int | None) -> list[CatalogueFit]:
    """Of each family and gain the sizes that fit best, and the smallest ones; the best families first."""
    groups: dict[tuple[str, float], list[CatalogueFit]] = {}
    for candidate in near:
        key = (candidate.family.words, candidate.gain if candidate.natural else 0.0)
        groups.setdefault(key, []).append(candidate)
    chosen: list[CatalogueFit] = []
    for group in groups.values():
        others = sorted(group[3:], key=lambda candidate: (candidate.size != own_size, candidate.size))
        chosen += [*group[:3], *others[:2]]
    return chosen[:MOST]


def _refined(observation: Observation, linear: LinearFit, candidate: CatalogueFit, least: float) -> Match:
    """The candidate, fitted again to what was there before the file was written; in round numbers, if they will do."""
    use = unclipped(observation.after, observation)
    best = applied(observation, linear.mixing, candidate, observation.after, use)
    clips = observation.recording.compression is not None and float(use.double().mean()) < 0.99
    for _ in range(0 if observation.noise else PASSES):
        made, place = observation.predicted(best.kernels, best.box, best.constant)
        target = observation.cleaned(made, place)
        inside = torch.zeros_like(use)
        first, last, start, end = place
        inside[first:last, start:end] = unclipped(made, observation)
        samples = linear.samples.retargeted(luma(target), observation.offset)
        if clips:  # which pixels are dark depends on what the file lost, which pixels are predicted to be does not
            samples = taken(observation, linear.mixing, target, inside, max(best.kernels.shape[2:])) or samples
        again = _near(candidate, samples, least)
        new = applied(observation, linear.mixing, again, target, inside)
        if new.agreement.mismatch > 0.98 * best.agreement.mismatch:
            if new.agreement.mismatch < best.agreement.mismatch:
                best = new
            break
        best, candidate = new, again
    for rounded in in_round_values(best.fit):
        new = applied(observation, linear.mixing, rounded, observation.after, use)
        if nearly_as_good(new, best):
            best = new
            break
    return in_round_gain(observation, best)


def _near(candidate: CatalogueFit, samples: Samples, least: float) -> CatalogueFit:
    """The same family, size and gain, from these values on."""

    def starts(_size: int, _kernel: Tensor) -> list[Values]:
        return [candidate.values]

    started = replace(candidate.family, starts=starts)
    nothing = torch.zeros(samples.side, samples.side, dtype=torch.float64)
    gains = [candidate.gain] if candidate.natural else []
    found = fit_family(started, samples, nothing, gains=gains, sizes=[candidate.size], least=least)
    alike = [fit for fit in found if fit.natural == candidate.natural]
    return replace(alike[0], family=candidate.family) if alike else candidate


def _simplest(good: list[Match], observation: Observation, own_size: int | None) -> Match:
    least = min(found.agreement.mismatch for found in good)
    expected = min(found.agreement.expected for found in good)
    if observation.inherited:
        most = (1 + MERE) * least
    elif observation.noise:
        most = (1 + SIGNIFICANT / observation.after[0].numel()) * least
    else:
        most = SLACK * least + 0.02 * expected + 1e-3 * observation.recording.step**2
    as_good = [found for found in good if found.agreement.mismatch <= most]
    return min(
        as_good,
        key=lambda found: (
            # Where little can be told, a rare kernel without a number is no simpler than a common one with one.
            found.fit.unknowns + (min(found.fit.family.rank, 1) if observation.inherited else 0),
            found.fit.family.rank,
            own_size is not None and found.fit.size != own_size,
            round(found.agreement.mismatch / max(expected, 1e-12), 2),
            found.fit.size,
        ),
    )
