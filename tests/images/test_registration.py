import pytest
import torch
from scipy import ndimage

from convexp.errors import ConvexpError
from convexp.images import photograph
from convexp.images.registration import moved, offset
from convexp.operators import gaussian_blur, gradients, highpass

COINS = photograph("coins")[:, :257, :263]


def shifted(image, down, right):
    """By cubic splines, in 8 bits."""
    planes = ndimage.shift(image.double().numpy(), (0, down, right), order=3, mode="reflect")
    return (torch.tensor(planes).float().clamp(0, 1) * 255).round() / 255


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -3), (-9, 0), (0.4, 0.75)])
@pytest.mark.parametrize(
    "operator",
    [
        lambda image: image,
        lambda image: 1 - image,
        lambda image: image.pow(2.2),
        lambda image: gaussian_blur(image, 13, 2.0, border="reflect"),
        lambda image: highpass(image, 7, 4.0, border="reflect") + 0.5,
    ],
    ids=["identity", "negative", "gamma", "blur", "highpass"],
)
def test_a_shift_is_found_under_a_filter(operator, down, right):
    found = offset(COINS, shifted(operator(COINS[None])[0], down, right))
    assert found == pytest.approx((down, right), abs=0.11)


@pytest.mark.parametrize("channel", [0, 1])
def test_of_a_derivative_nothing_is_said(channel):
    derivative = gradients(COINS[None], "sobel", border="reflect")[0, channel : channel + 1] / 8 + 0.5
    assert offset(COINS, derivative) is None


def test_of_other_pictures_and_constants_nothing_is_said():
    assert offset(COINS, torch.full_like(COINS, 0.5)) is None
    for seed in range(4):
        noise = torch.rand(2, 257, 263, generator=torch.Generator().manual_seed(seed))
        assert offset(COINS, noise[:1]) is None
        assert offset(noise[:1], noise[1:]) is None


@pytest.mark.parametrize(("down", "right"), [(2, 3), (-2, 3), (0, -5), (-4, 0)])
def test_what_both_show_is_cut_out_of_both(down, right):
    scene = torch.rand(1, 40, 50)
    image = scene[:, 10:27, 10:33]
    other = scene[:, 10 - down : 27 - down, 10 - right : 33 - right]
    one, two = moved(image, other, down=down, right=right)
    assert one.equal(two)
    assert one.shape == (1, 17 - abs(down), 23 - abs(right))
    assert offset(image, other) == pytest.approx((down, right), abs=0.11)


@pytest.mark.parametrize(("down", "right"), [(1, -1), (-4, 3), (3, -4)])
def test_a_smaller_one_stays_as_much_smaller(down, right):
    scene = torch.rand(1, 60, 60)
    image = scene[:, 10:50, 10:53]
    other = scene[:, 12 - down : 48 - down, 13 - right : 50 - right]
    one, two = moved(image, other, down=down, right=right)
    assert one[:, 2:-2, 3:-3].equal(two)
    assert two.shape == (1, 36 - abs(down), 37 - abs(right))
    assert offset(image, other) == pytest.approx((down, right), abs=0.11)


def test_images_that_share_nothing():
    with pytest.raises(ConvexpError, match="of 5×7, moved by 5 and 0 pixels, have nothing in common"):
        moved(torch.zeros(1, 5, 7), torch.zeros(1, 5, 7), down=5, right=0)
