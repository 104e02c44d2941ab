import math

import numpy as np
import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.colours import NOT_FINITE
from convexp.images.spectrum import GAP, LEFT, PANEL, frequency_response, response_db

# The ends of the colour scale, its colour at two thirds, and Matplotlib's first colours.
LIGHT, DARK, MIDDLE = (252, 253, 191), (0, 0, 4), (240, 96, 93)
BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def like(pixels, colour):
    """Tell whether all are of a colour, but for its rounding."""
    return bool(((pixels.int() - torch.tensor(colour).view(3, *[1] * (pixels.ndim - 1))).abs() <= 4).all())


def points(picture, colour):
    """Return (row, column) of all pixels of a colour in the plots below the panels."""
    below = picture[:, PANEL + 150 :]
    return (below == torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)).all(dim=0).nonzero()


def panel(picture, number):
    left = LEFT + number * (PANEL + GAP)
    return picture[:, 60 : 60 + PANEL, left : left + PANEL]


def test_the_middle_is_the_sum_of_the_weights():
    for side in (16, 17):
        gain = response_db(torch.full((3, 5), 2 / 15), side=side)
        assert gain.shape == (side, side)
        assert gain.dtype == torch.float64
        assert gain.argmax() == (side // 2) * side + side // 2
        assert gain.max().item() == pytest.approx(20 * math.log10(2), abs=1e-6)


def test_a_box_of_five_stops_fifths_of_a_cycle():
    gain = response_db(torch.full((1, 5), 0.2, dtype=torch.float64), side=20)
    stopped = [column for column in range(20) if gain[:, column].max() < -200]
    assert stopped == [10 - 8, 10 - 4, 10 + 4, 10 + 8]
    assert (gain - gain[:1]).nan_to_num().abs()[:, ~(gain[0] < -200)].max() < 1e-9  # the same for every vertical one


def test_a_difference_of_columns_grows_with_the_horizontal_frequency():
    gain = response_db(torch.tensor([[-1.0, 1.0]]), side=4)
    expected = torch.tensor([20 * math.log10(2), 10 * math.log10(2), -math.inf, 10 * math.log10(2)])
    np.testing.assert_allclose(gain, expected.expand(4, 4), atol=1e-5)


def test_the_place_of_the_kernel_does_not_matter():
    kernel = torch.randn(5, 3, dtype=torch.float64)
    moved = torch.nn.functional.pad(kernel, (7, 2, 4, 0))
    np.testing.assert_allclose(response_db(moved, side=17), response_db(kernel, side=17), atol=1e-9)
    np.testing.assert_allclose(response_db(kernel.flip(0, 1), side=17), response_db(kernel, side=17), atol=1e-9)


@pytest.mark.parametrize("side", [17, 22])
def test_as_by_numpy(side):
    kernel = torch.randn(5, 3, dtype=torch.float64)
    padded = np.zeros((side, side))
    padded[:5, :3] = kernel.numpy()
    expected = 20 * np.log10(np.abs(np.fft.fftshift(np.fft.fft2(padded))))
    np.testing.assert_allclose(response_db(kernel.requires_grad_(), side=side).numpy(), expected)


def test_nothing_passes_a_kernel_of_zeros():
    assert (response_db(torch.zeros(3, 3), side=5) == -math.inf).all()


def test_panels_have_axes_as_images_and_one_scale():
    blur = torch.full((1, 2), 0.5)
    picture = frequency_response({"blur": blur, "weak": blur * 0.1}, side=16)
    assert picture.dtype == torch.uint8
    assert picture.shape == (3, 930, LEFT + 2 * PANEL + GAP + 180)
    assert torch.equal(picture, frequency_response({"blur": blur, "weak": blur * 0.1}, side=16))
    strong, weak = panel(picture, 0), panel(picture, 1)
    middle = PANEL // 2
    assert like(strong[:, 5:-5, middle], LIGHT)
    assert like(strong[:, 5:-5, [5, -6]], DARK)  # columns of alternating sign are stopped
    assert like(weak[:, 5:-5, middle], MIDDLE)  # −20 dB from −60 to 0


def test_sections_lie_on_one_axis_of_decibels():
    blur = torch.outer(torch.tensor([0.2, 0.6, 0.2]), torch.tensor([0.5, 0.5]))
    picture = frequency_response({"tenth": torch.full((1, 1), 0.1), "blur": blur}, side=16)
    tenth, blurred = (points(picture, colour) for colour in (BLUE, ORANGE))
    level = tenth[:, 0].mode().values.item()  # −20 dB
    line = tenth[tenth[:, 0] == level][:, 1].tolist()
    assert min(line) <= LEFT + 2
    assert max(line) > picture.shape[2] - 35
    decibel = PANEL / 63
    ends = [blurred[(blurred[:, 1] - column).abs() < 15, 0].float().mean().item() for column in (130, 615, 1030, 545)]
    whole, fifth = level - 20 * decibel, level - 6 * decibel
    assert ends[:3] == pytest.approx([whole, whole, fifth], abs=3)  # rows of alternating sign keep a fifth
    assert ends[3] > level + 25 * decibel  # columns of alternating sign are stopped


def test_zeros_and_what_is_not_finite_are_harmless():
    kernels = {"_zero $\\x$": torch.zeros(3, 3), "broken": torch.full((3, 3), math.nan), "one": torch.ones(1, 1)}
    picture = frequency_response(kernels, side=17)
    assert picture.shape[2] == LEFT + 3 * PANEL + 2 * GAP + 180
    zero, broken, one = (panel(picture, number)[:, 3:-3, 3:-3] for number in range(3))
    for shown, colour in ((zero, DARK), (broken, NOT_FINITE), (one, LIGHT)):
        assert like(shown, colour)
    assert points(picture, BLUE)[:, 0].max().item() == pytest.approx(PANEL + 20, abs=3)  # on the axis
    assert frequency_response({"zero": torch.zeros(3, 3)}, side=3).shape == (3, 930, LEFT + 2 * PANEL + GAP + 180)


def test_wrong_arguments_are_named():
    with pytest.raises(ConvexpError, match=r"the kernel has shape \(1, 1, 3, 3\); pass one of them, \(height, width\)"):
        response_db(torch.zeros(1, 1, 3, 3), side=8)
    with pytest.raises(ConvexpError, match=r"side=4 is smaller than the kernel, \(3, 5\); choose 5 or more"):
        frequency_response({"blur": torch.zeros(3, 5)}, side=4)
    with pytest.raises(ConvexpError, match="there is no kernel to show"):
        frequency_response({})
