from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convexp.deploy import application
from convexp.deploy.application import Application, apply
from convexp.deploy.rows import rows_of, rows_of_pixels
from convexp.errors import ConvexpError
from convexp.models import ContextAggregation, Stack
from convexp.operators.border import padded

BORDERS = ["reflect", "replicate", "zeros", "circular"]


def stack():
    return Stack(3, 2, blocks={"a": ["4@2x2", "5@1x1"], "b": ["out@3x4"]}, activation=nn.ELU(inplace=True))


def image(channels=3, height=31, width=37):
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(0))


def difference(made, expected):
    assert made.shape == expected.shape
    return float((made - expected).detach().abs().max())


@pytest.mark.parametrize("tile", [None, 1, 3, 17, 1000])
def test_tiles_make_the_whole_picture(tile):
    model = stack()
    made = apply(model, image(), tile=tile)
    assert difference(made, model(image()[None])[0]) <= 1e-6


@pytest.mark.parametrize("tile", [None, 1, 7])
@pytest.mark.parametrize("border", BORDERS)
def test_a_border_keeps_the_size(tile, border):
    model = stack()  # of 4×5 pixels, an even and an odd side
    made = apply(model, image(), tile=tile, border=border)
    assert made.shape == (2, 31, 37)
    assert difference(made, model(padded(image()[None], 4, 5, border))[0]) <= 1e-6
    # Its inner part lies where that of the valid result does.
    assert difference(made[:, 1:-2, 2:-2], apply(model, image())) <= 1e-6


def test_a_border_of_the_model_s_own_stays():
    model = ContextAggregation(3, 3, width=4, dilations=[1, 2], border="reflect")
    assert apply(model, image(), border="zeros").equal(apply(model, image()))


def test_the_result_is_a_tensor_as_any_other():
    model = nn.Conv2d(3, 1, 3)
    made = apply(model, image())
    assert not made.is_inference()
    (made.mean() * nn.Parameter(torch.tensor(2.0))).backward()
    assert model.weight.grad is None
    assert model.weight.requires_grad


def test_a_model_in_training_is_applied_in_evaluation_and_goes_on_training():
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.9))
    made = apply(model, image(), tile=5)
    assert model.training
    assert model[1].num_batches_tracked == 0
    assert difference(made, model.eval()(image()[None])[0]) <= 1e-6


def normalised():
    return nn.Sequential(nn.Conv2d(3, 3, 3), nn.InstanceNorm2d(3)).eval()


def test_what_is_not_local_is_filtered_at_once():
    model = normalised()
    assert difference(apply(model, image()), model(image()[None])[0]) <= 1e-5
    made = apply(model, image(), border="replicate")
    assert made.shape == (3, 31, 37)
    assert difference(made, model(padded(image()[None], 3, 3, "replicate"))[0]) <= 1e-5


def test_and_refuses_tiles():
    line = r"tile=8 cannot be: it normalises over the whole image \(InstanceNorm2d '1'\); tiles would differ"
    with pytest.raises(ConvexpError, match=line):
        apply(normalised(), image(), tile=8)


def test_adaptive_normalisation_is_not_local():
    model = ContextAggregation(3, 3, width=4, dilations=[1, 2], adaptive_normalisation=True)
    assert "normalises over the whole image" in str(Application(model.eval()).reason)


def test_whole_on_demand():
    ready = Application(stack().eval(), whole=True)
    assert (ready.links, ready.reason, ready.growth, ready.channels) == (None, None, (-3, -4), (3, 2))
    parts = list(ready.parts(rows_of(image()[None]), 31, 37))
    assert [part.shape for part in parts] == [(1, 2, 28, 33)]
    with pytest.raises(ConvexpError, match="tile=2 cannot be; tiles would differ"):
        next(ready.parts(rows_of(image()[None]), 31, 37, tile=2))


class Halves(nn.Module):
    """Takes sides that are multiples of 8 alone."""

    def forward(self, image):
        return image + nn.functional.interpolate(nn.functional.avg_pool2d(image, 8), scale_factor=8.0)


def test_a_model_of_certain_sizes():
    assert apply(Halves(), image(3, 32, 40)).shape == (3, 32, 40)
    with pytest.raises(ConvexpError, match="the model fails on an image of 31×37: The size of tensor"):
        apply(Halves(), image())


@pytest.mark.parametrize(
    ("model", "given", "line"),
    [
        (
            nn.Conv2d(3, 1, 3),
            image(1),
            "the image has channels: 1, the model reads: 3; convert it with to_gray or to_colour",
        ),
        (
            nn.Conv2d(3, 1, (40, 3)),
            image(),
            "an image of 31×37 is too small: the model reads 40×3 pixels for one; take",
        ),
        (
            nn.Conv2d(3, 1, 3),
            image()[0],
            r"image is torch\.float32 of shape \(31, 37\); it must be floats, \(C, H, W\)",
        ),
        (nn.Conv2d(3, 1, 3), image().to(torch.uint8), r"image is torch\.uint8 of shape \(3, 31, 37\); it must be "),
        (nn.AvgPool2d(2), image(), "it changes the scale of an image"),
        (
            ContextAggregation(3, 3, width=4, dilations=[40], border="reflect"),
            image(),
            "the model mirrors 40 rows and 40 columns at its border, .* of 31×37; take a larger image",
        ),
    ],
)
def test_what_can_be_mended_is_one_line(model, given, line):
    with pytest.raises(ConvexpError, match=line):
        apply(model, given)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is Linux's")
def test_memory_does_not_grow_with_the_image():
    def megabytes(name):
        (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
        return int(line.split()[1]) / 1024

    model = nn.Sequential(nn.Conv2d(3, 64, 1), nn.Conv2d(64, 1, 3, padding=1, groups=1)).eval()
    ready, pixels = Application(model), np.zeros((1500, 2000, 3), np.uint8)  # whose 64 channels take 770 MB
    sizes = []
    for height in (400, 1500):
        Path("/proc/self/clear_refs").write_text("5")  # begins the peak anew
        before = megabytes("VmRSS")
        for part in ready.parts(rows_of_pixels(pixels[:height]), height, 2000):
            assert part.shape[2] < 400
        sizes.append(megabytes("VmHWM") - before)
    assert max(sizes) < 400
    assert sizes[1] < sizes[0] + 50


def test_more_than_the_memory_at_once(monkeypatch):
    monkeypatch.setattr(application, "MOST_OF_MEMORY", 1e-12)
    with pytest.raises(ConvexpError, match=r"an image of 31×37 takes about 0 GB at once, .*: it normalises over the"):
        apply(normalised(), image())
