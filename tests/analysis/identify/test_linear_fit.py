import pytest
import torch

from convexp.analysis.identify.linear_fit import coloured, fit_linear, grows, polished, unclipped
from convexp.analysis.identify.mixing import Mixing, simple_mixings
from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.recording import Compression, Recording
from convexp.images import photograph
from convexp.operators import ColourMatrix, Filter, GaussianBlur
from convexp.operators.kernels import gaussian

GRAY = photograph("camera")[:, 91:228, 183:326]
COLOUR = photograph("coffee")[:, 91:228, 203:346]
KERNEL = [[0.1, 0.2, 0.0], [0.0, 0.4, 0.1], [0.1, 0.0, 0.1]]
FINE = {0: [3] * 64, 1: [3] * 64}


def pair(before, after, recording=None):
    recording = recording or Recording(1 / 255)
    return Observation.of(before, recording.written(after), recording)


def test_a_kernel_of_a_gray_picture():
    observation = pair(GRAY, Filter(KERNEL)(GRAY[None])[0])
    linear = fit_linear(observation, simple_mixings(observation)[0])
    assert linear.agreement.explained
    assert linear.fit.box == (-1, 1, -1, 1)
    torch.testing.assert_close(linear.fit.kernel, torch.tensor(KERNEL).double(), atol=1e-3, rtol=0)


def test_what_a_jpeg_lost_is_given_back():
    observation = pair(GRAY, Filter(KERNEL)(GRAY[None])[0], Recording(1 / 255, Compression(FINE, 0)))
    rough = fit_linear(observation, simple_mixings(observation)[0])
    fine = polished(observation, rough)
    true = torch.tensor(KERNEL).double()
    assert fine.fit.box == (-1, 1, -1, 1)
    assert fine.agreement.mismatch < 0.8 * rough.agreement.mismatch
    assert (fine.fit.kernel - true).abs().max() < 5e-3
    assert polished(observation, fine) is fine


def test_clipped_values_do_not_pull_at_the_kernel():
    """Half of what a derivative makes is black: with these pixels, the weights would be about half."""
    for recording in (Recording(1 / 255), Recording(1 / 255, Compression(FINE, 0))):
        observation = pair(GRAY, Filter("sobel_x")(GRAY[None])[0], recording)
        assert (observation.after <= 0).double().mean() > 0.3
        linear = fit_linear(observation, simple_mixings(observation)[0])
        assert float(linear.kernels.abs().max()) == pytest.approx(2, rel=0.02)


def test_unclipped_pixels_of_all_channels():
    after = torch.full((3, 40, 30), 0.5)
    after[0, 3, 4], after[1, 5, 6] = 0.0, 1.0
    observation = pair(torch.rand(3, 40, 30), after)
    use = unclipped(observation.after, observation)
    assert (~use).nonzero().tolist() == [[3, 4], [5, 6]]


def test_a_matrix_of_colours_over_a_kernel():
    rows = torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]])
    after = 0.05 + ColourMatrix(rows.tolist())(0.9 * GaussianBlur(3, 0.7)(COLOUR[None]))[0]
    observation = pair(COLOUR, after)

    kernels, constant = coloured(
        observation,
        Mixing("mixed", rows.double().mean(0)),
        gaussian(3, 0.7, dtype=torch.float64),
        (-1, 1, -1, 1),
        observation.after,
        unclipped(observation.after, observation),
    )
    torch.testing.assert_close(kernels.sum((2, 3)), 0.9 * rows.double(), atol=2e-3, rtol=0)
    assert constant.tolist() == pytest.approx([0.05] * 3, abs=1e-3)


def test_a_wide_blur_asks_for_a_larger_kernel():
    wide = pair(GRAY, GaussianBlur(35, 6.0, border="reflect")(GRAY[None])[0])
    small = pair(GRAY, GaussianBlur(5, 1.0, border="reflect")(GRAY[None])[0])
    assert grows(fit_linear(wide, simple_mixings(wide)[0]))
    assert not grows(fit_linear(small, simple_mixings(small)[0]))


def test_nothing_but_black_and_white():
    observation = pair(GRAY, (GRAY > 0.5).float())
    assert fit_linear(observation, simple_mixings(observation)[0]) is None
