"""What an identification says in the terminal."""

import math
from collections.abc import Sequence

import torch

from convexp.analysis.identify.border_convention import WORDS
from convexp.analysis.identify.families import moved
from convexp.analysis.identify.identification import Identification
from convexp.analysis.identify.match import Match
from convexp.analysis.identify.recipe import colour_matrix, only_moved
from convexp.analysis.symmetry import describe
from convexp.operators.colour import GRAYSCALE, SEPIA
from convexp.operators.listing import listing
from convexp.operators.response import Response

SHOWN = 7  # side of the largest kernel that is printed
LEVELS = 255
LEVEL = 1 / LEVELS


def name(found: Identification) -> str | None:
    """What the filter is called, with its parameters; None if it has no name."""
    if found.curve is not None:
        return _curve_name(found)
    if found.nonlinear is not None:
        fit = found.nonlinear
        scaled = "" if (fit.gain, fit.constant) == (1.0, 0.0) else _scaled(fit.gain, 0.0, [fit.constant])
        return fit.candidate.words + scaled
    if found.match is None or found.kind == "point":
        return None
    return _kernel_name(found, found.match)


def sentences(found: Identification, before: str, after: str) -> list[str]:
    """What there is to say, the answer first.

    Args:
        found: What `identify` found.
        before: What the first picture is called.
        after: What the second one is called.
    """
    said = name(found)
    if found.kind == "unknown":
        return [f"{after}: no filter of {before} that convexp knows: {_unknown(found)}", *_of_best(found)]
    if found.kind == "global":
        return [
            f"{after} is {before} through {said}: global, every pixel depends on all, no convolution can imitate it"
        ]
    if found.kind == "point" and found.curve is None:
        return [
            f"{after} is {before} with every value stretched to the whole range{_line_of(found)}",
            "by hand, or by autocontrast, which is global: one pair of pictures cannot tell",
            _left(found),
        ]
    if found.kind == "point":
        return [f"{after} is {before} through {said}: every value on its own", _left(found)]
    if found.kind == "local":
        if said is None:
            return [
                f"{after} is {before} through a local filter that is not linear and has no name here",
                f"it sees about {found.window}×{found.window} pixels: of what the best kernel leaves, "
                f"{100 * max(found.shares.values()):.0f} % can be told from them",
                *_of_best(found),
            ]
        return [f"{after} is {before} through {said}: local, not linear", _left(found), *_of_best(found)]
    return [f"{after} is {before} through {said or _unnamed(found)}", *_of_kernel_sentences(found)]


def _kernel_name(found: Identification, match: Match) -> str:
    fit = match.fit
    if fit.family.target == "identity":
        plain = _colour_name(found, match)
        if only_moved(found):
            return f"a shift by {moved(found.moved[1], found.moved[0])}"
        if plain is not None:
            return plain
    values = [
        f"{parameter.symbol} = {_with_error(value, error)}{parameter.unit}"
        for parameter, value, error in zip(fit.family.parameters, fit.values, fit.errors, strict=True)
    ]
    size = fit.family.size_words(fit.size)
    words = ", ".join(filter(None, [fit.family.words, *values, size]))
    scaled = "" if fit.natural else _scaled(fit.gain, fit.gain_error, match.constant.tolist())
    away = f", then moved by {moved(found.moved[1], found.moved[0])}" if found.moved != (0, 0) else ""
    return words + scaled + away


def _line_of(found: Identification) -> str:
    match = found.match
    return "" if match is None else _scaled(match.fit.gain, match.fit.gain_error, match.constant.tolist())


def _scaled(gain: float, error: float, constant: Sequence[float]) -> str:
    said = f", times {_with_error(gain, error) if error else f'{gain:.4g}'}" if abs(gain - 1) > 1e-4 else ""
    if max(abs(value) for value in constant) > 2e-4:
        alike = max(constant) - min(constant) < 1e-3
        shown = [value if abs(value) > 2e-4 else 0.0 for value in (constant[:1] if alike else constant)]
        said += f", plus {' / '.join(f'{value:.3g}' for value in shown)}"
    return said


def _colour_name(found: Identification, match: Match) -> str | None:
    matrix = colour_matrix(match)
    if matrix is None or found.linear is None:
        return None
    nothing = float(match.constant.abs().max()) < 2e-3
    if found.linear.mixing.kind in ("gray", "each"):
        if match.fit.natural:
            return "the identity, and noise" if found.noise else "the identity: nothing changed"
        return f"contrast and brightness{_scaled(match.fit.gain, match.fit.gain_error, match.constant.tolist())}"
    for title, rows in (("grayscale (luma)", GRAYSCALE), ("sepia", SEPIA)):
        if nothing and matrix.shape == (len(rows), 3) and float((matrix - matrix.new_tensor(rows)).abs().max()) < 3e-3:
            return title
    rows = "; ".join(" ".join(f"{round(value, 3) + 0.0:.3f}" for value in row) for row in matrix.tolist())
    return f"a matrix of colours, {rows}{_scaled(1.0, 0.0, match.constant.tolist())}"


def _of_kernel_sentences(found: Identification) -> list[str]:
    linear = found.linear
    if linear is None:
        return []
    fit = linear.fit
    said = [_left(found)]
    enough = 1 - 1.02 * (1 - max(fit.r2.values()))
    shown: list[int] = []
    for side, value in fit.r2.items():
        shown.append(side)
        if value >= enough:
            break
    r2 = ", ".join(f"{_r2(fit.r2[side])} ({side}×{side})" for side in shown)
    said.append(f"linear: R² of the best kernel {r2}")
    said.append(_colours(found))
    said.append(_shape(found))
    if found.border is not None and found.border.convention is not None:
        said.append(f"border {WORDS[found.border.convention]}")
    elif max(fit.kernel.shape) > 1:
        said.append("border: cannot be told")
    if found.noise:
        said.append(
            f"noise of about {found.noise:.1f} levels is added, that nothing around explains; where it is in the first "
            "picture, too, the errors are larger than is said here"
        )
    if found.observation.inherited:
        lost = LEVELS * found.observation.inherited**0.5
        said.append(
            f"the first picture is a JPEG, too: what it has lost is {lost:.1f} levels in the second, and numbers may "
            "be further off than their errors say"
        )
    clipped = float(((found.observation.after <= 0) | (found.observation.after >= 1)).double().mean())
    if clipped > 0.005:
        learnt = "; a model that learns from these pictures learns the clipping, too" if clipped > 0.05 else ""
        said.append(f"{100 * clipped:.2g} % of the values are clipped, and were left out{learnt}")
    if max(fit.kernel.shape) <= SHOWN and max(fit.kernel.shape) > 1:
        response = Response(fit.kernel[None, None].float() / found.added_up, fit.top, fit.left, torch.zeros(1))
        said.append(f"the best kernel, {listing(response)}")
    return [sentence for sentence in said if sentence]


def _shape(found: Identification) -> str:
    """Size, sum, separability and symmetry: of the named kernel, if there is one."""
    linear, kernel = found.linear, found.kernel
    if linear is None or kernel is None:
        return ""
    fit = linear.fit
    facts = describe(kernel)
    # Errors of the weights look like asymmetry; a named kernel has none.
    doubt = 0.0 if found.match is not None else float(fit.errors.norm() / kernel.norm().clamp_min(1e-12))
    least = max(1e-3, 2 * doubt)
    separable = "separable" if facts.rank1_error < least else "not separable"
    flips = {"left–right": facts.left_right, "up–down": facts.up_down, "a half turn": facts.half_turn}
    even = [words for words, value in flips.items() if value < least]
    odd = [words for words, value in flips.items() if value > 1 - least]
    said = [f"symmetric under {', '.join(even)}"] if even else []
    said += [f"changes its sign under {', '.join(odd)}"] if odd else []
    height, width = fit.kernel.shape
    own = f"the kernel sums to {float(kernel.sum()) + 0.0:.4f}, {separable}, {', '.join(said) or 'without symmetry'}"
    if max(kernel.shape) > max(fit.r2):
        return own
    return (
        f"{own}; the best one without a name is seen in {height}×{width}, the standard errors of its weights are up to "
        f"{float(fit.errors.max()) / found.added_up:.1g}"
    )


def _r2(value: float) -> str:
    digits = 3 if value < 0.999 else 5
    return f"{math.floor(value * 10**digits) / 10**digits:.{digits}f}"


def _left(found: Identification) -> str:
    source = found.match or found.nonlinear or found.curve or found.linear
    if source is None:
        return ""
    agreement = source.agreement
    left, expected = LEVELS * agreement.left**0.5, LEVELS * agreement.expected**0.5
    what = f"it leaves {left:.2f} levels of 255; {found.observation.recording.words} alone {expected:.2f}"
    if found.noise:
        return f"it leaves {left:.2f} levels of 255"
    return f"{what}; {100 * agreement.exact:.4g} % of the values are exactly what it gives"


def _colours(found: Identification) -> str:
    linear, match = found.linear, found.match
    if linear is None:
        return ""
    kind = linear.mixing.kind
    if kind == "each":
        return "each channel on its own, alike"
    if kind == "equal":
        return "the channels are added up" if match is not None and match.fit.gain == 3 else "the channels are averaged"
    if kind == "luma":
        return "of the luma, 0.299 red + 0.587 green + 0.114 blue"
    if kind == "mixed":
        return "it mixes the colours: " + " ".join(f"{weight:.3f}" for weight in linear.mixing.weights.tolist())
    return ""


def _of_best(found: Identification) -> list[str]:
    if found.linear is None:
        return []
    agreement = found.linear.agreement
    return [
        f"not linear: the best kernel's R² is {agreement.r2:.3f}; it leaves {LEVELS * agreement.left**0.5:.2f} levels "
        f"of 255, {found.observation.recording.words} alone {LEVELS * agreement.expected**0.5:.2f}"
    ]


def _unknown(found: Identification) -> str:
    if found.reason:
        return found.reason
    r2 = found.linear.agreement.r2 if found.linear is not None else 0.0
    if r2 < 0.1:
        return "neither a kernel, nor a curve, nor an operator that was tried makes a tenth of the second of the first"
    return "neither one kernel, nor a curve, nor a local operator that was tried makes the second picture of the first"


def _unnamed(found: Identification) -> str:
    if found.linear is None:
        return "a kernel"
    height, width = found.linear.fit.kernel.shape
    return f"an unnamed {height}×{width} kernel"


def _curve_name(found: Identification) -> str:
    curve = found.curve
    if curve is None:
        return ""
    if curve.kind == "gamma":
        return f"gamma, exponent = {_with_error(curve.exponent or 0.0, curve.error or 0.0)}"
    if curve.kind == "equalize":
        return "histogram equalization (equalize)"
    if curve.kind == "autocontrast":
        return "autocontrast"
    # From here to there it may fall by what rounding makes of it, and no further.
    highest = curve.curve.nan_to_num(-1.0).cummax(dim=1).values
    rising = not bool((curve.curve < highest - 2 * LEVEL).any())
    which = "one for all channels" if curve.same or len(curve.curve) == 1 else "another for each channel"
    return f"{'an increasing' if rising else 'a'} curve without a name, {which}"


def _with_error(value: float, error: float) -> str:
    if not error or math.isnan(error):
        return f"{value:.4g}"
    if error > abs(value) and value:
        return f"{value:.3g} ± {error:.1g}"
    digits = max(0, -math.floor(math.log10(error)) + (1 if error / 10 ** math.floor(math.log10(error)) < 2 else 0))
    digits = min(digits, 5)
    return f"{value:.{digits}f} ± {error:.{digits}f}" if round(error, digits) else f"{value:.5f} ± less than 0.00001"
