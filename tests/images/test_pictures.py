import math

import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.colours import BLUE, NOT_FINITE, RED
from convexp.images.layout import FRAME, line
from convexp.images.marks import YELLOW
from convexp.images.pictures import comparison

WHITE = (255, 255, 255)
GAP = 16  # of panels 256 pixels wide: margin and distance between the cells


def corners(picture):
    """Return the (top, left) of the frame of every panel: long grey lines, unlike those of the thin scales."""
    grey = (picture == torch.tensor(FRAME, dtype=torch.uint8).view(3, 1, 1)).all(dim=0)
    found = []
    for top, row in enumerate(grey):
        starts = [left for left in row.nonzero().flatten().tolist() if left == 0 or not row[left - 1]]
        for left in starts:
            below = grey[top : top + 100, left]
            if row[left : left + 100].all() and len(below) == 100 and below.all():
                found.append((top, left))
    return found


def panels(picture, height, width):
    return [picture[:, top + 1 :, left + 1 :][:, :height, :width] for top, left in corners(picture)]


def colour(panel):
    """Return the one colour of a panel."""
    assert (panel == panel[:, :1, :1]).all()
    return tuple(panel[:, 0, 0].tolist())


def test_four_panels_of_one_size_in_reading_order():
    constant = torch.ones(1, 256, 256)
    picture = comparison(constant * 0.2, constant * 0.4, constant * 0.6, value_range=(0.0, 1.0), error_limit=0.2)
    assert picture.dtype == torch.uint8
    assert picture.permute(1, 2, 0).is_contiguous()  # as files hold it
    assert picture.shape[2] == GAP + 258 + GAP + 258 + GAP
    (t1, l1), (t2, l2), (t3, l3), (t4, l4) = corners(picture)
    assert t1 == t2 < t3 == t4
    assert (l1, l2, l3, l4) == (GAP, GAP + 258 + GAP, GAP, GAP + 258 + GAP)
    shown = [colour(panel) for panel in panels(picture, 256, 256)]
    assert shown == [(51,) * 3, (102,) * 3, (153,) * 3, RED]


def test_nothing_touches_the_border():
    picture = comparison(torch.rand(3, 300, 451), torch.rand(5, 300, 451), torch.full((5, 300, 451), math.nan))
    margin = (picture == 255).all(dim=0)
    assert margin[:GAP].all()
    assert margin[-GAP:].all()
    assert margin[:, :GAP].all()
    assert margin[:, -GAP:].all()


def test_the_input_is_cropped_to_the_centre_and_pixels_are_squares():
    image = torch.zeros(1, 19, 25)
    image[0, 1, 1] = 1.0  # the first pixel of the centre 17 × 23
    picture = comparison(image, torch.zeros(1, 17, 23), torch.zeros(1, 17, 23))
    factor = 10  # 23 · 10 = 230, the first multiple from there on
    shown = panels(picture, 17 * factor, 23 * factor)
    assert len(shown) == 4
    assert (shown[0][:, :factor, :factor] == 255).all()
    assert (shown[0][:, factor:] == 0).all()
    assert (shown[0][:, :, factor:] == 0).all()


def test_large_images_are_shrunk():
    image = torch.rand(1, 1024, 1280)
    picture = comparison(image, image, image)
    assert picture.shape[2] == 40 + 642 + 40 + 642 + 40
    assert corners(picture)[3][1] == 40 + 642 + 40


def test_a_signed_target_is_blue_white_red_on_a_symmetric_scale():
    target = torch.zeros(1, 256, 256)
    target[0, :, :128] = -0.5
    shown = panels(comparison(target, target, -target, value_range=(-0.5, 0.1)), 256, 256)
    assert (colour(shown[1][:, :, :128]), colour(shown[1][:, :, 128:])) == (BLUE, WHITE)
    assert (colour(shown[2][:, :, :128]), colour(shown[2][:, :, 128:])) == (RED, WHITE)
    assert colour(shown[3][:, :, :128]) == RED  # output − target = +1
    weak = panels(comparison(target, target * 0.4, target, value_range=(-0.4, 0.1)), 256, 256)[1]
    assert colour(weak[:, :, :128]) == tuple(round(255 - (255 - level) / 2) for level in BLUE)


def test_a_signed_colour_target_is_mid_gray_at_zero():
    target = torch.zeros(3, 256, 256)
    target[0], target[2] = -0.5, 0.5
    shown = panels(comparison(target, target, target, value_range=(-0.5, 0.5)), 256, 256)
    assert colour(shown[1]) == (0, 128, 255)


def test_a_little_undershoot_does_not_make_an_image_signed():
    target = torch.ones(1, 256, 256)
    shown = panels(comparison(target, target, target, value_range=(-0.05, 1.0)), 256, 256)
    assert colour(shown[1]) == WHITE


def test_the_error_is_the_mean_over_channels():
    target = torch.zeros(3, 256, 256)
    output = torch.tensor([0.3, -0.9, 0.0]).view(3, 1, 1).expand(3, 256, 256)
    shown = panels(comparison(target, target, output, value_range=(0.0, 1.0), error_limit=0.2), 256, 256)
    assert colour(shown[3]) == BLUE  # −0.2
    assert colour(shown[2]) == (76, 0, 0)  # 0.3 · 255 = 76.5, to even


def test_fixed_ranges_make_pictures_comparable():
    target = torch.rand(1, 256, 256)
    options = {"value_range": (0.0, 1.0), "error_limit": 0.1}
    early = panels(comparison(target, target, target * 0.1, **options), 256, 256)
    late = panels(comparison(target, target, target * 0.9, **options), 256, 256)
    assert torch.equal(early[1], late[1])
    assert not torch.equal(early[2], late[2])


def test_what_is_not_finite_is_green_and_harmless():
    target = torch.rand(1, 256, 256)
    output = target.clone()
    output[0, 3, 4], output[0, 5, 6] = math.nan, -math.inf
    shown = panels(comparison(target, target, output), 256, 256)
    for panel in shown[2:]:
        green = (panel == torch.tensor(NOT_FINITE, dtype=torch.uint8).view(3, 1, 1)).all(dim=0)
        assert green.nonzero().tolist() == [[3, 4], [5, 6]]
    assert colour(panels(comparison(target, target * math.nan, output), 256, 256)[1]) == NOT_FINITE


@pytest.mark.parametrize("value", [0.0, 1.0, -3.0])
def test_one_pixel_and_constants(value):
    image = torch.full((1, 1, 1), value)
    shown = panels(comparison(image, image, image), 230, 230)
    assert len(shown) == 4
    assert colour(shown[3]) == WHITE
    assert colour(shown[1]) == {0.0: (0, 0, 0), 1.0: WHITE, -3.0: BLUE}[value]


def test_same_picture_for_every_memory_layout_and_type():
    image, target = torch.rand(3, 33, 37), torch.rand(3, 31, 29)
    picture = comparison(image, target, target * 0.5)
    laid_out = [x[None].to(memory_format=torch.channels_last)[0] for x in (image, target, target * 0.5)]
    assert torch.equal(comparison(*laid_out), picture)
    exact = [x.double().requires_grad_() for x in (image, target, target * 0.5)]
    assert comparison(*exact).shape == picture.shape
    before = target.clone()
    assert torch.equal(comparison(image, target, target * 0.5), picture)
    assert torch.equal(target, before)


def test_wrong_arguments_are_named():
    image = torch.rand(1, 17, 23)
    with pytest.raises(ConvexpError, match=r"output has shape \(1, 1, 17, 23\); pass one image, \(C, H, W\)"):
        comparison(image, image, image[None])
    with pytest.raises(ConvexpError, match=r"target has shape \(0, 17, 23\)"):
        comparison(image, image[:0], image)
    with pytest.raises(ConvexpError, match=r"target \(1, 17, 23\) and output \(1, 15, 21\) must have one shape"):
        comparison(image, image, image[:, 1:-1, 1:-1])
    with pytest.raises(ConvexpError, match=r"target \(3, 17, 23\) and output \(1, 17, 23\) must have one shape"):
        comparison(image, image.expand(3, -1, -1), image)
    with pytest.raises(ConvexpError, match=r"input \(1, 17, 22\) is smaller than the target \(1, 17, 23\)"):
        comparison(image[:, :, 1:], image, image)
    with pytest.raises(ConvexpError, match=r"value_range=\(1.0, 0.0\) must be two finite numbers"):
        comparison(image, image, image, value_range=(1.0, 0.0))
    with pytest.raises(ConvexpError, match=r"error_limit=0.0 must be a positive finite number"):
        comparison(image, image, image, error_limit=0.0)


def yellow(panel):
    """Return the first and last row and column of the yellow line of a box, or nothing."""
    rows, columns = (panel == torch.tensor(YELLOW, dtype=torch.uint8).view(3, 1, 1)).all(dim=0).nonzero().T
    return (rows.min().item(), rows.max().item(), columns.min().item(), columns.max().item()) if len(rows) else None


def test_the_best_place_of_a_template_is_a_box_around_the_largest_value():
    image, target, output = torch.rand(3, 17, 23), torch.zeros(1, 15, 19), torch.zeros(1, 15, 19)
    target[0, 6, 10], output[0, 4, 7] = 1.0, 1.0  # of a template 3 × 5, valid: its middle lies 1 and 2 further
    shown = panels(comparison(image, target, output, size=(3, 5)), 15 * 13, 19 * 13)  # 19 · 13 = 247, from 230 on
    around = (5 * 13 - 1, 8 * 13, 8 * 13 - 1, 13 * 13)  # a line of one pixel just outside of the box
    other = (3 * 13 - 1, 6 * 13, 5 * 13 - 1, 10 * 13)
    assert [yellow(panel) for panel in shown] == [around, around, other, None]


@pytest.mark.parametrize("size", [(3, 5), (4, 6), (1, 2)])
def test_the_title_says_where_the_template_begins_in_the_whole_input(size):
    target = torch.zeros(1, 17 - size[0] + 1, 23 - size[1] + 1)  # a valid response: there it is largest
    target[0, 6, 10] = 1.0
    picture = comparison(torch.rand(1, 17, 23), target, target, size=size)
    (_, left), (_, right), *_ = corners(picture)
    width = right - left - left  # of a panel; beside it stands a gap as wide as the margin
    for column, name in [(left, "input"), (right, "target")]:
        title = line(f"{name}, best at (6, 10)", size=width // 14)
        assert torch.equal(picture[:, left:, column:][:, : title.shape[1], : title.shape[2]], title)


def test_a_box_is_cut_where_the_panel_ends_and_scaled_with_it():
    target = torch.zeros(1, 1280, 640)  # panels are half as large, lines 3 pixels thick
    target[0, 0, 300] = 1.0
    shown = panels(comparison(target, target, target, size=(101, 201)), 640, 320)
    assert yellow(shown[1]) == (3, 26 + 2, 100 - 3, 200 + 2)  # rows 0 to 51, columns 200 to 401
    tiny = panels(comparison(target, target, target, size=(1, 1)), 640, 320)
    assert yellow(tiny[1]) is not None


def test_titles_say_where_only_if_they_have_room():
    image = torch.rand(1, 64, 64)
    without, bare = (comparison(image, image, image * 0.5, size=size) for size in (None, (3, 3)))
    assert bare.shape == without.shape
    (top, left), *_ = corners(without)
    titles = (bare != without)[:, :top].any(dim=0)
    assert titles[:, left : left + 256].any()
    many = image.expand(5, -1, -1)
    titles = [comparison(image, many, many, size=size)[:, :top, GAP + 258 :] for size in (None, (3, 3))]
    assert torch.equal(*titles)  # "target, 1 of 5 channels" is as long as its panel


def test_no_size_no_box_and_nothing_finite_neither():
    image = torch.rand(1, 17, 23)
    assert all(yellow(panel) is None for panel in panels(comparison(image, image, image), 170, 230))
    shown = panels(comparison(image, image, image * math.nan, size=(3, 3)), 170, 230)
    assert [yellow(panel) is None for panel in shown] == [False, False, True, True]
    image[0, 5, 5], image[0, 7, 9] = math.nan, 2.0
    top, _, left, _ = yellow(panels(comparison(image, image, image, size=(1, 1)), 170, 230)[1])
    assert (top, left) == (7 * 10 - 1, 9 * 10 - 1)
    with pytest.raises(ConvexpError, match=r"size=\(3, 0\) must be the height and width of a template, both at least"):
        comparison(image, image, image, size=(3, 0))
