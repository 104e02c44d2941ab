"""What formats of single kernels share, on kernels that are written out."""

import pytest
import torch
from torch import nn

from convexp.deploy.formats.linear import (
    MIXED,
    border_in_words,
    kernel_of,
    lines_of,
    numbers,
    on_output,
    own_margin,
    refused,
    refused_on_image,
)
from convexp.deploy.learned import Learned
from convexp.deploy.single_kernel import SingleKernel


def learned(model):
    return Learned.of_model(model.eval().requires_grad_(False), "x")


def weighted(layer, weights, bias=0.0):
    """A layer with these weights."""
    layer.weight.data[:] = torch.as_tensor(weights)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)
    return learned(layer)


def kernel(size, **more):
    return SingleKernel(torch.zeros(1, 1, *size), torch.zeros(1), **more)


def test_numbers_have_a_point_and_the_digits_that_a_float32_needs():
    values = torch.tensor([[1.0, -2.0, 0.0], [0.1, 1e-10, 1e10]])
    assert numbers(values) == ["1.0", "-2.0", "0.0", "0.100000001", "1.00000001e-10", "1e+10"]
    assert numbers([3, 0.5], "f") == ["3.0f", "0.5f"]
    anything = torch.randint(-(2**31), 2**31, (2000,), generator=torch.Generator().manual_seed(0))
    anything = anything.to(torch.int32).view(torch.float32)
    anything = anything[anything.isfinite()]
    assert torch.tensor([float(text) for text in numbers(anything)]).equal(anything)


def test_a_line_holds_a_row_of_a_kernel():
    weights = torch.arange(12.0).view(2, 1, 2, 3)
    assert lines_of(SingleKernel(weights, torch.zeros(2)), "f") == [
        "0.0f, 1.0f, 2.0f,",
        "3.0f, 4.0f, 5.0f,",
        "6.0f, 7.0f, 8.0f,",
        "9.0f, 10.0f, 11.0f,",
    ]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({}, "valid, none is invented"),
        ({"above": 1, "border": "reflect"}, "reflect, outside is the image mirrored about its edge pixels"),
        ({"above": 1, "border": "replicate"}, "replicate, outside is the nearest edge pixel"),
        ({"above": 1, "border": "circular"}, "circular, outside is the image again"),
        ({"above": 1, "border": "zeros", "outside": 0.0}, "zeros, outside is the value 0"),
        ({"above": 1, "border": "zeros", "outside": 0.1 + 1e-12}, "zeros, outside is the value 0.1"),
    ],
)
def test_the_border_in_words(more, words):
    assert border_in_words(kernel((3, 3), **more)) == words


@pytest.mark.parametrize(
    ("more", "rows", "columns"),
    [
        ({"size": (3, 7)}, (1, 6), (3, 4)),
        ({"size": (4, 2)}, (1, 5), (0, 6)),
        ({"size": (3, 3), "above": 1, "below": 1, "left": 1, "right": 1}, (0, 7), (0, 7)),
        ({"size": (5, 3), "above": 2, "left": 1}, (0, 5), (0, 6)),
        ({"size": (5, 3), "below": 2, "right": 1}, (2, 7), (1, 7)),
    ],
)
def test_the_part_that_lies_over_the_output(more, rows, columns):
    size = more.pop("size")
    image = torch.arange(49.0).view(1, 1, 7, 7)
    found = on_output(image, kernel(size, **more))
    assert found.tolist() == image[..., slice(*rows), slice(*columns)].tolist()


@pytest.mark.parametrize("more", [{}, {"padding": (2, 1), "padding_mode": "replicate"}])
def test_an_answer_of_image_size_is_cut_to_what_the_run_makes(more):
    """Of a kernel of one weight, over the output pixel, the answer is the image."""
    layer = nn.Conv2d(1, 1, (5, 3), bias=False, **more)
    weights = torch.zeros(1, 1, 5, 3)
    weights[..., 2, 1] = 1
    found = weighted(layer, weights)
    image = torch.rand(2, 1, 17, 23, generator=torch.Generator().manual_seed(0))
    assert on_output(image, kernel_of(found)).equal(found.model(image))


def test_where_a_kernel_has_its_own_border():
    one = learned(nn.Conv2d(1, 1, (5, 3), padding=(2, 1), padding_mode="replicate"))
    two = nn.Sequential(one.model, nn.Conv2d(1, 1, 3, padding=1, padding_mode="replicate"))
    assert own_margin(one) == (0, 0)
    assert own_margin(learned(two)) == (3, 2)
    assert own_margin(learned(nn.Conv2d(1, 1, 5))) == (0, 0)


def test_what_is_no_kernel_is_refused():
    inner = weighted(nn.Conv2d(1, 1, 3), 0.01, -0.05)  # below 0 and above, where ELU has a kink
    curved = learned(nn.Sequential(inner.model, nn.ELU()))
    line = "the filter is not linear, so that no one kernel equals it"
    assert (refused(curved), refused_on_image(curved)) == (line, line)
    with pytest.raises(AssertionError):
        kernel_of(curved)
    straight = weighted(nn.Conv2d(3, 2, 3), 0.01)
    assert refused(straight) is None
    assert kernel_of(straight) is straight.kernel


@pytest.mark.parametrize(("factor", "mixes"), [(0.9, False), (1.1, True)])
def test_other_channels_may_add_a_quarter_of_a_level(factor, mixes):
    weights = 0.5 * torch.eye(3)[..., None, None]
    weights[0, 1:] = -factor * 0.25 / 255 / 2  # two channels share it
    assert pytest.approx(0.25 / 255) == MIXED
    found = refused_on_image(weighted(nn.Conv2d(3, 3, 1, bias=False), weights))
    assert found == ("its kernel mixes channels (3 in, 3 out)" if mixes else None)


def test_what_is_no_picture_is_refused():
    assert refused_on_image(weighted(nn.Conv2d(3, 1, 1), 0.3)) == "its kernel mixes channels (3 in, 1 out)"
    two = weighted(nn.Conv2d(2, 2, 1, groups=2), 0.5)
    assert refused_on_image(two) == "it makes 2 channels, a picture has 1 or 3"
    assert refused_on_image(weighted(nn.Conv2d(1, 1, 3, padding=2), 0.1)) == "its output is larger than the image"
    assert refused_on_image(weighted(nn.Conv2d(1, 1, 3, padding=1), 0.1)) is None


def test_one_pixel_of_a_hundred_inside_is_enough():
    """The output is the photograph, lifted until only its pixels of a level or less stay below 1."""
    photo = learned(nn.Conv2d(1, 1, 1)).photo()
    inside = [float((photo < (level + 0.5) / 255).double().mean()) for level in (7, 8)]
    assert inside == pytest.approx([0.008, 0.016], abs=5e-4)
    found = [refused_on_image(weighted(nn.Conv2d(1, 1, 1), 1.0, 1 - (level + 0.5) / 255)) for level in (7, 8)]
    assert found == ["99.2 % of its output on coffee lies outside [0, 1], where 8 bits end", None]
