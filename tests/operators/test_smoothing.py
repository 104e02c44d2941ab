from typing import get_args

import pytest
import torch
from scipy import ndimage

from convexp.operators import Border, blur, box_blur, filter2d, gaussian_blur, kernels, motion_blur, shift


@pytest.fixture
def image():
    return torch.rand(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_gaussian_blur_like_scipy(image):
    # scipy truncates at int(truncate · σ + 0.5) pixels: 2 σ + 0.5 → radius 3.
    expected = ndimage.gaussian_filter(image.numpy(), 1.5, axes=(2, 3), mode="mirror", truncate=2)
    ours = gaussian_blur(image, 7, 1.5, border="reflect")
    torch.testing.assert_close(ours, torch.from_numpy(expected), rtol=0, atol=1e-14)


def test_box_blur_like_scipy(image):
    expected = ndimage.uniform_filter(image.numpy(), 5, axes=(2, 3), mode="nearest")
    ours = box_blur(image, 5, border="replicate")
    torch.testing.assert_close(ours, torch.from_numpy(expected), rtol=0, atol=1e-14)


def test_motion_blur_smears_along_its_line():
    dot = torch.zeros(1, 1, 11, 11, dtype=torch.float64)
    dot[..., 5, 5] = 1
    down = motion_blur(dot, 5, 90, border="zeros")[0, 0]
    assert down[3:8, 5].tolist() == pytest.approx([0.2] * 5)
    assert down.sum().item() == pytest.approx(1)
    falling = motion_blur(dot, 5, 45, border="zeros")[0, 0]
    assert falling[6, 6] > falling[6, 4]


def test_shift_like_roll(image):
    expected = image.roll((-3, 2), dims=(2, 3))
    assert shift(image, right=2, down=-3, border="circular").equal(expected)
    assert shift(image, right=2, down=-3).equal(expected[..., 3:-3, 2:-2])
    assert shift(image).equal(image)


def test_a_shift_brings_the_border_in(image):
    moved = shift(image, right=2, border="zeros")
    assert moved[..., 2:].equal(image[..., :-2])
    assert not moved[..., :2].any()


@pytest.mark.parametrize("border", [None, *get_args(Border)])
def test_blur_is_repeated(image, border):
    once = filter2d(image, kernels.integer_gaussian(dtype=torch.float64), border=border)
    assert blur(image, border=border).equal(once)
    assert blur(image, 3, border=border).equal(blur(blur(once, border=border), border=border))
