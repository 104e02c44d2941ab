import pytest
import torch

from convexp.analysis.identify.families import families, gabor_starts, moved, powers, shift_family
from convexp.operators import Blur
from convexp.operators.kernels import gabor, gaussian, sobel_x
from convexp.operators.response import impulse_response
from convexp.runs.composition import composed
from convexp.runs.construction import build

EVERY = {family.words: family for like in (torch.ones(1, 1), torch.tensor([[-1.0, 1.0]])) for family in families(like)}


@pytest.mark.parametrize("words", [*EVERY, "a shift by 2 to the right and 1 up"])
def test_a_family_is_what_its_target_does(words):
    """The command that is printed makes the kernel that was fitted."""
    family = EVERY.get(words) or shift_family(2, -1)
    size = family.sizes(9)[-1]
    values = family.starts(size, gabor(size, 4.0, dtype=torch.float64))[0] if family.parameters else ()
    keys = {parameter.key: value for parameter, value in zip(family.parameters, values, strict=True)}
    overrides = {**family.overrides(size), **keys}
    words = [f"target={family.target}", *(f"target.{key}={value}" for key, value in overrides.items())]
    response = impulse_response(build(composed(words)[0]["target"], "target"), 1)
    kernel = torch.zeros(1, 1, 65, 65, dtype=torch.float64)
    kernel[0, 0, 32, 32] = 1
    expected = family.kernel(size, values)
    found = torch.zeros(2 * (size // 2 + 5) + 1, 2 * (size // 2 + 5) + 1, dtype=torch.float64)
    also, centre = found.clone(), len(found) // 2
    top, bottom, left, right = response.box
    found[centre + top : centre + bottom + 1, centre + left : centre + right + 1] = response.kernel[0, 0]
    height, width = expected.shape
    first, start = centre - (height - 1) // 2, centre - (width - 1) // 2
    also[first : first + height, start : start + width] = expected
    torch.testing.assert_close(found, also, atol=2e-5, rtol=0)


def test_a_kernel_has_families_of_its_own_sum():
    smooth = {family.target for family in families(gaussian(5, 1.0))}
    edges = {family.target for family in families(sobel_x())}
    assert "gaussian_blur" in smooth - edges
    assert {"highpass", "sobel_x", "gabor"} <= edges - smooth


def test_the_classic_blur_n_times():
    response = impulse_response(Blur(3), 1)
    torch.testing.assert_close(powers(3).float(), response.kernel[0, 0], atol=1e-7, rtol=0)


@pytest.mark.parametrize(("wavelength", "angle"), [(4.0, 0), (5.0, 30), (6.0, -70)])
def test_a_wave_starts_near(wavelength, angle):
    starts = gabor_starts(11, gabor(11, wavelength, angle=angle, sigma=2.5, dtype=torch.float64))
    found, direction, sigma, *_ = starts[0]
    assert found == pytest.approx(wavelength, rel=0.3)
    assert (direction - angle + 90) % 180 - 90 == pytest.approx(0, abs=12)
    assert 1 < sigma < 4
    assert gabor_starts(5, torch.ones(5, 5, dtype=torch.float64)) == []


def test_words_of_a_displacement():
    assert moved(-3, 0) == "3 to the left"
    assert moved(0, 1) == "1 down"
