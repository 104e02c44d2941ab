from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from scipy import ndimage
from torch import nn

from convexp.errors import ConvexpError
from convexp.operators import Blur, Gradients, Magnitude, Pipeline, gaussian_blur

FOLDER = Path(__file__).parents[2] / "configs" / "target"
# Name → (rows and columns that the valid operator takes away, channels from a colour image).
TARGETS = {
    "highpass": (6, 1),
    "gaussian_blur": (6, 3),
    "sharpen": (4, 3),
    "sobel": (2, 1),
    "edges": (1, 1),
    "edges_blur": (21, 1),
}


@pytest.fixture
def image():
    return torch.rand(1, 3, 37, 43, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def load(name, **overrides):
    config = OmegaConf.create({"target": OmegaConf.load(FOLDER / f"{name}.yaml")})
    for key, value in overrides.items():
        OmegaConf.update(config, f"target.{key}", value)
    return instantiate(config.target)


def test_stages_run_in_order():
    pipeline = Pipeline({"double": lambda image: 2 * image, "increment": lambda image: image + 1})
    image = torch.ones(1, 1, 2, 3)
    assert pipeline(image).equal(torch.full((1, 1, 2, 3), 3.0))
    outputs = pipeline.intermediate(image)
    assert list(outputs) == ["double", "increment"]
    assert outputs["double"].equal(torch.full((1, 1, 2, 3), 2.0))
    assert outputs["increment"].equal(pipeline(image))


def test_modules_and_plain_callables_mix(image):
    pipeline = Pipeline(
        {"blur": partial(gaussian_blur, kernel_size=3, sigma=1.0), "gradients": Gradients(), "length": Magnitude()}
    )
    expected = Magnitude()(Gradients()(gaussian_blur(image, 3, 1.0)))
    assert pipeline(image).equal(expected)


def test_parameters_of_stages_are_registered(image):
    conv = nn.Conv2d(3, 2, 3, dtype=torch.float64)
    pipeline = Pipeline({"conv": conv, "magnitude": Magnitude()})
    pipeline(image).sum().backward()
    assert [name for name, _ in pipeline.named_parameters()] == ["stages.0.weight", "stages.0.bias"]
    assert conv.weight.grad.all()


def test_gradient_reaches_the_image_where_it_is_not_flat():
    image = torch.zeros(1, 1, 37, 43)
    image[..., 18, 21] = 1
    load("edges_blur")(image.requires_grad_()).sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad[..., 17:20, 20:23].any()


@pytest.mark.parametrize("stages", [{}, None, [nn.Sequential(Blur())], OmegaConf.create({})])
def test_stages_must_be_a_mapping_with_something_in_it(stages):
    with pytest.raises(
        ConvexpError, match=r"^stages=[^\n]* must map at least one name to a callable on \(B, C, H, W\)$"
    ):
        Pipeline(stages)


@pytest.mark.parametrize("stage", [None, "blur"])
def test_stages_must_be_callable(stage):
    with pytest.raises(ConvexpError, match=rf"^stage 'first' is {stage}; must be callable on \(B, C, H, W\)$"):
        Pipeline({"first": stage})


def test_any_name_will_do():
    image = torch.zeros(1, 1, 2, 3)
    names = ["float", "values", "a.b", ""]
    assert list(Pipeline(dict.fromkeys(names, torch.neg)).intermediate(image)) == names


def test_pipeline_shows_its_stages():
    assert repr(Pipeline({"blur": Blur(), "length": Magnitude()})).startswith("Pipeline(\n  blur → length\n")


def test_a_failing_stage_is_named():
    pipeline = Pipeline({"first": Blur(), "second": Blur()})
    with pytest.raises(
        ConvexpError, match=r"^stage 'second', given \(1, 1, 4, 7\): image is 4x7 \(HxW\), kernel is 5x5: .*$"
    ) as caught:
        pipeline(torch.zeros(1, 1, 8, 11))
    assert isinstance(caught.value.__cause__, ConvexpError)
    assert caught.value.__cause__.__cause__ is None


def test_foreign_errors_become_one_line():
    def fail(image):
        raise RuntimeError(f"{image.dim()}\n  lines")

    with pytest.raises(ConvexpError, match=r"^stage 'fail', given \(1, 1, 2, 3\): RuntimeError: 4 lines$"):
        Pipeline({"fail": fail})(torch.zeros(1, 1, 2, 3))


@pytest.mark.parametrize(
    ("stage", "found"),
    [(lambda image: (image, image), "tuple"), (lambda image: image.mean(1), r"shape \(1, 2, 3\)")],
)
def test_stages_must_return_an_image(stage, found):
    with pytest.raises(ConvexpError, match=rf"^stage 'odd' returned {found}; must return a \(B, C, H, W\) tensor$"):
        Pipeline({"odd": stage})(torch.zeros(1, 1, 2, 3))


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_targets_from_yaml(image, name, channels):
    lost, colour_channels = TARGETS[name]
    output = load(name)(image[:, :channels])
    assert output.shape == (1, min(channels, colour_channels), 37 - lost, 43 - lost)
    assert output.dtype == torch.float64


@pytest.mark.parametrize("name", TARGETS)
def test_gray_is_colour_with_equal_channels(image, name):
    gray = image[:, :1]
    output = load(name)(gray.expand(-1, 3, -1, -1))
    times = 3 if name in ("sobel", "edges", "edges_blur") else 1  # these sum over the channels
    torch.testing.assert_close(output[:, :1], times * load(name)(gray))


def test_sobel_like_scipy(image):
    gray = image.sum(1)[0].numpy()
    expected = np.hypot(ndimage.sobel(gray, axis=1), ndimage.sobel(gray, axis=0))[1:-1, 1:-1]
    torch.testing.assert_close(load("sobel")(image)[0, 0], torch.from_numpy(expected))


def test_edges_blur_like_scipy(image):
    gray = image.sum(1)[0].numpy()
    across = gray[:, 1:] - gray[:, :-1]
    down = gray[1:] - gray[:-1]
    expected = np.hypot(across[1:] + across[:-1], down[:, 1:] + down[:, :-1])
    torch.testing.assert_close(load("edges")(image)[0, 0], torch.from_numpy(expected))
    rows = [[1, 4, 7, 4, 1], [4, 16, 26, 16, 4], [7, 26, 41, 26, 7], [4, 16, 26, 16, 4], [1, 4, 7, 4, 1]]
    for _ in range(5):
        expected = ndimage.correlate(expected, np.array(rows) / 273)[2:-2, 2:-2]
    torch.testing.assert_close(load("edges_blur")(image)[0, 0], torch.from_numpy(expected))


def test_stages_from_yaml_are_named(image):
    assert list(load("edges_blur").intermediate(image)) == [
        "gradients",
        "magnitude",
        *(f"blur_{index}" for index in range(1, 6)),
    ]


def test_arguments_are_changed_in_yaml(image):
    narrow, wide = load("highpass", sigma=0.5)(image), load("highpass", sigma=2)(image)
    assert narrow.std() < wide.std()
    assert load("highpass", border="reflect")(image).shape == (1, 1, 37, 43)


def test_one_border_for_every_stage(image):
    assert load("edges_blur", **{"stages.gradients.border": "zeros"})(image).shape == (1, 1, 37, 43)
    assert load("edges_blur", **{"stages.blur_3.border": "zeros"})(image).shape == (1, 1, 37 - 17, 43 - 17)
