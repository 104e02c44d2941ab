import pytest
import torch
from torch import nn

from convexp.training import Exact


def test_one_step_arrives_at_the_nearest_float():
    layer = nn.Conv2d(1, 1, 3)
    goal = [torch.randn(weight.shape, dtype=torch.float64) for weight in layer.parameters()]
    exact = Exact(layer.parameters())
    exact.optimum = goal
    assert exact.step(lambda: torch.tensor(2.0)) == 2
    for weight, part in zip(layer.parameters(), goal, strict=True):
        assert weight.equal(part.float())


def test_no_rate_keeps_it_back():
    weight = nn.Parameter(torch.tensor([4.0]))
    exact = Exact([weight], lr=1e-3)
    exact.optimum = [torch.tensor([1.0])]
    assert exact.step() is None
    assert weight.item() == 1


def test_it_does_not_step_without_knowing_where_to():
    with pytest.raises(ValueError, match="zip"):
        Exact([nn.Parameter(torch.zeros(1))]).step()
