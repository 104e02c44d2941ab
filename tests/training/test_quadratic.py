import pytest
import torch
from torch import nn

from convexp.errors import ConvexpError
from convexp.models import Standardised
from convexp.training.pairs import Pair
from convexp.training.quadratic import Quadratic, why_not_quadratic


def noise(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("model", "loss", "reason"),
    [
        (nn.Conv2d(3, 1, 3), nn.MSELoss(), None),
        (Standardised(nn.Conv2d(3, 1, 3)), nn.MSELoss(), None),
        (nn.Conv2d(3, 1, 3), nn.L1Loss(), "the loss L1Loss is not the mean squared error"),
        (nn.Conv2d(3, 1, 3), nn.MSELoss(reduction="sum"), "the loss MSELoss is not the mean squared error"),
        (nn.Sequential(nn.Conv2d(3, 1, 3), nn.ELU()), nn.MSELoss(), "the model Sequential is not one convolution, "),
        (Standardised(nn.Identity()), nn.MSELoss(), "the model Identity is not one convolution, "),
        (nn.Conv2d(3, 1, 37), nn.MSELoss(), "the convolution has 4,108 weights for an output; more than 4,096 are"),
        (nn.Conv2d(3, 3, 37, groups=3), nn.MSELoss(), None),
    ],
    ids=str,
)
def test_which_losses_are_quadratic(model, loss, reason):
    found = why_not_quadratic(model, loss)
    assert found is None if reason is None else found.startswith(reason)


def test_nothing_else_is_made_a_quadratic():
    with pytest.raises(ConvexpError, match="Sequential is not one convolution, and its loss not quadratic"):
        Quadratic.of(nn.Sequential(), [])


@pytest.mark.parametrize("standardised", [False, True])
def test_its_loss_is_that_of_the_run(standardised):
    pairs = [Pair(noise(1, 2, 11, 13), 3 + noise(1, 1, 9, 13, seed=1)), Pair(noise(1, 2, 7, 17), noise(1, 1, 5, 17))]
    model = nn.Conv2d(2, 1, 3)
    if standardised:
        model = Standardised(model, mean=0.4, std=0.25, offset=-1.0, scale=0.5)
    quadratic = Quadratic.of(model, pairs)
    errors = [(model(image) - target[..., 1:-1]).flatten() for image, target in pairs]
    mse = torch.cat(errors).square().mean().item()
    assert quadratic.scale == (0.5 if standardised else 1)
    assert quadratic.scale**2 * quadratic.loss() == pytest.approx(mse, rel=1e-5)


def test_its_kernels_are_filters_from_image_to_target():
    image = noise(1, 1, 11, 13)
    kernel = torch.tensor([[[[0.5, -0.25], [2.0, 1.0]]]])
    model = Standardised(nn.Conv2d(1, 1, 2), mean=0.4, std=0.25, offset=-1.0, scale=0.5)
    quadratic = Quadratic.of(model, [Pair(image, nn.functional.conv2d(image, kernel))])
    learned, optimal = quadratic.kernels()
    torch.testing.assert_close(optimal.float(), kernel, atol=1e-5, rtol=0)
    torch.testing.assert_close(learned.float(), 2 * model.model.weight.detach())


def test_each_group_reads_its_own_channels():
    image = noise(1, 4, 11, 13)
    layer = nn.Conv2d(4, 6, 3, groups=2)
    full = torch.zeros(6, 4, 3, 3)
    full[:3, :2], full[3:, 2:] = layer.weight.detach()[:3], layer.weight.detach()[3:]
    quadratic = Quadratic.of(layer, [Pair(image, nn.functional.conv2d(image, full))])
    assert quadratic.of_own_channels(full).equal(layer.weight)


def test_it_follows_the_weights():
    layer = nn.Conv2d(1, 1, 1, bias=False)
    quadratic = Quadratic.of(layer, [Pair(torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 3.0))])
    for weight in (0.0, 1.0, 3.0):
        nn.init.constant_(layer.weight, weight)
        assert quadratic.loss() == pytest.approx((3 - weight) ** 2, abs=1e-12)
        assert quadratic.descent().losses(0.5, torch.tensor([0, 1])).tolist() == pytest.approx([(3 - weight) ** 2, 0])
