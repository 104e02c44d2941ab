import signal
import threading

import lightning as L
import pytest
import torch

from convexp.training.checkpoints import Checkpoints
from convexp.training.interruption import Interruption, Stop


class Blow(L.Callback):
    """Sends signals in the middle of a step."""

    def __init__(self, step, *numbers):
        self.step, self.numbers = step, numbers

    def on_before_backward(self, trainer, *_):
        if trainer.global_step == self.step:
            for number in self.numbers:
                signal.raise_signal(number)


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path, every=100)


@pytest.fixture(autouse=True)
def _handlers_come_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    yield
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_the_step_end_and_keeps_a_checkpoint(task_of, train, checkpoints, number):
    interruption = Interruption(checkpoints)
    task = task_of()
    with pytest.raises(Stop) as caught, interruption:
        train(task, 7, callbacks=[checkpoints, interruption, Blow(3, number)])
    assert caught.value.number == number
    kept = torch.load(checkpoints.last, weights_only=True)
    assert kept["global_step"] == 4
    assert kept["state_dict"]["model.weight"].equal(task.model.weight)


def test_a_second_signal_stops_in_the_middle_of_the_step(task_of, train, checkpoints):
    interruption = Interruption(checkpoints)
    with pytest.raises(Stop) as caught, interruption:
        train(task_of(), 7, callbacks=[checkpoints, interruption, Blow(3, signal.SIGINT, signal.SIGTERM)])
    assert caught.value.number == signal.SIGTERM
    assert not checkpoints.last.exists()


def test_the_validation_that_is_due_still_comes(task_of, train, checkpoints):
    interruption = Interruption(checkpoints)
    task = task_of()
    with pytest.raises(Stop), interruption:
        train(task, 8, val_check_interval=4, callbacks=[checkpoints, interruption, Blow(3, signal.SIGINT)])
    assert task.measured_at == 4
    assert torch.load(checkpoints.last, weights_only=True)["callbacks"]["Checkpoints"]["best_step"] == 4


def test_no_other_validation_comes(task_of, train, checkpoints):
    interruption = Interruption(checkpoints)
    task = task_of()
    with pytest.raises(Stop), interruption:
        train(task, 8, val_check_interval=4, callbacks=[checkpoints, interruption, Blow(2, signal.SIGINT)])
    assert task.measured_at == 0


def test_a_signal_between_two_steps_lets_the_next_one_end(task_of, train, checkpoints):
    """Where Lightning's own handler of SIGTERM would leave without a checkpoint."""

    class Late(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 3:
                signal.raise_signal(signal.SIGTERM)

    interruption = Interruption(checkpoints)
    with pytest.raises(Stop), interruption:
        train(task_of(), 7, callbacks=[checkpoints, interruption, Late()])
    assert torch.load(checkpoints.last, weights_only=True)["global_step"] == 4


def test_outside_of_the_steps_a_signal_stops_at_once(checkpoints):
    with pytest.raises(Stop), Interruption(checkpoints):
        signal.raise_signal(signal.SIGTERM)


def test_a_run_that_is_not_disturbed_ends(task_of, train, checkpoints):
    interruption = Interruption(checkpoints)
    with interruption:
        train(task_of(), 3, callbacks=[checkpoints, interruption])
        assert torch.load(checkpoints.last, weights_only=True)["global_step"] == 3
        with pytest.raises(Stop):
            signal.raise_signal(signal.SIGINT)


def test_other_threads_hear_no_signals(task_of, train, checkpoints):
    ended = []

    def run():
        interruption = Interruption(checkpoints)
        with interruption:
            train(task_of(), 2, callbacks=[checkpoints, interruption])
        ended.append(True)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert ended


def test_a_stop_is_no_error():
    """Hydra's sweeps go on behind an Exception, and Lightning makes exit status 1 of a KeyboardInterrupt."""
    assert not issubclass(Stop, Exception | KeyboardInterrupt)
