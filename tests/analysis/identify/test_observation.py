from dataclasses import replace

import pytest
import torch

from convexp.analysis.identify.observation import MOST_PIXELS, Observation, luma
from convexp.analysis.identify.recording import Recording

EIGHT = Recording(1 / 255)


def scene(*shape, seed=0):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_prediction_that_is_right_leaves_what_rounding_does():
    before = scene(1, 97, 101)
    kernel = scene(3, 2, seed=1) / 6
    made = torch.nn.functional.conv2d(before[None], kernel[None, None])[0]
    observation = Observation.of(before, EIGHT.written(made), EIGHT)
    assert observation.offset == (1, 0)
    predicted, place = observation.predicted(kernel[None, None], (-1, 1, 0, 1), torch.zeros(1, dtype=torch.float64))
    assert place == (0, 95, 1, 100)  # no margin is looked at, though the kernel reads none on the left
    torch.testing.assert_close(predicted, made[..., 1:])
    agreement = observation.agreement(predicted, place)
    assert agreement.explained
    assert (agreement.exact, agreement.mismatch) == (1, pytest.approx(0, abs=1e-15))
    assert agreement.left == pytest.approx(EIGHT.rounding, rel=0.05)
    worse = observation.agreement(predicted + 0.3 / 255, place)
    assert not worse.explained
    assert worse.exact == pytest.approx(0.7, abs=0.03)
    assert not observation.agreement(torch.full_like(predicted, 0.25), place).explained


def test_what_is_given_back():
    values = scene(1, 40, 50)
    observation = Observation.of(values, EIGHT.written(values), EIGHT)
    torch.testing.assert_close(observation.cleaned(values, (0, 40, 0, 50)), values)
    off = values + 3 / 255  # whole levels: the written one is as far off, and nothing is lost of the difference
    torch.testing.assert_close(observation.cleaned(off, (0, 40, 0, 50))[values < 0.95], values[values < 0.95])


def test_an_unknown_noise_is_expected():
    values = scene(1, 60, 70)
    noise = 0.02 * torch.randn(1, 60, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    observation = Observation.of(values, values + noise, Recording(0.0))
    place = (0, 60, 0, 70)
    assert not observation.agreement(values, place).explained
    noisy = replace(observation, noise=4e-4)
    assert noisy.agreement(values, place).explained


def test_of_large_pictures_a_part_is_looked_at():
    before = torch.zeros(1, 1201, 1403)
    before[0] = torch.arange(1403) / 2000
    observation = Observation.of(before, before[:, 2:-2, 3:-3], EIGHT)
    assert observation.after[0].numel() <= MOST_PIXELS
    (top, left), (rows, columns) = observation.offset, observation.after.shape[1:]
    assert rows % 16 == columns % 16 == 0
    aligned = observation.before[:, top : top + rows, left : left + columns]
    assert aligned.equal(observation.after)
    assert observation.whole_after.shape == (1, 1197, 1397)


def test_colours_that_are_gray_are_one_channel():
    gray = scene(1, 40, 30)
    observation = Observation.of(gray.expand(3, -1, -1), scene(3, 40, 30, seed=2), EIGHT)
    assert (len(observation.before), len(observation.after)) == (1, 3)


def test_luma():
    assert float(luma(torch.tensor([1.0, 0.5, 0.0]).reshape(3, 1, 1))) == pytest.approx(0.299 + 0.587 / 2)
