import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.models import ContextAggregation, receptive_field
from convexp.models.blocks import feature_maps, kernels
from convexp.operators import local_maximum

CAN24 = [1, 2, 4, 8, 16, 32, 64, 1]
CAN32 = [1, 2, 4, 8, 16, 32, 64, 128, 1]
MODES = {"reflect": "mirror", "replicate": "nearest", "zeros": "constant", "circular": "wrap"}  # scipy's names


def small(**arguments) -> ContextAggregation:
    torch.manual_seed(0)
    return ContextAggregation(3, 2, **{"width": 4, "dilations": [1, 2, 5], **arguments}).double()


def randomised(model: nn.Module) -> nn.Module:
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model


def by_scipy(model: nn.Module, image: Tensor, mode: str, *, slope: float) -> np.ndarray:
    """What the layers make of an image (C, H, W), with dilated kernels written out."""
    weights = {name: value.detach().numpy() for name, value in model.named_parameters()}
    features = image.numpy()
    for layer, dilation in enumerate([1, 2, 5], 1):
        kernel = np.zeros((*weights[f"context{layer}.0.weight"].shape[:2], 2 * dilation + 1, 2 * dilation + 1))
        kernel[:, :, ::dilation, ::dilation] = weights[f"context{layer}.0.weight"]
        correlated = [
            sum(ndimage.correlate(channel, part, mode=mode) for channel, part in zip(features, parts, strict=True))
            for parts in kernel
        ]
        features = np.stack(correlated)
        if f"context{layer}.1.plain" in weights:
            plain, normalised, offset = (
                weights[f"context{layer}.1.{name}"] for name in ("plain", "normalised", "offset")
            )
            centred = features - features.mean(axis=(1, 2), keepdims=True)
            deviation = np.sqrt(features.var(axis=(1, 2), keepdims=True) + 1e-5)
            features = plain * features + normalised * (centred / deviation + offset)
        else:
            features += weights[f"context{layer}.0.bias"][:, None, None]
        features = np.where(features > 0, features, slope * features)
    return (
        np.einsum("oc,chw->ohw", weights["output.weight"][:, :, 0, 0], features) + weights["output.bias"][:, None, None]
    )


@pytest.mark.parametrize("border", MODES)
@pytest.mark.parametrize("normalisation", [False, True])
def test_it_is_what_scipy_makes_of_the_same_weights(border, normalisation):
    model = randomised(small(border=border, adaptive_normalisation=normalisation, slope=0.3))
    images = torch.rand(2, 3, 17, 23, dtype=torch.float64)
    outputs = model(images).detach()
    for image, output in zip(images, outputs, strict=True):
        np.testing.assert_allclose(output.numpy(), by_scipy(model, image, MODES[border], slope=0.3), atol=1e-10)


def test_without_a_border_it_is_valid():
    whole, valid = small(border="zeros"), small(border=None)
    randomised(valid)
    whole.load_state_dict(valid.state_dict())
    image = torch.rand(1, 3, 29, 31, dtype=torch.float64)
    assert valid(image).shape == (1, 2, 13, 15)  # 29 − 2 (1 + 2 + 5)
    torch.testing.assert_close(valid(image), whole(image)[..., 8:-8, 8:-8])


@pytest.mark.parametrize(("width", "dilations", "count", "field"), [(24, CAN24, 37_219, 257), (32, CAN32, 74_997, 513)])
def test_weights_and_receptive_field_are_those_of_the_paper(width, dilations, count, field):
    model = ContextAggregation(3, 3, width=width, dilations=dilations, adaptive_normalisation=True)
    assert sum(weight.numel() for weight in model.parameters()) == count
    assert all(weight.requires_grad for weight in model.parameters())
    assert receptive_field(model) == (field, field)
    plain = ContextAggregation(3, 3, width=width, dilations=dilations)
    # A bias for each channel, instead of its offset and two scalars a layer.
    assert sum(weight.numel() for weight in plain.parameters()) == count - 2 * len(dilations)


@pytest.mark.parametrize("dilations", [CAN24, CAN32])
def test_an_output_pixel_depends_on_the_corners_of_the_receptive_field_alone_and_what_is_in_it(dilations):
    model = ContextAggregation(1, 1, width=2, dilations=dilations, border="zeros")
    for weight in model.parameters():
        nn.init.constant_(weight, 0.1)
    field = 2 * sum(dilations) + 1
    image = torch.zeros(1, 1, field + 2, field + 2, requires_grad=True)
    model(image)[0, 0, field // 2 + 1, field // 2 + 1].backward()
    assert image.grad is not None
    reached = image.grad[0, 0] != 0
    assert reached[1:-1, 1:-1].all()
    assert reached.sum() == field**2


@pytest.mark.parametrize("border", [*MODES, None])
@pytest.mark.parametrize("normalisation", [False, True])
def test_it_starts_as_the_identity(border, normalisation):
    model = ContextAggregation(
        3, 3, width=24, dilations=[1, 2, 4, 1], border=border, adaptive_normalisation=normalisation
    )
    image = torch.rand(2, 3, 17, 23)
    lost = 8 if border is None else 0
    assert model(image).equal(image[..., lost : 17 - lost, lost : 23 - lost])


def test_every_weight_learns_from_the_first_or_the_second_step_on():
    torch.manual_seed(0)
    model = ContextAggregation(3, 3, width=6, dilations=[1, 2, 1])
    before = [weight.detach().clone() for weight in model.parameters()]
    image = torch.rand(1, 3, 17, 23)
    for _ in range(2):  # features reach the output with the first
        model.zero_grad()
        (model(image) - local_maximum(image, 3, border="reflect")).square().mean().backward()
        with torch.no_grad():
            for weight in model.parameters():
                assert weight.grad is not None
                weight -= 1e-3 * weight.grad
    assert all((weight != old).any() for weight, old in zip(model.parameters(), before, strict=True))
    assert all((weight.grad != 0).flatten(1).any(dim=1).all() for weight in model.parameters() if weight.ndim == 4)


def test_normalisation_makes_it_global_and_the_batch_s_other_images_do_not_matter():
    image = torch.rand(2, 3, 41, 43, dtype=torch.float64)
    far = image.clone()
    far[0, :, 0, 0] += 1
    local, normalised = randomised(small()), randomised(small(adaptive_normalisation=True))
    assert local(far)[..., 20:, 20:].equal(local(image)[..., 20:, 20:])
    assert not torch.allclose(normalised(far)[0, :, 20:, 20:], normalised(image)[0, :, 20:, 20:], atol=1e-9)
    torch.testing.assert_close(normalised(far)[1], normalised(image)[1])
    normalised.eval()  # uses no moments of the training
    torch.testing.assert_close(normalised(image[:1]), normalised(image)[:1])


def test_layers_are_blocks_and_kernels_have_names():
    _, maps = feature_maps(small(), torch.rand(1, 3, 17, 23, dtype=torch.float64))
    assert {name: tuple(features.shape[1:]) for name, features in maps.items()} == {
        "context1": (4, 17, 23),
        "context2": (4, 17, 23),
        "context3": (4, 17, 23),
        "output": (2, 17, 23),
    }
    assert list(kernels(small())) == ["context1.0", "context2.0", "context3.0", "output"]


@pytest.mark.parametrize(("border", "least"), [("reflect", 6), ("circular", 5), ("replicate", 1), ("zeros", 1)])
def test_the_smallest_image(border, least):
    model = small(border=border)
    assert model(torch.rand(1, 3, least, 23, dtype=torch.float64)).shape == (1, 2, least, 23)
    if least > 1:
        with pytest.raises(
            ConvexpError,
            match=rf"^image is 23×{least - 1}: with model.border={border} and a dilation of up to 5 it must be at "
            rf"least {least}×{least}; take larger images or crops, or model.border=replicate$",
        ):
            model(torch.rand(1, 3, 23, least - 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dilations": []}, r"^model.dilations=\[\] must be whole numbers of at least 1, as \[1,2,4,1\]$"),
        ({"dilations": [1, 0]}, r"^model.dilations=\[1, 0\] must be whole numbers"),
        ({"width": 2}, r"^model.width=2 is too small for images of 3 channels to pass through: take 3 or more$"),
        ({"border": "mirror"}, r"^border='mirror' must be one of"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ConvexpError, match=message):
        small(**arguments)
