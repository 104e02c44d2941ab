import pytest
import torch
from torch import nn

from convexp.analysis.layers import constant_channels, evaluating, layers
from convexp.models import Stack, Standardised
from convexp.operators import Magnitude


def stack() -> Stack:
    return Stack(
        1, 1, blocks={"edges": ["2@2x2", "3@1x1"], "blur": ["3@3x3", "out@3x3"]}, activation=nn.ELU(inplace=True)
    )


def image(channels=1) -> torch.Tensor:
    return torch.rand(1, channels, 17, 23, generator=torch.Generator().manual_seed(0))


def test_a_stack_s_layers_are_its_convolutions_after_the_activation():
    model = stack()
    found = layers(model, image())
    assert list(found) == ["edges.0", "edges.2", "blur.0", "blur.2"]
    assert found["edges.0"].equal(model.edges[:2](image()))
    assert found["edges.2"].equal(model.edges(image()))
    assert found["blur.2"].equal(model(image()))


@pytest.mark.parametrize("activation", [nn.Tanh(), None])
def test_what_happens_in_place_later_does_not_reach_back(activation):
    first, last = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)

    class Rectified(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.activation, self.last = first, activation, last

        def forward(self, image):
            features = self.first(image)
            return self.last((features if self.activation is None else self.activation(features)).relu_())

    found = layers(Rectified(), image())
    assert list(found) == ["first", "last"]
    assert found["first"].equal(first(image()) if activation is None else first(image()).tanh())
    assert found["first"].min() < 0


def test_the_layers_of_a_standardised_model_are_those_inside():
    model = Standardised(stack(), mean=0.5, std=0.25, offset=1.0, scale=3.0)
    found = layers(model, image())
    assert list(found) == ["edges.0", "edges.2", "blur.0", "blur.2"]
    torch.testing.assert_close(1 + 3 * found["blur.2"], model(image()))


def test_what_no_module_returned_is_the_output():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.rand(2, 1, 3, 3))

        def forward(self, image):
            return nn.functional.conv2d(image, self.weight)

    found = layers(Functional(), image())
    assert list(found) == ["output"]
    assert found["output"].shape == (1, 2, 15, 21)
    assert not found["output"].requires_grad


def test_one_convolution_is_the_output_in_the_users_units():
    model = Standardised(nn.Conv2d(1, 2, 3), mean=0.5, scale=3.0)
    assert list(layers(model, image())) == list(layers(nn.Conv2d(1, 2, 3), image())) == ["output"]
    assert layers(model, image())["output"].equal(model(image()))


def test_what_a_model_adds_to_its_last_layer_is_not_lost():
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.output = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, image):
            return image + self.output(image)

    model = Residual()
    found = layers(model, image())
    assert list(found) == ["output", "output#2"]
    assert found["output#2"].equal(model(image()))


def test_what_comes_before_the_first_convolution_stands_alone():
    model = nn.Sequential(nn.AvgPool2d(2, 1), nn.BatchNorm2d(1), nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
    found = layers(model, image())
    assert list(found) == ["0", "1", "2"]
    model.eval()
    torch.testing.assert_close(found["0"], model[0](image()))
    torch.testing.assert_close(found["2"], model(image()))


def test_a_module_that_is_called_again_is_numbered():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.activation = nn.Conv2d(1, 1, 3), nn.Tanh()

        def forward(self, image):
            for _ in range(3):
                image = self.activation(self.conv(image))
            return image

    model = Recurrent()
    found = layers(model, image())
    assert list(found) == ["conv", "conv#2", "conv#3"]
    assert found["conv#3"].equal(model(image()))
    assert found["conv"].equal(model.conv(image()).tanh())


def test_a_weight_that_is_made_of_others_is_no_representation():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 2, 3)), nn.ELU())
    found = layers(model, image())
    assert {name: tuple(features.shape) for name, features in found.items()} == {"0": (1, 2, 15, 21)}


def test_transposed_and_padded_convolutions_are_layers_too():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(2, 1, 3, stride=2))
    assert list(layers(model, image())) == ["0", "2"]


def test_looking_changes_nothing():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5)).train()
    model[1].eval()  # frozen, as some train it
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert layers(model, image())["0"].equal(layers(model, image())["0"])
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert not any(module._forward_hooks for module in model.modules())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


def test_an_error_leaves_no_hooks_behind():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(3, 1, 3)).train()
    with pytest.raises(RuntimeError, match="expected input"):
        layers(model, image())
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_values_that_are_no_numbers_are_passed_on():
    model = nn.Sequential(nn.Conv2d(1, 1, 3))
    nn.init.constant_(model[0].weight, torch.nan)
    assert list(layers(model, image())) == ["0"]


def test_constant_channels_up_to_rounding():
    features = torch.rand(1, 5, 17, 23)
    features[0, 1] = 0
    features[0, 3] = -100 + 1e-5 * torch.rand(17, 23)
    features[0, 4] = 1e-9 * torch.rand(17, 23)  # small, and yet an image
    found = constant_channels(features)
    assert list(found) == [1, 3]
    assert found[1] == 0
    assert found[3] == pytest.approx(-100)


def test_a_dead_relu_is_constant():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())
    nn.init.constant_(model[0].bias, -100.0)
    nn.init.constant_(model[0].weight, 1.0)
    assert constant_channels(layers(model, image())["0"]) == {0: 0.0, 1: 0.0}


def test_no_number_is_constant():
    assert constant_channels(torch.full((1, 1, 3, 3), torch.nan)) == {}


def test_modes_come_back_after_an_error():
    model = nn.Dropout()
    with pytest.raises(ZeroDivisionError), evaluating(model):
        raise ZeroDivisionError
    assert model.training


def test_a_module_that_combines_channels_is_a_layer():
    model = nn.Sequential(nn.Conv2d(1, 2, 2), nn.ELU(), Magnitude(), nn.ReLU())
    found = layers(model, torch.rand(1, 1, 17, 23))
    assert {name: features.shape[1] for name, features in found.items()} == {"0": 2, "2": 1}
