import math

import numpy as np
import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.curves import loss_curve

# Matplotlib's first colours.
BLUE = (31, 119, 180)
ORANGE = (255, 127, 14)
GREEN = (44, 160, 44)


def drawn(picture, colour=BLUE):
    """Return (row, column) of all pixels of the first curve, or of another colour."""
    return (picture == torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)).all(dim=0).nonzero()


def height(points):
    """Return the row in which the most points are."""
    return points[:, 0].mode().values.item()


def test_size_and_determinism():
    curves = {"train": ([0, 10, 20], [1.0, 0.1, 0.01]), "validation": ([0, 20], [2.0, 0.02])}
    picture = loss_curve(curves, ylabel="MSE")
    assert picture.shape == (3, 540, 960)
    assert picture.dtype == torch.uint8
    assert torch.equal(picture, loss_curve(curves, ylabel="MSE"))


def test_an_exponential_decay_is_a_straight_line():
    steps = np.arange(1000)
    points = drawn(loss_curve({"train": (steps, np.exp(-steps / 50))}, ylabel="MSE")).double()
    rows, columns = points.T
    assert torch.corrcoef(torch.stack([rows, columns]))[0, 1] > 0.9999


@pytest.mark.parametrize(
    "values",
    [[], [0.5], [0.0, 0.0, 0.0], [0.3, 0.3], [-1.0, -2.0], [math.nan], [math.nan, 1.0, math.inf], [1e-45, 3e38]],
)
def test_no_values_are_too_strange(values):
    picture = loss_curve({"train": (range(len(values)), values)}, ylabel="MSE")
    assert picture.shape == (3, 540, 960)
    some = any(math.isfinite(value) for value in values)
    assert (len(drawn(picture)) > 0) == (some or len(values) == 1)


def test_no_curve_at_all():
    assert loss_curve({}, ylabel="MSE").shape == (3, 540, 960)


def test_what_is_not_positive_leaves_a_gap():
    rows, columns = drawn(loss_curve({"train": ([0, 1, 2, 3, 4], [1.0, 1.0, 0.0, 1.0, 1.0])}, ylabel="MSE")).T
    assert rows.max() - rows.min() <= 15
    assert columns.unique().diff().max() > 200


def test_a_single_step_is_a_dot():
    rows, columns = drawn(loss_curve({"train": ([5], [0.1])}, ylabel="MSE")).T
    assert 5 <= rows.max() - rows.min() <= 15
    assert 5 <= columns.max() - columns.min() <= 15


def test_what_is_not_finite_is_counted_in_the_legend():
    finite = loss_curve({"train": ([0, 1], [1.0, 1.0])}, ylabel="MSE")
    broken = loss_curve({"train": ([0, 1, 2], [1.0, 1.0, math.nan])}, ylabel="MSE")
    assert not torch.equal(finite, broken)


def test_a_line_lies_at_its_value_across_all_steps_in_a_colour_of_its_own():
    curve = {"train": ([0, 1], [1.0, 0.01])}
    points = drawn(loss_curve(curve, ylabel="MSE", lines={"half way": 0.1}), ORANGE)
    rows, columns = drawn(loss_curve(curve, ylabel="MSE")).T
    line = points[points[:, 0] == height(points)][:, 1]
    assert height(points) == pytest.approx((rows.min() + rows.max()).item() / 2, abs=2)
    assert line.min() < columns.min()
    assert line.max() > columns.max()
    assert len(line) < 0.8 * (line.max() - line.min())  # dashed


def test_lines_beyond_the_curve_widen_the_axis():
    picture = loss_curve({"train": ([0, 1], [1.0, 1.0])}, ylabel="MSE", lines={"optimum": 1e-3, "noise": 1e-2})
    curve, optimum, noise = (height(drawn(picture, colour)) for colour in (BLUE, ORANGE, GREEN))
    assert optimum - curve > 300
    assert optimum - noise == pytest.approx((optimum - curve) / 3, abs=2)


def test_lines_stand_in_the_legend():
    curve = {"train": ([0, 1], [1.0, 1.0])}
    picture, other = (loss_curve(curve, ylabel="MSE", lines={name: 1.0}) for name in ("optimum", "noise"))
    rows, columns = (picture != other).any(dim=0).nonzero().T
    assert 0 < rows.max() - rows.min() < 100  # nothing else differs
    assert 0 < columns.max() - columns.min() < 300
    assert not torch.equal(loss_curve({}, ylabel="MSE", lines={"optimum": 0.1}), loss_curve({}, ylabel="MSE"))
    names = [loss_curve({}, ylabel="MSE", lines={name: 0.1}) for name in ("optimum", "noise")]
    assert not torch.equal(*names)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_lines_that_cannot_be_shown_are_left_out(value):
    curve = {"train": ([0, 1], [1.0, 0.1])}
    assert torch.equal(loss_curve(curve, ylabel="MSE", lines={"optimum": value}), loss_curve(curve, ylabel="MSE"))
    assert torch.equal(loss_curve(curve, ylabel="MSE", lines={}), loss_curve(curve, ylabel="MSE"))


@pytest.mark.parametrize("value", [0.0, -1.5])
def test_a_linear_axis_shows_lines_of_any_sign(value):
    picture = loss_curve({"train": ([0, 1], [-1.0, -2.0])}, ylabel="score", lines={"optimum": value})
    assert len(drawn(picture, ORANGE)) > 500


def test_unequal_lengths_are_named():
    with pytest.raises(ConvexpError, match="train has 2 steps but 1 values"):
        loss_curve({"train": ([0, 1], [1.0])}, ylabel="MSE")
