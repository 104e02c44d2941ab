import math

import numpy as np
import pytest
import torch
from scipy import signal

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
    assert kernels.identity().tolist() == kernels.impulse(1).tolist() == [[1]]
    assert kernels.impulse(3).tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_shift_by_hand():
    # Cross-correlation reads what lies to the left of a pixel to move the image to the right.
    assert kernels.shift(0, 0).tolist() == [[1]]
    assert kernels.shift(2, 0).tolist() == [[1, 0, 0, 0, 0]]
    assert kernels.shift(0, -1).tolist() == [[0], [0], [1]]
    assert kernels.shift(-1, 1).tolist() == [[0, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_box_by_hand():
    torch.testing.assert_close(kernels.box(3, dtype=torch.float64), torch.full((3, 3), 1 / 9, dtype=torch.float64))


def test_integer_gaussian():
    kernel = kernels.integer_gaussian(dtype=torch.float64)
    torch.testing.assert_close(kernel.sum().item(), 1.0, rtol=0, atol=1e-15)
    assert kernel[0].mul(273).round().tolist() == [1, 4, 7, 4, 1]
    assert kernel[2].mul(273).round().tolist() == [7, 26, 41, 26, 7]
    assert kernel.equal(kernel.T)
    assert kernel.equal(kernel.flip(0))
    torch.testing.assert_close(kernel, kernels.gaussian(5, 1.0, dtype=torch.float64), rtol=0, atol=0.012)


def test_motion_blur_by_hand():
    third, half = 1 / 3, math.sqrt(0.5)
    across = torch.zeros(3, 3)
    across[1] = third
    torch.testing.assert_close(kernels.motion_blur(3, 0), across)
    torch.testing.assert_close(kernels.motion_blur(3, 90), across.T)
    # At 45° the outer points lie √½ to the right of and below the middle, and opposite.
    corner, side = half**2 / 3, half * (1 - half) / 3
    middle = third + 2 * (1 - half) ** 2 / 3
    expected = torch.tensor([[corner, side, 0], [side, middle, side], [0, side, corner]])
    torch.testing.assert_close(kernels.motion_blur(3, 45), expected)
    torch.testing.assert_close(kernels.motion_blur(3, -45), expected.flip(1))


@pytest.mark.parametrize("angle", [0, 17.0, 90, 135.0, 270])
def test_motion_blur_keeps_the_mean_and_the_place(angle):
    kernel = kernels.motion_blur(9, angle, dtype=torch.float64)
    torch.testing.assert_close(kernel.sum().item(), 1.0)
    torch.testing.assert_close(kernel, kernel.flip(0, 1))
    # Its second moments are those of a line of nine points.
    x = torch.arange(-4, 5, dtype=torch.float64)
    along = x * math.cos(math.radians(angle)) + x[:, None] * math.sin(math.radians(angle))
    assert (kernel * along**2).sum().item() == pytest.approx(60 / 9, abs=0.3)


@pytest.mark.parametrize("kernel_size", [0, -3, 4, 7.0, "7"])
@pytest.mark.parametrize(
    "build",
    [kernels.impulse, kernels.box, lambda size: kernels.gaussian(size, 1.0), lambda size: kernels.motion_blur(size, 0)],
)
def test_kernel_size_must_be_odd_and_positive(build, kernel_size):
    message = rf"^kernel_size={kernel_size!r} must be odd and positive .* e\.g\. kernel_size=7$"
    with pytest.raises(ConvexpError, match=message):
        build(kernel_size)


@pytest.mark.parametrize("sigma", [0, -1.0, math.nan, math.inf, "4"])
def test_sigma_must_be_positive(sigma):
    with pytest.raises(
        ConvexpError, match=rf"^sigma={sigma!r} must be a positive number of pixels, e\.g\. sigma=1\.5$"
    ):
        kernels.gaussian(3, sigma)


@pytest.mark.parametrize("pixels", [1.5, "1", None])
def test_shift_is_by_whole_pixels(pixels):
    with pytest.raises(ConvexpError, match=rf"^right={pixels!r} must be a whole number of pixels, e\.g\. right=2$"):
        kernels.shift(pixels, 0)
    with pytest.raises(ConvexpError, match=rf"^down={pixels!r} must be"):
        kernels.shift(0, pixels)


def test_an_angle_must_be_finite():
    with pytest.raises(ConvexpError, match=r"^angle=nan must be a finite number, e\.g\. angle=45 \(degrees\)$"):
        kernels.motion_blur(3, math.nan)
