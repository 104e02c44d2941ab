import pytest
import torch

from convexp.operators import Filter, Gradients, Shift
from convexp.operators.listing import listing
from convexp.operators.response import impulse_response


def listed(operator, channels):
    return listing(impulse_response(operator, channels))


def test_of_a_gray_image():
    assert listed(Filter("laplacian"), 1) == "3×3:\n  0   1  0\n  1  -4  1\n  0   1  0"


def test_every_channel_on_its_own():
    assert listed(Filter([[0.25, 1]], channels="each"), 3) == "1×2, each channel on its own:\n  0.25  1"


def test_all_channels_alike_and_two_outputs():
    assert listed(Gradients("edges"), 3) == (
        "2×2, output 0, each of 3 channels alike:\n  -1  1\n  -1  1\n"
        "2×2, output 1, each of 3 channels alike:\n  -1  -1\n   1   1"
    )


def test_colours_that_differ():
    def luma(image):
        return (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)

    assert listed(luma, 3) == "1×1, channel 0:\n  0.299\n1×1, channel 1:\n  0.587\n1×1, channel 2:\n  0.114"


def test_an_exchange_of_channels_is_not_each_on_its_own():
    assert listed(lambda image: image.flip(1), 2).startswith(
        "1×1, output 0, channel 0:\n  0\n1×1, output 0, channel 1:\n  1"
    )


def test_a_constant():
    assert listed(lambda image: 2 * image + 0.5, 1) == "1×1:\n  2\nplus 0.5"


@pytest.mark.parametrize(("right", "column"), [(2, "-2"), (-1, "+1")])
def test_a_kernel_off_the_centre_says_where_it_is(right, column):
    shift = Shift(right, border="circular")
    assert listed(shift, 1) == f"1×1, its first weight at row +0, column {column} from the pixel:\n  1"
