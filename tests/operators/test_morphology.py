from typing import get_args

import numpy as np
import pytest
import torch
from scipy import ndimage

from convexp.errors import ConvexpError
from convexp.operators.border import Border
from convexp.operators.morphology import Closing, Dilation, Erosion, Opening, closing, dilation, erosion, opening
from convexp.operators.response import support

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "zeros": "constant", "circular": "wrap"}
# Function, module, reference, radii that it reaches.
OPERATORS = [
    (dilation, Dilation, ndimage.grey_dilation, 1),
    (erosion, Erosion, ndimage.grey_erosion, 1),
    (opening, Opening, ndimage.grey_opening, 2),
    (closing, Closing, ndimage.grey_closing, 2),
]
each = pytest.mark.parametrize(("function", "module", "reference", "radii"), OPERATORS)


@pytest.fixture
def image():
    return torch.randn(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_by_hand():
    image = torch.tensor([[0.0, 0, 0, 0, 0], [0, 5, 5, 5, 0], [0, 5, 5, 5, 0], [0, 5, 5, 5, 9], [0, 0, 0, 0, 0]])
    image = image[None, None]
    assert dilation(image, 3).tolist() == [[[[5, 5, 5], [5, 5, 9], [5, 5, 9]]]]
    assert erosion(image, 3).tolist() == [[[[0, 0, 0], [0, 5, 0], [0, 0, 0]]]]
    assert opening(image, 3, border="zeros").tolist() == [
        [[[0, 0, 0, 0, 0], [0, 5, 5, 5, 0], [0, 5, 5, 5, 0], [0, 5, 5, 5, 0], [0, 0, 0, 0, 0]]],
    ]
    assert closing(-image, 3, border="zeros").equal(-opening(image, 3, border="zeros"))


@each
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("border", [None, *get_args(Border)])
def test_like_scipy(image, function, module, reference, radii, kernel_size, border):
    reach = radii * (kernel_size // 2)
    margins = [(0, 0), (0, 0), (reach, reach), (reach, reach)]
    surrounded = image.numpy() if border is None else np.pad(image, margins, NUMPY_MODES[border])
    expected = reference(surrounded, size=(1, 1, kernel_size, kernel_size))
    expected = expected[..., reach : expected.shape[2] - reach, reach : expected.shape[3] - reach]
    output = function(image, kernel_size, border=border)
    np.testing.assert_array_equal(output, expected)
    assert module(kernel_size, border=border)(image).equal(output)


@pytest.mark.parametrize("border", ["reflect", "circular"])
@pytest.mark.parametrize(("function", "reference"), [(opening, ndimage.grey_opening), (closing, ndimage.grey_closing)])
def test_padding_once_is_padding_each_stage_where_the_border_is_symmetric(image, function, reference, border):
    mode = {"reflect": "mirror", "circular": "wrap"}[border]
    np.testing.assert_array_equal(function(image, 5, border=border), reference(image, size=(1, 1, 5, 5), mode=mode))


@each
@pytest.mark.parametrize("border", get_args(Border))
def test_valid_is_the_interior_of_any_border(image, function, module, reference, radii, border):
    valid = function(image, 5)
    reach = 2 * radii
    assert valid.shape == (2, 3, 17 - 2 * reach, 23 - 2 * reach)
    assert function(image, 5, border=border)[..., reach:-reach, reach:-reach].equal(valid)


@each
@pytest.mark.parametrize("border", [None, "replicate"])
def test_support_is_the_reach(function, module, reference, radii, border):
    assert support(module(3, border=border), 1) == (-radii, radii, -radii, radii)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_stays_and_gradients_flow(image, function, module, reference, radii, dtype):
    expected, image = function(image.to(dtype), 3), image.to(dtype).requires_grad_()
    output = function(image, 3)
    assert output.dtype == dtype
    assert output.equal(expected)
    output.sum().backward()
    assert image.grad.sum() == output.numel()  # each goes to one pixel


@each
def test_bad_arguments_are_named(image, function, module, reference, radii):
    for build in (lambda: module(4), lambda: function(image, 4)):
        with pytest.raises(ConvexpError, match=r"^kernel_size=4 must be odd and positive "):
            build()
    with pytest.raises(ConvexpError, match=r"^border='mirror' must be one of "):
        module(3, border="mirror")
    least = 18 * radii + 1
    with pytest.raises(ConvexpError, match=rf"^image is 17x23 \(HxW\), kernel is {least}x{least}: with border=None "):
        function(image, 19)
