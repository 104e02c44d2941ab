"""A table of fractions as colours, from light to dark."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.colours import plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ENOUGH = 0.9  # what the value in a solid frame reaches
HIGH, WIDE = 54, 100  # a cell in pixels
TEXT, SMALL = 30, 22  # font sizes in pixels; two lines of the small one fit into a cell
LEADING, CAPITAL = 1.2, 0.73  # from line to line, and the height of a capital, in font sizes
LONGEST = 380  # of a name in one line, in pixels
SLOPE = math.sqrt(0.5)  # of names at 45°
MARGIN, GAP = 20, 12  # pixels
INK, FRAME = "#262626", "#ff8c00"
FAMILY = "DejaVu Sans"  # comes with matplotlib; has Greek, Cyrillic and mathematical signs
LEGEND = {"-": f"first to reach {ENOUGH:.2f}", "--": f"largest, where none reaches {ENOUGH:.2f}"}

Measure = Callable[[str, int], float]  # the width of a line in pixels, of a font size


def heat_map(
    values: Tensor, *, rows: Sequence[str], columns: Sequence[str], title: str | None = None, best: bool = False
) -> Tensor:
    """Show a table of fractions, each as a colour from light (0) to dark (1) and as a number with two decimals.

    What is below 0 is as light as 0 and reads "<0"; NaN is a blank cell with a dash. Long names take several lines;
    where those above the columns are still too wide, all of them stand at a slant. A sign that the font has not is
    shown as a box.

    Args:
        values: (rows, columns) in [0, 1].
        rows: What stands at the left, one name for each row.
        columns: What stands above, one name for each column.
        title: What is written above all.
        best: Frame in each column the first row that reaches 0.9; where none does, the largest value by a dashed line.

    Returns:
        (3, height, width) uint8; 15 × 9 values take about 1200 × 1300 pixels.

    Raises:
        ConvexpError: If `values` has not two dimensions or holds nothing, or there are not as many names.

    >>> heat_map(torch.rand(2, 3), rows=["Adam", "SGD"], columns=["blur", "edges", "median"]).shape[0]
    3
    """
    # Imported here, as for the loss curve.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont, get_font

    if values.ndim != 2 or not values.numel():
        raise ConvexpError(f"heat_map: values have shape {tuple(values.shape)}; pass a table, (rows, columns)")
    for kind, given, count in (("rows", rows, values.shape[0]), ("columns", columns, values.shape[1])):
        if len(given) != count:
            raise ConvexpError(f"heat_map: there are {len(given)} names for {count} {kind}; pass one for each")

    figure = Figure(dpi=72)  # a point is a pixel
    canvas = FigureCanvasAgg(figure)
    signs = get_font(findfont(FontProperties(family=FAMILY))).get_charmap()

    def known(text: str) -> str:
        return "".join(sign if ord(sign) in signs else "□" for sign in " ".join(text.split()))

    def measure(text: str, size: int) -> float:
        font = FontProperties(family=FAMILY, size=size)
        return canvas.get_renderer().get_text_width_height_descent(text, font, ismath=False)[0]

    table = plain(values)
    frames = best_cells(table) if best else []
    legend = [style for style in LEGEND if any(style == shown for _, _, shown in frames)]
    names = [_fitted(known(name), measure) for name in rows]
    heads, slanted = _heads([known(name) for name in columns], measure)

    left = MARGIN + math.ceil(max(name.width for name in names)) + GAP
    centres = [left + (index + 0.5) * WIDE for index in range(len(heads))]
    ends = [centre + head.length * SLOPE for centre, head in zip(centres, heads, strict=True)] if slanted else []
    notes = [MARGIN + 60 + measure(LEGEND[style], SMALL) for style in legend]
    width = math.ceil(max([left + WIDE * len(heads), *ends, *notes])) + MARGIN
    heading = _broken(known(title or ""), width - 2 * MARGIN, TEXT, measure)
    top = MARGIN + (math.ceil(heading.height) + GAP if title else 0)
    top += math.ceil(max(head.length * SLOPE if slanted else head.height for head in heads)) + GAP
    bottom = top + HIGH * len(names)
    height = bottom + GAP + 40 * len(legend) + MARGIN

    figure.set_size_inches(width / 72, height / 72)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _write(axes, heading, MARGIN, MARGIN + heading.height / 2, align="left")
    for index, name in enumerate(names):
        _write(axes, name, left - GAP, top + (index + 0.5) * HIGH, align="right")
    for centre, head in zip(centres, heads, strict=True):
        above = top - GAP - head.height / 2 * (SLOPE if slanted else 1)
        _write(axes, head, centre, above, align="left" if slanted else "center", slanted=slanted)
    _cells(axes, table, left, top)
    for row, column, style in frames:
        _frame(axes, left + column * WIDE, top + row * HIGH, WIDE, HIGH, style)
    for index, style in enumerate(legend):
        y = bottom + GAP + 40 * index
        _frame(axes, MARGIN - 3, y, 56, 36, style)
        _write(axes, Name(LEGEND[style], SMALL, 0), MARGIN + 60, y + 18, align="left")
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1).contiguous()


def best_cells(values: Tensor) -> list[tuple[int, int, str]]:
    """Find in each column the first row that reaches 0.9, or else the largest value; none where all are NaN.

    Args:
        values: (rows, columns).

    Returns:
        (row, column, line style) of each: "-" where 0.9 is reached, "--" where it is not.

    >>> best_cells(torch.tensor([[0.5, 0.8], [0.9, 0.7], [0.99, 0.6]]))
    [(1, 0, '-'), (0, 1, '--')]
    """
    found: list[tuple[int, int, str]] = []
    for column, numbers in enumerate(values.unbind(dim=1)):
        if (numbers >= ENOUGH).any():
            found.append((int((numbers >= ENOUGH).int().argmax()), column, "-"))
        elif not numbers.isnan().all():
            found.append((int(numbers.nan_to_num(nan=-math.inf, neginf=-math.inf).argmax()), column, "--"))
    return found


class Name(NamedTuple):
    """A text with its line breaks, its font size and the width of its longest line in pixels."""

    text: str
    size: int
    width: float

    @property
    def height(self) -> float:
        """Of all its lines, in pixels."""
        return (self.text.count("\n") + 1) * LEADING * self.size

    @property
    def length(self) -> float:
        """How far it reaches in both directions, where it stands at 45°, by the length of that diagonal."""
        return self.width + self.height


def _broken(text: str, longest: float, size: int, measure: Measure) -> Name:
    """Break a text between words where a line would become too long; a single word may be."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".lstrip(" ")
        if lines[-1] and measure(longer, size) > longest:
            lines.append(word)
        else:
            lines[-1] = longer
    return Name("\n".join(lines), size, max(measure(line, size) for line in lines))


def _fitted(text: str, measure: Measure) -> Name:
    """Return a name in one line or, where that is too long, in two lines of small letters."""
    if measure(text, TEXT) <= LONGEST:
        return Name(text, TEXT, measure(text, TEXT))
    longest = LONGEST
    while (name := _broken(text, longest, SMALL, measure)).text.count("\n") > 1:
        longest *= 1.1
    return name


def _heads(texts: Sequence[str], measure: Measure) -> tuple[list[Name], bool]:
    """Return the names of the columns, and whether they are too wide to stand upright."""
    for size in (TEXT, SMALL):
        heads = [_broken(text, WIDE - GAP, size, measure) for text in texts]
        if all(head.width <= WIDE - GAP and head.text.count("\n") < 3 for head in heads):
            return heads, False
    return [_fitted(text, measure) for text in texts], True


def _write(
    axes: "Axes", name: Name, x: float, y: float, *, align: str, colour: str = INK, slanted: bool = False
) -> None:
    """Write a text whose lines lie around the height `y`; what stands side by side has one base line."""
    lines = name.text.split("\n")
    right, down = (SLOPE, SLOPE) if slanted else (0.0, 1.0)  # from line to line
    for index, line in enumerate(lines):
        shift = (CAPITAL / 2 + (index - (len(lines) - 1) / 2) * LEADING) * name.size
        text = axes.text(x + shift * right, y + shift * down, line, fontsize=name.size, color=colour, ha=align)
        text.set(family=FAMILY, rotation=45 if slanted else 0, rotation_mode="anchor", parse_math=False)


def _cells(axes: "Axes", values: Tensor, left: int, top: int) -> None:
    import matplotlib
    from matplotlib.patches import Rectangle

    shades = matplotlib.colormaps["Blues"]
    for row, numbers in enumerate(values.tolist()):
        for column, number in enumerate(numbers):
            x, y = left + column * WIDE, top + row * HIGH
            level = min(max(number, 0.0), 1.0)
            if not math.isnan(number):
                colour = shades(0.08 + 0.92 * level)  # 0 is not white, as paper is
                axes.add_patch(Rectangle((x + 1, y + 1), WIDE - 2, HIGH - 2, color=colour, lw=0, antialiased=False))
            text = "–" if math.isnan(number) else "<0" if number < 0 else f"{number + 0.0:.2f}"
            ink = "white" if level > 0.65 else INK
            _write(axes, Name(text, TEXT, 0), x + WIDE / 2, y + HIGH / 2, align="center", colour=ink)


def _frame(axes: "Axes", x: float, y: float, wide: float, high: float, style: str) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x + 4, y + 4), wide - 8, high - 8, fill=False, edgecolor=FRAME, lw=5, ls=style))
