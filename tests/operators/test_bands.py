import pytest
import torch
from scipy import ndimage

from convexp.operators import (
    difference_of_gaussians,
    filter2d,
    gabor,
    highpass,
    kernels,
    laplacian_of_gaussian,
    sharpen,
)


@pytest.fixture
def image():
    return torch.rand(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def blurred(image, sigma, radius, mode):
    return torch.from_numpy(ndimage.gaussian_filter(image.numpy(), sigma, axes=(2, 3), mode=mode, radius=radius))


def test_highpass_is_image_minus_blur_averaged(image):
    expected = (image - blurred(image, 4.0, 3, "mirror")).mean(1, keepdim=True)
    torch.testing.assert_close(highpass(image, border="reflect"), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(highpass(image), expected[..., 3:-3, 3:-3], rtol=0, atol=1e-14)


def test_sharpen_adds_detail(image):
    expected = image + 0.8 * (image - blurred(image, 1.5, 2, "nearest"))
    sharpened = sharpen(image, 5, 1.5, amount=0.8, border="replicate")
    torch.testing.assert_close(sharpened, expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(sharpen(image, 5, 1.5, amount=0.8), expected[..., 2:-2, 2:-2], rtol=0, atol=1e-14)


def test_difference_of_gaussians_is_two_blurs(image):
    expected = blurred(image, 1.0, 3, "wrap") - blurred(image, 2.0, 3, "wrap")
    ours = difference_of_gaussians(image, 7, 1.0, ratio=2.0, border="circular")
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-14)


def test_laplacian_of_gaussian_sees_blobs():
    y, x = torch.meshgrid(torch.arange(41.0), torch.arange(41.0), indexing="ij")
    blob = (((x - 20) ** 2 + (y - 20) ** 2) <= 2 * 3**2).double()[None, None]  # radius √2 σ
    answer = laplacian_of_gaussian(blob, 25, 3.0, border="zeros")[0, 0]
    assert answer.argmin() == 20 * 41 + 20
    assert answer[20, 20] < 0 < answer[20, 20 + 8]


def test_gabor_answers_to_its_own_stripes():
    x = torch.arange(41, dtype=torch.float64)
    for angle, stripes in ((0, x.expand(41, 41)), (90, x.expand(41, 41).T)):
        image = torch.sin(2 * torch.pi * stripes / 6)[None, None]
        own, other = (gabor(image, 13, 6.0, angle=turn).abs().max() for turn in (angle, angle + 90))
        assert own > 0.4  # half of the amplitude: the other half has the opposite frequency
        assert other < 1e-9


def test_channels(image):
    kernel = kernels.gabor(5, 4.0, dtype=torch.float64)
    for channels in ("each", "sum", "mean"):
        expected = filter2d(image, kernel, channels=channels)
        torch.testing.assert_close(gabor(image, 5, 4.0, channels=channels), expected)
    assert laplacian_of_gaussian(image, 5, 1.0, channels="mean").shape == (2, 1, 13, 19)
    assert difference_of_gaussians(image, 5, 1.0, channels="sum").shape == (2, 1, 13, 19)
