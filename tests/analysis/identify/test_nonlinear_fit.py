import pytest
import torch
from scipy import ndimage
from skimage import filters

from convexp.analysis.identify.nonlinear_fit import fit_nonlinear
from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.recording import Recording
from convexp.images import photograph
from convexp.operators import Bilateral, Canny, Guided

GRAY = photograph("camera")[:, 90:207, 180:303].double()

DEVIATION = ndimage.generic_filter(GRAY[0, :80, :80].numpy(), lambda window: window.std(), 5)


def found(after, *, keeps_edges=False, before=GRAY):
    recording = Recording(1 / 255)
    observation = Observation.of(before, recording.written(torch.as_tensor(after)), recording)
    return fit_nonlinear(observation, left=1e-2, keeps_edges=keeps_edges)


@pytest.mark.parametrize(
    ("after", "overrides", "target"),
    [
        (ndimage.median_filter(GRAY[0].numpy(), 5), {"kernel_size": 5}, "median"),
        (ndimage.grey_dilation(GRAY[0].numpy(), (7, 7)), {"kernel_size": 7}, "dilation"),
        (ndimage.grey_erosion(GRAY[0].numpy(), (3, 3)), {"kernel_size": 3}, "erosion"),
        (ndimage.grey_opening(GRAY[0].numpy(), (5, 5)), {"kernel_size": 5}, "opening"),
        (ndimage.grey_closing(GRAY[0].numpy(), (3, 3)), {"kernel_size": 3}, "closing"),
        (2 * DEVIATION, {"kernel_size": 5}, "local_deviation"),
    ],
    ids=["median", "dilation", "erosion", "opening", "closing", "deviation"],
)
def test_what_scipy_made(after, overrides, target):
    """Except for the margin, where SciPy's borders differ: it is cut off."""
    before = GRAY[:, : after.shape[0], : after.shape[1]]
    fit = found(after[None, 5:-5, 5:-5], before=before)
    assert (fit.candidate.target, fit.candidate.overrides) == (target, overrides)
    assert fit.gain == pytest.approx(2 if target == "local_deviation" else 1, rel=1e-2)


def test_a_magnitude_that_was_scaled():
    """scikit-image divides Sobel's derivatives by 4, and their length by √2."""
    fit = found(filters.sobel(GRAY[0].numpy())[None, 5:-5, 5:-5])
    assert fit.candidate.target == "sobel"
    assert fit.gain == pytest.approx(1 / (4 * 2**0.5), rel=1e-2)


@pytest.mark.parametrize(
    ("operator", "target", "overrides"),
    [
        (Bilateral(5, 0.15, 1.5), "bilateral", {"kernel_size": 5, "sigma_color": 0.15, "sigma_space": 1.5}),
        (Guided(5, 0.02), "guided", {"kernel_size": 5, "eps": 0.02}),
    ],
)
def test_blurs_that_keep_edges(operator, target, overrides):
    after = operator(GRAY[None].float())[0]
    fit = found(after, keeps_edges=True)
    assert fit.candidate.target == target
    assert fit.candidate.overrides == pytest.approx(overrides, rel=0.03)
    assert found(after) is None


def test_canny():
    fit = found(Canny(0.1, 0.3)(GRAY[None].float())[0])
    assert fit.candidate.overrides == {"low": 0.1, "high": 0.3}


def test_nothing_that_is_there():
    assert found(GRAY.flip(2)) is None
