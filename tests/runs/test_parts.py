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


def test_a_run_starts_from_kernels_by_name():
    config, data = prepared("model=single", "target=gradients", "initialisation=[sobel_x,sobel_y]")
    task, _ = make_task(config, data)
    image, target = next(iter(data.val_pairs.values()))
    torch.testing.assert_close(task.model(image).detach(), target)


def test_a_deep_run_starts_from_kernels_and_goes_on_with_lsuv():
    config, data = prepared("model=deep", "data.crop_size=30", "initialisation=[vertical_edge,horizontal_edge]")
    task, _ = make_task(config, data)
    first, second, *_ = (module for module in task.model.modules() if isinstance(module, nn.Conv2d))
    assert first.weight[0, 0].tolist() == [[-1, 1], [-1, 1]]
    assert first.weight[1, 0].tolist() == [[-1, -1], [1, 1]]
    seen = []
    second.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach().clone()))
    task.model(next(iter(data.train_pairs.values())).input)
    assert seen[0].var(dim=(0, 2, 3)).mean().item() == pytest.approx(1, rel=0.5)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "sobelx",
            r"^initialisation=sobelx: no such start; did you mean sobel_x\?; there are lsuv, contrast, null, and",
        ),
        ("[sobel_x,nope]", r"^initialisation=nope: no such start; there are lsuv, contrast, null, and the kernels id"),
        ("lsuvv", r"^initialisation=lsuvv: no such start; did you mean lsuv\?"),
    ],
)
def test_an_unknown_start(typed, message):
    config, data = prepared("model=single", "target=gradients", f"initialisation={typed}")
    with pytest.raises(ConvexpError, match=message):
        make_task(config, data)


def test_a_template_is_cut_from_the_first_training_image():
    snowman = ["data.height=60", "data.width=70", "data.snowman=[11,23]", "target.method=normalised"]
    _, data = prepared(*snowman, "target=template", "target.patch=[11,44,23,59]", "model=single")
    target = next(iter(data.train_pairs.values())).target
    assert divmod(int(target.argmax()), target.shape[-1]) == (11, 23)
    assert target.max().item() == pytest.approx(1)
    places = [divmod(int(pair.target.argmax()), pair.target.shape[-1]) for pair in data.val_pairs.values()]
    assert len({(11, 23), *places}) == 3  # elsewhere, but found as well
    assert all(pair.target.max().item() == pytest.approx(1) for pair in data.val_pairs.values())


def test_a_patch_outside_the_image_is_refused():
    with pytest.raises(ConvexpError, match=r"patch=\[11, 44, 23, 59\] .* is not inside the image, which is 37x41"):
        prepared("target=template", "target.patch=[11,44,23,59]")
