import math
from pathlib import Path

import lightning as L
import pytest

from convexp.training.checkpoints import Checkpoints
from convexp.training.pruning import Pruned, Pruning


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", every=100)


class Reports(list):
    """Keeps what is reported, and ends the run at a step."""

    def __init__(self, end=None):
        self.end = end

    def __call__(self, step, value):
        self.append((step, value))
        return f"it is {value}" if step == self.end else None


def test_a_run_is_ended_behind_a_validation(task_of, train, checkpoints):
    reports, task = Reports(end=4), task_of()
    with pytest.raises(Pruned) as caught:
        train(task, 8, val_check_interval=2, callbacks=[checkpoints, Pruning(reports, metric="val/mse")])
    assert [step for step, _ in reports] == [0, 2, 4]
    assert str(caught.value) == f"after 4 of 8 steps: it is {reports[-1][1]}"
    assert task.measured_at == 4
    # What the validation found is kept before the run ends.
    assert checkpoints.best.exists()
    assert reports[-1][1] == checkpoints.best_val["val/mse"]


def test_the_metric_of_the_best_weights_is_reported(task_of, train, checkpoints):
    """Its error rises in the end."""

    class Spoil(L.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if trainer.global_step == 5:
                module.model.weight.data.fill_(5.0)

    reports, task = Reports(), task_of()
    train(task, 6, val_check_interval=2, callbacks=[checkpoints, Spoil(), Pruning(reports, metric="val/psnr")])
    values = dict(reports)
    assert list(values) == [0, 2, 4, 6]
    assert values[2] < values[4] == values[6] == checkpoints.best_val["val/psnr"]
    assert task.val["val/psnr"] < values[6]


def test_the_last_step_is_not_worth_ending(task_of, train, checkpoints):
    reports = Reports(end=4)
    trainer = train(task_of(), 4, val_check_interval=2, callbacks=[checkpoints, Pruning(reports, metric="val/mse")])
    assert trainer.global_step == reports[-1][0] == 4


@pytest.mark.parametrize("metric", ["train/mse", "seconds"])
def test_what_a_validation_does_not_measure_is_not_reported(task_of, train, checkpoints, metric):
    reports = Reports(end=0)
    train(task_of(), 2, callbacks=[checkpoints, Pruning(reports, metric=metric)])
    assert reports == []


def test_what_is_no_number_is_not_reported(task_of, train, checkpoints):
    class Blind(L.Callback):
        def on_validation_end(self, *_):
            checkpoints.best_val = {**checkpoints.best_val, "val/ssim": math.nan}

    reports = Reports(end=0)
    train(task_of(), 2, callbacks=[checkpoints, Blind(), Pruning(reports, metric="val/ssim")])
    assert reports == []


def test_an_ended_run_closes_its_files(task_of, train, checkpoints, logger):
    def open_files():
        return [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]

    watchers = [checkpoints, Pruning(Reports(end=2), metric="val/mse")]
    with pytest.raises(Pruned):
        train(task_of(), 4, val_check_interval=2, callbacks=watchers, logger=logger)
    assert not [path for path in open_files() if "tfevents" in path.name]


def test_an_ended_run_did_not_fail():
    assert not issubclass(Pruned, Exception)
