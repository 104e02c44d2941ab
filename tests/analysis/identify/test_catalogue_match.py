import pytest

from convexp.analysis.identify.catalogue_match import match
from convexp.analysis.identify.linear_fit import fit_linear
from convexp.analysis.identify.match import certain
from convexp.analysis.identify.mixing import simple_mixings
from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.recording import Compression, Recording
from convexp.images import photograph
from convexp.operators import BoxBlur, Filter, GaussianBlur, Sharpen

GRAY = photograph("camera")[:, 91:228, 183:326]


def matched(operator, **options):
    recording = Recording(1 / 255)
    observation = Observation.of(GRAY, recording.written(operator(GRAY[None])[0]), recording)
    linear = fit_linear(observation, simple_mixings(observation)[0])
    return *match(observation, linear, **options), observation


def test_round_numbers_that_every_pixel_confirms():
    found, _, observation = matched(Sharpen(5, 1.2, amount=0.75))
    assert (found.fit.family.target, found.fit.size, found.fit.values) == ("sharpen", 5, (1.2, 0.75))
    assert found.agreement.exact > 0.999
    assert certain(found)
    made, place = observation.predicted(found.kernels, found.box, found.constant)
    assert observation.agreement(made, place) == found.agreement


def test_numbers_that_are_not_round_stay_within_their_errors():
    found, _, _ = matched(GaussianBlur(9, 1.4142135))
    (sigma,), (error,) = found.fit.values, found.fit.errors
    assert sigma == pytest.approx(1.4142135, abs=min(4 * error, 1e-3))


def test_the_fewest_numbers():
    """A box is also a Gaussian of any large σ, and a sharpening of a negative amount."""
    found, _, _ = matched(BoxBlur(5))
    assert (found.fit.family.target, found.fit.unknowns) == ("box_blur", 0)


def test_the_size_that_the_picture_speaks_for():
    """σ = 0.8: 9 and 11 pixels differ by 1e-7."""
    assert matched(GaussianBlur(11, 0.8))[0].fit.size < 11
    assert matched(GaussianBlur(11, 0.8), own_size=11)[0].fit.size == 11


def test_a_kernel_near_a_gaussian_is_none():
    found, linear, _ = matched(Filter([[0, 1 / 6, 0], [1 / 6, 1 / 3, 1 / 6], [0, 1 / 6, 0]]))
    assert found is None
    assert linear.agreement.explained


def test_no_kernel_of_one_pixel_but_the_identity_has_a_name():
    """A Gaussian of σ = 0.2 is one, and its two numbers come as near to a picture in JPEG as the identity's."""
    recording = Recording(1 / 255, Compression({0: [3] * 64}, 0))
    observation = Observation.of(GRAY, recording.written(0.98 * GRAY + 0.01), recording)
    found, _ = match(observation, fit_linear(observation, simple_mixings(observation)[0]))
    assert found.fit.family.target == "identity"
    assert (found.fit.gain, found.constant.tolist()) == (0.98, [0.01])
