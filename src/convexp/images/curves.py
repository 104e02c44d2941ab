"""Curves over optimizer steps as pictures."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convexp.errors import ConvexpError

if TYPE_CHECKING:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

FEW = 20  # points that are drawn each
WIDTH, HEIGHT = 960, 540
LARGE, TEXT = 28, 25  # font sizes in pixels
LINE, MARK = 3, 11  # a curve's width, and a point's
GAP = 10
GRID = "0.88"
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

Numbers = NDArray[np.float64]


class Curve(NamedTuple):
    """What is drawn: a curve, or a dashed line across all steps, which has no steps of its own."""

    name: str
    steps: Numbers | None
    values: Numbers


class Axis(NamedTuple):
    """The range of an axis, and what is written where; on a logarithmic one all are powers of ten."""

    low: float
    high: float
    ticks: dict[float, str]
    small: Sequence[float] = ()


class Frame(NamedTuple):
    """Where the curves lie, in pixels from the lower left."""

    left: float
    bottom: float
    right: float
    top: float

    def across(self, axis: Axis, steps: Numbers) -> Numbers:
        """Return the columns of steps."""
        return self.left + (steps - axis.low) / (axis.high - axis.low) * (self.right - self.left)

    def up(self, axis: Axis, values: Numbers) -> Numbers:
        """Return the rows of values."""
        return self.bottom + (values - axis.low) / (axis.high - axis.low) * (self.top - self.bottom)


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

    for name, (steps, values) in curves.items():
        if len(steps) != len(values):
            raise ConvexpError(f"loss_curve: {name} has {len(steps)} steps but {len(values)} values; pass one for each")
    logarithmic = any(0 < value < math.inf for _, values in curves.values() for value in values)
    drawn: list[Curve] = []
    for name, (steps, values) in curves.items():
        y = np.asarray(values, dtype=float)
        lost = len(y) - np.count_nonzero(np.isfinite(y))
        label = f"{name} ({lost} not finite)" if lost else name
        drawn.append(Curve(label, np.asarray(steps, dtype=float), _scaled(y, logarithmic)))
    for name, value in (lines or {}).items():
        if math.isfinite(value) and (value > 0 or not logarithmic):
            drawn.append(Curve(name, None, _scaled(np.array([value]), logarithmic)))
    step_axis = _steps_axis(np.concatenate([[], *(curve.steps for curve in drawn if curve.steps is not None)]))
    value_axis = _values_axis(np.concatenate([[], *(curve.values for curve in drawn)]), logarithmic)

    figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), dpi=72)  # a point is a pixel
    canvas = FigureCanvasAgg(figure)
    wide = max(_width(canvas, text) for text in ("", *value_axis.ticks.values()))
    frame = Frame(LARGE + 3 * GAP + wide, LARGE + TEXT + 2.5 * GAP, WIDTH - 2.5 * GAP, HEIGHT - GAP)
    _axes(figure, frame, step_axis, value_axis)
    middle = (frame.left + frame.right) / 2, (frame.bottom + frame.top) / 2
    _write(figure, middle[0], GAP, "step", LARGE, ha="center", va="bottom")
    _write(figure, GAP, middle[1], ylabel, LARGE, ha="left", va="center", rotation=90)
    places: list[Numbers] = []
    for index, (_, steps, values) in enumerate(drawn):
        rows = frame.up(value_axis, values)
        if steps is None:
            columns, rows = np.linspace(frame.left, frame.right, 2), np.repeat(rows, 2)
        else:
            columns = frame.across(step_axis, steps)
        few = steps is not None and int(np.count_nonzero(np.isfinite(rows))) <= FEW
        _draw(figure, columns, rows, f"C{index}", dashed=steps is None, marked=few)
        if len(columns):
            between = np.linspace(columns[0], columns[-1], 200)
            places.append(np.stack([between, np.interp(between, columns, rows)]))
    if not any(len(values) for _, values in curves.values()):
        _write(figure, *middle, "no values yet", LARGE, ha="center", va="center")
    if len(drawn) > min(1, len(curves)) or any("not finite" in curve.name for curve in drawn):
        _legend(canvas, frame, drawn, np.concatenate([np.zeros((2, 0)), *places], axis=1))
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1)


def _scaled(values: Numbers, logarithmic: bool) -> Numbers:
    """Return what is drawn of values, NaN where nothing is."""
    shown = np.isfinite(values) & (values > 0) if logarithmic else np.isfinite(values)
    values = np.where(shown, values, np.nan)
    return np.log10(values) if logarithmic else values


def _limits(values: Numbers) -> tuple[float, float]:
    """Return the range of all values and a twentieth more on either side; of none or one some range around it."""
    values = values[np.isfinite(values)]
    low, high = (values.min().item(), values.max().item()) if len(values) else (0.0, 1.0)
    largest = max(-low, high)
    if high - low <= 1e-9 * largest:
        low, high = low - (0.05 * largest or 0.5), high + (0.05 * largest or 0.5)
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def _round(low: float, high: float, count: int, *, integer: bool = False) -> list[float]:
    from matplotlib.ticker import MaxNLocator

    ticks = MaxNLocator(count, steps=[1, 2, 2.5, 5, 10], integer=integer, min_n_ticks=1).tick_values(low, high)
    return [float(tick) for tick in ticks if low <= tick <= high]


def _steps_axis(steps: Numbers) -> Axis:
    low, high = _limits(steps)
    ticks = _round(low, high, 10 if high < 1e4 else 5, integer=True)  # long numbers need room
    return Axis(low, high, {tick: f"{tick:.0f}" for tick in ticks})


def _values_axis(values: Numbers, logarithmic: bool) -> Axis:
    low, high = _limits(values)
    if not logarithmic:
        return Axis(low, high, {tick: _number(tick) for tick in _round(low, high, 6)})
    if math.floor(high) <= math.ceil(low):  # not two powers of ten
        ticks = _round(10**low, 10**high, 6)
        if high - low > 0.5:
            ticks = [n * 10.0**power for power in range(math.floor(low), math.ceil(high)) for n in (1, 2, 3, 5)]
        ticks = [tick for tick in ticks if 10**low <= tick <= 10**high]
        return Axis(low, high, {math.log10(tick): _number(tick) for tick in ticks})
    every = math.ceil((high - low) / 8)
    powers = range(math.ceil(low / every) * every, math.floor(high) + 1, every)
    between = [power + math.log10(n) for power in range(math.floor(low), math.ceil(high)) for n in range(2, 10)]
    small = [place for place in between if low <= place <= high] if every == 1 else []
    return Axis(low, high, {power: f"10{str(power).translate(SUPERSCRIPTS)}" for power in powers}, small)


def _number(value: float) -> str:
    return f"{value + 0.0:.10g}".replace("-", "−")  # + 0.0: no "-0"


def _axes(figure: "Figure", frame: Frame, step_axis: Axis, value_axis: Axis) -> None:
    """Draw grid, ticks and numbers: matplotlib's own axes make hundreds of artists and take five times as long."""
    columns = frame.across(step_axis, np.array(list(step_axis.ticks)))
    rows = frame.up(value_axis, np.array(list(value_axis.ticks)))
    small = frame.up(value_axis, np.array(value_axis.small))
    grid = [((x, frame.bottom), (x, frame.top)) for x in columns] + [((frame.left, y), (frame.right, y)) for y in rows]
    ticks = [((x, frame.bottom), (x, frame.bottom - 5)) for x in columns]
    ticks += [((frame.left, y), (frame.left - 5, y)) for y in rows]
    ticks += [((frame.left, y), (frame.left - 3, y)) for y in small]
    edges = [
        ((frame.left, frame.top), (frame.left, frame.bottom)),
        ((frame.left, frame.bottom), (frame.right, frame.bottom)),
    ]
    for strokes, colour in ((grid, GRID), (ticks + edges, "black")):
        _strokes(figure, strokes, colour)
    for x, text in zip(columns, step_axis.ticks.values(), strict=True):
        _write(figure, x, frame.bottom - GAP, text, TEXT, ha="center", va="top")
    for y, text in zip(rows, value_axis.ticks.values(), strict=True):
        _write(figure, frame.left - GAP, y, text, TEXT, ha="right", va="center_baseline")


def _legend(canvas: "FigureCanvasAgg", frame: Frame, curves: Sequence[Curve], places: Numbers) -> None:
    """Write the names into the corner where they lie on the fewest places of curves."""
    width = 70 + max(_width(canvas, curve.name) for curve in curves)
    height = 1.5 * TEXT * len(curves)
    corners = [
        (left, top)
        for left in (frame.right - GAP - width, frame.left + 2 * GAP)
        for top in (frame.top - GAP, frame.bottom + GAP + height)
    ]
    x, y = places

    def hidden(corner: tuple[float, float]) -> int:
        left, top = corner
        beside, above = (x < left - GAP) | (x > left + width + GAP), (y < top - height - GAP) | (y > top + GAP)
        return int(np.count_nonzero(~(beside | above)))

    left, top = min(corners, key=hidden)
    for index, curve in enumerate(curves):
        row = top - (index + 0.5) * 1.5 * TEXT
        _draw(canvas.figure, np.array([left, left + 52]), np.array([row, row]), f"C{index}", dashed=curve.steps is None)
        _write(canvas.figure, left + 70, row, curve.name, TEXT, ha="left", va="center_baseline")


def _draw(
    figure: "Figure", columns: Numbers, rows: Numbers, colour: str, *, dashed: bool = False, marked: bool = False
) -> None:
    from matplotlib.lines import Line2D

    style, marker = "--" if dashed else "-", "o" if marked else ""
    line = Line2D(columns, rows, color=colour, linewidth=LINE, linestyle=style, marker=marker, markersize=MARK)
    line.set_transform(None)
    figure.add_artist(line)


def _strokes(figure: "Figure", strokes: Sequence[tuple[tuple[float, float], tuple[float, float]]], colour: str) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.transforms import IdentityTransform

    figure.add_artist(LineCollection(strokes, colors=colour, linewidths=1, transform=IdentityTransform()))


def _write(
    figure: "Figure", x: float, y: float, text: str, size: float, *, ha: str, va: str, rotation: float = 0
) -> None:
    figure.text(x, y, text, fontsize=size, ha=ha, va=va, rotation=rotation, transform=None, parse_math=False)


def _width(canvas: "FigureCanvasAgg", text: str) -> float:
    from matplotlib.font_manager import FontProperties

    return canvas.get_renderer().get_text_width_height_descent(text, FontProperties(size=TEXT), ismath=False)[0]
