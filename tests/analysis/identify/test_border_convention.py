import pytest
import torch
from scipy import ndimage

from convexp.analysis.identify.border_convention import border_convention
from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.recording import Recording
from convexp.images import photograph

KERNEL = torch.tensor([[0.0, 0.1, 0.0, 0.0], [0.2, 0.3, 0.1, 0.1], [0.1, 0.0, 0.1, 0.0]], dtype=torch.float64)
BOX = (-1, 1, -1, 2)
SCIPY = {"mirror": "reflect", "nearest": "replicate", "constant": "zeros", "wrap": "circular", "reflect": "symmetric"}


def found(before, after, recording=None):
    recording = recording or Recording(1 / 255)
    observation = Observation.of(before, recording.written(after), recording)
    return border_convention(observation, KERNEL[None, None], BOX, torch.zeros(1, dtype=torch.float64))


@pytest.mark.parametrize("mode", SCIPY)
def test_scipy_s_modes(mode):
    before = photograph("camera")[:, 90:187, 180:293].double()
    after = ndimage.correlate(before[0].numpy(), KERNEL.numpy(), mode=mode, origin=(0, -1))
    convention = found(before, torch.from_numpy(after)[None])
    assert convention.convention == SCIPY[mode]
    assert convention.border == (SCIPY[mode] if SCIPY[mode] != "symmetric" else None)
    others = [value for key, value in convention.residuals.items() if key != SCIPY[mode]]
    assert convention.residuals[SCIPY[mode]] < 0.1 < min(others)


def test_a_margin_that_was_left_as_it_was():
    before = photograph("camera")[:, 90:187, 180:293].double()
    after = before.clone()
    after[0, 1:-1, 1:-2] = torch.nn.functional.conv2d(before[None], KERNEL[None, None])[0, 0]
    assert found(before, after).convention == "unfiltered"


def test_a_smaller_picture_is_valid_if_the_kernel_fits():
    before = photograph("camera")[:, 90:187, 180:293].double()
    inside = torch.nn.functional.conv2d(before[None], KERNEL[None, None])[0]
    assert found(before, inside).convention == "valid"
    assert found(before, before[:, :-1, :-1]).convention is None


def test_what_cannot_be_told():
    flat = 0.4 + 0.1 * torch.rand(1, 97, 113, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    flat[:, :5], flat[:, -5:], flat[..., :5], flat[..., -5:] = 0.4, 0.4, 0.4, 0.4
    after = ndimage.correlate(flat[0].numpy(), KERNEL.numpy(), mode="mirror", origin=(0, -1))
    assert found(flat, torch.from_numpy(after)[None]).convention is None  # each makes the same
    other = torch.rand(1, 97, 113, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert found(flat, other).convention is None  # none makes it
