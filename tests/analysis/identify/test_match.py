from dataclasses import replace

import pytest
import torch

from convexp.analysis.identify.catalogue_fit import CatalogueFit
from convexp.analysis.identify.families import families
from convexp.analysis.identify.linear_fit import unclipped
from convexp.analysis.identify.match import applied, as_good, certain
from convexp.analysis.identify.mixing import simple_mixings
from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.recording import Recording
from convexp.images import photograph
from convexp.operators import GaussianBlur

GRAY = photograph("camera")[:, 91:228, 183:326]


@pytest.fixture(scope="module")
def observation():
    recording = Recording(1 / 255)
    return Observation.of(GRAY, recording.written(GaussianBlur(5, 1.0)(GRAY[None])[0]), recording)


def blurred(observation, sigma):
    family = next(family for family in families(torch.ones(1, 1)) if family.target == "gaussian_blur")
    fit = CatalogueFit(family, 5, (sigma,), (0.0,), 1.0, 0.0, 0.0, True, 0.0)
    return applied(observation, simple_mixings(observation)[0], fit, observation.after, unclipped(GRAY, observation))


def test_what_a_kernel_makes_of_the_first_picture(observation):
    found = blurred(observation, 1.0)
    assert found.box == (-2, 2, -2, 2)
    assert found.kernels.shape == (1, 1, 5, 5)
    assert found.constant.tolist() == [0.0]
    assert found.agreement.exact > 0.999
    assert certain(found)
    assert not certain(blurred(observation, 1.1))


def test_as_good_as_another(observation):
    found = blurred(observation, 1.0)
    assert as_good(found, found.agreement)
    assert not as_good(blurred(observation, 1.1), found.agreement)
    worse = replace(found, agreement=replace(found.agreement, left=1.1 * found.agreement.left))
    assert not as_good(worse, found.agreement)
