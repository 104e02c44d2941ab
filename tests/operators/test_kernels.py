import math

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from convexp.errors import ConvexpError
from convexp.operators import kernels


def test_gaussian_by_hand():
    # σ² = 1 / (2 ln 2): every squared pixel of distance halves the weight.
    sigma = 1 / math.sqrt(2 * math.log(2))
    expected = torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    torch.testing.assert_close(kernels.gaussian(3, sigma), expected)


@pytest.mark.parametrize(("kernel_size", "sigma"), [(1, 3.0), (5, 0.7), (7, 4.0), (13, 2.0)])
def test_gaussian_like_scipy(kernel_size, sigma):
    profile = signal.windows.gaussian(kernel_size, sigma)
    expected = np.outer(profile, profile) / profile.sum() ** 2
    ours = kernels.gaussian(kernel_size, sigma, dtype=torch.float64)
    np.testing.assert_allclose(ours, expected, rtol=1e-13)
    assert kernels.gaussian(kernel_size, sigma).equal(ours.float())


@pytest.mark.parametrize("sigma", [1e-200, 1e-3])
def test_narrow_gaussian_is_the_impulse(sigma):
    assert kernels.gaussian(5, sigma).equal(kernels.impulse(5))


def test_impulse_by_hand():
    assert kernels.impulse(1).tolist() == [[1]]
    assert kernels.impulse(3).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_highpass_is_what_the_blur_takes_away():
    sigma = 1 / math.sqrt(2 * math.log(2))
    expected = torch.tensor([[-1.0, -2, -1], [-2, 12, -2], [-1, -2, -1]]) / 16
    torch.testing.assert_close(kernels.gaussian_highpass(3, sigma), expected)


def test_unsharp_by_hand():
    sigma = 1 / math.sqrt(2 * math.log(2))
    expected = torch.tensor([[-1.0, -2, -1], [-2, 20, -2], [-1, -2, -1]]) / 8
    torch.testing.assert_close(kernels.unsharp(3, sigma, amount=2.0), expected)
    torch.testing.assert_close(kernels.unsharp(3, sigma, amount=0.0), kernels.impulse(3))
    torch.testing.assert_close(kernels.unsharp(3, sigma, amount=-1.0), kernels.gaussian(3, sigma))


def test_integer_gaussian():
    kernel = kernels.integer_gaussian(dtype=torch.float64)
    torch.testing.assert_close(kernel.sum().item(), 1.0, rtol=0, atol=1e-15)
    assert kernel[0].mul(273).round().tolist() == [1, 4, 7, 4, 1]
    assert kernel[2].mul(273).round().tolist() == [7, 26, 41, 26, 7]
    assert kernel.equal(kernel.T)
    assert kernel.equal(kernel.flip(0))
    torch.testing.assert_close(kernel, kernels.gaussian(5, 1.0, dtype=torch.float64), rtol=0, atol=0.012)


@pytest.mark.parametrize(("kernel", "axis"), [(kernels.sobel_x, 1), (kernels.sobel_y, 0)])
def test_sobel_like_scipy(kernel, axis):
    image = np.random.default_rng(0).random((17, 23))
    expected = ndimage.sobel(image, axis=axis)
    np.testing.assert_allclose(ndimage.correlate(image, kernel().double().numpy()), expected, atol=1e-14)


def test_edges_by_hand():
    assert kernels.vertical_edge().tolist() == [[-1, 1], [-1, 1]]
    assert kernels.horizontal_edge().tolist() == [[-1, -1], [1, 1]]


@pytest.mark.parametrize(
    "kernel",
    [
        kernels.impulse(3),
        kernels.gaussian(3, 1.0),
        kernels.gaussian_highpass(3, 1.0),
        kernels.unsharp(3, 1.0, amount=1.0),
        kernels.integer_gaussian(),
        kernels.sobel_x(),
        kernels.sobel_y(),
        kernels.vertical_edge(),
        kernels.horizontal_edge(),
    ],
)
def test_kernels_are_float32_unless_told_otherwise(kernel):
    assert kernel.dtype == torch.float32
    assert kernel.dim() == 2


@pytest.mark.parametrize("kernel_size", [0, -3, 4, 7.0, "7"])
def test_kernel_size_must_be_odd_and_positive(kernel_size):
    message = rf"^kernel_size={kernel_size!r} must be odd and positive .* e\.g\. kernel_size=7$"
    with pytest.raises(ConvexpError, match=message):
        kernels.gaussian(kernel_size, 1.0)
    with pytest.raises(ConvexpError, match=message):
        kernels.impulse(kernel_size)


@pytest.mark.parametrize("sigma", [0, -1.0, math.nan, math.inf, "4"])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(
        ConvexpError, match=rf"^sigma={sigma!r} must be a positive number of pixels, e\.g\. sigma=1\.5$"
    ):
        kernels.gaussian(3, sigma)


@pytest.mark.parametrize("amount", [math.nan, math.inf, "1"])
def test_amount_must_be_finite(amount):
    with pytest.raises(ConvexpError, match=rf"^amount={amount!r} must be a finite number, e\.g\. amount=1\.0 "):
        kernels.unsharp(3, 1.0, amount=amount)
