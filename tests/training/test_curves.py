from functools import partial

import lightning as L
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.optim import LBFGS, SGD
from torch.optim.lr_scheduler import ExponentialLR

from convexp.errors import ConvexpError
from convexp.training.checkpoints import Checkpoints
from convexp.training.curves import Curves


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def scalars(folder, tag):
    return [(event.step, event.value) for event in events(folder).Scalars(tag)]


class Losses(L.Callback):
    def __init__(self):
        self.values = []

    def on_train_batch_end(self, trainer, module, *_):
        self.values.append(float(module.notes[-1].loss))


def test_loss_and_rate_stand_at_the_step_they_belong_to(task_of, train, logger, tmp_path):
    curves, losses = Curves(every=3), Losses()
    task = task_of(optimizer=partial(SGD, lr=0.5), scheduler=partial(ExponentialLR, gamma=0.5))
    train(task, 8, callbacks=[curves, losses], logger=logger)
    assert curves.steps == [0, 3, 6, 7]  # every third, and the last
    assert curves.losses == [losses.values[step] for step in curves.steps]
    assert scalars(tmp_path, "train/loss") == list(zip(curves.steps, map(pytest.approx, curves.losses), strict=True))
    assert scalars(tmp_path, "train/learning_rate") == [(step, 0.5 * 0.5**step) for step in curves.steps]


def test_validation_stands_at_the_steps_behind_it(task_of, train, logger, tmp_path):
    task = task_of()
    train(task, 4, val_check_interval=2, callbacks=[Curves(every=1)], logger=logger)
    assert {"val/mse", "val/r2", "val/psnr", "val/ssim", "val/log10_mse"} <= set(events(tmp_path).Tags()["scalars"])
    assert [step for step, _ in scalars(tmp_path, "val/r2")] == [0, 2, 4]
    errors = [value for _, value in scalars(tmp_path, "val/mse")]
    assert [value for _, value in scalars(tmp_path, "val/log10_mse")] == [
        pytest.approx(torch.tensor(error).log10().item(), rel=1e-5) for error in errors
    ]
    assert errors[-1] == pytest.approx(task.val["val/mse"])


def test_a_perfect_model_has_no_logarithm(task_of, train, logger, tmp_path):
    class Negative(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(()))

        def forward(self, image):
            return 1 - image + self.weight

    train(task_of(Negative()), 1, logger=logger)
    assert "val/log10_mse" not in events(tmp_path).Tags()["scalars"]


def test_without_a_logger_the_curve_is_kept(task_of, train):
    curves = Curves(every=2)
    train(task_of(), 3, callbacks=[curves])
    assert curves.steps == [0, 2]
    assert curves.seconds > 0


def test_a_curve_goes_on(task_of):
    curves, later = Curves(every=1), Curves(every=1)
    curves.steps, curves.losses, curves.seconds = [0, 1], [0.5, 0.25], 3.0
    later.load_state_dict(curves.state_dict())
    assert (later.steps, later.losses, later.seconds) == ([0, 1], [0.5, 0.25], 3.0)


class Poison(L.Callback):
    """Makes a weight infinite before a step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, module, *_):
        if trainer.global_step == self.step:
            module.model.weight.data.fill_(torch.inf)


def test_a_loss_that_is_not_finite_stops_the_run(task_of, train, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=1)
    message = (
        r"^the loss is nan at step 3: the run has diverged; try a smaller optimizer.lr \(now 0.1\), "
        r"trainer.gradient_clip_val=1 or standardise=true$"
    )
    with pytest.raises(ConvexpError, match=message):
        train(task_of(), 7, callbacks=[Poison(3), Curves(every=1), checkpoints])
    kept = torch.load(checkpoints.last, weights_only=True)
    assert kept["global_step"] == 3
    assert all(weight.isfinite().all() for weight in kept["state_dict"].values())


def test_weights_that_diverge_between_two_points_are_not_kept(task_of, train, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=1)
    with pytest.raises(ConvexpError, match=r"^the loss is nan at step 4: "):
        train(task_of(), 7, callbacks=[Poison(2), Curves(every=4), checkpoints])
    assert torch.load(checkpoints.last, weights_only=True)["global_step"] == 2


def test_weights_that_diverge_in_the_last_step_stop_the_run(task_of, train):
    with pytest.raises(ConvexpError, match=r"^val/mse is (inf|nan) at step 1: the run has diverged"):
        train(task_of(optimizer=partial(SGD, lr=1e38)), 1, callbacks=[Curves(every=1)])


def test_line_searches_show_the_loss_of_the_steps_weights(task_of, train):
    curves, every = Curves(every=1), []

    class Every(L.Callback):
        def on_before_backward(self, trainer, module, loss):
            every.append(float(loss.detach()))

    def optimizer(weights):
        return LBFGS(weights, max_iter=2, max_eval=9, line_search_fn="strong_wolfe")

    train(task_of(optimizer=optimizer), 1, callbacks=[curves, Every()])
    assert len(every) > 1
    assert curves.losses == every[:1]
