import math

import numpy as np
import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.colours import (
    BLUE,
    NOT_FINITE,
    RED,
    Scale,
    diverging,
    magnitude,
    tone,
    visible_limit,
    visible_range,
)

WHITE = (255, 255, 255)


def pixel(picture, row, column):
    return tuple(picture[:, row, column].tolist())


def test_diverging_is_white_at_zero_and_fully_coloured_at_the_limits_and_beyond():
    picture = diverging(torch.tensor([[0.0, -0.0, 0.2], [-0.2, 5.0, -5.0]]), limit=0.2)
    assert picture.shape == (3, 2, 3)
    assert picture.dtype == torch.uint8
    assert [pixel(picture, 0, column) for column in range(3)] == [WHITE, WHITE, RED]
    assert [pixel(picture, 1, column) for column in range(3)] == [BLUE, RED, BLUE]


def test_diverging_fades_linearly():
    picture = diverging(torch.tensor([[0.5, -0.25]]), limit=1.0)
    assert pixel(picture, 0, 0) == tuple(round(255 - (255 - level) * 0.5) for level in RED)
    assert pixel(picture, 0, 1) == tuple(round(255 - (255 - level) * 0.25) for level in BLUE)


def test_diverging_has_the_right_shade_everywhere():
    strength = torch.linspace(-1, 1, 3001, dtype=torch.float64)
    ends = torch.where(strength[:, None] < 0, torch.tensor(BLUE), torch.tensor(RED))
    expected = 255 - (255 - ends) * strength.abs()[:, None]
    assert (diverging(0.3 * strength[None], 0.3)[:, 0].T - expected).abs().max() <= 0.75  # rounded twice


def test_sums_that_overflow_are_finite_values():
    huge = torch.full((1, 2, 2), 3e38)
    assert pixel(diverging(huge[0], 3e38), 0, 0) == RED
    assert pixel(tone(huge, 0.0, 3e38), 0, 0) == WHITE
    assert visible_limit(huge) == magnitude(huge) == huge[0, 0, 0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_green(value):
    assert pixel(diverging(torch.tensor([[1.0, value]]), limit=1.0), 0, 1) == NOT_FINITE
    assert pixel(tone(torch.tensor([[[1.0, value]]]), 0.0, 1.0), 0, 1) == NOT_FINITE
    colour = torch.zeros(3, 1, 2)
    colour[2, 0, 1] = value
    assert pixel(tone(colour, 0.0, 1.0), 0, 1) == NOT_FINITE
    assert pixel(tone(colour, 0.0, 1.0), 0, 0) == (0, 0, 0)


def test_tone_is_linear_and_clipped():
    picture = tone(torch.tensor([[[-3.0, -1.0, 0.0, 1.0, 3.0]]]), low=-1.0, high=1.0)
    assert [pixel(picture, 0, column)[0] for column in range(5)] == [0, 0, 128, 255, 255]
    assert torch.equal(picture[0], picture[1])
    assert torch.equal(picture[0], picture[2])


def test_tone_keeps_the_order_of_colours():
    image = torch.tensor([1.0, 0.2, 0.0]).view(3, 1, 1)
    assert pixel(tone(image, 0.0, 1.0), 0, 0) == (255, 51, 0)


def test_tone_shows_the_first_of_other_channel_counts():
    image = torch.rand(5, 17, 23)
    assert torch.equal(tone(image, 0.0, 1.0), tone(image[:1], 0.0, 1.0))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_every_real_type_is_shown(dtype):
    values = torch.tensor([[-1, 0, 1]]).to(dtype)
    assert [pixel(diverging(values, 1.0), 0, column) for column in range(3)] == [BLUE, WHITE, RED]
    assert pixel(tone(values[None], 0.0, 1.0), 0, 2) == WHITE


def test_inputs_stay_as_they_are_and_may_carry_a_gradient():
    values = torch.randn(3, 17, 23, requires_grad=True)
    before = values.detach().clone()
    assert not diverging(values[0], 1.0).requires_grad
    assert not tone(values, 0.0, 1.0).requires_grad
    assert torch.equal(values, before)


def test_wrong_arguments_are_named():
    with pytest.raises(ConvexpError, match=r"values have shape \(1, 2, 3\); pass one channel, \(H, W\)"):
        diverging(torch.zeros(1, 2, 3), 1.0)
    with pytest.raises(ConvexpError, match=r"image has shape \(2, 3\); pass one image, \(C, H, W\)"):
        tone(torch.zeros(2, 3), 0.0, 1.0)
    for limit in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ConvexpError, match=f"limit={limit} must be a positive finite number"):
            diverging(torch.zeros(2, 3), limit)
    for low, high in ((1.0, 1.0), (1.0, 0.0), (math.nan, 1.0), (0.0, math.inf)):
        with pytest.raises(ConvexpError, match=f"low={low}, high={high} must be two finite numbers"):
            tone(torch.zeros(1, 2, 3), low, high)


def test_visible_range_agrees_with_numpy_quantiles():
    values = torch.randn(300, 451, dtype=torch.float64)
    low, high = visible_range(values)
    assert (low, high) == pytest.approx(np.quantile(values.numpy(), [0.005, 0.995]), abs=0.05)
    assert visible_limit(values) == pytest.approx(np.quantile(values.abs().numpy(), 0.995), abs=0.05)


def test_visible_range_of_a_sparse_image_is_its_whole_range():
    values = torch.zeros(100, 100)
    values[3, 4], values[5, 6] = -2.0, 3.0
    assert visible_range(values) == (-2.0, 3.0)
    assert visible_limit(values) == 3.0


@pytest.mark.parametrize(
    ("constant", "expected"), [(0.0, (0.0, 1.0)), (0.3, (0.0, 1.0)), (-2.0, (-2.0, 1.0)), (7.0, (0.0, 7.0))]
)
def test_visible_range_of_a_constant_image_holds_zero_and_one(constant, expected):
    assert visible_range(torch.full((17, 23), constant)) == expected


def test_ranges_ignore_what_is_not_finite():
    values = torch.tensor([math.nan, math.inf, -math.inf, 0.5, -2.0])
    assert visible_range(values) == (-2.0, 0.5)
    assert visible_limit(values) == 2.0
    assert magnitude(values) == 2.0
    nothing = torch.tensor([math.nan])
    assert visible_range(nothing) == (0.0, 1.0)
    assert visible_limit(nothing) == magnitude(nothing) == 1.0


def test_a_scale_runs_from_end_to_end():
    ramp = Scale.around_zero(0.3).ramp(5)
    assert [pixel(ramp, 0, column) for column in (0, 2, 4)] == [BLUE, WHITE, RED]
    assert Scale.around_zero(0.3).labels() == ["-0.3", "0", "0.3"]
    assert [pixel(Scale(2.0, 4.0).ramp(3), 0, column)[0] for column in range(3)] == [0, 128, 255]
    assert Scale(2.0, 4.0).labels() == ["2", "4"]
