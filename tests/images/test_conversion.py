import numpy as np
import pytest
import torch
from PIL import Image

from convexp.errors import ConvexpError
from convexp.images.conversion import resize, to_colour, to_gray

NOISE = torch.from_numpy(np.random.default_rng(0).random((2, 3, 17, 23), np.float32))


def test_gray_is_the_mean_of_the_channels():
    image = torch.tensor([[[0.0, 0.3]], [[0.5, 0.3]], [[1.0, 0.9]]])
    torch.testing.assert_close(to_gray(image), torch.tensor([[[0.5, 0.5]]]))
    assert to_gray(NOISE).shape == (2, 1, 17, 23)
    assert torch.equal(to_gray(NOISE[:, :1]), NOISE[:, :1])


def test_colour_repeats_the_channel():
    colour = to_colour(NOISE[:, :1])
    assert colour.shape == (2, 3, 17, 23)
    assert all(torch.equal(colour[:, c], NOISE[:, 0]) for c in range(3))
    assert to_colour(NOISE) is NOISE


@pytest.mark.parametrize(
    ("shape", "shorter_side", "expected"),
    [
        ((3, 17, 23), 8, (3, 8, 11)),  # 23 · 8 / 17 = 10.8
        ((3, 23, 17), 8, (3, 11, 8)),
        ((2, 1, 17, 23), 34, (2, 1, 34, 46)),
        ((1, 5, 1000), 1, (1, 1, 200)),
    ],
)
def test_resize_keeps_the_aspect(shape, shorter_side, expected):
    assert resize(torch.zeros(shape), shorter_side).shape == expected


@pytest.mark.parametrize("shorter_side", [5, 16, 40])
def test_resize_is_pillows_bilinear(shorter_side):
    resized = resize(NOISE.double(), shorter_side).float()
    H, W = resized.shape[-2:]
    for plane, result in zip(NOISE.flatten(0, 1), resized.flatten(0, 1), strict=True):
        reference = Image.fromarray(plane.numpy()).resize((W, H), Image.Resampling.BILINEAR)
        torch.testing.assert_close(result, torch.from_numpy(np.array(reference)), rtol=0, atol=1e-6)


def test_resize_does_not_alias():
    stripes = torch.arange(64).remainder(2).float().expand(1, 64, 64)
    assert (resize(stripes, 16)[..., 2:-2] - 0.5).abs().max() < 1e-6


def test_resize_stays_in_range():
    for side in range(1, 40):
        white = resize(torch.ones(1, 17, 23), side)
        assert white.max() <= 1
        assert white.min() > 1 - 1e-6


def test_resize_to_the_same_size_changes_nothing():
    assert resize(NOISE, 17) is NOISE


@pytest.mark.parametrize("convert", [to_gray, to_colour, lambda image: resize(image, 8)])
@pytest.mark.parametrize(
    "tensor", [torch.zeros(17, 23), torch.zeros(3, 17, 23, dtype=torch.uint8), torch.zeros(3, 0, 23)]
)
def test_what_is_no_image(convert, tensor):
    with pytest.raises(ConvexpError, match=r"is no image: it must be \(..., C, H, W\) floats"):
        convert(tensor)


def test_impossible_requests():
    with pytest.raises(ConvexpError, match=r"\(2, 17, 23\) has no colour version: C must be 1 or 3"):
        to_colour(torch.zeros(2, 17, 23))
    with pytest.raises(ConvexpError, match="shorter_side=0 is no image size: it must be at least 1 pixel"):
        resize(NOISE, 0)
