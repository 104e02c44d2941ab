"""Curves over optimizer steps as pictures."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from convexp.errors import ConvexpError

FEW = 20  # points that are drawn each


def loss_curve(
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    ylabel: str,
    lines: Mapping[str, float] | None = None,
) -> Tensor:
    """Draw values over steps, on a logarithmic axis unless no value is positive.

    Values that are not finite, and on the logarithmic axis those that are not positive, leave a gap; how many were not
    finite stands beside the curve's name. A curve of few points shows each of them.

    Args:
        curves: Name → (steps, values).
        ylabel: What the values are.
        lines: Name → value of a dashed line across all steps, for example the loss of the optimum. Left out where it is
            not finite, or not positive on the logarithmic axis.

    Returns:
        (3, 540, 960) uint8.

    Raises:
        ConvexpError: If a curve has not as many steps as values.

    >>> loss_curve({"train": ([0, 1, 2], [1.0, 0.1, 0.01])}, ylabel="MSE").shape
    torch.Size([3, 540, 960])
    """
    # Imported here: it takes a fifth of a second that only the end of a run has to pay.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    for name, (steps, values) in curves.items():
        if len(steps) != len(values):
            raise ConvexpError(f"loss_curve: {name} has {len(steps)} steps but {len(values)} values; pass one for each")
    figure = Figure(figsize=(9.6, 5.4), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    logarithmic = any(0 < value < math.inf for _, values in curves.values() for value in values)
    for name, (steps, values) in curves.items():
        y = np.asarray(values, dtype=float)
        finite = np.isfinite(y)
        shown = finite & (y > 0) if logarithmic else finite
        lost = len(y) - np.count_nonzero(finite)
        axes.plot(
            np.asarray(steps, dtype=float),
            np.where(shown, y, np.nan),
            label=f"{name} ({lost} not finite)" if lost else name,
            linewidth=2,
            marker="o" if np.count_nonzero(shown) <= FEW else "",
            markersize=8,
        )
    for name, value in (lines or {}).items():
        if math.isfinite(value) and (value > 0 or not logarithmic):
            colour = f"C{len(axes.lines)}"  # the next one: axhline takes the first one for every line
            axes.axhline(value, label=name, color=colour, linewidth=2, linestyle="--")
    if logarithmic:
        axes.set_yscale("log")
    if not any(len(values) for _, values in curves.values()):
        axes.text(0.5, 0.5, "no values yet", transform=axes.transAxes, ha="center", va="center", fontsize=20)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))
    axes.set_xlabel("step", fontsize=20)
    axes.set_ylabel(ylabel, fontsize=20)
    axes.tick_params(which="both", labelsize=18)
    axes.grid(color="0.88")
    axes.spines[["top", "right"]].set_visible(False)
    if len(axes.lines) > min(1, len(curves)) or any(
        "not finite" in text for text in axes.get_legend_handles_labels()[1]
    ):
        axes.legend(fontsize=18, frameon=False)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1).contiguous()
