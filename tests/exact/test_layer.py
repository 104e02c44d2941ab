import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from convexp.exact.layer import matrix, only_convolution, parts_of, weights_of
from convexp.models import Stack, Standardised


def convolution(**arguments):
    return nn.Conv2d(2, 4, 3, **arguments)


def hooked():
    layer = convolution()
    layer.register_forward_hook(lambda _module, _inputs, output: output.abs())
    return layer


def hooked_outside():
    model = Standardised(convolution())
    model.register_forward_pre_hook(lambda _module, inputs: (inputs[0].abs(),))
    return model


def half_frozen():
    layer = convolution()
    layer.bias.requires_grad_(False)
    return layer


class Rectified(nn.Conv2d):
    def forward(self, image):
        return super().forward(image).relu()


class Residual(nn.Sequential):
    def forward(self, image):
        return image + super().forward(image)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda layer: layer,
        nn.Sequential,
        lambda layer: nn.Sequential(nn.Identity(), nn.Sequential(layer)),
        Standardised,
        lambda layer: Standardised(nn.Sequential(layer)),
    ],
)
def test_one_convolution_is_found(wrap):
    layer = convolution()
    assert only_convolution(wrap(layer)) is layer


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(convolution(), nn.ReLU()),
        nn.Sequential(convolution(), nn.Conv2d(4, 4, 1)),
        nn.Sequential(),
        nn.Identity(),
        Stack(1, 1, blocks={"blur": ["out@3x3"]}, activation=nn.ELU()),
        Rectified(1, 1, 3),
        Residual(nn.Conv2d(1, 1, 3, padding=1)),
        hooked(),
        hooked_outside(),
        half_frozen(),
        parametrizations.weight_norm(convolution()),
        nn.ConvTranspose2d(1, 1, 3),
    ],
)
def test_what_is_more_is_not_linear_in_its_weights(model):
    assert only_convolution(model) is None


def test_a_stack_of_one_layer_without_activation_is_one_convolution():
    stack = Stack(1, 1, blocks={"blur": ["out@3x3"]}, activation=nn.Identity())
    assert only_convolution(stack) is stack.blur[0]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("bias", [True, False])
def test_the_matrix_applied_to_patches_is_the_convolution(groups, bias):
    layer = convolution(groups=groups, bias=bias).double()
    image = torch.rand(1, 2, 7, 5, dtype=torch.float64)
    patches = nn.functional.unfold(image, 3)[0].reshape(groups, -1, 15)
    if bias:
        patches = torch.cat([patches, torch.ones(groups, 1, 15, dtype=torch.float64)], dim=1)
    output = (weights_of(layer).mT @ patches).reshape(1, 4, 5, 3)
    torch.testing.assert_close(output, layer(image).detach())


@pytest.mark.parametrize("bias", [True, False])
def test_the_matrix_is_taken_apart_again(bias):
    layer = convolution(groups=2, bias=bias)
    parts = parts_of(weights_of(layer), layer)
    assert len(parts) == 1 + bias
    for part, weight in zip(parts, layer.parameters(), strict=True):
        assert part.float().equal(weight)
    again = matrix(parts[0], parts[1] if bias else None, groups=2)
    assert again.equal(weights_of(layer))
