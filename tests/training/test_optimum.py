from functools import partial

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR

from convexp.training import Shapes
from convexp.training.optimum import OptimumCurves
from convexp.training.quadratic import Quadratic, plain_rate

CONSTANT = partial(ConstantLR, factor=1.0, total_iters=0)


class Own(ConstantLR):
    pass


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "rate"),
    [
        (partial(SGD, lr=0.25), CONSTANT, 0.25),
        (partial(SGD, lr=0.25), partial(ConstantLR, factor=0.5, total_iters=0), 0.125),
        (partial(SGD, lr=0.25), partial(ConstantLR, factor=0.5, total_iters=9), None),
        (partial(SGD, lr=0.25), partial(ExponentialLR, gamma=0.5), None),
        (partial(SGD, lr=0.25, momentum=0.9), CONSTANT, None),
        (partial(SGD, lr=0.25, weight_decay=0.1), CONSTANT, None),
        (partial(SGD, lr=0.25, maximize=True), CONSTANT, None),
        (partial(Adam, lr=0.25), CONSTANT, None),
        (partial(SGD, lr=0.25), partial(Own, factor=1.0, total_iters=0), None),
    ],
)
def test_what_plain_gradient_descent_is(optimizer, scheduler, rate):
    made = optimizer([nn.Parameter(torch.zeros(3))])
    assert plain_rate(made, scheduler(made)) == rate


def scalars(folder, tag):
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


@pytest.fixture
def data():
    """Crops of a picture, shifted further than a kernel sees."""
    data = Shapes(operator=lambda batch: batch.roll(3, 3), seed=0, height=37, width=41, crop_size=17)
    data.setup()
    return data


@pytest.fixture
def followed(task_of, train, data, logger):
    """A run of 8 steps on crops, with its quadratic loss and what that was before."""
    torch.manual_seed(0)
    model = nn.Conv2d(1, 1, 3)
    quadratic = Quadratic.of(model, data.train_pairs.values())
    before = quadratic.loss(), quadratic.descent()
    curves = OptimumCurves(quadratic, every=3, rate=0.05)
    train(task_of(model, optimizer=partial(SGD, lr=0.1)), 8, callbacks=[curves], logger=logger)
    return quadratic, before, curves


def test_the_gap_is_that_of_whole_images_at_every_point(followed, tmp_path):
    quadratic, (loss, _), _ = followed
    gaps = scalars(tmp_path, "train/gap")
    assert [step for step, _ in gaps] == [0, 3, 6, 8]  # every third, and the end
    assert gaps[0][1] == pytest.approx(loss / quadratic.optimum.loss - 1, rel=1e-5)
    assert gaps[-1][1] == pytest.approx(quadratic.loss() / quadratic.optimum.loss - 1, rel=1e-5)
    assert gaps[-1][1] < gaps[0][1]


def test_the_optimum_is_a_line_and_gradient_descent_beside_it(followed, tmp_path):
    quadratic, (_, descent), _ = followed
    assert scalars(tmp_path, "train/optimum") == [
        (step, pytest.approx(quadratic.optimum.loss, rel=1e-6)) for step in (0, 8)
    ]
    expected = descent.losses(0.05, torch.tensor([0, 3, 6, 8])).tolist()
    assert [value for _, value in scalars(tmp_path, "train/gradient_descent")] == pytest.approx(expected, rel=1e-6)


def test_the_three_curves_are_laid_over_each_other(followed, tmp_path):
    events = EventAccumulator(str(tmp_path)).Reload()
    content = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    layout = layout_pb2.Layout.FromString(content)
    assert list(layout.category[0].chart[0].multiline.tag) == ["train/loss", "train/optimum", "train/gradient_descent"]


def test_a_resumed_run_remembers_where_it_began(followed, data):
    quadratic, (_, descent), curves = followed
    later = OptimumCurves(quadratic, every=3, rate=0.05)
    later.load_state_dict(curves.state_dict())
    assert later.descent.losses(0.05, torch.tensor([5])).equal(descent.losses(0.05, torch.tensor([5])))


def test_what_cannot_be_shown_is_left_out(data, logger, tmp_path):
    quadratic = Quadratic.of(nn.Conv2d(1, 1, 3), data.train_pairs.values())
    trainer = type("Trainer", (), {"logger": logger, "global_step": 10**5, "max_steps": 10**6})()
    OptimumCurves(quadratic, every=1, rate=10.0).on_train_batch_start(trainer, None, None, 0)
    logger.save()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"]
    assert tags == ["train/gap"]  # gradient descent is at infinity
