import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from convexp.analysis.content import content, error_by_content, places
from convexp.errors import ConvexpError


def noise(height, width, channels=1):
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0))


def step(height, width, column):
    """Black, and white from a column on."""
    image = torch.zeros(1, 1, height, width)
    image[..., column:] = 1
    return image


def fractions(classes):
    return [float((classes == kind).float().mean()) for kind in range(3)]


def test_a_constant_image_is_flat():
    classes = content(torch.full((1, 3, 17, 23), 0.7))
    assert classes.dtype == torch.int8
    assert classes.shape == (17, 23)
    assert fractions(classes) == [1, 0, 0]


def test_noise_is_texture():
    flat, edge, texture = fractions(content(noise(101, 103)))
    assert flat == 0
    assert edge < 0.03
    assert texture > 0.97


@pytest.mark.parametrize("contrast", [1.0, 0.1])
def test_a_step_is_an_edge_as_wide_as_the_window(contrast):
    classes = content(0.4 + contrast * step(41, 43, 20))
    assert classes.eq(classes[:1]).all()
    edge = (classes[0] == 1).nonzero().flatten().tolist()
    assert edge == list(range(edge[0], edge[-1] + 1))
    assert edge[0] + edge[-1] == 39  # the edge is between columns 19 and 20
    assert 8 <= len(edge) <= 18
    assert not (classes == 2).any()


def test_a_diagonal_step_is_an_edge_too():
    y, x = torch.meshgrid(torch.arange(61), torch.arange(67), indexing="ij")
    classes = content((x + 2 * y > 90).float()[None, None])
    assert classes[30, 30] == 1
    assert not (classes[10:-10, 10:-10] == 2).any()


def test_a_gradient_of_less_than_a_hundredth_a_pixel_is_flat():
    ramp = torch.arange(43.0).expand(1, 1, 41, 43)
    assert fractions(content(0.009 * ramp)[16:-16, 16:-16])[0] == 1
    assert fractions(content(0.011 * ramp)[16:-16, 16:-16])[1] == 1


def test_channels_are_averaged():
    ramp = torch.arange(43.0).expand(1, 3, 41, 43)
    assert fractions(content(0.009 * ramp)[16:-16, 16:-16])[0] == 1
    opposite = torch.cat([step(31, 37, 18), 1 - step(31, 37, 18)], dim=1)
    assert fractions(content(opposite)) == [1, 0, 0]


def test_the_structure_tensor_is_scipy_s():
    image = noise(41, 43) * torch.linspace(0.01, 1, 43)  # all three classes
    image[..., :20, 20:] = step(20, 23, 11)
    image += torch.linspace(0, 0.1, 43)  # no derivative is quite 0
    pixels = image[0, 0].double().numpy()
    x, y = (ndimage.sobel(pixels, axis=axis, mode="mirror") / 8 for axis in (1, 0))
    xx, yy, xy = (ndimage.gaussian_filter(product, 2.0, radius=6, mode="mirror") for product in (x * x, y * y, x * y))
    values = np.linalg.eigvalsh(np.stack([xx, xy, xy, yy], axis=-1).reshape(41, 43, 2, 2))
    least, most = values[..., 0], values[..., 1]
    expected = np.where((most - least) / (most + least) > 0.5, 1, 2)
    expected[np.sqrt(most + least) < 0.01] = 0
    assert min(np.bincount(expected.ravel(), minlength=3)) > 50
    np.testing.assert_array_equal(content(image).numpy(), expected)


def test_small_images_have_content_too():
    assert content(noise(5, 7)).shape == (5, 7)
    assert places(noise(5, 7), margin=24)["flat"] == (2, 3)


def test_places_are_where_they_ought_to_be():
    image = torch.full((1, 1, 151, 223), 0.5)
    image[..., 100:, :] += 0.3  # the weaker edge
    image[..., 30:70, 150:] = 0.0  # with the strongest edges
    image[..., 80:, :60] = noise(71, 60)
    found = places(image)
    assert set(found) == {"edge", "texture", "flat"}
    row, column = found["edge"]
    assert 29 <= row <= 70
    assert column >= 149
    assert row in (29, 30, 69, 70) or column in (149, 150)
    assert found["texture"][0] > 80
    assert found["texture"][1] < 62
    assert content(image)[found["flat"]] == 0
    assert all(24 <= row < 151 - 24 and 24 <= column < 223 - 24 for row, column in found.values())


def test_the_flattest_place_is_amid_the_flattest_area():
    image = noise(151, 223)
    image[..., 60:90, 100:140] = 0.5
    row, column = places(image)["flat"]
    assert (row, column) == pytest.approx((74.5, 119.5), abs=3)


def test_what_an_image_has_not_has_no_place():
    assert set(places(torch.full((1, 1, 61, 67), 0.5))) == {"flat"}
    assert set(places(step(61, 67, 30))) == {"flat", "edge"}


@pytest.mark.parametrize("margin", [0, 10])
def test_places_keep_their_distance(margin):
    image = torch.full((1, 1, 61, 67), 0.5)
    image[..., :4, :] = 1  # at the border
    row, _ = places(image, margin=margin)["edge"] if margin == 0 else places(image, margin=margin)["flat"]
    assert (row < 6) if margin == 0 else (10 <= row < 51)


def test_errors_by_hand():
    classes = torch.tensor([[0, 0, 1], [1, 1, 2]], dtype=torch.int8)
    error = torch.tensor([[[1.0, -1.0, 2.0], [0.0, -2.0, 4.0]], [[1.0, 1.0, 2.0], [0.0, 2.0, 0.0]]])
    found = error_by_content(error, classes)
    # Squares, averaged over the two channels: [[1, 1, 4], [0, 4, 8]].
    assert found["flat"] == pytest.approx({"pixels": 2 / 6, "rmse": 1.0, "share": 2 / 18})
    assert found["edge"] == pytest.approx({"pixels": 3 / 6, "rmse": math.sqrt(8 / 3), "share": 8 / 18})
    assert found["texture"] == pytest.approx({"pixels": 1 / 6, "rmse": math.sqrt(8), "share": 8 / 18})


def test_a_smaller_error_lies_in_the_centre():
    classes = torch.zeros(5, 7, dtype=torch.int8)
    classes[2, 3] = 1
    found = error_by_content(torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]), classes)
    assert found["edge"] == pytest.approx({"pixels": 1 / 9, "rmse": 3.0, "share": 1.0})
    assert found["flat"]["rmse"] == 0


def test_no_pixels_and_no_error():
    found = error_by_content(torch.zeros(1, 5, 7), torch.zeros(5, 7))
    assert found["flat"] == {"pixels": 1.0, "rmse": 0.0, "share": 0.0}
    assert found["edge"]["pixels"] == found["edge"]["share"] == 0
    assert math.isnan(found["edge"]["rmse"])


def test_a_batch_is_refused():
    with pytest.raises(ConvexpError, match=r"error has shape \(1, 1, 5, 7\).*take one image of a batch"):
        error_by_content(torch.zeros(1, 1, 5, 7), torch.zeros(5, 7))
