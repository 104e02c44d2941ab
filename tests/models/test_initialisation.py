import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.images import common_center, photograph, to_gray
from convexp.models import Stack
from convexp.models.initialisation import contrast, handmade, identity, lsuv
from convexp.operators import gradients, kernels

BLOCKS = {"edges": ["2@2x2", "100@1x1", "1@1x1"], "blur": ["4@3x3", "4@3x3", "out@3x3"]}


def stack(*, in_channels: int = 1, out_channels: int = 1) -> Stack:
    torch.manual_seed(0)
    return Stack(in_channels, out_channels, blocks=BLOCKS, activation=nn.ELU())


def standardised_photograph() -> Tensor:
    image = to_gray(photograph("chelsea"))[None, :, :128, :192]
    return (image - image.mean()) / image.std()


def outputs(model: nn.Module, image: Tensor) -> list[Tensor]:
    """What every convolution makes of an image."""
    seen: list[Tensor] = []
    for layer in convolutions(model):
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach().clone()))
    model(image)
    return seen


def convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


def explained(target: Tensor, cause: Tensor) -> float:
    return np.corrcoef(target.flatten().numpy(), cause.flatten().numpy())[0, 1] ** 2


def edge_magnitude(image: Tensor) -> Tensor:
    gray = image[0, 0].numpy()
    right, down = gray[:, 1:] - gray[:, :-1], gray[1:] - gray[:-1]
    return torch.from_numpy(np.hypot(right[1:] + right[:-1], down[:, 1:] + down[:, :-1]))


def test_lsuv_gives_every_convolution_unit_variance():
    model, image = stack(), standardised_photograph()
    lsuv(model, image)
    assert [output.var(dim=(0, 2, 3)).mean().item() for output in outputs(model, image)] == pytest.approx(
        [1.0] * 6, rel=1e-3
    )


def test_lsuv_keeps_the_weights_orthogonal():
    model = stack()
    lsuv(model, standardised_photograph())
    rows = model[1][2].weight.flatten(1)
    gram = rows @ rows.T
    torch.testing.assert_close(gram, gram[0, 0] * torch.eye(4), atol=1e-5, rtol=0)


def test_contrast_sets_scale_and_centre_of_every_output():
    model, image = stack(), standardised_photograph()
    contrast(model, image, edge_magnitude(image)[None, None])
    before_last = outputs(model, image)[:-1]
    stds = [output.var(dim=(0, 2, 3)).mean().sqrt().item() for output in before_last]
    assert stds == pytest.approx([0.1, 10.0, 1.0, 1.0, 1.0], rel=1e-3)
    means = [output.mean().item() for output in before_last]
    assert means == pytest.approx([0.0, 0.0, 1.0, 1.0, 1.0], abs=1e-2)


def test_the_first_convolution_whitens_contrast_and_does_not_see_brightness():
    model, image = stack(), standardised_photograph()
    contrast(model, image, edge_magnitude(image)[None, None])
    first = convolutions(model)[0]
    torch.testing.assert_close(first.weight.sum(dim=(2, 3)), torch.zeros(2, 1), atol=1e-5, rtol=0)
    covariance = np.cov(outputs(model, image)[0][0].flatten(1).numpy())
    np.testing.assert_allclose(covariance, 0.01 * np.eye(2), atol=1e-4)


def test_the_bottleneck_starts_as_the_magnitude_of_the_gradient():
    model, image = stack(), standardised_photograph()
    contrast(model, image, edge_magnitude(image)[None, None])
    assert explained(edge_magnitude(image), outputs(model, image)[2]) > 0.9


def test_the_last_convolution_is_numpy_s_ridge_regression():
    model, image = stack(), standardised_photograph()
    target = edge_magnitude(image)[None, None]
    contrast(model, image, target)
    seen: list[Tensor] = []
    last = convolutions(model)[-1]
    last.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].detach().clone()))
    model(image)
    windows = np.lib.stride_tricks.sliding_window_view(seen[0][0].numpy().astype(np.float64), (3, 3), axis=(1, 2))
    patches = windows.transpose(1, 2, 0, 3, 4).reshape(-1, 36)
    height, width = windows.shape[1:3]
    top, left = (target.shape[2] - height) // 2, (target.shape[3] - width) // 2
    values = target[0, 0, top : top + height, left : left + width].double().numpy().ravel()
    centred = patches - patches.mean(axis=0)
    penalty = np.sqrt(len(patches) * (0.01 * centred.var(axis=0).mean() + 1e-8))
    rows = np.vstack([centred, penalty * np.eye(36)])
    weight = np.linalg.lstsq(rows, np.concatenate([values - values.mean(), np.zeros(36)]), rcond=None)[0]
    np.testing.assert_allclose(last.weight.detach().numpy().ravel(), weight, rtol=1e-4, atol=1e-6)
    assert last.bias is not None
    assert last.bias.item() == pytest.approx(values.mean() - weight @ patches.mean(axis=0), rel=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_constant_images_leave_finite_weights_and_gradients(channels: int):
    model, image = stack(in_channels=channels), torch.zeros(2, channels, 17, 23)
    contrast(model, image, torch.zeros(2, 1, 17, 23))
    model(image).sum().backward()
    assert all(weight.isfinite().all() for weight in model.parameters())
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_several_outputs_are_fitted_each():
    model, image = stack(out_channels=2), standardised_photograph()
    magnitude = edge_magnitude(image)[None, None]
    target = torch.cat([magnitude, -2 * magnitude + 1], dim=1)
    contrast(model, image, target)
    first, second = convolutions(model)[-1].weight
    torch.testing.assert_close(second, -2 * first, rtol=1e-3, atol=1e-4)


def test_a_start_depends_on_the_seed_alone():
    starts = []
    for seed in (3, 3, 4):
        model, image = stack(), standardised_photograph()
        torch.manual_seed(seed)
        contrast(model, image, edge_magnitude(image)[None, None])
        starts.append(torch.cat([weight.flatten() for weight in model.parameters()]))
    assert starts[0].equal(starts[1])
    assert not starts[0].equal(starts[2])


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(1, 1, 3),
        nn.Sequential(*[nn.Conv2d(2, 2, 3, groups=2)] * 3),
        nn.Sequential(*[nn.Conv2d(1, 1, 3, padding="same")] * 3),
    ],
)
def test_contrast_needs_a_plain_chain(model: nn.Module):
    with pytest.raises(ConvexpError, match="initialisation=contrast needs a chain of three or more convolutions"):
        contrast(model, torch.rand(1, 1, 17, 23), torch.rand(1, 1, 17, 23))


def test_handmade_kernels_are_the_operator():
    image = torch.rand(2, 3, 17, 23)
    layer = nn.Conv2d(3, 2, 3)
    handmade(layer, [kernels.sobel_x(), kernels.sobel_y()])
    torch.testing.assert_close(layer(image).detach(), gradients(image, "sobel"))


@pytest.mark.parametrize("size", [(2, 2), (3, 3), (4, 5), (6, 7)])
def test_a_small_handmade_kernel_stands_where_the_common_centre_is(size):
    image = torch.rand(1, 1, 17, 23)
    layer = nn.Conv2d(1, 1, size)
    handmade(layer, [kernels.vertical_edge()])
    output, target = common_center(layer(image).detach(), gradients(image, "edges")[:, :1])
    torch.testing.assert_close(output, target)


def test_only_the_first_convolution_is_handmade():
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3))
    before = model[2].weight.clone()
    handmade(model, [kernels.laplacian()])
    assert model[1].weight[0, 0].equal(kernels.laplacian())
    assert model[2].weight.equal(before)
    lsuv(model, torch.rand(1, 1, 17, 23), skip=1)
    assert model[1].weight[0, 0].equal(kernels.laplacian())
    assert not model[2].weight.equal(before)


@pytest.mark.parametrize(
    ("model", "names", "message"),
    [
        (
            nn.ReLU(),
            ["sobel_x"],
            r"^initialisation=\[…\] sets the kernels of the first convolution, and the model ",
        ),
        (
            nn.Conv2d(1, 2, 3),
            ["sobel_x"],
            r"^initialisation has 1 kernel, the first convolution 2 outputs: name ",
        ),
        (nn.Conv2d(1, 1, 3), ["sobel_x"] * 2, r"^initialisation has 2 kernels, the first convolution 1 output: name "),
        (nn.Conv2d(1, 1, (3, 2)), ["sobel_x"], r"^initialisation: a 3×3 kernel does not fit into the first .*, 3×2$"),
    ],
)
def test_handmade_kernels_that_do_not_fit(model, names, message):
    with pytest.raises(ConvexpError, match=message):
        handmade(model, [kernels.FIXED[name]() for name in names])


@pytest.mark.parametrize("width", [3, 5])
@pytest.mark.parametrize(("channels", "outputs"), [(3, 3), (1, 1), (3, 1), (1, 2)])
def test_identity_lets_the_image_or_its_mean_pass(channels, outputs, width):
    first, second, last = nn.Conv2d(channels, width, 3), nn.Conv2d(width, 7, 3), nn.Conv2d(7, outputs, 1)
    model = nn.Sequential(first, nn.ReLU(), second, nn.ELU(), last)
    identity(model)
    image = torch.rand(2, channels, 17, 23, dtype=torch.float64)
    middle = image[..., 2:-2, 2:-2]
    expected = middle if channels == outputs else middle.mean(dim=1, keepdim=True).expand(-1, outputs, -1, -1)
    torch.testing.assert_close(model.double()(image), expected, rtol=0, atol=1e-7)


def test_beside_the_image_identity_has_contrasts_that_mix_at_each_pixel():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 203, 3), nn.ReLU(), nn.Conv2d(203, 203, 3), nn.ReLU(), nn.Conv2d(203, 3, 1))
    identity(model)
    first, second, last = (layer.weight.detach() for layer in convolutions(model))
    torch.testing.assert_close(first[3:].sum(dim=(2, 3)), torch.zeros(200, 3), atol=1e-5, rtol=0)
    noise = torch.randn(1, 3, 67, 71)
    assert nn.functional.conv2d(noise, first[3:]).std().item() == pytest.approx(5 * (8 / 9) ** 0.5, rel=0.05)
    mixture = second[3:, :, 1, 1] - torch.eye(203)[3:]
    assert mixture.std().item() == pytest.approx(0.02, rel=0.05)
    assert second.square().sum().item() == pytest.approx(second[:, :, 1, 1].square().sum().item())
    assert not last[:, 3:].any()
    for layer in convolutions(model):
        assert layer.bias is not None
        assert not layer.bias[:3].any()
    assert torch.cat([model[0].bias[3:], model[2].bias[3:]]).std().item() == pytest.approx(0.2, rel=0.1)


def test_one_convolution_alone_can_be_the_identity():
    layer = nn.Conv2d(3, 3, 5)
    identity(layer)
    image = torch.rand(1, 3, 17, 23)
    torch.testing.assert_close(layer(image).detach(), image[..., 2:-2, 2:-2])
