"""What is printed about an export."""

from convexp.deploy.export import Comparison, Export
from convexp.deploy.learned import Learned

WIDTH = 10  # of the words before the colons


def card(export: Export) -> str:
    """Several lines: how it was compared, what it takes and makes, and how it is used.

    Args:
        export: What was written.
    """
    learned, comparison = export.learned, export.comparison
    if isinstance(comparison, str):
        lines = [("checked", f"NOT VERIFIED: {comparison}")]
        least = learned.least
    else:
        lines = [("checked", f"run by {comparison.by} on {', '.join(comparison.images)}{_left_out(comparison)}")]
        unit = f" ({255 * comparison.error:.2g} of 255 levels)" if export.format.values == "8 bits" else ""
        lines.append(("max error", f"{comparison.error:.2g}{unit}, on {comparison.where}"))
        least = comparison.least
    size = f"{least[0]}×{least[1]}"
    if export.format.values == "8 bits":
        taken = f"pictures of 8 bits, {_colours(learned)}, at least {size}"
    else:
        taken = f"float32 (N, {learned.inputs}, H, W) in [0, 1], at least {size}"
    lines.append(("input", taken))
    lines.append(("output", _made(export)))
    lines.append(("border", _border(learned)))
    far = "" if learned.obstacle is None else f"; {learned.obstacle}"
    lines.append(("sees", f"{learned.field[0]}×{learned.field[1]} pixels (receptive field){far}"))
    lines += [("note", note) for note in export.format.notes(learned)]
    example = "\n".join(f"    {line}" for line in export.format.example(learned, export.path))
    facts = "\n".join(f"  {word:{WIDTH}} {what}" for word, what in lines)
    return f"{export.path}  {_bytes(export.size)}, {export.format.what}\n{facts}\n  use\n{example}\n"


def _left_out(comparison: Comparison) -> str:
    rows, columns = comparison.margin
    return f", but for {_count(rows, 'row')} and {_count(columns, 'column')} at each side" if rows or columns else ""


def _colours(learned: Learned) -> str:
    return "gray" if learned.inputs == 1 else "in colour"


def _made(export: Export) -> str:
    learned = export.learned
    low, high = (f"{value:.3g}".replace("-", "−") for value in learned.span)
    span = f"{low} to {high} on coffee"
    if export.format.values == "8 bits":
        lost = f"; {100 * learned.clipped:.2g} % of that is clipped to [0, 1]" if learned.clipped else ""
        return f"a picture as large as the input; the run has {span}{lost}"
    height, width = (
        f"{name} {'−' if lost > 0 else '+'} {abs(lost)}" if lost else name
        for name, lost in zip("HW", learned.lost, strict=True)
    )
    return f"float32 (N, {learned.outputs}, {height}, {width}), in the target's units: {span}"


def _border(learned: Learned) -> str:
    if learned.border:
        return " and ".join(learned.border)
    rows, columns = learned.lost
    lost = f": none is invented, {_count(rows, 'row')} and {_count(columns, 'column')} are lost"
    return f"valid{lost if rows or columns else ''}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _bytes(size: int) -> str:
    return f"{size} bytes" if size < 1000 else f"{size / 1000:.3g} kB" if size < 1e6 else f"{size / 1e6:.3g} MB"
