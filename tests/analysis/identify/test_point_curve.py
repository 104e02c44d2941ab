import numpy as np
import pytest
import torch
from skimage import exposure

from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.point_curve import global_curve, point_curve
from convexp.analysis.identify.recording import Recording
from convexp.images import photograph

GRAY = photograph("camera")[:, 90:187, 180:293].double()
COLOUR = photograph("coffee")[:, 90:187, 180:293].double()


def pair(before, after):
    recording = Recording(1 / 255)
    return Observation.of(before, recording.written(torch.as_tensor(after)), recording)


@pytest.mark.parametrize("exponent", [0.45, 1.8, 2.2])
def test_gamma(exponent):
    after = exposure.adjust_gamma(COLOUR.numpy(), exponent)
    found = point_curve(pair(COLOUR, after))
    assert (found.kind, found.exponent) == ("gamma", exponent)
    assert 0 < found.error < 1e-3


def test_any_curve_of_each_channel():
    after = torch.stack([COLOUR[0].square() * 0.8, COLOUR[1].sqrt(), torch.sin(3 * COLOUR[2])])
    found = point_curve(pair(COLOUR, after))
    assert (found.kind, found.same) == ("curve", False)
    assert found.curve[0, 200] == pytest.approx(0.8 * (200 / 255) ** 2, abs=0.003)
    same = point_curve(pair(COLOUR, torch.sin(3 * COLOUR)))
    assert (same.kind, same.same) == ("curve", True)


def test_equalization_by_another_library_is_global():
    found = point_curve(pair(GRAY, exposure.equalize_hist(GRAY[0].numpy())[None]))
    assert found.kind == "equalize"


def test_what_depends_on_the_pixels_around_is_no_curve():
    after = torch.nn.functional.max_pool2d(GRAY[None], 3, 1, 1)[0]
    assert point_curve(pair(GRAY, after)) is None
    assert global_curve(pair(GRAY, after)) is None


def test_the_catalogue_s_operators_of_the_whole_picture():
    dull = Recording(1 / 255).written(0.2 + 0.5 * GRAY)
    low, high = dull.min(), dull.max()
    assert global_curve(pair(dull, (dull - low) / (high - low))).kind == "autocontrast"
    assert global_curve(pair(dull, dull)) is None
    levels = np.asarray((255 * dull).round(), np.uint8)[0]
    from PIL import Image, ImageOps

    equalized = np.asarray(ImageOps.equalize(Image.fromarray(levels))) / 255
    assert global_curve(pair(dull, equalized[None])).kind == "equalize"
