import math

import numpy as np
import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.curves import loss_curve

BLUE = (31, 119, 180)  # matplotlib's first colour


def drawn(picture):
    """Return (row, column) of all pixels of the first curve."""
    return (picture == torch.tensor(BLUE, dtype=torch.uint8).view(3, 1, 1)).all(dim=0).nonzero()


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


def test_unequal_lengths_are_named():
    with pytest.raises(ConvexpError, match="train has 2 steps but 1 values"):
        loss_curve({"train": ([0, 1], [1.0])}, ylabel="MSE")
