import math

import numpy as np
import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.layout import INK
from convexp.images.marks import YELLOW, boxed, worst_places


def ground(colour=(0, 0, 0), height=17, width=23):
    return torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1).repeat(1, height, width)


def signs(picture):
    """Return rows of text: d for dark, y for yellow, a dot for everything else."""
    dark, yellow = (
        (picture == torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)).all(dim=0) for colour in (INK, YELLOW)
    )
    return [
        "".join("d" if d else "y" if y else "." for d, y in zip(*rows, strict=True))
        for rows in zip(dark, yellow, strict=True)
    ]


def test_a_dark_and_a_yellow_line_run_around_the_place():
    assert signs(boxed(ground(), [(2, 4, 5, 8)], labels=[""]))[:7] == [
        "...ddddddd.............",
        "...dyyyyyd.............",
        "...dy...yd.............",
        "...dy...yd.............",
        "...dyyyyyd.............",
        "...ddddddd.............",
        ".......................",
    ]


def test_lines_lie_within_where_the_picture_ends():
    assert signs(boxed(ground(), [(-9, 3, 18, 99), (13, 17, 0, 4)], labels=["", ""])) == [
        "................ddddddd",
        "................dyyyyyd",
        "................dy...yd",
        "................dyyyyyd",
        "................ddddddd",
        *["......................."] * 6,
        "dddddd.................",
        "dyyyyd.................",
        "dy..yd.................",
        "dy..yd.................",
        "dyyyyd.................",
        "dddddd.................",
    ]


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (196, 24, 36), (24, 78, 184)])
def test_one_of_the_lines_stands_out_on_any_ground(colour):
    def light(rgb):
        return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]

    assert max(abs(light(line) - light(colour)) for line in (INK, YELLOW)) > 120
    assert len({tuple(pixel) for pixel in boxed(ground(colour), [(5, 9, 6, 11)]).flatten(1).T.tolist()}) == 3


def test_lines_are_thicker_on_larger_pictures():
    picture = boxed(ground(height=300, width=500), [(100, 200, 100, 200)], labels=[""])
    assert signs(picture)[150][90:104] == "......ddyy...."


def test_labels_stand_above_or_where_there_is_room():
    picture = ground(height=200, width=251)
    boxes = {
        "above": (100, 130, 100, 130),
        "below": (5, 35, 100, 130),
        "right": (0, 200, 9, 19),
        "left": (0, 200, 239, 249),
    }
    for where, (top, bottom, left, right) in boxes.items():
        bare, full = (boxed(picture, [boxes[where]], labels=[label]) for label in ("", "1"))
        rows, columns = (bare != full).any(dim=0).nonzero().T
        assert {"above": rows.max() < top, "below": rows.min() >= bottom}.get(where, True)
        assert {"right": columns.min() >= right, "left": columns.max() < left}.get(where, True)
        assert (len(rows.unique()), len(columns.unique())) < (30, 30)
    within = boxed(picture, [(0, 200, 0, 251)])
    rows, columns = (within != boxed(picture, [(0, 200, 0, 251)], labels=[""])).any(dim=0).nonzero().T
    assert rows.max() < 40
    assert columns.max() < 40


def test_boxes_are_numbered_unless_they_have_labels():
    picture, boxes = ground(height=200, width=200), [(100, 130, 20, 50), (100, 130, 120, 150)]
    assert torch.equal(boxed(picture, boxes), boxed(picture, boxes, labels=["1", "2"]))
    assert not torch.equal(boxed(picture, boxes), boxed(picture, boxes, labels=["1", "3"]))


def test_a_label_without_room_and_a_box_outside_are_left_out():
    place = [(5, 9, 6, 11)]
    assert torch.equal(boxed(ground(), place), boxed(ground(), place, labels=[""]))
    assert torch.equal(boxed(ground(), [(17, 20, 0, 5), (0, 5, -5, 0), (-3, 0, 0, 5), (0, 5, 23, 30)]), ground())
    assert boxed(ground(height=1, width=900), [(0, 1, 0, 1)]).shape == (3, 1, 900)
    assert torch.equal(boxed(ground(), []), ground())


def test_the_picture_stays_as_it_is():
    picture = ground()
    boxed(picture, [(5, 9, 6, 11)])
    assert torch.equal(picture, ground())


def test_the_worst_places_come_in_their_order_and_do_not_overlap():
    error = torch.zeros(17, 23)
    error[0, 0] = 1.0
    error[8, 20:22] = -0.9  # 1.62 together
    error[9, 20] = 0.5  # overlaps them, alone it would be a place
    error[16, 3] = 0.4
    assert worst_places(error, side=2, count=3) == [(8, 10, 20, 22), (0, 2, 0, 2), (15, 17, 2, 4)]
    assert worst_places(error, side=2, count=1) == [(8, 10, 20, 22)]


def test_worst_places_are_those_of_an_exhaustive_search():
    error = torch.from_numpy(np.random.default_rng(0).normal(size=(17, 23)))
    windows = (np.lib.stride_tricks.sliding_window_view(error.numpy(), (4, 4)) ** 2).mean(axis=(2, 3))
    found: list[tuple[int, int, int, int]] = []
    for index in np.argsort(-windows, axis=None):
        top, left = map(int, np.unravel_index(index, windows.shape))
        if all(abs(top - box[0]) >= 4 or abs(left - box[2]) >= 4 for box in found):
            found.append((top, top + 4, left, left + 4))
    assert worst_places(error, side=4, count=99) == found
    assert 8 <= len(found) <= 20


def test_equal_places_come_in_reading_order_and_no_more_than_fit():
    constant = torch.full((5, 7), 0.1)
    assert worst_places(constant, side=3, count=9) == [(0, 3, 0, 3), (0, 3, 3, 6)]
    assert worst_places(torch.zeros(2, 3), side=1, count=4) == [(0, 1, 0, 1), (0, 1, 1, 2), (0, 1, 2, 3), (1, 2, 0, 1)]
    assert worst_places(constant, side=99, count=9) == [(0, 5, 0, 5)]


def test_what_is_not_finite_is_worst():
    error = torch.zeros(17, 23, requires_grad=True) + torch.tensor(1e30)
    error[16, 22], error[0, 11] = math.nan, -math.inf
    assert worst_places(error, side=3, count=2) == [(0, 3, 9, 12), (14, 17, 20, 23)]


def test_wrong_arguments_are_named():
    with pytest.raises(ConvexpError, match=r"the picture is torch.float32 of shape \(3, 17, 23\); pass a uint8 tensor"):
        boxed(ground().float(), [])
    with pytest.raises(ConvexpError, match=r"the picture is torch.uint8 of shape \(1, 17, 23\)"):
        boxed(ground()[:1], [])
    with pytest.raises(ConvexpError, match="boxed: 1 labels for 2 boxes; pass one for each"):
        boxed(ground(), [(0, 1, 0, 1)] * 2, labels=["a"])
    with pytest.raises(ConvexpError, match=r"the box \(5, 5, 0, 1\) is empty; pass \(top, bottom, left, right\)"):
        boxed(ground(), [(5, 5, 0, 1)])
    with pytest.raises(ConvexpError, match=r"the error has shape \(1, 17, 23\); pass one image's, \(H, W\)"):
        worst_places(torch.zeros(1, 17, 23), side=3, count=1)
    with pytest.raises(ConvexpError, match="side=0 and count=1 must be at least 1"):
        worst_places(torch.zeros(17, 23), side=0, count=1)
