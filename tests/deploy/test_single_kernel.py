"""One kernel, constant and border instead of a model."""

import pytest
import torch
from torch import nn

from convexp.deploy.single_kernel import single_kernel
from convexp.models import Stack, Standardised, receptive_field
from convexp.models.context_aggregation import ContextAggregation

BORDERS = ("reflect", "replicate", "zeros", "circular")


@pytest.fixture
def image():
    return torch.rand(2, 4, 17, 23, generator=torch.Generator().manual_seed(1))


def found(model, channels):
    return single_kernel(model.eval(), channels, field=receptive_field(model))


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("scales", [False, True])
def test_a_padded_convolution(image, border, scales):
    layer = nn.Conv2d(4, 6, (5, 3), padding=(2, 1), padding_mode=border, groups=2)
    model = Standardised(layer, mean=0.4, std=0.2, offset=-1.0, scale=3.0) if scales else layer
    kernel = found(model, 4)
    torch.testing.assert_close(kernel(image).float(), model(image), rtol=0, atol=1e-5)
    assert (kernel.border, kernel.above, kernel.left, kernel.growth) == (border, 2, 1, (0, 0))
    assert kernel.exact_border
    assert kernel.kernel.shape == (6, 4, 5, 3)
    assert not kernel.kernel[:3, 2:].any()  # the first group's outputs read its own inputs


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_a_convolution_of_even_size_and_holes(image):
    for model in (nn.Conv2d(4, 1, (4, 2), padding="same"), nn.Conv2d(4, 1, 3, dilation=(1, 2), bias=False)):
        kernel = found(model, 4)
        torch.testing.assert_close(kernel(image).float(), model(image), rtol=0, atol=1e-6)
    assert kernel.size == (3, 5)
    assert kernel.border is None


def test_a_convolution_that_pads_more_than_it_needs(image):
    model = nn.Conv2d(4, 2, 3, padding=3)
    kernel = found(model, 4)
    torch.testing.assert_close(kernel(image).float(), model(image))
    assert kernel.growth == (4, 4)
    assert kernel.anchor is None


def test_outside_a_standardised_image_is_its_mean():
    layer = nn.Conv2d(1, 1, 3, padding=1)
    assert found(Standardised(layer, mean=0.375), 1).outside == 0.375
    assert found(layer, 1).outside == 0
    assert found(Standardised(nn.Conv2d(1, 1, 3), mean=0.375), 1).outside == 0


def test_a_linear_stack_is_one_kernel(image):
    stack = Stack(4, 2, blocks={"one": ["3@2x3"], "two": ["out@3x2"]}, activation=nn.Identity())
    model = Standardised(stack, mean=0.4, std=0.2, offset=-1.0, scale=3.0)
    kernel = found(model, 4)
    torch.testing.assert_close(kernel(image).float(), model(image), rtol=0, atol=1e-5)
    assert (kernel.size, kernel.border) == ((4, 4), None)


def test_a_kernel_cut_to_its_support_stays_in_its_place(image):
    inner = nn.Conv2d(4, 1, 7)
    inner.weight.data[..., :3, :] = 0
    inner.weight.data[..., :, 4:] = 0
    model = nn.Sequential(inner)  # found by experiment, which sees 4×4 weights
    kernel = found(model, 4)
    torch.testing.assert_close(kernel(image).float(), model(image), rtol=0, atol=1e-5)
    assert kernel.growth == (-6, -6)


@pytest.mark.parametrize("border", BORDERS)
def test_the_border_is_found_by_experiment(image, border):
    model = nn.Sequential(nn.Conv2d(4, 3, 5, padding=2, padding_mode=border), nn.Conv2d(3, 1, 1))
    kernel = found(Standardised(model, mean=0.3), 4)
    assert (kernel.border, kernel.exact_border) == (border, True)
    torch.testing.assert_close(kernel(image).float(), Standardised(model, mean=0.3)(image), rtol=0, atol=1e-5)


def test_no_kernel_has_the_border_of_two_padded_layers(image):
    layers = [nn.Conv2d(4, 4, 3, padding=1, padding_mode="replicate") for _ in range(2)]
    model = nn.Sequential(*layers)
    kernel = found(model, 4)
    assert not kernel.exact_border
    rows, columns = kernel.reach
    assert (rows, columns) == (2, 2)
    inner = (..., slice(rows, -rows), slice(columns, -columns))
    torch.testing.assert_close(kernel(image).float()[inner], model(image)[inner], rtol=0, atol=1e-5)


def test_what_is_not_linear_has_none():
    stack = Stack(1, 1, blocks={"one": ["4@3x3"], "two": ["out@3x3"]}, activation=nn.ELU())
    assert found(stack, 1) is None
    torch.manual_seed(0)
    context = ContextAggregation(3, 3, width=4, dilations=(1, 2, 1))
    for weight in context.parameters():
        nn.init.normal_(weight)
    assert found(context, 3) is None


def test_how_much_channels_mix():
    layer = nn.Conv2d(3, 3, 1, bias=False)
    layer.weight.data[..., 0, 0] = torch.tensor([[1.0, 0.25, 0.0], [0.0, 2.0, 0.0], [-0.125, 0.5, 3.0]])
    kernel = found(layer, 3)
    assert kernel.mixing == 0.625
    assert kernel.own.flatten().tolist() == [1, 2, 3]
    assert found(nn.Conv2d(3, 1, 1), 3).mixing == float("inf")


@pytest.mark.parametrize(
    ("size", "padding", "anchor"), [((3, 7), 0, (1, 3)), ((2, 4), 0, (0, 1)), (5, 1, (2, 2)), (5, 2, (2, 2))]
)
def test_the_weight_over_the_output_pixel(size, padding, anchor):
    assert found(nn.Conv2d(1, 1, size, padding=padding), 1).anchor == anchor
