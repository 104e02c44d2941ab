import numpy as np
import pytest
import torch
from torch import nn

from convexp.models import Standardised
from convexp.models.standardised import Spread, standardised


def test_it_maps_images_to_the_target_s_units():
    model = Standardised(nn.Identity(), mean=0.5, std=0.25, offset=-1.0, scale=3.0)
    assert model(torch.tensor([[[[0.5, 1.0]]]])).tolist() == [[[[-1.0, 5.0]]]]


def test_the_inner_model_sees_zero_mean_and_unit_variance():
    images = [torch.rand(1, 3, 17, 23) * 0.3 + 0.2, torch.rand(1, 3, 11, 13)]
    inner = standardised(nn.Identity(), [(image, image) for image in images])
    values = torch.cat([inner.standardised_input(image).flatten() for image in images])
    assert values.mean().item() == pytest.approx(0, abs=1e-6)
    assert values.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_mean_and_deviation_are_those_of_numpy_over_all_pixels():
    images = [torch.rand(1, 3, 17, 23), torch.rand(1, 3, 2, 3) + 5]
    values = np.concatenate([image.numpy().astype(np.float64).ravel() for image in images])
    spread = Spread()
    for image in images:
        spread.add(image)
    assert (spread.mean, spread.std) == pytest.approx((values.mean(), values.std()), rel=1e-12)


def test_a_model_is_given_the_numbers_of_images_and_targets():
    images = [torch.rand(1, 3, 17, 23), torch.rand(1, 3, 11, 13)]
    model = standardised(nn.Identity(), [(image, 4 * image - 3) for image in images])
    values = torch.cat([image.flatten() for image in images])
    assert model.mean.item() == pytest.approx(values.mean().item(), rel=1e-6)
    assert model.scale.item() == pytest.approx(4 * values.std(correction=0).item(), rel=1e-6)
    assert model.offset.item() == pytest.approx(4 * values.min().item() - 3, rel=1e-6)


def test_constant_images_are_not_divided_by_zero():
    constant = Spread()
    constant.add(torch.full((1, 1, 5, 7), 0.25))
    assert (constant.mean, constant.std) == (0.25, 1.0)


def test_standardised_target_undoes_the_output_s_scale():
    model = Standardised(nn.Identity(), offset=0.5, scale=4.0)
    target = torch.rand(1, 1, 5, 7)
    torch.testing.assert_close(model.offset + model.scale * model.standardised_target(target), target)


def test_the_scales_are_saved_with_the_weights():
    saved = Standardised(nn.Conv2d(1, 1, 3), mean=0.1, std=0.2, offset=0.3, scale=0.4).state_dict()
    loaded = Standardised(nn.Conv2d(1, 1, 3))
    loaded.load_state_dict(saved)
    assert [value.item() for value in (loaded.mean, loaded.std, loaded.offset, loaded.scale)] == pytest.approx(
        [0.1, 0.2, 0.3, 0.4]
    )
