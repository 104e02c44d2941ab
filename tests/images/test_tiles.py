import math

import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.colours import BLUE, NOT_FINITE, RED
from convexp.images.layout import FRAME
from convexp.images.tiles import (
    GAP,
    MARGIN,
    KernelComparison,
    feature_tiles,
    kernel_sheet,
    kernel_tiles,
    kernels_beside,
)


def at(picture, top, left):
    return tuple(picture[:, top, left].tolist())


def count(picture, colour):
    return int((picture == torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)).all(dim=0).count_nonzero())


def panels(picture):
    """Return what is inside the frames of all large tiles, in reading order."""
    grey = (picture == torch.tensor(FRAME, dtype=torch.uint8).view(3, 1, 1)).all(dim=0)
    found = []
    for top, left in grey.nonzero().tolist():
        across, down = grey[top, left:], grey[top:, left]
        # A corner: lines to the right and down, none to the left and up; longer than the scales are high.
        if not (across[:50].all() and down[:50].all()) or grey[top - 1, left] or grey[top, left - 1]:
            continue
        width, height = (int((~line).nonzero()[0]) if not line.all() else len(line) for line in (across, down))
        found.append(picture[:, top + 1 : top + height - 1, left + 1 : left + width - 1])
    return found


def corner_pixels(picture, pixel, rows, columns, gap=GAP):
    """Return the colour beside the upper left corner of every tile, tiles being one weight of `pixel` pixels."""
    step = pixel + 2 + gap
    return [[at(picture, MARGIN + 3 + r * step, MARGIN + 3 + c * step) for c in range(columns)] for r in range(rows)]


def test_a_kernel_is_drawn_in_large_pixels_from_its_upper_left():
    kernel = torch.zeros(1, 1, 3, 3)
    kernel[0, 0, 0, 1], kernel[0, 0, 2, 0] = 0.5, -0.5
    picture = kernel_tiles(kernel)
    assert at(picture, MARGIN, MARGIN) == FRAME
    cells = [[at(picture, MARGIN + 4 + 96 * row, MARGIN + 4 + 96 * column) for column in range(3)] for row in range(3)]
    white = (255, 255, 255)
    assert cells == [[white, RED, white], [white, white, white], [BLUE, white, white]]


def test_rows_are_outputs_and_columns_are_inputs():
    weight = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 1.0]]).view(2, 3, 1, 1)
    white = (255, 255, 255)
    assert corner_pixels(kernel_tiles(weight), 96, 2, 3) == [[RED, white, white], [white, BLUE, RED]]


def test_one_scale_for_the_whole_layer():
    weight = torch.tensor([1.0, 0.5]).view(1, 2, 1, 1)
    full, half = corner_pixels(kernel_tiles(weight), 96, 1, 2)[0]
    assert full == RED
    assert half == tuple(round(255 - (255 - level) / 2) for level in RED)


def test_the_few_weights_of_a_small_kernel_are_written_into_it():
    constant = torch.full((1, 1, 3, 3), -1.0)
    cell = kernel_tiles(constant)[:, MARGIN + 1 : MARGIN + 97, MARGIN + 1 : MARGIN + 97]
    assert (cell == 255).all(dim=0).any()  # white digits on full blue
    dense = kernel_tiles(torch.full((16, 16, 3, 3), -1.0))
    assert at(dense, MARGIN + 1, MARGIN + 1) == BLUE
    tile = dense[:, MARGIN + 1 : MARGIN + 31, MARGIN + 1 : MARGIN + 31]
    assert (tile == tile[:, :1, :1]).all()


def test_many_outputs_continue_to_the_right_and_many_inputs_below():
    tall = kernel_tiles(torch.randn(100, 2, 1, 1))
    wide = kernel_tiles(torch.randn(1, 100, 1, 1))
    for picture in (tall, wide):
        _, height, width = picture.shape
        assert 128 <= height <= 768
        assert 128 <= width <= 768
        assert 0.5 < width / height < 2


def test_every_kernel_is_there_once():
    weight = torch.full((100, 2, 1, 1), 0.001)
    weight[:, 0] = math.nan
    scaled = torch.cat([weight, torch.ones(1, 2, 1, 1)])[:100]
    picture = kernel_tiles(scaled)
    assert count(picture, NOT_FINITE) == 100 * 24**2  # 20 columns in 480 pixels


@pytest.mark.parametrize(
    "shape",
    [
        *[(1, 1, 1, 1), (1, 3, 3, 3), (2, 1, 2, 2), (4, 4, 3, 3), (64, 64, 3, 3), (1, 1000, 1, 1), (1000, 1, 1, 1)],
        *[(8, 2, 31, 31), (1, 1, 700, 700), (1, 1, 1, 9), (3, 2, 5, 1)],
    ],
)
def test_pictures_have_a_handy_size(shape):
    picture = kernel_tiles(torch.randn(shape), caption="blur.1")
    assert picture.dtype == torch.uint8
    assert 128 <= picture.shape[1] <= 800
    assert 128 <= picture.shape[2] <= 800
    for edge in (picture[:, :MARGIN], picture[:, -MARGIN:], picture[:, :, :MARGIN], picture[:, :, -MARGIN:]):
        assert (edge == 255).all()


def test_more_than_256_kernels_are_cut_and_counted():
    cut = kernel_tiles(torch.ones(64, 64, 1, 1))
    whole = kernel_tiles(torch.ones(16, 16, 1, 1))
    assert cut.shape[1] > whole.shape[1]  # one line more, which says so
    assert cut.shape[2] == whole.shape[2]


def test_one_direction_has_more_kernels_where_the_other_has_fewer():
    assert (
        count(kernel_tiles(torch.full((1, 1000, 1, 1), math.nan)), NOT_FINITE) == 256 * 21**2
    )  # 22 columns in 480 pixels
    assert (
        count(kernel_tiles(torch.full((1000, 1, 1, 1), math.nan)), NOT_FINITE) == 256 * 21**2
    )  # 22 columns in 480 pixels


def test_the_scale_spans_kernels_that_are_left_out():
    weight = torch.full((64, 64, 1, 1), 0.5)
    weight[63, 63] = 1.0
    half = tuple(round(255 - (255 - level) / 2) for level in RED)
    assert count(kernel_tiles(weight), half) > 256 * 20**2


def test_constants_and_what_is_not_finite():
    assert count(kernel_tiles(torch.zeros(1, 1, 3, 3)), NOT_FINITE) == 0
    broken = torch.tensor([[math.nan, math.inf], [-math.inf, 1.0]]).view(1, 1, 2, 2)
    assert count(kernel_tiles(broken), NOT_FINITE) > 2 * 96**2
    assert count(kernel_tiles(torch.full((1, 1, 2, 2), 1e-38)), RED) > 2 * 96**2


def test_the_caption_takes_a_line_of_its_own():
    weight = torch.randn(4, 4, 3, 3)
    plain, named = kernel_tiles(weight), kernel_tiles(weight, caption="blur.1")
    assert torch.equal(named[:, -(plain.shape[1] - MARGIN) :], plain[:, MARGIN:])


def test_a_sheet_shows_every_layer():
    layers = {"edges.0": torch.randn(2, 1, 2, 2), "edges.1": torch.randn(100, 2, 1, 1), "blur": torch.randn(1, 4, 3, 3)}
    sheet = kernel_sheet(layers)
    _, height, width = kernel_tiles(layers["edges.0"], caption="edges.0").shape
    first = kernel_tiles(layers["edges.0"], caption="edges.0")
    assert torch.equal(sheet[:, : height - MARGIN, : width - MARGIN], first[:, : height - MARGIN, : width - MARGIN])
    alone = kernel_sheet({"edges.0": layers["edges.0"]})
    assert torch.equal(alone, first)
    assert sheet.shape[1] > alone.shape[1]
    assert sheet.shape[2] > alone.shape[2]


def kernel_comparison(learned, optimal, *, truth=None):
    return KernelComparison(optimal, truth=truth).picture(learned)


def test_a_comparison_shows_four_kernels_in_two_columns():
    learned, optimal = torch.tensor([1.0, -0.5]).view(1, 1, 1, 2), torch.tensor([0.5, -0.5]).view(1, 1, 1, 2)
    learned, optimal = (kernel.repeat(1, 1, 2, 1) for kernel in (learned, optimal))
    truth = torch.tensor([-7.0, 0.0, -3.5]).expand(1, 1, 3, 3)
    picture = kernel_comparison(learned, optimal, truth=truth)
    assert picture.dtype == torch.uint8
    shown = panels(picture)
    half = {colour: tuple(round(255 - (255 - level) / 2) for level in colour) for colour in (RED, BLUE)}
    corners = [(at(panel, 1, 1), at(panel, 1, -2)) for panel in shown]
    # The optimum's scale for learned and optimum, to ±0.5; ±0.5 for the difference, too, ±7 for the truth.
    assert corners == [(RED, BLUE), (RED, BLUE), (RED, (255, 255, 255)), (BLUE, half[BLUE])]
    assert [tuple(panel.shape[1:]) for panel in shown] == [(192, 192), (192, 192), (192, 192), (288, 288)]
    assert 600 < picture.shape[2] < 700
    three = kernel_comparison(learned, optimal)
    assert len(panels(three)) == 3
    assert [torch.equal(*pair) for pair in zip(panels(three), shown, strict=False)] == [True] * 3


def test_a_comparison_has_one_scale_for_learned_and_optimum():
    learned, optimal = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 1, 2, 2), -1.0)
    ours, best, difference = panels(kernel_comparison(learned, optimal))
    assert at(ours, 1, 1) == tuple(round(255 - (255 - level) / 2) for level in RED)
    assert (at(best, 1, 1), at(difference, 1, 1)) == (BLUE, RED)


def test_a_comparison_of_equal_kernels_has_a_white_difference():
    weight = torch.randn(1, 1, 3, 3)
    ours, best, difference = panels(kernel_comparison(weight, weight.double()))
    assert torch.equal(ours, best)
    assert (difference[:, 1:20, 1:20] == 255).all()
    zero = kernel_comparison(torch.zeros(1, 1, 3, 3), torch.zeros(1, 1, 3, 3), truth=torch.zeros(1, 1, 3, 3))
    assert all(torch.equal(panel, difference) for panel in panels(zero))


def test_a_comparison_of_strips_has_one_column():
    weight = torch.randn(1, 3, 3, 3)
    strip, square = kernel_comparison(weight, weight), kernel_comparison(weight[:, :1], weight[:, :1])
    assert 1.5 * strip.shape[2] < strip.shape[1] < 1000
    assert len(panels(strip)) == 9
    assert 500 < strip.shape[2] < 560  # numbers of 15 pixels have 10 on a card
    assert square.shape[2] > 600


@pytest.mark.parametrize(
    ("shape", "truth"),
    [
        *[((1, 1, 3, 3), None), ((1, 1, 3, 3), (7, 7)), ((1, 3, 3, 3), (7, 5)), ((3, 3, 7, 7), None)],
        *[((64, 64, 3, 3), (2, 2)), ((1, 1, 1, 1), (31, 31)), ((2, 1, 3, 3), (3, 3)), ((5, 1, 1, 9), None)],
    ],
)
def test_comparisons_have_a_handy_size(shape, truth):
    true = None if truth is None else torch.randn(*shape[:2], *truth)
    picture = kernel_comparison(torch.randn(shape), torch.randn(shape), truth=true)
    assert picture.dtype == torch.uint8
    assert picture.permute(1, 2, 0).is_contiguous()  # as files hold it
    assert 300 <= picture.shape[1] <= 1700
    assert 300 <= picture.shape[2] <= 1400
    for edge in (picture[:, :MARGIN], picture[:, -MARGIN:], picture[:, :, :MARGIN], picture[:, :, -MARGIN:]):
        assert (edge == 255).all()


def test_letters_grow_with_the_kernels_of_a_comparison():
    heights = []
    for side in (3, 5):
        weight = torch.zeros(1, 1, side, side)
        picture = kernel_comparison(weight, weight)
        heights.append(next(row for row in range(picture.shape[1]) if at(picture, row, MARGIN) == FRAME))
        assert picture.shape[2] / heights[-1] < 20  # of the title; two thirds of it survive on a card
    assert heights[0] < heights[1]


def test_a_comparison_leaves_out_as_many_kernels_as_tiles_do():
    cut, whole = (torch.ones(count, count, 1, 1) for count in (64, 16))
    cut[0, 0] = whole[0, 0] = math.nan
    cut, whole = kernel_comparison(cut, cut * 0.5), kernel_comparison(whole, whole * 0.5)
    assert count(cut, NOT_FINITE) == count(whole, NOT_FINITE) == 3 * 30**2
    assert cut.shape[1] > whole.shape[1]  # two lines more, which say so


def test_kernels_beside_each_other_have_one_scale():
    weight = torch.ones(1, 1, 24, 24)
    picture = kernels_beside({"learned": 0.5 * weight, "true": -weight.double(), "none": 0 * weight})
    assert picture.dtype == torch.uint8
    half = tuple(round(255 - (255 - level) / 2) for level in RED)
    assert [at(panel, 1, 1) for panel in panels(picture)] == [half, BLUE, (255, 255, 255)]
    assert all(tuple(panel.shape[1:]) == (480, 480) for panel in panels(picture))
    small = kernels_beside({"none": 0 * weight, "learned": 0.01 * weight})
    assert [at(panel, 1, 1) for panel in panels(small)] == [(255, 255, 255), RED]  # ±0.01, not ±1 because of the zeros


def test_kernels_stand_in_the_direction_that_is_less_of_a_strip():
    square, strip = (
        kernels_beside({"learned": torch.randn(s), "true": torch.randn(s)}) for s in [(1, 1, 9, 9), (1, 3, 9, 9)]
    )
    assert square.shape[2] > 1.4 * square.shape[1]
    assert 0.7 < strip.shape[2] / strip.shape[1] < 1.4
    assert len(panels(strip)) == 6
    alone = kernels_beside({"true": torch.randn(3, 3, 24, 24)})
    assert 480 < alone.shape[2] < 520
    for picture in (square, strip, alone):
        for edge in (picture[:, :MARGIN], picture[:, -MARGIN:], picture[:, :, :MARGIN], picture[:, :, -MARGIN:]):
            assert (edge == 255).all()


def test_each_feature_map_has_its_own_scale():
    features = torch.stack([torch.full((16, 16), 0.01), torch.full((16, 16), -100.0)])
    picture = feature_tiles(features)
    assert count(picture, RED) == count(picture, BLUE) == 480**2


def test_feature_maps_are_in_reading_order():
    features = torch.zeros(4, 160, 160)
    features[1] = -1.0
    features[2] = 1.0
    picture = feature_tiles(features)
    _, height, width = picture.shape
    assert at(picture, height // 4, 3 * width // 4) == BLUE
    assert at(picture, 3 * height // 4, width // 4) == RED


def test_the_first_16_maps_are_shown_and_the_rest_is_counted():
    features = torch.ones(20, 16, 16)
    features[:, 0, 0] = math.nan
    picture = feature_tiles(features)
    assert count(picture, NOT_FINITE) == 16 * 15**2
    assert picture.shape[1] > feature_tiles(features[:16]).shape[1]
    assert picture.shape[2] == feature_tiles(features[:16]).shape[2]


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 17, 23), (2, 300, 451), (9, 1000, 10), (16, 10, 1000), (100, 5, 5)])
def test_feature_pictures_have_a_handy_size(shape):
    picture = feature_tiles(torch.randn(shape), caption="edges")
    assert picture.dtype == torch.uint8
    assert picture.shape[1] <= 1300
    assert 128 <= picture.shape[2] <= 1200


def test_inputs_stay_as_they_are_and_may_carry_a_gradient():
    weight = torch.nn.Conv2d(4, 3, 3, dtype=torch.float64).weight
    before = weight.detach().clone()
    picture = kernel_tiles(weight)
    laid_out = weight.detach().to(memory_format=torch.channels_last)
    assert torch.equal(kernel_tiles(laid_out), picture)
    assert torch.equal(feature_tiles(weight[0]), feature_tiles(before[0]))
    assert torch.equal(weight, before)


def test_wrong_arguments_are_named():
    with pytest.raises(ConvexpError, match=r"weight has shape \(3, 3\); pass \(outputs, inputs, height, width\)"):
        kernel_tiles(torch.zeros(3, 3))
    with pytest.raises(ConvexpError, match=r"kernel_sheet: body: weight has shape \(1, 0, 3, 3\)"):
        kernel_sheet({"body": torch.zeros(1, 0, 3, 3)})
    one, three = torch.zeros(1, 1, 3, 3), torch.zeros(1, 3, 3, 3)
    with pytest.raises(ConvexpError, match=r"kernel_comparison: optimal: weight has shape \(3, 3\); pass \(outputs"):
        kernel_comparison(one, one[0, 0])
    with pytest.raises(ConvexpError, match=r"kernel_comparison: truth: weight has shape \(1, 1, 0, 3\)"):
        kernel_comparison(one, one, truth=one[:, :, :0])
    with pytest.raises(ConvexpError, match=r"learned \(1, 3, 3, 3\) and optimal \(1, 1, 3, 3\) must have one shape; "):
        kernel_comparison(three, one)
    with pytest.raises(ConvexpError, match=r"learned \(1, 1, 3, 3\) and optimal \(1, 1, 2, 3\) must have one shape; "):
        kernel_comparison(one, one[:, :, 1:])
    with pytest.raises(
        ConvexpError, match=r"truth \(1, 1, 3, 3\) and optimal \(1, 3, 3, 3\) must have as many outputs"
    ):
        kernel_comparison(three, three, truth=one)
    with pytest.raises(ConvexpError, match="kernels_beside: there is no kernel to show; pass at least one by its name"):
        kernels_beside({})
    with pytest.raises(ConvexpError, match=r"kernels_beside: true: weight has shape \(3, 3\); pass \(outputs"):
        kernels_beside({"learned": one, "true": one[0, 0]})
    with pytest.raises(ConvexpError, match="there is no layer to show"):
        kernel_sheet({})
    with pytest.raises(ConvexpError, match=r"features have shape \(1, 4, 5, 5\); pass one image's, \(C, H, W\)"):
        feature_tiles(torch.zeros(1, 4, 5, 5))
