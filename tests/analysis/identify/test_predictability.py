import torch

from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.predictability import SIDES, predictability, unevenness
from convexp.analysis.identify.recording import Recording
from convexp.images import photograph

GRAY = photograph("camera")[:, 90:207, 180:303].double()


def shares(after):
    observation = Observation.of(GRAY, after, Recording(0.0))
    return predictability(observation, GRAY, (0, GRAY.shape[1], 0, GRAY.shape[2]))


def test_noise_cannot_be_told_from_the_pixels_around():
    noise = 0.02 * torch.randn(GRAY.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert max(shares(GRAY + noise).values()) < 0.01


def test_a_local_maximum_is_seen_in_a_window():
    found = shares(torch.nn.functional.max_pool2d(GRAY[None], 5, 1, 2)[0])
    assert list(found) == [0, *SIDES]
    assert found[5] > 0.8
    assert found[1] < 0.5 * found[5]


def test_what_depends_on_the_place():
    rows = torch.linspace(-1, 1, GRAY.shape[1], dtype=torch.float64)[:, None]
    assert shares(GRAY * (1 - 0.2 * rows**2))[0] > 0.95


def test_noise_is_as_strong_everywhere_and_what_a_filter_leaves_is_not():
    place = (0, GRAY.shape[1], 0, GRAY.shape[2])
    noise = 0.02 * torch.randn(GRAY.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert unevenness(Observation.of(GRAY, GRAY + noise, Recording(0.0)), GRAY, place) < 0.02
    coarse = GRAY[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2)[:, : GRAY.shape[1], : GRAY.shape[2]]
    assert unevenness(Observation.of(GRAY, coarse, Recording(0.0)), GRAY, place) > 0.1
