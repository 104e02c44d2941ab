from pathlib import Path

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from convexp.errors import ConvexpError
from convexp.images.curves import loss_curve
from convexp.images.files import write_image
from convexp.images.layout import line
from convexp.runs import sheet
from convexp.runs.record import Record
from convexp.runs.sheet import CURVES, GAP, SIDE, SIZE, comparison_sheet

HEIGHT = line("", size=SIZE).shape[1]


def record(path, mse=None, *, model="single", status=None):
    config = {"seed": 0, "choices": {"model": model}, "overrides": [f"model={model}"]}
    metrics = {} if mse is None else {"best": {"val/mse": mse}, "final": {}}
    return Record(Path(path), status or ("failed" if mse is None else "finished"), config, metrics)


def shade(value):
    """A colour (3, 1, 1) that no letter has."""
    return torch.tensor([value, 0, 255], dtype=torch.uint8).view(3, 1, 1)


def shown(sheet, value):
    """Whether the picture of a colour is there."""
    return bool((sheet == shade(value)).all(dim=0).any())


def place(sheet, colour):
    """Where the picture of a colour lies: its first row and column, and its size."""
    rows, columns = (sheet == colour).all(dim=0).nonzero().unbind(dim=1)
    return int(rows.min()), int(columns.min()), int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def says(sheet, text, row, column):
    """Whether a line of text stands there."""
    words = line(text, size=SIZE)
    return torch.equal(sheet[:, row : row + words.shape[1], column : column + words.shape[2]], words)


def over(sheet, text, value, *, above=0):
    """Whether a text stands over the picture of a colour, or so many lines above it."""
    row, column, _, _ = place(sheet, shade(value))
    return says(sheet, text, row - 1 - HEIGHT * (above + 1), column - 1)  # a picture has a frame


@pytest.fixture
def plotted(monkeypatch):
    """The curves that are drawn; a plot takes a tenth of a second."""
    curves = {}

    def draw(given, *, ylabel):
        curves.update(given)
        return torch.zeros(3, 54, 96, dtype=torch.uint8)

    monkeypatch.setattr(sheet, "loss_curve", draw)
    return curves


def run(folder, name, value, mse=None, **more):
    """A run whose picture is of one colour, 40×60."""
    path = folder / name
    path.mkdir()
    write_image(shade(value).expand(3, 40, 60), path / "comparison.png")
    return record(path, mse, **more)


def test_the_best_stands_first_with_its_name(tmp_path, plotted):
    runs = [run(tmp_path, name, value, mse, model=name) for name, value, mse in (("a", 50, 0.3), ("b", 60, 0.1))]
    runs.append(run(tmp_path, "c", 70, 0.2, model="c"))
    runs.append(run(tmp_path, "d", 80, model="d"))
    sheet = comparison_sheet(runs, tmp_path)
    assert sheet.dtype == torch.uint8
    assert over(sheet, "1: model=b", 60)
    assert over(sheet, "2: model=c", 70)
    assert over(sheet, "3: model=a", 50)
    assert not shown(sheet, 80)  # failed runs have no output
    (top, left, *size), (top_2, left_2, *_), (top_3, left_3, *_) = (
        place(sheet, shade(value)) for value in (60, 70, 50)
    )
    assert size == [40, 60]
    assert top == top_2 < top_3
    assert left == left_3 == GAP + 1 < left_2


def test_large_pictures_are_scaled_down(tmp_path, plotted):
    (tmp_path / "run").mkdir()
    write_image(shade(90).expand(3, 1000, 500), tmp_path / "run" / "comparison.png")
    sheet = comparison_sheet([record(tmp_path / "run", 0.1)], tmp_path)
    assert place(sheet, shade(90))[2:] == (SIDE - 2, round((SIDE - 2) / 2))
    assert over(sheet, "1: run", 90)


def test_a_long_name_is_wrapped_right_over_its_picture(tmp_path, plotted):
    long = "a-very-long-name_of_a_model"
    sheet = comparison_sheet(
        [run(tmp_path, "a", 50, 0.1, model=f"{long} {long}"), run(tmp_path, "b", 60, 0.2, model="b")], tmp_path
    )
    assert over(sheet, long, 50)
    assert over(sheet, f"1: model={long}", 50, above=1)
    assert over(sheet, "2: model=b", 60)
    assert place(sheet, shade(50))[0] == place(sheet, shade(60))[0]


def test_sixteen_are_shown_and_the_others_counted(tmp_path, plotted):
    runs = [run(tmp_path, f"{number:02}", number, number / 100, model=f"m{number}") for number in range(17)]
    sheet = comparison_sheet(runs[::-1], tmp_path)
    assert [shown(sheet, number) for number in range(17)] == [True] * 16 + [False]
    rows, columns, *_ = zip(*(place(sheet, shade(number)) for number in range(16)), strict=True)
    assert rows == tuple(sorted(rows))
    assert columns == columns[:4] * 4
    assert says(sheet, "1 more left out", rows[-1] + 40 + 1 + GAP, GAP)
    assert says(sheet, f"{17 - CURVES} more left out", sheet.shape[1] - GAP - HEIGHT, GAP)


def test_without_its_picture_a_run_is_still_named(tmp_path, plotted):
    runs = [run(tmp_path, name, 50, 0.1, model=name) for name in "abc"]
    (tmp_path / "a" / "comparison.png").write_bytes(b"\x89PNG damaged")
    (tmp_path / "b" / "comparison.png").unlink()
    sheet = comparison_sheet(runs, tmp_path)
    assert says(sheet, "comparison.png cannot be read", GAP + HEIGHT, GAP)
    assert over(sheet, "3: model=c", 50)


def test_the_losses_of_all_runs_come_from_their_events(tmp_path, plotted):
    runs = [run(tmp_path, "good", 50, 0.1, model="a"), run(tmp_path, "failed", 60, model="b")]
    runs.append(run(tmp_path, "none", 70, model="c", status="running"))
    for name, losses in (("good", range(1, 12_001)), ("failed", (0.5, 2.5))):
        with SummaryWriter(tmp_path / name) as events:
            for step, loss in enumerate(losses):
                events.add_scalar("train/loss", loss, 25 * step)
            events.add_scalar("val/mse", 7.0, 3)
    sheet = comparison_sheet(runs, tmp_path)
    assert list(plotted) == ["1", "2"]
    assert plotted["1"] == ([25 * step for step in range(12_000)], list(range(1, 12_001)))
    assert plotted["2"] == ([0, 25], [0.5, 2.5])
    # Beside the plot, which is black here, stands what the numbers mean.
    top, left, _, width = place(sheet, 0)
    for number, text in enumerate(("1: model=a", "2: model=b (failed)", "3: model=c (running)")):
        assert says(sheet, text, top + number * (HEIGHT + SIZE // 4), left + width + GAP)


def test_a_resumed_run_continues_its_curve(tmp_path, plotted):
    (tmp_path / "a").mkdir()
    for number, steps in enumerate(([0, 1, 2], [1, 2, 3])):
        with SummaryWriter(tmp_path / "a", filename_suffix=f".{number}") as events:
            events.add_image("picture", torch.rand(3, 64, 64), 0)
            for step in steps:
                events.add_scalar("train/loss", 10.0 * number + step, step)
    comparison_sheet([record(tmp_path / "a", 0.1)], tmp_path)
    assert plotted == {"1": ([0, 1, 2, 3], [0.0, 11.0, 12.0, 13.0])}


def test_damaged_events_are_read_up_to_there(tmp_path, plotted):
    runs = [run(tmp_path, "a", 50, 0.1), run(tmp_path, "b", 50, 0.1)]
    with SummaryWriter(tmp_path / "a") as events:
        for step in range(3):
            events.add_scalar("train/loss", 2.0, step)
    (written,) = (tmp_path / "a").glob("events*")
    (tmp_path / "b" / written.name).write_bytes(b"no events at all" * 9)
    whole = written.read_bytes()
    written.write_bytes(whole[:-3])
    comparison_sheet(runs, tmp_path)
    assert plotted == {"1": ([0, 1], [2.0, 2.0])}
    plotted.clear()
    written.write_bytes(whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:])
    comparison_sheet(runs, tmp_path)
    assert plotted == {"1": ([0, 1], [2.0, 2.0])}


def test_runs_that_are_not_finished_have_their_losses_alone(tmp_path):
    sheet = comparison_sheet([record(tmp_path)], tmp_path)
    plot = loss_curve({}, ylabel="training loss")
    assert torch.equal(sheet[:, GAP : GAP + 540, GAP : GAP + 960], plot)
    assert sheet.shape[1] == 540 + 2 * GAP


def test_an_unknown_column_is_not_sorted_by(tmp_path):
    with pytest.raises(ConvexpError, match="sort=speed: no run has a value of this name"):
        comparison_sheet([record(tmp_path)], tmp_path, sort="speed")
