import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.filters import difference_of_gaussians, gabor_kernel

from convexp.errors import ConvexpError
from convexp.operators import kernels

IMPULSE = np.zeros((31, 31))
IMPULSE[15, 15] = 1


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


def test_laplacian_of_gaussian_like_scipy():
    expected = ndimage.gaussian_laplace(IMPULSE, 2.0, truncate=7.5)
    ours = kernels.laplacian_of_gaussian(31, 2.0, dtype=torch.float64)
    np.testing.assert_allclose(ours, expected, atol=1e-9)


def test_difference_of_gaussians_like_skimage():
    expected = difference_of_gaussians(IMPULSE, 1.5, 2.4, truncate=7.5)
    ours = kernels.difference_of_gaussians(31, 1.5, ratio=1.6, dtype=torch.float64)
    np.testing.assert_allclose(ours, expected, atol=1e-8)


@pytest.mark.parametrize("angle", [0.0, 30.0, 90.0])
@pytest.mark.parametrize("phase", [0.0, -90.0, 35.0])
def test_gabor_like_skimage(angle, phase):
    # Theirs has its angles in radians, and another normalisation.
    expected = gabor_kernel(
        1 / 5, theta=math.radians(angle), sigma_x=2, sigma_y=1, n_stds=4, offset=math.radians(phase)
    ).real
    rows, columns = ((side - 1) // 2 for side in expected.shape)
    ours = kernels.gabor(25, 5.0, angle=angle, sigma=2.0, aspect=2.0, phase=phase, dtype=torch.float64)
    ours = ours[12 - rows : 13 + rows, 12 - columns : 13 + columns].numpy()
    scale = np.sum(ours * expected) / np.sum(expected**2)
    np.testing.assert_allclose(ours, scale * expected, atol=1e-12)
    assert scale == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    "kernel",
    [
        kernels.gaussian_highpass(7, 4.0, dtype=torch.float64),
        kernels.laplacian_of_gaussian(9, 1.0, dtype=torch.float64),
        kernels.laplacian_of_gaussian(3, 2.0, dtype=torch.float64),
        kernels.difference_of_gaussians(9, 1.0, dtype=torch.float64),
        kernels.gabor(9, 4.0, angle=20, dtype=torch.float64),
    ],
)
def test_band_passes_sum_to_zero(kernel):
    assert abs(kernel.sum().item()) < 1e-14


def test_odd_and_even_gabor():
    torch.testing.assert_close(kernels.gabor(7, 4.0), -kernels.gabor(7, 4.0).flip(1))
    torch.testing.assert_close(kernels.gabor(7, 4.0, phase=0), kernels.gabor(7, 4.0, phase=0).flip(1))
    ramp = torch.arange(7.0)
    assert (kernels.gabor(7, 8.0) * ramp).sum() > 0  # positive where it grows brighter to the right
    torch.testing.assert_close(kernels.gabor(7, 4.0, angle=90), kernels.gabor(7, 4.0).T)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: kernels.unsharp(3, 1.0, amount=math.nan), r"^amount=nan must be a finite number, e\.g\. amount=1\.0 "),
        (lambda: kernels.unsharp(3, 1.0, amount="1"), r"^amount='1' must be a finite number"),
        (lambda: kernels.laplacian_of_gaussian(4, 1.0), r"^kernel_size=4 must be odd"),
        (lambda: kernels.laplacian_of_gaussian(3, 0), r"^sigma=0 must be a positive number"),
        (lambda: kernels.laplacian_of_gaussian(3, 1e-90), r"^sigma=1e-90 must be at least 0\.05: "),
        (lambda: kernels.difference_of_gaussians(3, 1.0, ratio=1), r"^ratio=1 must be above 1: "),
        (lambda: kernels.difference_of_gaussians(3, 1.0, ratio="2"), r"^ratio='2' must be a finite number"),
        (lambda: kernels.gabor(8, 4.0), r"^kernel_size=8 must be odd"),
        (lambda: kernels.gabor(7, 0), r"^wavelength=0 must be a positive number of pixels"),
        (lambda: kernels.gabor(7, 4.0, sigma=-1), r"^sigma=-1 must be a positive number"),
        (lambda: kernels.gabor(7, 4.0, aspect=0), r"^aspect=0 must be positive, e\.g\. aspect=1"),
        (lambda: kernels.gabor(7, 4.0, angle=math.inf), r"^angle=inf must be a finite number"),
        (lambda: kernels.gabor(7, 4.0, phase=None), r"^phase=None must be a finite number"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ConvexpError, match=message):
        build()
