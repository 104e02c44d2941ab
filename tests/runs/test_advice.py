import pytest
import torch
from torch import nn

from convexp.runs import advice
from convexp.runs.objective import Objective
from convexp.training import Shapes
from convexp.training.pairs import Pair
from convexp.training.quadratic import Quadratic

OPTIMUM = {
    "mse": 2e-4,
    "gap": 0.61,
    "left": 0.1,
    "more_steps_to_1_percent": 4.1e6,
    "more_steps_to_1_percent_at_best_rate": 12_345,
    "unknowns": 27,
    "rank": 27,
    "seconds": 0.1234,
    "floor": {
        "border": 1e-4,
        "kernel": 5e-5,
        "channels": 0.0,
        "bias": 0.0,
        "remaining": 5e-5,
        "kernel_size": [7, 5],
    },
}


def closing(**changes):
    settings = {"steps": 2000, "rate": 0.01, "solves": False}
    settings |= {name: changes.pop(name) for name in list(changes) if name in settings}
    return advice.closing(OPTIMUM | changes, **settings).splitlines()


def test_the_optimum_and_what_keeps_it_from_0():
    assert closing()[0] == (
        "  least train/mse that is possible: 2.0000e-04 (25 % kernel smaller than 7×5, 50 % border convention, "
        "25 % more than a linear 7×5 filter can do)"
    )
    assert closing(floor=None)[0] == "  least train/mse that is possible: 2.0000e-04"


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {},
            "after 2000 steps 61 % above it; this rate needs 4.1 million more steps to 1 %; "
            "optimizer=exact gets there in 0.123 s",
        ),
        (
            {"rate": None, "steps": 1, "gap": 3.5},
            "after 1 step 350 % above it; gradient descent at its best rate needs 12,345 more steps to 1 %; "
            "optimizer=exact gets there in 0.123 s",
        ),
        (
            {"more_steps_to_1_percent": None, "solves": True, "gap": 2e18},
            "after 2000 steps 2e+18 times above it; this rate never comes within 1 %",
        ),
        ({"gap": 0.0099}, "after 2000 steps 0.99 % above it: there is nothing left to learn"),
        ({"gap": 1e-9}, "after 2000 steps less than 0.0001 % above it: there is nothing left to learn"),
        (
            {"gap": None, "left": 1e-13},
            "after 2000 steps less than 0.0001 % of the target's mean square is left: there is nothing left to learn",
        ),
        (
            {"gap": None},
            "after 2000 steps 10 % of the target's mean square is left; optimizer=exact gets there in 0.123 s",
        ),
    ],
)
def test_how_far_the_run_has_come(changes, line):
    assert closing(**changes)[1] == f"  {line}"


@pytest.mark.parametrize(
    ("rank", "why"), [(27, "the kernel can hold the operator"), (12, "these images cannot tell it")]
)
def test_why_nothing_is_left(rank, why):
    assert f"2.0000e-04, 0 but for rounding: {why}" in closing(gap=None, rank=rank)[0]


@pytest.fixture
def quadratic():
    image = torch.rand(1, 1, 17, 23, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    return Quadratic.of(nn.Conv2d(1, 1, 3, bias=False), [Pair(image, image**2)])


def test_what_is_known_before_the_first_step(quadratic):
    first, second = advice.opening(Objective(quadratic, on_statistics=True, reason="")).splitlines()
    assert first.startswith(
        "  one 3×3 convolution, mean squared error: trains on the statistics of 315 pixels, found in"
    )
    assert second.startswith(f"  least train/mse {quadratic.optimum.loss:.4e} · condition number ")
    assert second.endswith(f" · gradient descent is stable below lr {quadratic.descent().limit:.3g}")
    pixels = advice.opening(Objective(quadratic, on_statistics=False, reason="objective=pixels"))
    assert ": trains on pixels, as objective=pixels; the optimum is that of all 315\n" in pixels
    sampled = advice.opening(Objective(quadratic, on_statistics=True, reason="not of the samples"))
    assert sampled.splitlines()[0].endswith(" s — not of the samples")


def test_nothing_is_said_of_other_models_unless_it_surprises():
    assert advice.opening(Objective(None, on_statistics=False, reason="it is deep")) is None
    told = advice.opening(Objective(None, on_statistics=False, reason="its loss is L1", surprises=True))
    assert told == "  trains on pixels: its loss is L1"


@pytest.mark.parametrize(("value", "rank", "limit"), [(0.5, 1, "below lr "), (0.0, 0, "at any rate")])
def test_a_constant_image_is_said_to_tell_little(value, rank, limit):
    image = torch.full((1, 1, 17, 23), value)
    quadratic = Quadratic.of(nn.Conv2d(1, 1, 3, bias=False), [Pair(image, image)])
    lines = advice.opening(Objective(quadratic, on_statistics=True, reason="")).splitlines()
    assert f"gradient descent is stable {limit}" in lines[1]
    assert lines[2].startswith(
        f"  the images determine {rank} of 9 combinations of weights: many kernels are optimal, "
    )


def test_a_rate_above_the_limit_is_warned_of(quadratic):
    limit = quadratic.descent().limit
    assert advice.too_fast(quadratic, None) is None
    assert advice.too_fast(quadratic, 0.999 * limit) is None
    told = advice.too_fast(quadratic, 1.5 * limit)
    assert told == f"WARNING: lr {1.5 * limit:.3g} is above the limit {limit:.3g}: this will diverge"


def shapes(operator):
    data = Shapes(operator=operator, seed=0, height=41, width=43, crop_size=None, batch_size=None)
    data.setup()
    return data


def test_facts_are_in_the_targets_units_and_add_up():
    torch.manual_seed(0)
    data = shapes(lambda image: image.roll(1, 3) + 0.1)
    layer = nn.Conv2d(1, 1, 1, bias=False)
    facts = advice.facts(Quadratic.of(layer, data.train_pairs.values()), data, rate=0.01)
    parts = facts["floor"]
    assert parts["kernel_size"] == [1, 2]
    del parts["kernel_size"]
    assert sum(parts.values()) == pytest.approx(facts["mse"], rel=1e-9)
    assert parts["kernel"] > 10 * parts["remaining"]
    image, target = next(iter(data.train_pairs.values()))
    loss = float((layer(image) - target).square().mean().detach())
    assert (1 + facts["gap"]) * facts["mse"] == pytest.approx(loss, rel=1e-5)
    assert facts["left"] == pytest.approx(loss / float(target.square().mean()), rel=1e-5)
    assert (facts["pixels"], facts["unknowns"], facts["rank"]) == (41 * 43, 1, 1)
    assert facts["condition_number"] == 1
    assert facts["learning_rate_limit"] == pytest.approx(1 / float(image.square().mean()), rel=1e-5)
    assert facts["more_steps_to_1_percent"] > facts["more_steps_to_1_percent_at_best_rate"] >= 0
    assert (
        advice.facts(Quadratic.of(layer, data.train_pairs.values()), data, rate=None)["more_steps_to_1_percent"] is None
    )


def test_the_yardstick_of_another_model_is_the_best_linear_filter():
    data = shapes(lambda image: image.roll(1, 3))
    stack = nn.Sequential(nn.Conv2d(1, 2, (1, 2)), nn.ELU(), nn.Conv2d(2, 1, (1, 2)))
    told = advice.yardstick(stack, data)
    assert told["kernel_size"] == [1, 3]
    assert told["val/r2"] > 0.99  # a shift is linear
    square = advice.yardstick(nn.ELU(), shapes(lambda image: (image - image.roll(1, 3)) ** 2))
    assert square["kernel_size"] == [1, 1]
    assert square["val/r2"] < 0.2
    words = advice.comparison({"kernel_size": [22, 21], "val/r2": -0.5}, 0.981)
    assert words == ("  the model explains 98.1 % of the validation images' target, the best linear 22×21 filter 0 %")
