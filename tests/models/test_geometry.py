import pytest
import torch
from torch import nn

from convexp.models import Stack, receptive_field

MODELS = {
    "one": nn.Conv2d(1, 1, (3, 5)),
    "dilated": nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2), nn.Tanh(), nn.Conv2d(1, 1, (2, 1))),
    "strided": nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, (1, 3)), nn.AvgPool2d(2)),
    "deep": Stack(1, 1, blocks={"edges": ["2@2x2"], "blur": ["4@3x3", "out@3x3"]}, activation=nn.Tanh()),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_region_that_a_gradient_reaches(name: str):
    model = MODELS[name].double()
    image = torch.rand(1, 1, 17, 23, dtype=torch.float64, requires_grad=True)
    model(image)[0, 0, 1, 1].backward()
    assert image.grad is not None
    rows, columns = image.grad[0, 0].nonzero().T
    assert receptive_field(model) == (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1)


def test_a_model_without_windows_sees_one_pixel():
    assert receptive_field(nn.ELU()) == (1, 1)
