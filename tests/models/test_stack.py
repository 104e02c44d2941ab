import pytest
import torch
from torch import nn

from convexp.errors import ConvexpError
from convexp.models import Stack

DEEP = {"edges": ["2@2x2", "100@1x1", "1@1x1"], "blur": ["4@3x3"] * 9 + ["out@3x3"]}


def test_the_notebook_stack_has_thirteen_layers_and_loses_21_pixels():
    stack = Stack(1, 1, blocks=DEEP, activation=nn.ELU())
    shapes = [tuple(module.weight.shape) for module in stack.modules() if isinstance(module, nn.Conv2d)]
    # out, in, height, width; counted by hand
    assert shapes == [(2, 1, 2, 2), (100, 2, 1, 1), (1, 100, 1, 1), (4, 1, 3, 3), *[(4, 4, 3, 3)] * 8, (1, 4, 3, 3)]
    assert sum(weight.numel() for weight in stack.parameters()) == 10 + 300 + 101 + 40 + 8 * 148 + 37
    assert stack(torch.rand(2, 1, 37, 41)).shape == (2, 1, 16, 20)


def test_an_activation_follows_every_convolution():
    stack = Stack(3, 2, blocks={"a": ["5@1x1", "2@1x1"], "b": ["out@3x1"]}, activation=nn.ReLU())
    assert [type(module) for block in stack for module in block] == [nn.Conv2d, nn.ReLU] * 3
    assert (stack(torch.randn(1, 3, 17, 23)) >= 0).all()


def test_layers_are_height_by_width():
    assert Stack(1, 1, blocks={"a": ["out@3x1"]}, activation=nn.ELU())(torch.rand(1, 1, 17, 23)).shape[-2:] == (15, 23)


def test_the_activation_s_parameters_are_not_shared():
    stack = Stack(1, 1, blocks={"a": ["2@1x1", "out@1x1"]}, activation=nn.PReLU())
    assert len([module for module in stack.modules() if isinstance(module, nn.PReLU)]) == 2
    assert len(list(stack.parameters())) == 6


@pytest.mark.parametrize("layer", ["4x3x3", "4@3", "0@3x3", "4@0x3", "-1@3x3", "all@3x3", ""])
def test_a_layer_that_is_not_understood_is_quoted(layer: str):
    with pytest.raises(ConvexpError, match=r"layer '.*' is not understood; write channels@heightxwidth, as 4@3x3"):
        Stack(1, 1, blocks={"a": [layer]}, activation=nn.ELU())


def test_the_last_layer_must_make_the_target_s_channels():
    with pytest.raises(
        ConvexpError, match="the model ends in 4 channels, the target has 3; write the last layer as out@"
    ):
        Stack(1, 3, blocks={"a": ["4@3x3"]}, activation=nn.ELU())


@pytest.mark.parametrize("blocks", [{}, {"a": []}])
def test_a_stack_has_a_layer(blocks: dict[str, list[str]]):
    with pytest.raises(ConvexpError, match=r"model\.blocks has no layer"):
        Stack(1, 1, blocks=blocks, activation=nn.ELU())
