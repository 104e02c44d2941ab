"""Tiles make the picture that the whole image makes."""

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import nn

from convexp.deploy.rows import channels_last
from convexp.deploy.tiling import bytes_per_pixel, rows_of_a_tile, tiles
from convexp.errors import ConvexpError
from convexp.models import ContextAggregation, Standardised
from convexp.models.geometry import chain, in_channels
from convexp.runs.construction import build, complete

CONFIGS = Path(__file__).parents[2] / "configs"
TOLERANCE = 1e-6
ROWS = (1, 2, 5, 13, 1000)


def whole_and_tiled(model, image, rows):
    """What the model makes at once, and tile by tile."""
    with torch.inference_mode():
        whole = model(image.clone())
    read = lambda start, stop: channels_last(image[:, :, start:stop].clone())  # noqa: E731
    return whole, torch.cat(list(tiles(chain(model), read, image.shape[2], rows=rows)), dim=2)


def worst(model, image, rows=ROWS):
    """The largest difference, of tiles of some heights."""
    differences = []
    for count in rows:
        whole, tiled = whole_and_tiled(model, image, count)
        assert tiled.shape == whole.shape
        differences.append(float((tiled - whole).abs().max()))
    return max(differences)


def scrambled(model):
    """With weights that do not vanish anywhere."""
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        deviation = (weight[0].numel() if weight.ndim > 1 else 10) ** -0.5
        weight.data = deviation * torch.randn(weight.shape, generator=generator)
    return model.eval()


def models():
    names = sorted(path.stem for path in (CONFIGS / "model").glob("*.yaml"))
    assert {"single", "deep", "can24"} <= set(names)
    return names


@pytest.mark.parametrize("name", models())
def test_every_model_that_is_shipped(name):
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = compose("train", overrides=[f"model={name}"])
    model = complete(build(config.model, "model"), "model", in_channels=3, out_channels=1)
    model = Standardised(scrambled(model), mean=0.4, std=0.3, offset=-0.1, scale=0.5)
    image = torch.rand(1, 3, 83, 37, generator=torch.Generator().manual_seed(1))
    assert worst(model, image, (3, 31, 100)) <= TOLERANCE


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 2), (3, 3), (4, 1), (2, 5)])
@pytest.mark.parametrize("padding", [0, 1, (3, 2), "same"])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_single_convolutions(mode, kernel, padding, dilation):
    layer = scrambled(nn.Conv2d(2, 3, kernel, padding=padding, padding_mode=mode, dilation=dilation))
    assert worst(layer, torch.rand(1, 2, 17, 23)) <= TOLERANCE


@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize("dilation", [1, 4, 8])
def test_sums_are_rounded_as_those_of_the_whole_image(mode, dilation):
    # Of 216 products of features as large as 4, which other routines add up in another order: 4e-6 apart.
    layer = scrambled(nn.Conv2d(24, 24, 3, padding=dilation, dilation=dilation, padding_mode=mode))
    image = channels_last(torch.randn(1, 24, 61, 97, generator=torch.Generator().manual_seed(1)))
    assert worst(layer, image, (16, 37)) <= TOLERANCE


@pytest.mark.parametrize("border", ["zeros", "reflect", "replicate", None])
def test_far_sight_at_every_border(border):
    model = scrambled(ContextAggregation(3, 2, width=4, dilations=[1, 2, 4, 8, 16, 1], border=border))
    assert len(chain(model)) == 13  # no step is taken for one that is not known
    assert worst(model, torch.rand(1, 3, 71, 67), (1, 7, 32, 69)) <= TOLERANCE


def test_steps_that_are_not_convolutions():
    model = nn.Sequential(
        nn.ELU(inplace=True),
        nn.MaxPool2d(3, 1, 1, dilation=1),
        nn.AvgPool2d((3, 2), 1, (1, 0), count_include_pad=False),
        nn.Conv2d(2, 3, 3, groups=1),
        nn.AvgPool2d((2, 1), 1),
        nn.ReflectionPad2d((1, 2, 3, 4)),
        nn.BatchNorm2d(3),
        nn.Sequential(nn.Conv2d(3, 3, 3, groups=3, bias=False), nn.Sigmoid()),
    )
    assert worst(scrambled(model), torch.rand(2, 2, 23, 29)) <= TOLERANCE


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(2, 2, 5, padding=2, padding_mode="reflect")

    def forward(self, image):
        return image.mul_(0.5) + self.layer(image).relu_()


def test_a_module_of_ones_own():
    assert worst(scrambled(nn.Sequential(Residual(), Residual())), torch.rand(1, 2, 31, 23)) <= TOLERANCE
    assert worst(scrambled(Residual()), torch.rand(1, 2, 31, 23)) <= TOLERANCE


def test_the_image_is_not_changed():
    image = torch.rand(1, 2, 17, 23)
    before = image.clone()
    whole_and_tiled(scrambled(Residual()), image.clone(), 4)
    list(tiles(chain(scrambled(nn.Conv2d(2, 2, 3))), lambda start, stop: image[:, :, start:stop], 17, rows=4))
    assert image.equal(before)


def test_each_row_is_read_once_and_in_order():
    asked = []

    def read(start, stop):
        asked.extend(range(start, stop))
        return torch.zeros(1, 3, stop - start, 9)

    model = ContextAggregation(3, 3, width=4, dilations=[1, 2, 4, 8])
    assert len(list(tiles(chain(model), read, 50, rows=7))) == 8
    assert asked == list(range(50))


def test_a_tile_needs_no_more_of_the_image_than_its_reach():
    asked = []

    def read(start, stop):
        asked.append(stop)
        return torch.zeros(1, 1, stop - start, 9)

    made = tiles(chain(nn.Conv2d(1, 1, (5, 1), padding=(1, 0))), read, 1000, rows=10)
    next(made)
    assert asked == [13]


@pytest.mark.parametrize(
    ("layer", "height", "line"),
    [
        (nn.Conv2d(1, 1, 5), 4, "the image has 4 rows; the model reads 5 for one"),
        (
            nn.Conv2d(1, 1, 9, padding=4, padding_mode="reflect"),
            4,
            r"the model mirrors 4 rows and 4 columns at its border, of an image .* of 4×7; take a larger image",
        ),
    ],
)
def test_an_image_that_is_too_small(layer, height, line):
    with pytest.raises(ConvexpError, match=line):
        list(tiles(chain(layer), lambda start, stop: torch.zeros(1, 1, stop - start, 7), height, rows=2))


def test_a_tile_has_rows():
    with pytest.raises(ConvexpError, match="tile=0 must be a positive number of rows"):
        next(tiles(chain(nn.ELU()), lambda start, stop: torch.zeros(1, 1, stop - start, 7), 5, rows=0))


def test_memory_decides():
    links = chain(nn.Sequential(nn.Conv2d(3, 100, 1), nn.Conv2d(100, 3, 3)))
    assert bytes_per_pixel(links) == 2 * 4 * 103
    assert rows_of_a_tile(links, 17, 23) == 17
    assert rows_of_a_tile(links, 10_000, 1000) == 64 * 2**20 // (824 * 1000)
    assert rows_of_a_tile(links, 10_000, 5_000) == 32
    assert rows_of_a_tile(links, 10_000, 100_000) == 4 * 64 * 2**20 // (824 * 100_000) == 3
    assert rows_of_a_tile(links, 10_000, 10_000_000) == 1
    far = chain(nn.Sequential(nn.Conv2d(3, 100, 1), nn.MaxPool2d(31, 1, 15)))
    assert in_channels(nn.MaxPool2d(3)) is None
    assert rows_of_a_tile(far, 10_000, 1000) == 300  # not most of each tile twice
