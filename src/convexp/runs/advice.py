"""What the optimum says of a run, before the first step and after the last."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from convexp.exact.strips import geometry
from convexp.exact.yardstick import best_linear_filter
from convexp.models import receptive_field
from convexp.operators.response import support
from convexp.operators.verdict import Verdict
from convexp.runs.objective import Objective
from convexp.training.data import ImageData
from convexp.training.metrics import whole_image_metrics
from convexp.training.quadratic import Quadratic

NEAR = 0.01  # a loss is called close to the optimum if it is no more than this fraction above it
ROUNDING = 1e-12  # of the target's mean square: what single precision leaves of a perfect fit


def demands(target: str, found: Verdict | None, model: nn.Module) -> str | None:
    """What it takes to imitate the target, and whether the model sees as much."""
    if found is None:
        return None
    words = f"  target {target}: {found}"
    field = receptive_field(model)
    if found.size and any(seen < needed for seen, needed in zip(field, found.size, strict=True)):
        words += f"; this model sees {'×'.join(map(str, field))}"
    return words


def opening(objective: Objective) -> str | None:
    """What is known of a quadratic loss before the first step; None of any other."""
    quadratic = objective.quadratic
    if quadratic is None:
        return f"  trains on pixels: {objective.reason}" if objective.surprises else None
    optimum, (kernel_size, _, _) = quadratic.optimum, geometry(quadratic.layer)
    what = f"one {kernel_size[0]}×{kernel_size[1]} convolution, mean squared error: "
    pixels = f"the statistics of {optimum.count:,} pixels"
    if objective.on_statistics:
        how = f"trains on {pixels}, found in {quadratic.seconds:.2g} s"
        how += f" — {objective.reason}" if objective.reason else ""
    else:
        how = f"trains on pixels, as {objective.reason}; the optimum is that of all {optimum.count:,}"
    unknowns = optimum.eigenvalues.numel()
    lines = [
        f"  {what}{how}",
        f"  least train/mse {quadratic.scale**2 * optimum.loss:.4e} · "
        f"condition number {_short(optimum.condition_number)} · "
        f"gradient descent is stable {_below(quadratic.descent().limit)}",
    ]
    if not optimum.determined:
        lines.append(
            f"  the images determine {optimum.rank} of {unknowns} combinations of weights: many kernels are optimal, "
            "and the one of least norm is called the optimum"
        )
    return "\n".join(lines)


def too_fast(quadratic: Quadratic, rate: float | None) -> str | None:
    """What to say if gradient descent at this rate moves away from the optimum."""
    limit = quadratic.descent().limit
    if rate is None or rate <= limit:
        return None
    return f"WARNING: lr {_short(rate)} is above the limit {_short(limit)}: this will diverge"


def facts(quadratic: Quadratic, data: ImageData, *, rate: float | None) -> dict[str, Any]:
    """What `metrics.json` says of the optimum and of the last weights' distance from it.

    Args:
        quadratic: The loss, with the last weights.
        data: The images, and the operator that made the targets.
        rate: Of plain gradient descent, if that is what trained.
    """
    optimum, descent, square = quadratic.optimum, quadratic.descent(), quadratic.scale**2
    parts = quadratic.floor(support(data.operator, quadratic.layer.in_channels))
    loss = quadratic.loss()
    gap = optimum.gap(loss)
    return {
        "mse": square * optimum.loss,
        "gap": None if gap is None else max(0.0, gap),
        "left": loss / optimum.energy if optimum.energy > 0 else loss,
        "condition_number": _finite(optimum.condition_number),
        "learning_rate_limit": _finite(descent.limit),
        "best_learning_rate": _finite(descent.best_rate),
        "more_steps_to_1_percent": None if rate is None else _finite(descent.steps_to(NEAR, rate)),
        "more_steps_to_1_percent_at_best_rate": _finite(descent.steps_to(NEAR, descent.best_rate)),
        "pixels": optimum.count,
        "unknowns": optimum.eigenvalues.numel(),
        "rank": optimum.rank,
        "seconds": round(quadratic.seconds, 4),
        "floor": None
        if parts is None
        else {
            name: list(value) if isinstance(value, Sequence) else square * value
            for name, value in parts._asdict().items()
        },
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return value if math.isfinite(value) else None


def closing(optimum: Mapping[str, Any], *, steps: int, rate: float | None, solves: bool) -> str:
    """How far the run has come, what it would take to come near, and what keeps the optimum from 0.

    Args:
        optimum: What `facts` gave.
        steps: How many the run has taken.
        rate: Of plain gradient descent, if that is what trained.
        solves: Whether the optimizer is `exact`.
    """
    least = f"  least train/mse that is possible: {optimum['mse']:.4e}"
    come = f"  after {steps} step{'s' * (steps != 1)} "
    if optimum["gap"] is None:
        known = optimum["rank"] == optimum["unknowns"]
        why = "the kernel can hold the operator" if known else "these images cannot tell it from the operator"
        least += f", 0 but for rounding: {why}"
        come += f"{_percent(optimum['left'])} of the target's mean square is left"
        near = optimum["left"] <= ROUNDING
    else:
        least += _because(optimum)
        come += f"{_percent(optimum['gap'])} above it"
        near = optimum["gap"] <= NEAR
        if not near:
            come += f"; {_prospects(optimum, rate)}"
    if near:
        come += ": there is nothing left to learn"
    elif not solves:
        come += f"; optimizer=exact gets there in {_short(optimum['seconds'])} s"
    return f"{least}\n{come}"


def _prospects(optimum: Mapping[str, Any], rate: float | None) -> str:
    if rate is None:
        who, steps = "gradient descent at its best rate", optimum["more_steps_to_1_percent_at_best_rate"]
    else:
        who, steps = "this rate", optimum["more_steps_to_1_percent"]
    return f"{who} never comes within 1 %" if steps is None else f"{who} needs {_count(steps)} more steps to 1 %"


def _because(optimum: Mapping[str, Any]) -> str:
    parts, total = optimum["floor"], optimum["mse"]
    if parts is None:
        return ""
    size = "×".join(map(str, parts["kernel_size"]))
    words = {
        "kernel": f"kernel smaller than {size}",
        "border": "border convention",
        "channels": "channels apart",
        "bias": "no bias",
        "remaining": f"more than a linear {size} filter can do",
    }
    shares = [f"{100 * parts[name] / total:.3g} % {text}" for name, text in words.items() if parts[name] > 5e-4 * total]
    return f" ({', '.join(shares)})"


def yardstick(model: nn.Module, data: ImageData) -> dict[str, Any]:
    """What `metrics.json` says of the best linear filter that sees as far as a model does."""
    pairs = data.train_pairs.sample()
    best = best_linear_filter(pairs, field=receptive_field(model), shelf=data.shelf)
    measured = whole_image_metrics(best, data.val_pairs.values())
    return {
        "kernel_size": list(best.kernel_size),
        "train/mse": whole_image_metrics(best, pairs)["mse"],
        "val/mse": measured["mse"],
        "val/r2": measured["r2"],
    }


def comparison(linear: Mapping[str, Any], r2: float) -> str:
    """Model and best linear filter beside each other."""
    height, width = linear["kernel_size"]
    return (
        f"  the model explains {100 * max(0.0, r2):.3g} % of the validation images' target, the best linear "
        f"{height}×{width} filter {100 * max(0.0, linear['val/r2']):.3g} %"
    )


def _percent(fraction: float) -> str:
    if fraction >= 1e4:
        return f"{fraction:.2g} times"
    if fraction >= 0.995:
        return f"{100 * fraction:,.0f} %"
    return f"{100 * fraction:.2g} %" if fraction >= 1e-6 else "less than 0.0001 %"


def _below(limit: float) -> str:
    return f"below lr {_short(limit)}" if math.isfinite(limit) else "at any rate"


def _short(value: float) -> str:
    """A number as one says it: 0.163, 1.39e+06."""
    return f"{value:.3g}"


def _count(number: float) -> str:
    for size, word in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if number >= size:
            return f"{number / size:.2g} {word}"
    return f"{number:,.0f}"
