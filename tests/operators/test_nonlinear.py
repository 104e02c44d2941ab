import math
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import ndimage

from convexp.errors import ConvexpError
from convexp.operators.border import Border
from convexp.operators.nonlinear import (
    Gamma,
    LocalDeviation,
    LocalMaximum,
    Magnitude,
    gamma,
    local_deviation,
    local_maximum,
    magnitude,
    window_moments,
)
from convexp.operators.response import support

SCIPY_MODES = {"reflect": "mirror", "replicate": "nearest", "zeros": "constant", "circular": "wrap"}
LOCAL = [(LocalMaximum, local_maximum), (LocalDeviation, local_deviation)]


@pytest.fixture
def image():
    return torch.randn(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_magnitude_by_hand():
    gx = torch.tensor([[3.0, 0, -5], [1, 0, 8]])
    gy = torch.tensor([[4.0, 0, 12], [0, -2, 15]])
    assert magnitude(torch.stack([gx, gy])[None]).tolist() == [[[[5, 0, 13], [1, 2, 17]]]]
    assert magnitude(torch.stack([gx, gy])[None], norm=1).tolist() == [[[[7, 0, 17], [1, 2, 23]]]]


@pytest.mark.parametrize("norm", [1, 2])
def test_magnitude_like_numpy(image, norm):
    output = magnitude(image, norm)
    assert output.shape == (2, 1, 17, 23)
    np.testing.assert_allclose(output[:, 0], np.linalg.norm(image.numpy(), norm, axis=1), rtol=1e-15)


@pytest.mark.parametrize("norm", [1, 2])
def test_magnitude_does_not_see_direction(norm):
    gradients = torch.randn(1, 2, 17, 23, generator=torch.Generator().manual_seed(0))
    assert magnitude(gradients, norm).equal(magnitude(-gradients, norm))
    assert magnitude(gradients, norm).equal(magnitude(gradients.flip(1), norm))


@pytest.mark.parametrize(("norm", "x", "y", "expected"), [(2, 0.6, -0.8, 5), (1, 1, -1, 7)])
def test_derivative_is_the_direction_and_zero_at_zero(norm, x, y, expected):
    gradients = torch.tensor([[3.0, 0.0], [-4.0, 0.0]]).reshape(1, 2, 1, 2).requires_grad_()
    output = magnitude(gradients, norm)
    assert output.flatten().tolist() == [expected, 0]
    output.sum().backward()
    torch.testing.assert_close(gradients.grad.reshape(2, 2), torch.tensor([[x, 0.0], [y, 0.0]]))


def test_gamma_by_hand():
    image = torch.tensor([[-2.0, 0.0, 0.25], [0.5, 1.0, 4.0]])
    assert gamma(image, 2).tolist() == [[0, 0, 0.0625], [0.25, 1, 16]]
    assert gamma(image, 0.5).tolist() == [[0, 0, 0.5], [np.sqrt(np.float32(0.5)), 1, 2]]
    assert gamma(image, 1).equal(image.clamp(min=0))
    assert gamma(torch.tensor(math.nan), 2).isnan()


def test_derivative_of_gamma_is_zero_where_nothing_is_bright():
    image = torch.tensor([-1.0, 0.0, 0.25]).requires_grad_()
    gamma(image, 0.5).sum().backward()
    assert image.grad.tolist() == [0, 0, 1]


def test_local_maximum_by_hand():
    image = torch.tensor([[1.0, -2, 3, -4], [-5, -6, -7, -8], [-9, -1, -1, -9]])[None, None]
    assert local_maximum(image, 3).tolist() == [[[[3, 3]]]]
    assert local_maximum(image, 3, border="replicate").tolist() == [
        [[[1, 3, 3, 3], [1, 3, 3, 3], [-1, -1, -1, -1]]],
    ]
    assert local_maximum(image, 3, border="zeros").tolist() == [[[[1, 3, 3, 3], [1, 3, 3, 3], [0, 0, 0, 0]]]]


def test_local_deviation_by_hand():
    image = torch.zeros(1, 1, 3, 4, dtype=torch.float64)
    image[..., 1, 0] = 9  # mean 1: eight times 1² and once 8², over 9
    torch.testing.assert_close(local_deviation(image, 3), torch.tensor([[[[math.sqrt(8), 0.0]]]]).double())
    assert local_deviation(image, 1).equal(torch.zeros_like(image))


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, 11])
@pytest.mark.parametrize("border", get_args(Border))
def test_local_maximum_like_scipy(image, kernel_size, border):
    expected = ndimage.maximum_filter(image, size=(1, 1, kernel_size, kernel_size), mode=SCIPY_MODES[border])
    assert local_maximum(image, kernel_size, border=border).equal(torch.from_numpy(expected))


@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7, 11])
@pytest.mark.parametrize("border", get_args(Border))
def test_local_deviation_like_scipy(image, kernel_size, border):
    size = (1, 1, kernel_size, kernel_size)
    expected = ndimage.generic_filter(image.numpy(), np.std, size=size, mode=SCIPY_MODES[border])
    ours = local_deviation(image, kernel_size, border=border)
    torch.testing.assert_close(ours, torch.from_numpy(expected), rtol=1e-13, atol=0)


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 3, 5), (2, 6, 1), (3, 7, 12), (3, 17, 23)])
def test_window_moments_like_numpy(image, size):
    windows = np.lib.stride_tricks.sliding_window_view(image.numpy(), size, axis=(1, 2, 3))
    mean, squares = window_moments(image, size)
    np.testing.assert_allclose(mean, windows.mean((-3, -2, -1)), rtol=0, atol=1e-15)
    np.testing.assert_allclose(squares, windows.var((-3, -2, -1)) * math.prod(size), rtol=1e-13)


def test_deviation_of_a_bright_window_is_not_lost():
    faint = torch.rand(1, 1, 17, 23, generator=torch.Generator().manual_seed(0))
    image = 1 + (1e-4 * faint * 2**23).round() / 2**23  # float32 holds it exactly
    expected = local_deviation(image.double() - 1, 7)
    torch.testing.assert_close(local_deviation(image, 7).double(), expected, rtol=0, atol=2**-23)


def test_a_flat_window_has_no_deviation_at_all():
    flat = torch.full((1, 2, 17, 23), 0.7).requires_grad_()
    deviation = local_deviation(flat, 7)
    assert not deviation.any()
    deviation.sum().backward()
    assert not flat.grad.any()


@pytest.mark.parametrize(("module", "function"), LOCAL)
@pytest.mark.parametrize("border", get_args(Border))
def test_valid_is_the_interior_of_any_border(image, module, function, border):
    valid = function(image, 5)
    assert valid.shape == (2, 3, 13, 19)
    torch.testing.assert_close(valid, function(image, 5, border=border)[..., 2:-2, 2:-2], rtol=1e-14, atol=0)
    assert module(5, border=border)(image).equal(function(image, 5, border=border))
    assert module(5)(image).equal(valid)


@pytest.mark.parametrize(("module", "function"), LOCAL)
def test_support_is_the_window(module, function):
    assert support(module(7), 1) == (-3, 3, -3, 3)
    assert support(module(3, border="reflect"), 3) == (-1, 1, -1, 1)


@pytest.mark.parametrize(("module", "function"), LOCAL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_stays_and_gradients_flow(image, module, function, dtype):
    image = image.to(dtype).requires_grad_()
    output = function(image, 3, border="circular")
    assert output.dtype == dtype
    output.sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad.any()


def test_modules_are_functions(image):
    assert Magnitude()(image).equal(magnitude(image))
    assert Magnitude(norm=1)(image).equal(magnitude(image, norm=1))
    assert Gamma(0.4)(image).equal(gamma(image, 0.4))


def test_modules_show_their_arguments():
    assert repr(Magnitude(1)) == "Magnitude(norm=1)"
    assert repr(Gamma(2.2)) == "Gamma(exponent=2.2)"
    assert repr(LocalMaximum(3, border="zeros")) == "LocalMaximum(border='zeros', kernel_size=3)"


@pytest.mark.parametrize("norm", [0, 3, "1", None])
def test_norm_must_be_one_or_two(image, norm):
    message = rf"^norm={norm!r} must be 2, the Euclidean length, or 1, the sum of the absolute values$"
    with pytest.raises(ConvexpError, match=message):
        magnitude(image, norm)
    with pytest.raises(ConvexpError, match=message):
        Magnitude(norm)


@pytest.mark.parametrize("exponent", [0, -1.0, math.nan, math.inf, "2"])
def test_exponent_must_be_positive(image, exponent):
    message = rf"^exponent={exponent!r} must be a positive number, e\.g\. exponent=2\.2 "
    with pytest.raises(ConvexpError, match=message):
        gamma(image, exponent)
    with pytest.raises(ConvexpError, match=message):
        Gamma(exponent)


@pytest.mark.parametrize(("module", "function"), LOCAL)
def test_windows_must_have_a_centre_and_fit(image, module, function):
    for build in (lambda: module(4), lambda: function(image, 4)):
        with pytest.raises(ConvexpError, match=r"^kernel_size=4 must be odd and positive "):
            build()
    with pytest.raises(ConvexpError, match=r"^border='mirror' must be one of reflect, "):
        module(3, border="mirror")
    with pytest.raises(ConvexpError, match=r"^image is 17x23 \(HxW\), kernel is 19x19: with border=None .* 19x19; "):
        function(image, 19)
