"""What is known of a model before it is exported."""

import pytest
import torch
from torch import nn

from convexp.deploy.learned import Learned
from convexp.errors import ConvexpError
from convexp.models import Stack, Standardised
from convexp.models.context_aggregation import ContextAggregation
from convexp.operators import GaussianBlur


def learned(model, **arguments):
    return Learned.of_model(model.eval(), "target-model", **arguments)


def test_a_valid_stack():
    stack = Stack(3, 1, blocks={"one": ["4@2x5"], "two": ["out@3x3"]}, activation=nn.ELU(inplace=True))
    found = learned(Standardised(stack, mean=0.4, std=0.2))
    assert (found.inputs, found.outputs, found.field) == (3, 1, (4, 7))
    assert (found.least, found.lost, found.border) == ((4, 7), (3, 6), ())


def test_a_padded_model_needs_as_much_as_its_border_reflects():
    found = learned(ContextAggregation(1, 1, width=3, dilations=(1, 2, 8, 1), border="reflect"))
    assert (found.field, found.least, found.lost, found.border) == ((25, 25), (9, 9), (0, 0), ("reflect",))
    layer = nn.Conv2d(3, 3, (3, 9), padding=(1, 4), padding_mode="reflect")
    assert learned(layer).least == (2, 5)
    assert learned(nn.Conv2d(3, 3, 5, padding=2)).least == (1, 1)
    assert learned(nn.Conv2d(3, 3, 5, padding=2)).border == ("zeros",)


def test_a_model_without_layers_is_tried():
    blur = GaussianBlur(sigma=1.0, kernel_size=5, border="circular")
    found = learned(blur, channels=3)
    assert (found.inputs, found.field, found.border) == (3, (5, 5), ("circular",))


def test_what_cannot_be_exported():
    with pytest.raises(ConvexpError, match="changes the scale of images: nothing can be exported; use stride 1"):
        learned(nn.Conv2d(1, 1, 3, stride=2))
    with pytest.raises(ConvexpError, match="the model takes no images of 1 or 3 channels, 33×39: nothing can be"):
        learned(nn.Linear(5, 5))
    layer = nn.Conv2d(1, 1, 3)
    nn.init.constant_(layer.weight, torch.inf)
    with pytest.raises(ConvexpError, match="output is not finite: the run has diverged"):
        learned(layer)


def test_what_is_not_local():
    context = ContextAggregation(1, 1, width=3, dilations=(1, 2), adaptive_normalisation=True)
    assert learned(context).obstacle.startswith("it normalises over the whole image (InstanceNorm2d")
    assert learned(nn.Conv2d(1, 1, 3)).obstacle is None


def test_photographs_are_as_large_as_the_model_needs():
    gray, wide = learned(nn.Conv2d(1, 1, 3)), learned(nn.Conv2d(2, 1, (3, 901)))
    assert gray.photo().shape == (1, 1, 400, 600)
    assert gray.photo(most=(17, 23)).shape == (1, 1, 17, 23)
    assert gray.photo("astronaut", most=(1, 1)).shape == (1, 1, 3, 3)
    assert wide.photo().shape == (1, 2, 800, 1200)
    assert wide.photo(most=(5, 5)).shape == (1, 2, 5, 901)
    levels = gray.photo() * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-4)  # a file of 8 bits holds it


def test_how_much_of_the_output_8_bits_would_clip():
    layer = nn.Conv2d(1, 1, 1)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    found = learned(layer)
    assert found.clipped == 0
    assert found.span == (float(found.photo().min()), float(found.photo().max()))
    nn.init.constant_(layer.bias, -0.5)
    assert learned(layer).clipped == pytest.approx(float((found.photo() < 0.5).double().mean()), abs=0.01)
