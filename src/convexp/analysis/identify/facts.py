"""What an identification says to programs."""

import math
from typing import Any

from convexp.analysis.identify.identification import Identification
from convexp.analysis.identify.recipe import commands, operator
from convexp.analysis.identify.sentences import LEVELS, name


def facts(found: Identification, before: str, after: str) -> dict[str, Any]:
    """All numbers, as JSON has them."""
    said: dict[str, Any] = {
        "kind": found.kind,
        "name": name(found),
        "reason": found.reason or None,
        "recording": found.observation.recording.words,
        "noise_levels": found.noise or None,
        "moved": list(found.moved) if found.moved != (0, 0) else None,
        "window": found.window,
        "predictable": {str(side): share for side, share in found.shares.items()},
    }
    own = operator(found)
    said["target"] = None if own is None else {"name": own.target, **own.overrides}
    if found.linear is not None:
        fit, agreement = found.linear.fit, found.linear.agreement
        said["kernel"] = {
            "weights": (fit.kernel / found.added_up).tolist(),
            "standard_errors": (fit.errors / found.added_up).tolist(),
            "top": fit.top,
            "left": fit.left,
            "constant": found.linear.constant.tolist(),
            "colours": found.linear.mixing.kind,
            "colour_weights": found.linear.mixing.weights.tolist(),
            "r2_by_side": {str(side): value for side, value in fit.r2.items()},
            "r2": agreement.r2,
            "rms_left_levels": LEVELS * agreement.left**0.5,
            "rms_expected_levels": LEVELS * agreement.expected**0.5,
            "explains": agreement.explained,
        }
    if found.match is not None:
        fit = found.match.fit
        said["catalogue"] = {
            "family": fit.family.target,
            "size": fit.size,
            "parameters": {
                parameter.key: {"value": value, "standard_error": None if math.isnan(error) else error}
                for parameter, value, error in zip(fit.family.parameters, fit.values, fit.errors, strict=True)
            },
            "gain": fit.gain,
            "constant": found.match.constant.tolist(),
            "exact": found.match.agreement.exact,
        }
    if found.border is not None:
        said["border"] = {"convention": found.border.convention, "rms_levels": found.border.residuals}
    said["commands"] = commands(found, before, after)
    return said
