"""Which filter it was, from one picture before and one after it."""

from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor

from convexp.analysis.identify.border_convention import BorderConvention, border_convention
from convexp.analysis.identify.catalogue_match import match
from convexp.analysis.identify.linear_fit import SIDE, WIDE_SIDE, LinearFit, fit_linear, grows, unclipped
from convexp.analysis.identify.match import SLACK, Match, certain
from convexp.analysis.identify.mixing import fitted_mixing, simple_mixings
from convexp.analysis.identify.nonlinear_fit import NonlinearFit, fit_nonlinear
from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.point_curve import PointCurve, global_curve, point_curve, unchanged
from convexp.analysis.identify.predictability import predictability, unevenness
from convexp.analysis.identify.recording import Compression, Recording
from convexp.analysis.identify.wide_fit import fit_wide
from convexp.images.registration import offset as registered
from convexp.operators.fourier import correlate

Kind = Literal["linear", "point", "local", "global", "unknown"]

NEARLY = 2.0  # times the variance that is expected: a named kernel may still explain what the best one does not
CLEAN = 0.98  # R² from which a kernel and noise are thought of at all
PREDICTABLE = 0.03  # of what the best kernel leaves: if more can be told from the pixels around, it is no noise
UNEVEN = 0.03  # of the differences between its squares, likewise
MIXED = 5  # side of the kernel that tells how colours are mixed
MIXES = 0.5  # of what is left without: colours that are mixed must leave less
SMOOTH = 0.8  # R² of the best kernel, that a blur that keeps edges has at least
LOCAL = 0.5  # of what the best kernel leaves: if so much can be told from a window, it is local
FAR = 7  # pixels that a picture must have moved, to be moved back first
MORE_LOST = 1.7  # times what a file loses of what was in one before, it loses of what was not
FLAT = 0.6 / 255  # standard deviation below which a picture tells nothing


@dataclass(frozen=True, eq=False)
class Identification:
    """What can be said of the filter between two pictures.

    Args:
        kind: ``linear``: one kernel explains the second picture. ``point``: a curve of every value does. ``local``: it
            depends on the pixels around, not linearly. ``global``: on the whole picture. ``unknown``: nothing does.
        observation: The pictures.
        linear: The best kernel, also if it does not explain the second picture.
        match: The kernel of the catalogue.
        border: How the margin was made.
        curve: Of a point operator, or a global one.
        nonlinear: The operator of the catalogue that is no kernel.
        noise: Standard deviation of what an unknown cause adds, in levels of 255.
        window: Side of the window that a local operator without a name sees, about.
        shares: How much of what the best kernel leaves is predictable, by window.
        moved: How far down and right the content was moved, whole pixels.
        reason: Why it is unknown.
    """

    kind: Kind
    observation: Observation
    linear: LinearFit | None = None
    match: Match | None = None
    border: BorderConvention | None = None
    curve: PointCurve | None = None
    nonlinear: NonlinearFit | None = None
    noise: float = 0.0
    window: int | None = None
    shares: dict[int, float] = field(default_factory=dict[int, float])
    moved: tuple[int, int] = (0, 0)
    reason: str = ""

    @property
    def kernel(self) -> Tensor | None:
        """The kernel in one channel, (kh, kw): the named one, or the best one; None if it is not linear."""
        if self.kind != "linear" or self.linear is None:
            return None
        return (self.linear.fit.kernel if self.match is None else self.match.fit.kernel) / self.added_up

    @property
    def added_up(self) -> int:
        """How many channels the kernel adds up: what is fitted to their average is so many times that."""
        adds = self.linear is not None and self.linear.mixing.kind == "equal"
        return 3 if adds and self.match is not None and self.match.fit.gain == 3 else 1


def identify(
    before: Tensor,
    after: Tensor,
    *,
    compression: Compression | None = None,
    first_compression: Compression | None = None,
) -> Identification:
    """Find out which filter made one picture of another.

    What explains the second picture must leave no more of it than its file loses by itself: rounding, or JPEG's
    quantisation, which is applied to the prediction for comparison. Kernels are tried first, then curves, then the
    operators of the catalogue that are no kernels. Where something unknown adds noise, a kernel counts only if what it
    leaves cannot be told from the pixels around.

    Args:
        before: (I, H, W) in [0, 1], with I = 1 or 3.
        after: (O, h, w) in [0, 1], no larger; a smaller one lies around the same centre.
        compression: Of the second picture, if it is a JPEG.
        first_compression: Of the first one, likewise.

    Raises:
        ConvexpError: If the sizes or channels cannot be a filter's.

    Example:
        >>> from convexp.images.samples import photograph
        >>> from convexp.operators import gaussian_blur
        >>> before = photograph("camera")[:, 100:220, 200:330]
        >>> after = (255 * gaussian_blur(before[None], 7, 1.5)[0]).round() / 255
        >>> found = identify(before, after)
        >>> found.kind, found.match.fit.family.target, found.match.fit.values
        ('linear', 'gaussian_blur', (1.5,))
    """
    observation = Observation.of(before, after, Recording.of(after, compression))
    for name, picture in (("first", observation.before), ("second", observation.after)):
        if float(picture.flatten(1).std(dim=1).max()) < FLAT:
            return Identification(
                "unknown", observation, reason=f"the {name} picture is flat, so that nothing can be told"
            )
    best: LinearFit | None = None
    if unchanged(observation):  # what is next to nothing, as stretching nearly all values to all, explains it, too
        found, best = _linear(observation, fit_linear(observation, simple_mixings(observation)[0], side=1), best)
        if found is not None:
            return _or_better(found)
    else:
        same_everywhere = global_curve(observation)
        if same_everywhere is not None:
            return Identification("global", observation, curve=same_everywhere)
    for mixing in simple_mixings(observation):
        found, best = _linear(observation, fit_linear(observation, mixing), best)
        if found is not None and first_compression is not None and not (found.match and certain(found.match)):
            found = _inherited(observation, best, first_compression) or found
        if found is not None:
            return _or_better(found)
    found, best = _mixed(observation, best, 1)
    if found is None and first_compression is not None:
        found = _inherited(observation, best, first_compression)
    if found is not None:
        return _or_better(found)
    curve = point_curve(observation)
    if curve is not None:
        kind: Kind = "global" if curve.kind == "equalize" else "point"
        return Identification(kind, observation, linear=best, curve=curve)
    found, best = _mixed(observation, best, SIDE)
    if found is not None:
        return _or_better(found)
    for mixing in simple_mixings(observation):
        wide = None if best is None or not grows(best) else fit_wide(observation, mixing)
        if best is not None and wide is not None:
            border = border_convention(observation, wide.kernels, wide.box, wide.constant)
            return Identification("linear", observation, linear=replace(best, mixing=mixing), match=wide, border=border)
    if best is not None and grows(best):
        found, best = _linear(observation, fit_linear(observation, best.mixing, side=WIDE_SIDE), best)
        if found is not None:
            return _or_better(found)
    moved = _moved(observation)
    if moved is not None:
        return moved
    shares: dict[int, float] = {}
    if best is not None:
        made, place = observation.predicted(best.kernels, best.fit.box, best.constant)
        shares = predictability(observation, made, place)
    left, r2 = (float("inf"), 0.0) if best is None else (best.agreement.left, best.agreement.r2)
    keeps_edges = r2 > SMOOTH and max(shares.values()) > PREDICTABLE
    nonlinear = fit_nonlinear(observation, left=left, keeps_edges=keeps_edges)
    if nonlinear is not None:
        return Identification("local", observation, linear=best, nonlinear=nonlinear)
    return _without_a_name(observation, best, shares)


def _inherited(observation: Observation, best: LinearFit | None, compression: Compression) -> Identification | None:
    """A kernel, where the second picture was made of the first before that was compressed.

    What the first file has lost is not correlated with what it holds (Berkson, Are there two regressions?, Journal of
    the American Statistical Association 45, 1950): the filter makes noise of it, and fits remain right.
    """
    if best is None:
        return None
    lost = Recording.of(observation.before, compression).lost(observation.before)
    made = correlate(lost[None], best.kernels)
    there = replace(observation, inherited=MORE_LOST * float(made.square().mean()))
    agreement = there.agreement(*there.predicted(best.kernels, best.fit.box, best.constant))
    return _linear(there, replace(best, agreement=agreement), None)[0]


def _or_better(found: Identification) -> Identification:
    """What a kernel explains may have a simpler name: moved back, or a gamma, which any line is near."""
    named = found.match
    if named is None:
        moved = _moved(found.observation, beyond=0)
        return found if moved is None or moved.match is None else moved
    if named.kernels[0, 0].numel() > 1 or certain(named):
        return found
    curve = point_curve(found.observation)
    if curve is None or curve.kind != "gamma" or SLACK * curve.agreement.mismatch > named.agreement.mismatch:
        return found
    return Identification("point", found.observation, linear=found.linear, curve=curve)


def _mixed(
    observation: Observation, best: LinearFit | None, side: int
) -> tuple[Identification | None, LinearFit | None]:
    """The same as `_linear`, of colours that are mixed, if there are any; of a side of 1, a matrix of colours."""
    if len(observation.before) == len(observation.after) == 1:
        return None, best
    mixing = fitted_mixing(observation, unclipped(observation.after, observation), side=min(side, MIXED))
    return _linear(observation, None if mixing is None else fit_linear(observation, mixing, side=side), best)


def _linear(
    observation: Observation, linear: LinearFit | None, best: LinearFit | None
) -> tuple[Identification | None, LinearFit | None]:
    """What a kernel explains, with its name if there is one; and the better one of two kernels."""
    if linear is None:
        return None, best
    # A kernel that is too small for a wide blur leaves a little less, if other colours help.
    must = MIXES if best is not None and linear.mixing.kind == "mixed" != best.mixing.kind else 1.0
    if best is None or linear.agreement.left < must * best.agreement.left:
        best = linear
    agreement = linear.agreement
    if not agreement.explained and agreement.left > NEARLY * agreement.expected + observation.recording.step**2:
        return None, best
    named, linear = match(observation, linear, own_size=_own_size(observation))
    if named is None and not linear.agreement.explained:
        return None, best
    if named is not None and _is_stretch(observation, named):
        return Identification("point", observation, linear=linear, match=named), best
    kernels, box, constant = (
        (linear.kernels, linear.fit.box, linear.constant)
        if named is None
        else (named.kernels, named.box, named.constant)
    )
    border = border_convention(observation, kernels, box, constant)
    return Identification("linear", observation, linear=linear, match=named, border=border), best


def _is_stretch(observation: Observation, named: Match) -> bool:
    """Whether values are brought to the whole range: also what autocontrast does, which looks at the whole picture."""
    before, after = observation.whole_before, observation.whole_after
    level = 1.5 / 255
    whole = float(after.min()) < level and float(after.max()) > 1 - level
    part = float(before.min()) > level or float(before.max()) < 1 - level
    return named.fit.family.target == "identity" and not named.fit.natural and named.fit.gain > 1 and whole and part


def _own_size(observation: Observation) -> int | None:
    """The size of the kernel that a valid picture would be smaller by, if it is."""
    spare = [
        whole - part
        for whole, part in zip(observation.whole_before.shape[1:], observation.whole_after.shape[1:], strict=True)
    ]
    return spare[0] + 1 if spare[0] == spare[1] > 0 else None


def _moved(observation: Observation, *, beyond: int = FAR) -> Identification | None:
    """A kernel after the second picture is moved back, if it was moved by more pixels than these."""
    found = registered(observation.before, observation.after)
    if found is None:
        return None
    # It compares the centres, which need not lie over each other where a part is looked at.
    sizes = zip(observation.before.shape[1:], observation.after.shape[1:], strict=True)
    centres = [(whole - part) // 2 for whole, part in sizes]
    down, right = (round(by) + at - own for by, at, own in zip(found, observation.offset, centres, strict=True))
    if max(abs(down), abs(right)) <= beyond:
        return None
    top, left = observation.offset
    there = replace(observation, offset=(top - down, left - right))
    for mixing in simple_mixings(there):
        found, _ = _linear(there, fit_linear(there, mixing), None)
        if found is not None:
            return replace(found, moved=(down, right), border=None)
    return None


def _without_a_name(observation: Observation, best: LinearFit | None, shares: dict[int, float]) -> Identification:
    if best is None:
        return Identification("unknown", observation, reason="too few pixels are neither black nor white")
    around = max(shares.values())
    if best.agreement.r2 >= CLEAN and around <= PREDICTABLE:
        noise = max(best.agreement.left - observation.recording.rounding, 0.0)
        noisy = replace(observation, noise=noise)
        made, place = noisy.predicted(best.kernels, best.fit.box, best.constant)
        found, _ = _linear(noisy, replace(best, agreement=noisy.agreement(made, place)), None)
        # Noise is as strong on edges as elsewhere; what another filter leaves is not.
        if found is not None and unevenness(observation, made, place) <= UNEVEN:
            return replace(found, noise=255 * noise**0.5, shares=shares)
    window = next((side for side, share in shares.items() if share >= 0.97 * around), None)
    r2 = 1 - (1 - max(best.agreement.r2, 0.0)) * (1 - around)
    if around >= LOCAL and r2 >= 0.95 and window and shares[0] < 0.5 * around:
        return Identification("local", observation, linear=best, window=window, shares=shares)
    return Identification("unknown", observation, linear=best, shares=shares)
