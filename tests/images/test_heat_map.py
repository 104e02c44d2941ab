import math

import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.heat_map import GAP, HIGH, MARGIN, WIDE, best_cells, heat_map

WHITE, DARK = (255, 255, 255), (8, 48, 107)
ORANGE = (255, 140, 0)


def cells(picture, rows, columns, legend=0):
    """Return the cells, which end at the right margin unless names at a slant stand over it."""
    bottom, right = picture.shape[1] - MARGIN - GAP - 40 * legend, picture.shape[2] - MARGIN
    top, left = bottom - rows * HIGH, right - columns * WIDE
    return [
        [picture[:, top + r * HIGH :, left + c * WIDE :][:, :HIGH, :WIDE] for c in range(columns)] for r in range(rows)
    ]


def colour(cell):
    """Return the colour beside the upper left corner, where there is neither frame nor number."""
    return tuple(cell[:, 2, 2].tolist())


def orange(cell):
    return (cell == torch.tensor(ORANGE, dtype=torch.uint8).view(3, 1, 1)).all(dim=0)


def test_cells_are_from_light_to_dark_in_their_places():
    values = torch.tensor([[0.0, 0.25, 0.5, 0.75, 1.0], [-0.2, math.nan, 1.5, 1.0, 0.0]])
    picture = heat_map(values, rows=["a", "b"], columns=["p", "q", "r", "s", "t"])
    assert picture.dtype == torch.uint8
    assert picture.is_contiguous()
    first, second = [[colour(cell) for cell in row] for row in cells(picture, 2, 5)]
    assert first[-1] == DARK
    assert [sum(shade) for shade in first] == sorted({sum(shade) for shade in first}, reverse=True)
    assert 640 < sum(first[0]) < 740  # pale, but not white as paper
    assert second == [first[0], WHITE, DARK, DARK, first[0]]
    margin = (picture == 255).all(dim=0)
    assert margin[:MARGIN].all()
    assert margin[-MARGIN:].all()
    assert margin[:, : MARGIN - 1].all()
    assert margin[:, -MARGIN:].all()


def test_numbers_are_written_with_two_decimals():
    values = torch.tensor([[0.971, 0.969, 0.96, -0.1, -7.0, -0.0, 0.0, -math.inf]])
    shown = cells(heat_map(values, rows=["a"], columns=list("abcdefgh")), 1, 8)[0]
    number = [cell[:, 10:-10, 10:-10] != cell[:, 2:3, 2:3] for cell in shown]
    assert torch.equal(number[0], number[1])  # 0.97
    assert not torch.equal(number[1], number[2])
    assert torch.equal(shown[3], shown[4])  # <0
    assert torch.equal(shown[3], shown[7])
    assert torch.equal(shown[5], shown[6])
    assert not torch.equal(number[4], number[5])


def test_the_first_to_reach_nine_tenths_or_the_largest():
    nan = math.nan
    values = torch.tensor([[0.1, 0.89, nan, nan, 0.5], [0.9, 0.3, nan, 0.4, -0.5], [0.99, 0.6, nan, -math.inf, 0.5]])
    assert best_cells(values) == [(1, 0, "-"), (0, 1, "--"), (1, 3, "--"), (0, 4, "--")]
    assert best_cells(torch.tensor([[0.8999], [0.9]], dtype=torch.float64)) == [(1, 0, "-")]


def test_frames_are_drawn_around_their_cells():
    values = torch.tensor([[0.2, 0.5], [0.95, 0.4], [0.99, 0.3]])
    options = {"rows": ["wider than the legend", "b", "c"], "columns": ["p", "q"]}
    shown = cells(heat_map(values, best=True, **options), 3, 2, legend=2)
    counts = [[int(orange(cell).count_nonzero()) for cell in row] for row in shown]
    (none, dashed), (solid, *_), _ = counts
    assert [none, counts[1][1], *counts[2]] == [0, 0, 0, 0]
    assert solid > 4 * (HIGH + WIDE - 16)
    assert 0.4 * solid < dashed < 0.9 * solid
    edge = orange(shown[1][0])
    assert edge[HIGH // 2, 4]
    assert edge[HIGH // 2, -5]
    assert edge[4, WIDE // 2]
    assert edge[-5, WIDE // 2]
    assert not orange(heat_map(values, **options)).any()


def test_names_of_any_length_and_script_fit():
    rows = ["λ=10⁻³ σ", "中 $\\x$\n_y", "a name of a row that needs at least two lines to be read, if not more of them"]
    upright = heat_map(torch.rand(3, 2), rows=["a", "b", "c"], columns=["high pass", "edges blur"])
    slanted = heat_map(torch.rand(3, 2), rows=rows, columns=["high pass", "morphological"], title="R² " * 40)
    assert slanted.shape[1] > upright.shape[1] + 100
    assert 600 < slanted.shape[2] < 1000
    margin = (slanted == 255).all(dim=0)
    assert margin[:, -MARGIN:].all()
    assert margin[: MARGIN - 1].all()
    assert margin[:, : MARGIN - 1].all()


def test_15_rows_and_9_columns_are_about_1200_pixels_wide():
    rows, columns = [f"context aggregation {i}" for i in range(15)], [f"column {i}" for i in range(9)]
    picture = heat_map(torch.rand(15, 9), rows=rows, columns=columns)
    assert 900 < picture.shape[1] < 1300
    assert 1100 < picture.shape[2] < 1400


def test_wrong_arguments_are_named():
    with pytest.raises(ConvexpError, match=r"values have shape \(3,\); pass a table, \(rows, columns\)"):
        heat_map(torch.rand(3), rows=["a"], columns=["b"])
    with pytest.raises(ConvexpError, match=r"values have shape \(0, 3\); pass a table"):
        heat_map(torch.rand(0, 3), rows=[], columns=["b"] * 3)
    with pytest.raises(ConvexpError, match="there are 1 names for 2 rows; pass one for each"):
        heat_map(torch.rand(2, 3), rows=["a"], columns=["b"] * 3)
    with pytest.raises(ConvexpError, match="there are 2 names for 3 columns; pass one for each"):
        heat_map(torch.rand(2, 3), rows=["a"] * 2, columns=["b"] * 2)
