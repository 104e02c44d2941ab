"""One kernel for all colours: the best one between two pictures, whatever it is called."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from convexp.analysis.identify.kernel_fit import KernelFit, best_kernel
from convexp.analysis.identify.mixing import Mixing
from convexp.analysis.identify.observation import Agreement, Observation, luma
from convexp.analysis.identify.samples import Box, Samples, take

SIDE, PIXELS = 15, 40_000  # of the largest kernel that is tried at first, and how many pixels it is fitted to
WIDE_SIDE, WIDE_PIXELS = 31, 24_000
DARK = 8 / 255  # a JPEG shows what was clipped as values up to about this
GROWING = 0.9  # of what the next smaller kernels leave; if the largest leaves more than that, a larger one will, too
PASSES = 6  # in which what the file lost is predicted, and given back


@dataclass(frozen=True, eq=False)
class LinearFit:
    """The best kernel, and what it makes of each colour.

    Args:
        mixing: How colours are reduced to one channel.
        fit: The kernel in that channel.
        samples: What it was fitted to.
        kernels: (O, I, kh, kw), of the colours.
        constant: (O,), what is added.
        agreement: Of what they make with the second picture.
        polished: Whether what a JPEG lost was given back before the fit.
    """

    mixing: Mixing
    fit: KernelFit
    samples: Samples
    kernels: Tensor
    constant: Tensor
    agreement: Agreement
    polished: bool = False


def fit_linear(observation: Observation, mixing: Mixing, *, side: int = SIDE) -> LinearFit | None:
    """The best kernel up to a side.

    Args:
        observation: The pictures.
        mixing: How the colours are reduced to one channel.
        side: Of the largest kernel that is tried; in a small picture, of the largest that it determines.

    Returns:
        None if the pictures are too small, or nearly all of the second one is clipped.
    """
    source, target = mixing.source(observation), observation.after
    use = unclipped(target, observation)
    samples = taken(observation, mixing, target, use, side)
    found: LinearFit | None = None
    for _ in range(PASSES if samples is not None else 0):
        assert samples is not None
        fit = best_kernel(samples, floor=observation.floor)
        kernels, constant = coloured(observation, mixing, fit.kernel, fit.box, target, use)
        made, place = observation.predicted(kernels, fit.box, constant)
        agreement = observation.agreement(made, place)
        least = (0.98 if agreement.left < 4 * agreement.expected else 0.8) if found is not None else 0.0
        if found is not None and agreement.mismatch > least * found.agreement.mismatch:
            break
        found = LinearFit(mixing, fit, samples, kernels, constant, agreement)
        if observation.recording.compression is None or observation.noise or agreement.explained:
            break
        target, use = given_back(observation, made, place)
        samples = take(
            source,
            luma(target),
            use,
            side=samples.side,
            offset=observation.offset,
            most=len(samples.target),
            rounding=samples.rounding,
        )
        if samples is None:
            break
    return found


def polished(observation: Observation, linear: LinearFit) -> LinearFit:
    """The best kernel without a name of a JPEG, fitted again to what it was before it was written.

    What the file lost is predicted by the kernel, and given back; the next kernel is better, and predicts it better.
    A smaller kernel is taken if it comes as near.
    """
    if observation.recording.compression is None or observation.noise or linear.polished:
        return linear
    side = max(linear.fit.kernel.shape)
    best = _polished(observation, linear, linear, side + 2)
    for smaller in range(3, side, 2):
        start = fit_linear(observation, linear.mixing, side=smaller)
        found = None if start is None else _polished(observation, start, linear, smaller)
        if found is not None and found.agreement.mismatch <= best.agreement.mismatch:
            best = found
            break
    return replace(best, polished=True)


def _polished(observation: Observation, start: LinearFit, linear: LinearFit, side: int) -> LinearFit:
    for _ in range(PASSES):
        made, place = observation.predicted(start.kernels, start.fit.box, start.constant)
        target, use = given_back(observation, made, place)
        samples = taken(observation, linear.mixing, target, use, side)
        if samples is None:
            break
        fit = best_kernel(samples, floor=start.agreement.mismatch)
        kernels, constant = coloured(observation, linear.mixing, fit.kernel, fit.box, target, use)
        agreement = observation.agreement(*observation.predicted(kernels, fit.box, constant))
        if agreement.mismatch > 0.98 * start.agreement.mismatch:
            break
        start = replace(start, fit=fit, samples=samples, kernels=kernels, constant=constant, agreement=agreement)
    return replace(start, fit=replace(start.fit, r2=linear.fit.r2))


def grows(linear: LinearFit) -> bool:
    """Whether a kernel that is larger still may leave much less."""
    r2 = linear.fit.r2
    return 1 - r2[max(r2)] <= GROWING * (1 - r2.get(max(r2) - 4, 0.0))


def taken(observation: Observation, mixing: Mixing, target: Tensor, use: Tensor, side: int) -> Samples | None:
    """Samples for a kernel of a side, or of the largest that the picture determines."""
    source, side = mixing.source(observation), side | 1
    most = PIXELS if side <= SIDE else WIDE_PIXELS
    for smaller in range(side, 0, -2):
        samples = take(
            source,
            luma(target),
            use,
            side=smaller,
            offset=observation.offset,
            most=most,
            rounding=observation.recording.rounding,
        )
        if samples is not None:
            return samples
    return None


def given_back(observation: Observation, made: Tensor, place: Box) -> tuple[Tensor, Tensor]:
    """The second picture as it would have been before it was written, if a prediction is right; and where it counts."""
    use = torch.zeros(observation.after.shape[1:], dtype=torch.bool)
    first, last, start, end = place
    use[first:last, start:end] = unclipped(made, observation)
    return observation.cleaned(made, place), use


def unclipped(picture: Tensor, observation: Observation) -> Tensor:
    """(h, w), where no channel of a picture is at the end of the range."""
    margin = observation.recording.step / 2
    if observation.recording.compression is not None:
        ends = ((observation.after <= margin) | (observation.after >= 1 - margin)).double().mean()
        margin = DARK if ends > 0.005 else margin
    return ((picture > margin) & (picture < 1 - margin)).all(dim=0)


def coloured(
    observation: Observation, mixing: Mixing, kernel: Tensor, box: Box, target: Tensor, use: Tensor
) -> tuple[Tensor, Tensor]:
    """A kernel of one channel for all colours, (O, I, kh, kw) and (O,): what each is mixed of, by least squares.

    Args:
        observation: The pictures.
        mixing: How the colours were reduced.
        kernel: (kh, kw) of the reduced pictures.
        box: Where it lies.
        target: (O, h, w), the second picture, or what it is taken to be before it was written.
        use: (h, w), the pixels that count.
    """
    outputs = len(target)
    nothing = torch.zeros(outputs, dtype=torch.float64)
    if mixing.kind != "mixed":
        kernels = mixing.kernels(kernel, outputs)
        made, place = observation.predicted(kernels, box, nothing)
        left = _part(target, place) - made
        inside = _part(use[None], place)[0]
        constant = left[:, inside].mean(dim=1) if bool(inside.any()) else nothing
        return kernels, constant
    inputs = len(observation.before)
    made, place = observation.predicted(
        torch.eye(inputs, dtype=torch.float64)[..., None, None] * kernel, box, torch.zeros(inputs, dtype=torch.float64)
    )
    inside = _part(use[None], place)[0]
    design = torch.cat([made[:, inside], made.new_ones(1, int(inside.sum()))])
    wanted = _part(target, place)[:, inside]
    matrix = torch.linalg.pinv(design @ design.T, rtol=1e-12, hermitian=True) @ design @ wanted.T
    return matrix[:-1].T[..., None, None] * kernel, matrix[-1]


def _part(picture: Tensor, place: Box) -> Tensor:
    first, last, start, end = place
    return picture[:, first:last, start:end]
