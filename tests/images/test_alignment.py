import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.alignment import center_crop, common_center

COUNTING = torch.arange(20).reshape(4, 5)


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (4, 5, COUNTING.tolist()),
        (2, 3, [[6, 7, 8], [11, 12, 13]]),
        (3, 4, [[0, 1, 2, 3], [5, 6, 7, 8], [10, 11, 12, 13]]),  # odd remainders: the last row and column go
        (1, 2, [[6, 7]]),  # remainders 3 and 3: one before, two after
        (1, 1, [[7]]),
    ],
)
def test_center_crop_by_hand(height, width, expected):
    assert center_crop(COUNTING, height, width).tolist() == expected


def test_leading_dimensions_stay():
    image = torch.rand(2, 3, 17, 23)
    assert torch.equal(center_crop(image, 7, 11), image[:, :, 5:12, 6:17])


def test_crops_are_views():
    a, b = torch.rand(2, 1, 17, 23), torch.rand(2, 1, 19, 21)
    cropped_a, cropped_b = common_center(a, b)
    assert (cropped_a.shape, cropped_b.shape) == ((2, 1, 17, 21), (2, 1, 17, 21))
    assert cropped_a._base is a
    assert cropped_b._base is b
    assert torch.equal(cropped_a, a[..., 1:22])
    assert torch.equal(cropped_b, b[..., 1:18, :])


def test_common_center_of_bare_planes():
    a, b = common_center(COUNTING, torch.zeros(2, 9))
    assert a.tolist() == COUNTING[1:3].tolist()
    assert b.shape == (2, 5)


@pytest.mark.parametrize(
    ("image", "height", "width", "message"),
    [
        (COUNTING, 5, 5, "cannot crop 5 x 5 out of an image of 4 x 5: choose from 1 x 1 to 4 x 5"),
        (COUNTING, 4, 6, "cannot crop 4 x 6 out of"),
        (COUNTING, 0, 5, "cannot crop 0 x 5 out of"),
        (torch.zeros(4), 1, 1, r"shape \(4,\) cannot be cropped: it must be \(..., H, W\)"),
    ],
)
def test_center_crop_refuses(image, height, width, message):
    with pytest.raises(ConvexpError, match=message):
        center_crop(image, height, width)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ((2, 3, 17, 23), (2, 1, 17, 23), r"\(2, 3, 17, 23\) and \(2, 1, 17, 23\) differ in channels \(3 and 1\): give"),
        ((2, 1, 17, 23), (1, 1, 17, 23), r"\(2, 1, 17, 23\) and \(1, 1, 17, 23\) differ in batch size"),
        ((2, 1, 17, 23), (1, 17, 23), r"\(2, 1, 17, 23\) and \(1, 17, 23\) cannot be compared: .* dimensions"),
    ],
)
def test_nothing_is_broadcast(a, b, message):
    with pytest.raises(ConvexpError, match=message):
        common_center(torch.zeros(a), torch.zeros(b))
