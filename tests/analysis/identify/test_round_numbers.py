from dataclasses import replace

import pytest
import torch

from convexp.analysis.identify.catalogue_match import match
from convexp.analysis.identify.linear_fit import fit_linear
from convexp.analysis.identify.mixing import simple_mixings
from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.recording import Compression, Recording
from convexp.analysis.identify.round_numbers import in_round_gain, in_round_values
from convexp.images import photograph
from convexp.operators import GaussianBlur

GRAY = photograph("camera")[:, 91:228, 183:326]
PNG, JPEG = Recording(1 / 255), Recording(1 / 255, Compression({0: [3] * 64}, 0))


def matched(after, recording=PNG):
    observation = Observation.of(GRAY, recording.written(after), recording)
    return match(observation, fit_linear(observation, simple_mixings(observation)[0]))[0], observation


def test_round_values_are_near():
    found, _ = matched(GaussianBlur(5, 1.0)(GRAY[None])[0])
    values = [fit.values[0] for fit in in_round_values(replace(found.fit, values=(1.2374,)))]
    assert values == [1.24, 1.237]


@pytest.mark.parametrize("recording", [PNG, JPEG], ids=["png", "jpeg"])
@pytest.mark.parametrize(("gain", "constant"), [(0.98, 0.01), (0.93, 0.0), (0.967, 13 / 255), (0.925, 0.05)])
def test_contrast_and_brightness_in_the_numbers_that_were_typed(gain, constant, recording):
    found, _ = matched(gain * GRAY + constant, recording)
    assert found.fit.gain == gain
    assert found.constant.tolist() == pytest.approx([constant])


def test_a_gain_that_is_not_round_stays_as_it_was_fitted():
    found, _ = matched(0.70711 * GRAY + 0.0314)
    assert found.fit.gain not in (0.7, 0.71, 0.707)
    assert found.fit.gain == pytest.approx(0.70711, abs=3 * found.fit.gain_error)
    assert found.fit.gain_error < 1e-3
    assert found.constant.tolist() == pytest.approx([0.0314], abs=3e-4)


def test_a_round_gain_that_costs_is_not_taken():
    found, observation = matched(0.98 * GRAY + 0.01)
    away = 0.983
    shifted = replace(found, fit=replace(found.fit, gain=away), kernels=found.kernels * (away / found.fit.gain))
    agreement = observation.agreement(*observation.predicted(shifted.kernels, found.box, found.constant))
    assert not agreement.explained
    assert in_round_gain(observation, replace(shifted, agreement=agreement)).fit.gain == away


def test_a_natural_gain_stays():
    found, observation = matched(GaussianBlur(5, 1.0)(GRAY[None])[0])
    assert found.fit.natural
    assert in_round_gain(observation, found) is found
    torch.testing.assert_close(found.constant, torch.zeros(1).double())
