import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from convexp.analysis.layers import layers
from convexp.analysis.probes import Table, _halves, probe, summary
from convexp.errors import ConvexpError
from convexp.operators import Blur, Gradients, Magnitude, Pipeline
from convexp.operators.kernels import horizontal_edge, integer_gaussian, vertical_edge


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def r2(representations, stages, **options):
    """The only cell of a table."""
    return float(probe({"layer": [representations]}, {"stage": [stages]}, **options).r2)


def by_hand():
    """A model that works as the operator does: edges, their magnitude, a blur."""
    model = nn.Sequential(
        OrderedDict(
            edges=nn.Conv2d(1, 2, 2, bias=False),
            magnitude=Magnitude(),
            blur=nn.Conv2d(1, 1, 5),
        )
    ).requires_grad_(False)
    model.edges.weight[:, 0] = torch.stack([vertical_edge(), horizontal_edge()])
    model.blur.weight[0, 0], model.blur.bias[0] = -2 * integer_gaussian(), 0.5
    return model


def split(stages):
    named = dict(zip(("vertical_edge", "horizontal_edge"), stages["edges"].split(1, dim=1), strict=True))
    return named | {name: stage for name, stage in stages.items() if name != "edges"}


@pytest.fixture(scope="module")
def table():
    thrice = nn.Sequential(Blur(), Blur(), Blur())  # one blur more would hardly differ from one: R² 0.91
    operator = Pipeline({"edges": Gradients("edges"), "magnitude": Magnitude(), "blur_1": Blur(), "blur_4": thrice})
    images = [noise(1, 1, 97, 103), noise(1, 1, 83, 71, seed=1)]
    found = [{"input": image} | layers(by_hand(), image) for image in images]
    stages = [split(operator.intermediate(image)) for image in images]
    return probe(
        {name: [layer[name] for layer in found] for name in found[0]},
        {name: [stage[name] for stage in stages] for name in stages[0]},
    )


def test_each_stage_is_in_the_layer_that_computes_it(table):
    assert table.layers == ("input", "edges", "magnitude", "blur")
    assert table.stages == ("vertical_edge", "horizontal_edge", "magnitude", "blur_1", "blur_4")
    first = [("edges", "vertical_edge"), ("edges", "horizontal_edge"), ("magnitude", "magnitude"), ("blur", "blur_1")]
    for layer, stage in first:
        row, column = table.layers.index(layer), table.stages.index(stage)
        assert table.r2[row, column] == pytest.approx(1, abs=1e-8)
        assert (table.r2[:row, column] < 0.5).all()
    assert (table.r2[:, 4] < 0.9).all()


def test_a_pixel_of_noise_tells_a_quarter_of_an_edge(table):
    # Four pixels of one variance and weight; the aligned one is among them.
    assert table.r2[0, :2].tolist() == pytest.approx([0.25, 0.25], abs=0.03)


def test_that_edges_are_found_first_can_be_read(table):
    assert summary(table).startswith(
        "vertical_edge and horizontal_edge are in edges (R² 1.00, 1.00); magnitude appears in magnitude (R² 1.00); "
        "blur_1 appears in blur (R² 1.00); blur_4 is nowhere above R² 0."
    )


def test_the_cells_are_those_of_numpy():
    # Two images of prime size and layers of three sizes; halves by hand, squares of 5.
    first = [noise(1, 3, 37, 41), noise(1, 3, 23, 29, seed=1)]
    second = [noise(1, 2, 35, 37, seed=2), noise(1, 2, 21, 25, seed=3)]
    stages = [
        (a[:, :1, 1:-1, 2:-3].square() + b[:, 1:, :, :-1].square() + a[:, 1:2, 1:-1, 2:-3] * b[:, :1, :, :-1])
        for a, b in zip(first, second, strict=True)
    ]
    found = probe({"first": first, "second": second}, {"stage": stages}, square=5)
    for row, layer in enumerate(
        ([a[0, :, 1:-1, 2:-3] for a in first], [b[0, :, :, :-1] for b in second]),
    ):
        x, y, fit = [], [], []
        for features, stage in zip(layer, stages, strict=True):
            _, height, width = features.shape
            board = np.add.outer(np.arange(height) // 5, np.arange(width) // 5) % 2
            columns = [channel.ravel() for channel in features.double().numpy()]
            x.append(np.stack([*columns, np.ones(height * width)], axis=1))
            y.append(stage.double().numpy().ravel())
            fit.append(board.ravel() == 0)
        x, y, fit = (np.concatenate(parts) for parts in (x, y, fit))
        weights = np.linalg.lstsq(x[fit], y[fit], rcond=None)[0]
        error = ((y[~fit] - x[~fit] @ weights) ** 2).sum()
        expected = 1 - error / ((y[~fit] - y[~fit].mean()) ** 2).sum()
        assert float(found.r2[row, 0]) == pytest.approx(expected, abs=1e-9)
        assert 0.02 < expected < 0.98


def test_what_holds_in_the_squares_of_one_colour_only_scores_nothing():
    image = noise(1, 1, 96, 96) - 0.5
    board = (torch.arange(96)[:, None] // 16 + torch.arange(96) // 16) % 2
    # The sign is learned on the one colour, and wrong on the other: 1 − (2σ)²/σ².
    assert r2(image, image * (1 - 2 * board)) == pytest.approx(-3, abs=0.02)


def test_many_channels_of_noise_do_not_seem_to_know_anything():
    assert r2(noise(1, 60, 23, 23), noise(1, 1, 23, 23, seed=1)) < 0
    assert abs(r2(noise(1, 60, 200, 200), noise(1, 1, 200, 200, seed=1))) < 0.02


@pytest.mark.parametrize(("difference", "seen"), [(1e-4, True), (1e-6, False)])
def test_differences_between_channels_count_until_they_are_rounding(difference, seen):
    image, other = (noise(1, 1, 64, 64, seed=seed, dtype=torch.float64) for seed in (0, 1))
    found = r2(torch.cat([image, image + difference * other], dim=1), other)
    assert (found > 0.999) if seen else (found < 0.01)


def test_scale_does_not_matter():
    image, other = noise(1, 1, 64, 64), noise(1, 1, 64, 64, seed=1)
    features = torch.cat([1e-6 * image, 1e6 * other, torch.full_like(image, 3.0)], dim=1)
    assert r2(features, 1e3 * image - other - 5) == pytest.approx(1, abs=1e-6)


def test_a_layer_that_is_constant_knows_the_mean():
    assert r2(torch.full((1, 2, 64, 64), 0.1), noise(1, 1, 64, 64)) == pytest.approx(0, abs=0.01)


def test_a_constant_stage_cannot_be_scored():
    image = noise(1, 1, 40, 40)
    found = probe({"input": [image]}, {"constant": [0.1 + 1e-8 * image], "image": [image]})
    assert math.isnan(found.r2[0, 0])
    assert found.r2[0, 1] == pytest.approx(1)
    assert summary(found) == "constant is constant; image is already in the input (R² 1.00)"


def test_layers_of_no_numbers_cannot_be_scored():
    image = noise(1, 1, 40, 40)
    found = probe({"broken": [image / 0], "whole": [image]}, {"stage": [image]})
    assert found.r2.isnan().tolist() == [[True], [False]]
    assert summary(found) == "stage appears in whole (R² 1.00)"


def test_of_many_pixels_the_same_ones_are_drawn():
    image, other = noise(1, 4, 96, 96), noise(1, 1, 96, 96, seed=1)
    stage = image[:, :1] + other
    few = r2(image, stage, most_pixels=50)
    assert few == r2(image, stage, most_pixels=50)
    assert few != pytest.approx(r2(image, stage), abs=1e-6)
    assert few == pytest.approx(0.5, abs=0.4)


def test_pixels_are_drawn_from_all_images_and_columns():
    halves = _halves([(64, 60), (30, 40)], 16, 500)
    for colour, half in enumerate(halves):
        assert sum(map(len, half)) == 500
        for (height, width), numbers in zip([(64, 60), (30, 40)], half, strict=True):
            rows, columns = numbers // width, numbers % width
            assert numbers.unique().equal(numbers)
            assert rows.max() < height
            assert ((rows // 16 + columns // 16) % 2 == colour).all()
            assert len(columns.unique()) > 0.9 * width
            assert len(numbers) == pytest.approx(500 * height * width / (64 * 60 + 30 * 40), rel=0.2)


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ([[0.99], [0.99], [0.99]], "a is already in the input (R² 0.99)"),
        ([[0.1], [0.9], [0.99]], "a is in edges (R² 0.90)"),
        ([[0.1], [0.2], [0.93]], "a appears in blur (R² 0.93)"),
        ([[0.1], [0.62], [0.3]], "a is nowhere above R² 0.62 (edges)"),
        ([[math.nan], [math.nan], [0.3]], "a is nowhere above R² 0.30 (blur)"),
        ([[math.nan], [math.nan], [math.nan]], "a is constant"),
        ([[0.0] * 3, [0.97, 0.95, 0.9], [0.0] * 3], "a, b and c are in edges (R² 0.97, 0.95, 0.90)"),
        ([[0.0] * 2, [0.0] * 2, [0.97, 0.95]], "a and b appear in blur (R² 0.97, 0.95)"),
        ([[0.0] * 2, [0.2, 0.97], [0.95, 0.0]], "a appears in blur (R² 0.95); b is in edges (R² 0.97)"),
        (
            [[0.0] * 3, [0.97, 0.5, 0.97], [0.0] * 3],
            "a is in edges (R² 0.97); b is nowhere above R² 0.50 (edges); c is in edges (R² 0.97)",
        ),
    ],
)
def test_summaries_by_hand(scores, sentence):
    stages = tuple("abc"[: len(scores[0])])
    assert summary(Table(("input", "edges", "blur"), stages, torch.tensor(scores, dtype=torch.float64))) == sentence


def test_without_the_input_the_first_layer_comes_first():
    scores = torch.tensor([[0.97, 0.0], [0.0, 0.97]]).double()
    assert (
        summary(Table(("edges", "blur"), ("a", "b"), scores)) == "a is in edges (R² 0.97); b appears in blur (R² 0.97)"
    )


def test_bad_arguments_are_named():
    image = noise(1, 1, 40, 40)
    with pytest.raises(ConvexpError, match="1 layers and 1 stages, of \\[1, 2\\] images"):
        probe({"a": [image]}, {"b": [image, image]})
    with pytest.raises(ConvexpError, match="0 layers and 1 stages"):
        probe({}, {"b": [image]})
    with pytest.raises(ConvexpError, match=r"stage 'b' has shape \(1, 2, 40, 40\).*a name of its own"):
        probe({"a": [image]}, {"b": [image.repeat(1, 2, 1, 1)]})
    with pytest.raises(ConvexpError, match=r"layer 'a' has shape \(2, 1, 40, 40\)"):
        probe({"a": [image.repeat(2, 1, 1, 1)]}, {"b": [image]})
    with pytest.raises(ConvexpError, match="have 16x11 pixels in common, which lie in one square of 16"):
        probe({"a": [image]}, {"b": [image[..., :16, :11]]})
