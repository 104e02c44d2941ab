import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.colours import BLUE, RED
from convexp.images.display import GAP, display


@pytest.fixture
def image():
    return torch.rand(3, 17, 23, generator=torch.Generator().manual_seed(0))


def test_an_image_stays_what_it_is(image):
    picture, words = display(image)
    assert picture.equal(image)
    assert words == f"values from {image.min():.3g} to {image.max():.3g}"
    gray, _ = display(image[:1])
    assert gray.equal(image[:1])


def test_what_goes_a_little_beyond_is_clipped(image):
    sharpened = 1.1 * image - 0.05
    picture, words = display(sharpened)
    assert picture.equal(sharpened.clamp(0, 1))
    assert words.endswith("% are clipped to [0, 1]")


def test_what_is_never_negative_goes_from_black_to_white():
    values = torch.linspace(0, 8, 17 * 23).view(1, 17, 23)
    picture, words = display(values)
    assert picture.shape == (3, 17, 23)
    assert picture[:, 0, 0].tolist() == [0, 0, 0]
    assert picture[:, -1, -1].tolist() == [255, 255, 255]
    assert words.startswith("values from 0 to 8: black is 0, white 7.9")


def test_what_is_signed_goes_from_blue_to_red():
    values = torch.linspace(-2, 2, 17 * 23).view(1, 17, 23)
    picture, words = display(values)
    assert picture[:, 0, 0].tolist() == list(BLUE)
    assert picture[:, 8, 11].tolist() == [255, 255, 255]
    assert picture[:, -1, -1].tolist() == list(RED)
    assert words.startswith("values from -2 to 2: blue is -1.9")


def test_signed_colours_lie_around_gray(image):
    picture, words = display(image - 0.5)
    assert picture.dtype == torch.uint8
    assert picture.double().mean().item() == pytest.approx(127.5, abs=10)
    assert "gray 0" in words


def test_other_numbers_of_channels_stand_beside_each_other():
    values = torch.stack([torch.full((17, 23), 2.0), torch.zeros(17, 23)])
    picture, _ = display(values)
    assert picture.shape == (3, 17, 23 + GAP + 23)
    assert picture[:, :, :23].eq(255).all()
    assert picture[:, :, 23 + GAP :].eq(0).all()


@pytest.mark.parametrize("shape", [(17, 23), (1, 1, 17, 23), (3, 0, 5)])
def test_it_must_be_one_image(shape):
    with pytest.raises(ConvexpError, match=r"^display: values have shape \(.*\); pass one image, \(C, H, W\)$"):
        display(torch.zeros(shape))
