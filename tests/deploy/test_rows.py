import numpy as np
import pytest
import torch

from convexp.deploy.rows import bordered, channels_last, lines, rows_of, rows_of_pixels
from convexp.errors import ConvexpError
from convexp.images.conversion import to_colour, to_gray
from convexp.operators.border import padded

HEIGHT, WIDTH = 17, 23


def pixels(*channels, depth=np.uint8):
    random = np.random.default_rng(0)
    if depth == np.float32:
        return random.random((HEIGHT, WIDTH, *channels), depth)
    return random.integers(0, np.iinfo(depth).max, (HEIGHT, WIDTH, *channels), depth, endpoint=True)


def image(array):
    largest = 1 if array.dtype == np.float32 else np.iinfo(array.dtype).max
    return torch.from_numpy(np.atleast_3d(array) / np.float32(largest)).permute(2, 0, 1)[None]


@pytest.mark.parametrize("border", [None, "reflect", "replicate", "zeros", "circular"])
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (2, 4), (5, 6), (8, 1)])
@pytest.mark.parametrize("rows", [1, 3, 40])
def test_what_lies_outside_is_as_operators_have_it(border, kernel, rows):
    whole = torch.rand(2, 3, HEIGHT, WIDTH)
    expected = padded(whole, *kernel, border)
    read = bordered(rows_of(whole), HEIGHT, WIDTH, kernel, border)
    height = expected.shape[2]
    parts = [read(start, min(start + rows, height)) for start in range(0, height, rows)]
    assert torch.cat(parts, dim=2).equal(expected)
    assert whole.equal(padded(whole, 1, 1, None))


def test_a_border_that_is_wider_than_the_image():
    with pytest.raises(ConvexpError, match=r"image is 17x23 \(HxW\), kernel is 41x3: with border=reflect"):
        bordered(rows_of(torch.rand(1, 1, HEIGHT, WIDTH)), HEIGHT, WIDTH, (41, 3), "reflect")
    with pytest.raises(ConvexpError, match="border='mirror' must be one of reflect"):
        bordered(rows_of(torch.rand(1, 1, HEIGHT, WIDTH)), HEIGHT, WIDTH, (3, 3), "mirror")


@pytest.mark.parametrize("depth", [np.uint8, np.uint16, np.float32])
def test_channels_of_pictures(depth):
    gray, colour = pixels(depth=depth), pixels(3, depth=depth)
    numbers = np.array([3, 4, 5])
    expected = {
        ("own", 1): image(gray),
        ("own", 3): image(colour),
        ("gray", 3): to_gray(image(colour)),
        ("colour", 1): to_colour(image(gray)),
        ("colour", 3): image(colour),
        ("gray in colour", 3): to_colour(to_gray(image(colour))),
        ("each", 3): image(colour).transpose(0, 1),
    }
    for (channels, count), whole in expected.items():
        taken = rows_of_pixels(gray if count == 1 else colour, channels)(numbers)
        torch.testing.assert_close(taken, whole[:, :, 3:6])
        assert taken.dtype == torch.float32


def test_rows_are_copies():
    array, whole = pixels(3, depth=np.float32), torch.rand(1, 1, HEIGHT, WIDTH)
    before = array.copy(), whole.clone()
    rows_of_pixels(array)(np.arange(HEIGHT)).zero_()
    rows_of(whole)(np.arange(HEIGHT)).zero_()
    assert (array == before[0]).all()
    assert whole.equal(before[1])


def test_the_order_in_memory():
    for channels in (1, 3):
        assert channels_last(torch.rand(2, channels, 5, 7)).stride() == (35 * channels, 1, 7 * channels, channels)


def test_lines_outside():
    assert lines(-3, 8, 4, "replicate").tolist() == [0, 0, 0, 0, 1, 2, 3, 3, 3, 3, 3]
    assert lines(-3, 7, 4, "reflect").tolist() == [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]
    assert lines(-3, 8, 4, "circular").tolist() == [1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]
