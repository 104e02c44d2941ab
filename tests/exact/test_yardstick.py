import numpy as np
import pytest
from torch import nn

from convexp.exact.yardstick import best_linear_filter


def test_the_best_filter_is_numpys(noise, design):
    image, target = noise(1, 2, 17, 23), noise(1, 2, 14, 21, seed=1)
    best = best_linear_filter([(image, target)], field=(4, 3))
    rows, _ = design(image, (4, 3), bias=True)
    weights, *_ = np.linalg.lstsq(rows, target[0].flatten(1).T.numpy(), rcond=None)
    np.testing.assert_allclose(best.weight.detach().flatten(1).T, weights[:-1], atol=1e-5)
    np.testing.assert_allclose(best.bias.detach(), weights[-1], atol=1e-5)
    assert not any(weight.requires_grad for weight in best.parameters())


@pytest.mark.parametrize(
    ("channels", "field", "cut"),
    [
        (1, (10, 10), (10, 10)),
        (1, (257, 3), (9, 3)),
        (3, (6, 5), (4, 5)),
        (3, (513, 512), (5, 4)),
        (1, (1, 1), (1, 1)),
    ],
)
def test_a_field_too_large_is_cut_around_its_centre(channels, field, cut, noise, monkeypatch):
    monkeypatch.setattr("convexp.exact.yardstick.MOST_UNKNOWNS", 100)
    image = noise(1, channels, 61, 67)
    assert best_linear_filter([(image, image)], field=field).kernel_size == cut


def test_the_filter_fits_the_smallest_image(noise):
    pairs = [(noise(1, 1, *size), noise(1, 1, *size)) for size in ((31, 37), (7, 12))]
    assert best_linear_filter(pairs, field=(22, 21)).kernel_size == (6, 11)


def test_it_lies_where_a_stack_of_its_field_does(noise):
    image = noise(1, 1, 31, 37)
    stack = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False), nn.Conv2d(1, 1, 5, bias=False)).double()
    target = stack(image).detach()
    best = best_linear_filter([(image, target)], field=(6, 6)).double()
    assert float((best(image) - target).abs().max()) < 1e-6
