import pytest
import torch

from convexp.analysis.identify.linear_fit import unclipped
from convexp.analysis.identify.mixing import fitted_mixing, simple_mixings
from convexp.analysis.identify.observation import LUMA, Observation
from convexp.analysis.identify.recording import Recording
from convexp.images import photograph
from convexp.operators import ColourMatrix, Filter, gaussian_blur, sharpen

COLOUR = photograph("coffee")[:, 90:187, 180:293]


def pair(after, before=COLOUR):
    recording = Recording(1 / 255)
    return Observation.of(before, recording.written(after), recording)


def test_what_there_is_a_priori():
    gray = COLOUR[:1]
    assert [mixing.kind for mixing in simple_mixings(pair(gray, gray))] == ["gray"]
    assert [mixing.kind for mixing in simple_mixings(pair(COLOUR))] == ["each"]
    assert [mixing.kind for mixing in simple_mixings(pair(gray))] == ["equal", "luma"]
    assert simple_mixings(pair(COLOUR, gray)) == []
    equal = simple_mixings(pair(gray))[0]
    assert equal.gains == (3.0, 1.0)
    torch.testing.assert_close(equal.source(pair(gray))[0], COLOUR.double().mean(0))


@pytest.mark.parametrize("side", [1, 5])
def test_the_weights_of_a_matrix(side):
    rows = [[0.5, 0.4, 0.1], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]]
    observation = pair(ColourMatrix(rows)(COLOUR[None])[0])
    found = fitted_mixing(observation, unclipped(observation.after, observation), side=side)
    expected = torch.tensor(LUMA, dtype=torch.float64) @ torch.tensor(rows, dtype=torch.float64)
    torch.testing.assert_close(found.weights, expected / expected.sum(), atol=3e-3, rtol=0)


def test_the_weights_of_a_kernel_and_a_matrix():
    mixed = ColourMatrix([[0.6, 0.1, 0.3]])(COLOUR[None])
    for after in (sharpen(mixed, 5, 1.0)[0], 0.5 + Filter("sobel_x")(mixed)[0] / 8):
        observation = pair(after)
        found = fitted_mixing(observation, unclipped(observation.after, observation))
        weights = found.weights * torch.sign(found.weights[0])
        torch.testing.assert_close(weights / weights.sum(), torch.tensor([0.6, 0.1, 0.3]).double(), atol=0.01, rtol=0)


def test_the_weights_under_a_wide_blur():
    """The best 5×5 kernel is far from it; alone, its parts in each channel say next to nothing of the colours."""
    observation = pair(gaussian_blur(ColourMatrix([[0.6, 0.1, 0.3]])(COLOUR[None]), 15, 3.0)[0])
    found = fitted_mixing(observation, unclipped(observation.after, observation))
    torch.testing.assert_close(found.weights, torch.tensor([0.6, 0.1, 0.3]).double(), atol=0.1, rtol=0)


def test_kernels_of_the_colours():
    kernel = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    each, equal = simple_mixings(pair(COLOUR))[0], simple_mixings(pair(COLOUR[:1]))[0]
    assert each.kernels(kernel, 3)[1].tolist() == [[[0, 0]], [[1, 2]], [[0, 0]]]
    torch.testing.assert_close(equal.kernels(kernel, 1), (kernel / 3).expand(1, 3, 1, 2))
