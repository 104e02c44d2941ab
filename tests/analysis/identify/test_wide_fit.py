import pytest
import torch

from convexp.analysis.identify.mixing import simple_mixings
from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.recording import Recording
from convexp.analysis.identify.wide_fit import fit_wide
from convexp.images import photograph
from convexp.operators import BoxBlur, GaussianBlur, MotionBlur, equalize

GRAY = photograph("camera")[:, 91:260, 183:360]


def found(after):
    recording = Recording(1 / 255)
    observation = Observation.of(GRAY, recording.written(after), recording)
    return fit_wide(observation, simple_mixings(observation)[0])


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (GaussianBlur(43, 7.5, border="reflect"), ("gaussian_blur", 43, (7.5,))),
        (BoxBlur(37), ("box_blur", 37, ())),
        (MotionBlur(39, 20.0, border="reflect"), ("motion_blur", 39, (20.0,))),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_wide_blurs(operator, expected):
    fit = found(operator(GRAY[None])[0]).fit
    assert (fit.family.target, fit.size, fit.values) == expected
    assert all(0 < error < 0.05 for error in fit.errors)


def test_what_is_none():
    assert found(equalize(GRAY[None])[0]) is None
    assert found(GRAY.flip(2)) is None
    assert found(BoxBlur(25)(GRAY[None])[0]) is None  # it is not wide
    assert found(torch.rand(GRAY.shape, generator=torch.Generator().manual_seed(0))) is None
