import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import filters

from convexp.operators import kernels

ZERO_SUM = [name for name in kernels.FIXED if name not in ("identity", "emboss", "integer_gaussian")]


@pytest.fixture
def image():
    return np.random.default_rng(0).random((17, 23))


def correlated(image, kernel):
    return ndimage.correlate(image, kernel.double().numpy())


@pytest.mark.parametrize(
    ("kernel", "reference"),
    [
        (kernels.sobel_x, lambda image: ndimage.sobel(image, axis=1)),
        (kernels.sobel_y, lambda image: ndimage.sobel(image, axis=0)),
        (kernels.prewitt_x, lambda image: ndimage.prewitt(image, axis=1)),
        (kernels.prewitt_y, lambda image: ndimage.prewitt(image, axis=0)),
        (kernels.laplacian, ndimage.laplace),
        # scikit-image's weights sum to 1.
        (kernels.scharr_x, lambda image: 16 * filters.scharr_v(image)),
        (kernels.scharr_y, lambda image: 16 * filters.scharr_h(image)),
    ],
)
def test_derivatives_like_scipy(image, kernel, reference):
    inside = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(correlated(image, kernel())[inside], reference(image)[inside], atol=1e-13)


def test_the_small_ones_by_hand():
    assert kernels.vertical_edge().tolist() == [[-1, 1], [-1, 1]]
    assert kernels.horizontal_edge().tolist() == [[-1, -1], [1, 1]]
    assert kernels.laplacian_8().tolist() == [[1, 1, 1], [1, -8, 1], [1, 1, 1]]
    assert kernels.emboss().tolist() == [[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]


@pytest.mark.parametrize("name", ZERO_SUM)
def test_derivatives_do_not_see_a_constant(name):
    assert kernels.FIXED[name]().sum() == 0


@pytest.mark.parametrize(("name", "answer"), [("sobel_x", 8), ("scharr_x", 32), ("prewitt_x", 6), ("vertical_edge", 2)])
def test_answers_to_a_ramp(name, answer):
    kernel = kernels.FIXED[name]()
    ramp = torch.arange(kernel.shape[1], dtype=torch.float32).expand_as(kernel)
    assert (kernel * ramp).sum() == answer
    assert (kernel * ramp.T).sum() == 0
