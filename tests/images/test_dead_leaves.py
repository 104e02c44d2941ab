import hashlib
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images import photograph, to_gray
from convexp.images.dead_leaves import dead_leaves, discs_over, fallen, radii

COLOUR = ("chelsea", "stereo_motorcycle", "coffee", "astronaut")
SIDE = 256


@pytest.fixture(scope="module")
def leaves() -> list[Tensor]:
    return [dead_leaves(SIDE, SIDE, seed=seed) for seed in range(24)]


@pytest.fixture(scope="module")
def photographs() -> list[Tensor]:
    return [photograph(name)[:, :SIDE, :SIDE] for name in COLOUR]


def gray(images: list[Tensor]) -> list[np.ndarray]:
    return [to_gray(image)[0].double().numpy() for image in images]


def slope(images: list[np.ndarray]) -> float:
    """Exponent of the mean power spectrum's fall, from 4 cycles an image to a quarter of a cycle a pixel."""
    window = np.outer(np.hanning(SIDE), np.hanning(SIDE))
    power = np.mean([np.abs(np.fft.fft2((image - image.mean()) * window)) ** 2 for image in images], axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE)))
    edges = np.geomspace(4 / SIDE, 1 / 4, 11)
    rings = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    points = [(np.log(frequency[ring].mean()), np.log(power[ring].mean())) for ring in rings]
    return np.polyfit(*zip(*points, strict=True), 1)[0]


def gradient_kurtosis(images: list[np.ndarray]) -> float:
    """The median image's; 3 of a Gaussian."""
    return float(np.median([stats.kurtosis(np.diff(image, axis=1), axis=None, fisher=False) for image in images]))


def halved(image: np.ndarray) -> np.ndarray:
    return image.reshape(len(image) // 2, 2, -1, 2).mean(axis=(1, 3))


def test_the_same_seed_is_the_same_image_on_every_machine():
    image = dead_leaves(17, 23, seed=3)
    assert image.shape == (3, 17, 23)
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert image.equal(dead_leaves(17, 23, seed=3))
    assert not image.equal(dead_leaves(17, 23, seed=4))
    digest = hashlib.sha256((255 * image).round().numpy().astype("u1").tobytes()).hexdigest()
    assert digest == "827371f48720dac4f1584e29f6ab639e11e3ecb22363a0763a6294ce649dfa85"


def test_values_are_those_of_an_image(leaves):
    assert all(0 <= image.min() < image.max() <= 1 for image in leaves)


def test_the_power_spectrum_falls_as_that_of_photographs(leaves, photographs):
    ours, theirs = slope(gray(leaves)), slope(gray(photographs))
    assert ours == pytest.approx(-2.2, abs=0.3)
    assert ours == pytest.approx(theirs, abs=0.6)
    noise = [np.random.default_rng(seed).random((SIDE, SIDE)) for seed in range(4)]
    assert slope(noise) == pytest.approx(0, abs=0.1)


def test_most_gradients_are_small_and_a_few_large_at_every_scale(leaves, photographs):
    images, theirs = gray(leaves), gray(photographs)
    for _ in range(3):
        assert gradient_kurtosis(images) > 6
        assert gradient_kurtosis(images) == pytest.approx(gradient_kurtosis(theirs), rel=0.8)
        images, theirs = [halved(image) for image in images], [halved(image) for image in theirs]


def test_brightness_contrast_and_colours_are_those_of_photographs(leaves, photographs):
    def moments(images):
        return np.array([[image.mean(), image.std(), (image - image.mean(0)).std()] for image in images]).T

    (means, contrasts, colours), theirs = moments(leaves), moments(photographs)
    assert means.mean() == pytest.approx(theirs[0].mean(), abs=0.08)
    assert contrasts.mean() == pytest.approx(theirs[1].mean(), rel=0.3)
    assert colours.mean() == pytest.approx(theirs[2].mean(), rel=0.5)
    # No two images have the same light and palette.
    assert means.std() > 0.05
    assert contrasts.std() > 0.04
    assert colours.std() > 0.03
    correlation = np.mean([np.corrcoef(image.flatten(1))[0, 2] for image in leaves])  # red and blue
    assert correlation == pytest.approx(
        np.mean([np.corrcoef(image.flatten(1))[0, 2] for image in photographs]), abs=0.3
    )


@pytest.mark.parametrize("power", [1, 2, 3])
def test_radii_follow_their_power_law(power):
    drawn = radii(np.random.default_rng(0), 20_000, 2.0, 50.0, power=power)
    total = integrate.quad(lambda r: r**-power, 2, 50)[0]
    law = np.vectorize(lambda r: integrate.quad(lambda s: s**-power, 2, r)[0] / total)
    assert stats.kstest(drawn[:2000], law).pvalue > 0.01
    assert 2 <= drawn.min() < 2.01
    assert 45 < drawn.max() <= 50


def test_the_number_of_discs_falls_as_the_cube_of_the_radius_in_the_whole_plane():
    height, width = 40, 70
    y, x, r = discs_over(np.random.default_rng(1), 200_000, height, width, 2.0, 64.0)
    inside = (y > 0) & (y < height) & (x > 0) & (x < width)
    # Maximum likelihood of the exponent of a Pareto law; the largest radius cuts off next to nothing.
    assert 1 + inside.sum() / np.log(r[inside] / 2).sum() == pytest.approx(3, abs=0.03)
    assert stats.kstest((y + r) / (height + 2 * r), "uniform").pvalue > 0.01
    assert stats.kstest((x + r) / (width + 2 * r), "uniform").pvalue > 0.01
    # Large discs are seen from further away.
    expected = [
        integrate.quad(lambda r: r**-3 * (height + 2 * r) * (width + 2 * r), 2**k, 2 ** (k + 1))[0] for k in range(1, 6)
    ]
    counted = np.histogram(r, 2.0 ** np.arange(1, 7))[0]
    assert stats.chisquare(counted, np.array(expected) / sum(expected) * len(r)).pvalue > 0.01


@pytest.mark.parametrize("seed", range(3))
def test_every_subpixel_belongs_to_the_first_disc_over_its_centre(seed):
    discs, owner = fallen(np.random.default_rng(seed), 34, 46, 2.0, 40.0)
    y, x, r = discs[..., None, None]
    over = (np.arange(34)[:, None] + 0.5 - y) ** 2 + (np.arange(46) + 0.5 - x) ** 2 <= r**2
    assert over.any(axis=0).all()
    np.testing.assert_array_equal(owner, over.argmax(axis=0))


def test_a_large_image_needs_several_rounds_and_its_last_disc():
    discs, owner = fallen(np.random.default_rng(0), 400, 300, 1.0, 300.0)
    assert owner.min() == 0
    assert owner.max() < discs.shape[1]


def test_a_pixel_at_an_edge_is_the_mean_of_its_four_quarters(monkeypatch):
    for name in ("_SHADE", "_GRAIN"):
        monkeypatch.setattr(f"convexp.images.dead_leaves.{name}", 0.0)
    image = dead_leaves(64, 48, seed=1).flatten(1).T.numpy()
    _, owner = fallen(np.random.default_rng(1), 128, 96, 4.0, 128.0)
    quarters = owner.reshape(64, 2, 48, 2).transpose(0, 2, 1, 3).reshape(-1, 4)
    within = (quarters == quarters[:, :1]).all(axis=1)
    colours = {
        leaf: colour for leaf, colour in zip(quarters[within, 0], image[within], strict=True) if (colour % 1).all()
    }
    known = [index for index in np.flatnonzero(~within) if all(leaf in colours for leaf in quarters[index])]
    assert len(known) > 300
    for index in known:
        np.testing.assert_allclose(
            image[index], np.mean([colours[leaf] for leaf in quarters[index]], axis=0), atol=1e-6
        )


def test_one_pixel_is_enough():
    assert dead_leaves(1, 1, seed=0).shape == (3, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0}, "height=0 is too small for dead leaves: it must be at least 1"),
        ({"width": -4}, "width=-4 is too small"),
        ({"seed": -1}, "seed=-1 is too small for dead leaves: it must be at least 0"),
        ({"smallest": 0.25}, r"smallest=0.25, largest=23: radii of leaves must be 0\.5 ≤ smallest < largest"),
        ({"largest": 2.0}, r"smallest=2\.0, largest=2\.0: radii"),
        ({"smallest": float("nan")}, "smallest=nan"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ConvexpError, match=message):
        dead_leaves(**{"height": 17, "width": 23, "seed": 0, **arguments})
