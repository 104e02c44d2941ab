"""The course notebooks, written out again without convexp, lose what the experiments of their name lose."""

import numpy as np
import pytest
import skimage
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from scipy import ndimage, signal
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from convexp.images.generated import shapes
from convexp.runs.config import GROUPS, checked
from convexp.runs.experiment import run


def losses_of_run(folder, *overrides):
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = compose("train", overrides=[*overrides, "trainer.log_every_n_steps=1"], return_hydra_config=True)
    choices = config.hydra.runtime.choices
    config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    run({**checked(config), "choices": {group: choices[group] for group in (*GROUPS, "experiment")}}, folder)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return np.array([event.value for event in events.Scalars("train/loss")])


def losses_of_loop(model, optimizer, image, target, steps):
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(image), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses)


@pytest.mark.slow
def test_highpass(tmp_path):
    # A smaller photograph: the recipe is the same, and 2000 steps take seconds.
    losses = losses_of_run(tmp_path / "run", "experiment=notebook_highpass", "data.size=97", "trainer.accelerator=cpu")

    photograph = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None] / 255
    image = nn.functional.interpolate(photograph, (97, 146), mode="bilinear", antialias=True)
    blurred = ndimage.gaussian_filter(image[0].double(), 4.0, radius=3, mode="mirror", axes=(1, 2))
    target = torch.from_numpy((image[0].double().numpy() - blurred).mean(axis=0)[None, None]).float()
    torch.manual_seed(0)
    model = nn.Conv2d(3, 1, 3, padding=1, bias=False)
    expected = losses_of_loop(model, torch.optim.SGD(model.parameters(), lr=1e-2), image, target, 2000)

    assert expected[-1] < 0.8 * expected[0]  # it has learned something
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


@pytest.mark.slow
def test_edges_blur(tmp_path):
    steps = 60
    losses = losses_of_run(
        tmp_path / "run",
        "experiment=notebook_edges_blur",
        "data.height=149",  # a quarter of the notebook's pixels
        "data.width=199",
        f"trainer.max_steps={steps}",
        "trainer.accelerator=cpu",
    )

    image = shapes(149, 199, seed=0)[None]
    gray = image[0, 0].double().numpy()
    across = signal.correlate2d(gray, [[-1, 1], [-1, 1]], mode="valid")
    down = signal.correlate2d(gray, [[-1, -1], [1, 1]], mode="valid")
    target = np.hypot(across, down)
    kernel = np.array([[1, 4, 7, 4, 1], [4, 16, 26, 16, 4], [7, 26, 41, 26, 7], [4, 16, 26, 16, 4], [1, 4, 7, 4, 1]])
    for _ in range(5):
        target = signal.correlate2d(target, kernel / 273, mode="valid")
    target = torch.from_numpy(target[None, None]).float()
    torch.manual_seed(0)
    layers = [(1, 2, 2), (2, 100, 1), (100, 1, 1), (1, 4, 3), *[(4, 4, 3)] * 8, (4, 1, 3)]
    model = nn.Sequential(*(part for layer in layers for part in (nn.Conv2d(*layer), nn.ELU())))
    expected = losses_of_loop(model, torch.optim.Adam(model.parameters(), lr=1e-3), image, target, steps)

    assert expected[-1] < 0.8 * expected[0]  # it has learned something
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
