import torch
from torch import nn

from convexp.models import Stack, Standardised
from convexp.models.blocks import feature_maps, kernels


def stack() -> Stack:
    return Stack(1, 1, blocks={"edges": ["2@2x2"], "blur": ["3@3x3", "out@3x3"]}, activation=nn.ELU(inplace=True))


def test_every_block_s_output_is_kept():
    model, image = stack(), torch.rand(1, 1, 17, 23)
    output, maps = feature_maps(model, image)
    assert list(maps) == ["edges", "blur"]
    torch.testing.assert_close(maps["edges"], model[0](image))
    torch.testing.assert_close(output, model(image))
    assert output.equal(maps["blur"])


def test_the_blocks_of_a_standardised_model_are_those_inside():
    assert list(feature_maps(Standardised(stack()), torch.rand(1, 1, 17, 23))[1]) == ["edges", "blur"]


def test_one_convolution_has_no_blocks_and_one_kernel():
    model = nn.Conv2d(3, 2, 3)
    assert feature_maps(model, torch.rand(1, 3, 17, 23))[1] == {}
    assert list(kernels(model)) == ["kernel"]
    assert kernels(model)["kernel"].shape == (2, 3, 3, 3)


def test_kernels_are_named_by_block_and_layer():
    assert list(kernels(Standardised(stack()))) == ["edges.0", "blur.0", "blur.2"]


def test_looking_changes_nothing():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    output, _ = feature_maps(model, torch.rand(1, 1, 17, 23))
    assert model.training
    assert not output.requires_grad
    assert not any(module._forward_hooks for module in model.modules())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_what_is_no_image_is_left_out():
    class Pair(nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, int]:
            return image, 1

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.odd = Pair()
            self.last = nn.Conv2d(1, 1, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.last(self.odd(image)[0])

    assert list(feature_maps(Model(), torch.rand(1, 1, 5, 7))[1]) == ["last"]
