import pytest
import torch
from hydra import compose, initialize_config_module
from torch import nn

from convexp.errors import ConvexpError
from convexp.runs.config import checked
from convexp.runs.parts import check_fit, make_data, make_task, with_channels

SHAPES = ["data=shapes", "data.height=37", "data.width=41", "target=edges"]


def prepared(*overrides):
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = checked(compose("train", overrides=[*SHAPES, *overrides]))
    data = make_data(config)
    return with_channels(config, data), data


@pytest.mark.parametrize("initialisation", ["contrast", "lsuv", "null"])
def test_a_crop_smaller_than_the_receptive_field_is_refused_with_both_sizes(initialisation):
    config, data = prepared("model=deep", "data.crop_size=20", f"initialisation={initialisation}")
    with pytest.raises(ConvexpError, match=r"data\.crop_size=20 is 20×20, smaller than .* receptive field of 22×22"):
        make_task(config, data)


@pytest.mark.parametrize("model", [nn.Conv2d(1, 1, 3, stride=2), nn.Sequential(nn.Conv2d(1, 1, 3), nn.AvgPool2d(2))])
def test_a_model_that_changes_the_scale_is_refused(model):
    _, data = prepared("model=single")
    with pytest.raises(ConvexpError, match=r"the model makes 1[78] rows of 37 and 3\d of 74: it changes the scale"):
        check_fit(model, data)


def test_a_model_that_raises_anything_is_named_in_one_line():
    class Odd(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise KeyError("no such image")

    _, data = prepared("model=single")
    with pytest.raises(ConvexpError, match=r"the model fails on shapes_a, .*: 'no such image'"):
        check_fit(Odd(), data)


def test_channels_are_filled_in_from_data_and_target():
    config, _ = prepared("model=single", "data.gray=false", "target=sharpen")
    assert (config["model"]["in_channels"], config["model"]["out_channels"]) == (3, 3)


@pytest.mark.parametrize("gray", [True, False])
def test_the_network_runs_in_channels_last(gray):
    config, data = prepared("model=deep", f"data.gray={gray}", "data.crop_size=30")
    task, _ = make_task(config, data)
    seen = []
    first = next(module for module in task.model.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    task.model(data.batches(start=0).batch(0)[0].input)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
