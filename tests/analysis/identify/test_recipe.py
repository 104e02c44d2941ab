"""Each command that is printed is one that runs."""

import shlex

import pytest
import torch

from convexp.analysis.identify.identification import identify
from convexp.analysis.identify.recipe import commands, operator
from convexp.images import photograph
from convexp.operators import (
    ColourMatrix,
    Equalize,
    Filter,
    Gamma,
    GaussianBlur,
    Gradients,
    Highpass,
    Magnitude,
    Median,
    Pipeline,
    Shift,
)
from convexp.runs.composition import composed
from convexp.runs.construction import build

COLOUR = photograph("coffee")[:, 91:198, 203:316]


def identified(target):
    return identify(COLOUR, (target(COLOUR[None])[0].clamp(0, 1) * 255).round() / 255)


CASES = [
    GaussianBlur(7, 1.5, border="replicate"),
    Highpass(7, 4.0),
    Filter("vertical_edge", channels="sum", border="zeros"),
    Filter("laplacian_8", channels="mean"),
    Filter([[0.1, 0.2, 0.0], [0.0, 0.4, 0.1], [0.1, 0.0, 0.1]]),
    Shift(2, -1),
    ColourMatrix("grayscale"),
    ColourMatrix([[0.5, 0.4, 0.1], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]]),
    Gamma(2.2),
    Median(3),
    Pipeline({"gradients": Gradients("scharr"), "magnitude": Magnitude(1)}),
]


@pytest.mark.parametrize("target", CASES, ids=lambda target: type(target).__name__)
def test_the_operator_that_is_printed_makes_the_picture(target):
    found = identified(target)
    learn, have = (shlex.split(line) for line in commands(found, "before.png", "after.png"))
    assert learn[:3] == ["python", "train.py", "data=pairs"]
    assert learn[3:5] == ["data.inputs=before.png", "data.targets=after.png"]
    composed(learn[2:])
    config = composed(have[2:])[0]
    made, expected = build(config["target"], "target")(COLOUR[None])[0], target(COLOUR[None])[0]
    torch.testing.assert_close(made, expected, atol=0.6 / 255 if type(target) is Filter else 1e-4, rtol=0)


def test_what_is_added_needs_a_bias_and_has_no_operator():
    found = identified(lambda image: 0.5 + Highpass(7, 4.0)(image) / 2)
    (learn,) = commands(found, "before.png", "after.png")
    assert learn.endswith("model=single model.kernel_size=7 model.bias=true optimizer=exact")
    assert operator(found) is None


def test_a_smaller_picture_lies_in_the_centre():
    learn, _ = commands(identified(GaussianBlur(5, 1.0)), "before.png", "after.png")
    assert "data.centred=true" in learn


def test_nothing_to_learn():
    assert commands(identified(Equalize()), "before.png", "after.png") == []
    assert commands(identified(lambda image: image.flip(3)), "before.png", "after.png") == []


def test_names_with_spaces_reach_hydra():
    learn, _ = commands(identified(Gamma(2.2)), "my photos/it's (1).png", "after=2.png")
    data = composed(shlex.split(learn)[2:])[0]["data"]
    assert (data["inputs"], data["targets"]) == ("my photos/it's (1).png", "after=2.png")
