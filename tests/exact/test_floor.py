import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from convexp.exact import least_squares
from convexp.exact.floor import floor

REACH = (-3, 3, -3, 3)


def parts_of(layer, pairs, reach=REACH):
    loss = least_squares(layer, pairs).loss
    parts = floor(layer, pairs, loss=loss, reach=reach)
    assert sum(parts[:5]) == pytest.approx(loss, rel=1e-9)
    assert min(parts[:5]) >= 0
    return parts


def test_a_valid_kernel_is_only_too_small(chelsea, highpass):
    parts = parts_of(nn.Conv2d(3, 1, 3, bias=False), [(chelsea, highpass[..., 3:-3, 3:-3])])
    assert parts.kernel == pytest.approx(2.527770e-04, rel=1e-6)
    assert parts.kernel_size == (7, 7)
    for name in ("border", "channels", "bias", "remaining"):
        assert getattr(parts, name) < 1e-15


def test_another_border_costs_what_the_larger_kernel_leaves(chelsea, highpass):
    # With a border of its own, NumPy's solver left 5.281577e-04 to the 3×3 kernel, and 2.230417e-04 to the 7×7.
    parts = parts_of(nn.Conv2d(3, 1, 3, padding=1, bias=False), [(chelsea, highpass)])
    assert parts.border == pytest.approx(2.230417e-04, rel=1e-6)
    assert parts.kernel == pytest.approx(5.281577e-04 - 2.230417e-04, rel=1e-6)
    assert parts.remaining < 1e-15


@pytest.mark.parametrize(("mode", "scipys"), [("zeros", "constant"), ("reflect", "mirror"), ("circular", "wrap")])
def test_the_same_border_costs_nothing(mode, scipys, chelsea):
    blurred = ndimage.gaussian_filter(chelsea[0].numpy(), 4.0, radius=3, mode=scipys, axes=(1, 2))
    target = torch.from_numpy((chelsea[0].numpy() - blurred).mean(axis=0))[None, None]
    parts = parts_of(nn.Conv2d(3, 1, 3, padding=1, padding_mode=mode, bias=False), [(chelsea, target)])
    assert parts.border < 1e-12
    assert parts.kernel == pytest.approx(sum(parts[:5]), rel=1e-6)


def test_channels_apart_cost_what_they_do_not_see(noise):
    image = noise(1, 2, 41, 43)
    target = torch.stack([image[0, 0], image[0, 0] + 0.1 * image[0, 1]])[None]
    parts = parts_of(nn.Conv2d(2, 2, 1, groups=2), [(image, target)], reach=(0, 0, 0, 0))
    # The second output sees the second channel alone; of two outputs, half of the first channel's variance is lost.
    assert parts.channels == pytest.approx(float(image[0, 0].var(correction=0)) / 2, rel=0.01)
    assert parts.channels == pytest.approx(sum(parts[:5]), rel=1e-9)


def test_no_bias_costs_what_a_constant_would_save(noise, design):
    image = noise(1, 1, 21, 23)
    target = image + 0.5
    parts = parts_of(nn.Conv2d(1, 1, 1, bias=False), [(image, target)], reach=(0, 0, 0, 0))
    rows, _ = design(image, (1, 1))
    _, (squares,), _, _ = np.linalg.lstsq(rows, target.numpy().ravel(), rcond=None)
    assert parts.bias == pytest.approx(squares / len(rows), rel=1e-9)
    assert parts.remaining < 1e-15


def test_noise_and_non_linearity_remain(noise):
    image = noise(1, 1, 61, 67)
    rough = 0.1 * (noise(1, 1, 61, 67, seed=1) - 0.5)
    parts = parts_of(nn.Conv2d(1, 1, 1), [(image, image + rough)], reach=(0, 0, 0, 0))
    assert parts.remaining == pytest.approx(float(rough.var()), rel=0.01)
    square = parts_of(nn.Conv2d(1, 1, 1), [(image, image**2)], reach=(0, 0, 0, 0))
    # The best line through x² on [0, 1] leaves 1/180.
    assert square.remaining == pytest.approx(1 / 180, rel=0.05)


def test_a_larger_kernel_may_lie_to_one_side(noise):
    image = noise(1, 1, 23, 29)
    target = image.roll((2, -5), dims=(2, 3))
    parts = parts_of(nn.Conv2d(1, 1, 3, padding=1), [(image, target)], reach=(-2, -2, 5, 5))
    assert parts.kernel_size == (4, 7)  # rows −2 to 1 and columns −1 to 5
    assert parts.remaining < 1e-15


def test_targets_of_even_kernels_lie_where_they_are_compared(noise):
    image = noise(1, 1, 23, 29)
    target = nn.functional.conv2d(image, noise(1, 1, 4, 6, seed=1))
    for side in (1, 2, 3):
        parts = parts_of(nn.Conv2d(1, 1, side), [(image, target)], reach=(-1, 2, -2, 3))
        assert parts.remaining < 1e-13
        assert parts.border < 1e-13 or side == 3  # whose larger kernel leaves one row or column out


def test_dilated_kernels_are_compared_with_whole_ones(noise):
    image = noise(1, 1, 23, 29)
    target = nn.functional.conv2d(image, noise(1, 1, 5, 5, seed=1))
    parts = parts_of(nn.Conv2d(1, 1, 3, dilation=2), [(image, target)], reach=(-2, 2, -2, 2))
    assert parts.kernel_size == (5, 5)
    assert parts.kernel > 1e-3
    assert parts.remaining < 1e-13


def test_without_a_known_reach_a_few_more_pixels_are_tried(noise):
    parts = parts_of(nn.Conv2d(1, 1, 3), [(noise(1, 1, 31, 37), noise(1, 1, 31, 37, seed=1))], reach=None)
    assert parts.kernel_size == (11, 11)


def test_the_larger_kernel_fits_the_smallest_image(noise):
    pairs = [(noise(1, 1, *size), noise(1, 1, *size, seed=1)) for size in ((31, 37), (5, 41))]
    assert parts_of(nn.Conv2d(1, 1, 3), pairs, reach=None).kernel_size == (5, 11)


def test_the_larger_kernel_can_be_solved_for(noise, monkeypatch):
    monkeypatch.setattr("convexp.exact.floor.MOST_UNKNOWNS", 300)
    pairs = [(noise(1, 3, 61, 67), noise(1, 1, 61, 67, seed=1))]
    assert parts_of(nn.Conv2d(3, 1, 3), pairs, reach=(-30, 30, -30, 30)).kernel_size == (9, 9)


def test_without_a_pixel_inside_nothing_is_divided(noise):
    layer = nn.Conv2d(1, 1, 3, padding=1)
    assert floor(layer, [(noise(1, 1, 11, 13), noise(1, 1, 1, 1))], loss=1.0, reach=(-5, 5, -9, -9)) is None


def test_strides_are_not_divided(noise):
    layer = nn.Conv2d(1, 1, 3, stride=2)
    assert floor(layer, [(noise(1, 1, 11, 13), noise(1, 1, 5, 6))], loss=1.0) is None
