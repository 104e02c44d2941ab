"""Python around `cv2.filter2D`, run with OpenCV where it is installed, and with SciPy in its place."""

import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest
from scipy import ndimage

from convexp.deploy.formats import opencv
from convexp.deploy.formats.opencv import OPENCV
from convexp.deploy.programs import UnverifiedError
from convexp.images import write_image

CASES = {
    "valid": {"size": (5, 3)},
    "valid in colour": {"inputs": 3, "outputs": 3, "size": (4, 5), "scales": True},
    "reflect": {"size": (5, 7), "padding": "same", "padding_mode": "reflect"},
    "replicate": {"inputs": 3, "size": (4, 3), "padding": "same", "padding_mode": "replicate", "scales": True},
    "zeros": {"inputs": 3, "outputs": 3, "size": (3, 5), "padding": "same"},
    "zeros of a standardised image": {"outputs": 3, "size": (3, 5), "padding": "same", "scales": True},
    "circular": {"inputs": 3, "outputs": 2, "padding": "same", "padding_mode": "circular"},
}
MODES = {4: "mirror", 1: "nearest", 0: "constant", 3: "wrap"}


@pytest.fixture
def scipy_as_opencv(monkeypatch):
    """What the file calls of OpenCV, as its documentation has it."""
    cv2 = types.ModuleType("cv2")
    cv2.__spec__ = importlib.machinery.ModuleSpec("cv2", None)
    cv2.__version__ = "of SciPy"
    cv2.CV_32F = 5
    cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_WRAP, cv2.BORDER_REFLECT_101 = 0, 1, 3, 4

    def filter2d(src, ddepth, kernel, anchor, delta=0.0, borderType=4):
        assert ddepth == 5
        assert src.dtype == np.float32
        assert borderType != 3  # which filter2D refuses
        origin = [at - side // 2 for at, side in zip(anchor[::-1], kernel.shape, strict=True)]
        return ndimage.correlate(src, kernel, mode=MODES[borderType], origin=origin) + np.float32(delta)

    def padded(src, top, bottom, left, right, borderType, value=(0.0,)):
        sides = ((top, bottom), (left, right), (0, 0))[: src.ndim]
        if borderType == 0:
            return np.pad(src, sides, constant_values=value[0])
        return np.pad(src, sides, {1: "edge", 3: "wrap", 4: "reflect"}[borderType])

    cv2.filter2D, cv2.copyMakeBorder = filter2d, padded
    cv2.split = lambda image: [image] if image.ndim == 2 else [image[..., i] for i in range(image.shape[2])]
    cv2.merge = lambda planes: np.dstack(planes)
    monkeypatch.setitem(sys.modules, "cv2", cv2)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_it_is_what_the_model_does(case, make, write, compared, scipy_as_opencv):
    learned = make(**CASES[case])
    comparison = compared("opencv", learned, write("opencv", learned))
    assert comparison.error < 1e-5
    assert comparison.by == "OpenCV of SciPy"


@pytest.mark.skipif(importlib.util.find_spec("cv2") is None, reason="OpenCV is not installed")
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_opencv_does_the_same(make, write, compared):
    for case in CASES.values():
        learned = make(**case)
        assert compared("opencv", learned, write("opencv", learned)).error < 1e-5


def test_the_call_is_a_single_one_where_that_is_enough(make):
    text = opencv.source(make(size=(5, 7), padding="same", padding_mode="reflect"))
    line = (
        "    return cv2.filter2D(image, cv2.CV_32F, KERNEL[0, 0], delta=float(CONSTANT[0]), anchor=(3, 2), borderType="
    )
    assert f"{line}cv2.BORDER_REFLECT_101)\n" in text
    assert opencv.source(make(name='a"""b')).startswith("\"\"\"a'''b, learned by convexp.")


def test_the_printed_lines_are_python(make, write, tmp_path, monkeypatch, scipy_as_opencv):
    learned = make(inputs=3, outputs=3)
    lines = OPENCV.example(learned, write("opencv", learned))
    monkeypatch.chdir(tmp_path)
    image = learned.photo(most=(17, 23))
    write_image(image[0], "photo.png")
    blue_first = (image[0].permute(1, 2, 0) * 255).round().byte().numpy()[..., ::-1]
    sys.modules["cv2"].imread = lambda path: blue_first
    names = {}
    exec("\n".join(lines), names)
    np.testing.assert_allclose(names["output"], learned.model(image)[0].permute(1, 2, 0).numpy(), atol=1e-5)


def test_without_opencv_nothing_is_verified(make, write, compared, monkeypatch):
    learned = make()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnverifiedError, match=r"OpenCV is not installed \(pip install opencv-python-headless\)"):
        compared("opencv", learned, write("opencv", learned))
