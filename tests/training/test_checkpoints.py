import lightning as L
import pytest
import torch

from convexp.errors import ConvexpError
from convexp.training.checkpoints import Checkpoints


def steps(path):
    return torch.load(path, weights_only=True)["global_step"]


class Written(L.Callback):
    """Notes which step `last.ckpt` has when a step begins."""

    def __init__(self, checkpoints):
        self.checkpoints = checkpoints
        self.steps = []

    def on_train_batch_start(self, *_):
        self.steps.append(steps(self.checkpoints.last) if self.checkpoints.last.exists() else None)


def test_the_last_weights_are_kept_periodically_and_at_the_end(task_of, train, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=2)
    written = Written(checkpoints)
    train(task_of(), 7, val_check_interval=4, callbacks=[checkpoints, written])
    assert written.steps == [None, None, 2, 2, 4, 4, 6]
    assert steps(checkpoints.last) == checkpoints.last_step == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_where_both_are_due_the_checkpoint_stands_behind_the_validation(task_of, train, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=2)
    train(task_of(), 2, callbacks=[checkpoints])
    state = torch.load(checkpoints.last, weights_only=True)["callbacks"]["Checkpoints"]
    assert state["best_step"] == 2


def test_the_best_weights_are_those_with_the_least_validation_error(task_of, train, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=100)
    task = task_of()
    errors = {}

    class Errors(L.Callback):
        def on_train_batch_start(self, trainer, module, *_):
            if trainer.global_step == 5:
                module.model.weight.data.fill_(5.0)

        def on_validation_end(self, trainer, module):
            errors[trainer.global_step] = module.val["val/mse"]

    train(task, 6, val_check_interval=2, callbacks=[checkpoints, Errors()])
    assert list(errors) == [0, 2, 4, 6]
    best = min(errors, key=errors.get)
    assert best == 4
    assert checkpoints.best_step == steps(checkpoints.best) == 4
    assert checkpoints.best_val["val/mse"] == errors[4]


def test_checkpoints_hold_nothing_that_could_run(task_of, train, tmp_path):
    checkpoints = Checkpoints(tmp_path, every=1)
    task = task_of()
    train(task, 3, callbacks=[checkpoints])
    for path in (checkpoints.best, checkpoints.last):
        loaded = torch.load(path, weights_only=True)
        assert loaded["state_dict"]["model.weight"].shape == (1, 1, 3, 3)
    assert loaded["state_dict"]["model.weight"].equal(task.model.weight)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_failing_write_leaves_the_last_checkpoint(task_of, train, tmp_path, monkeypatch, error):
    checkpoints = Checkpoints(tmp_path, every=1)
    save = L.Trainer.save_checkpoint

    def full(trainer, path, *arguments):
        save(trainer, path, *arguments)
        if trainer.global_step == 3:
            path.write_bytes(b"half")
            raise error

    monkeypatch.setattr(L.Trainer, "save_checkpoint", full)
    with pytest.raises(ConvexpError, match=r"last\.ckpt cannot be written \(.*\); free some space, then resume$"):
        train(task_of(), 5, callbacks=[checkpoints])
    assert steps(checkpoints.last) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_folder_that_is_gone_is_named(task_of, train, tmp_path):
    (tmp_path / "checkpoints").write_text("a file")
    with pytest.raises(ConvexpError, match=r"checkpoints/best\.ckpt cannot be written"):
        train(task_of(), 1, callbacks=[Checkpoints(tmp_path / "checkpoints", every=1)])


def test_what_a_resumed_run_has_to_know():
    checkpoints, later = Checkpoints("a", every=1), Checkpoints("b", every=1)
    checkpoints.best_val, checkpoints.best_step = {"val/mse": 0.5}, 7
    later.load_state_dict(checkpoints.state_dict())
    assert (later.best_val, later.best_step) == ({"val/mse": 0.5}, 7)
