import sys

import pytest

from convexp.training.progress import Progress


@pytest.fixture
def in_terminal(monkeypatch):
    return lambda: monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)


def test_a_terminal_sees_steps_loss_and_validation(task_of, train, capsys, in_terminal):
    in_terminal()
    train(task_of(), 23, val_check_interval=5, callbacks=[Progress()])
    last = capsys.readouterr().err.strip().split("\r")[-1]
    assert "23/23" in last
    assert "step/s" in last
    assert "loss=" in last
    assert "val R²=" in last


def test_a_file_stays_empty(task_of, train, capsys):
    train(task_of(), 11, callbacks=[Progress()])
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_the_bar_is_closed_before_a_message(task_of, train, capsys, in_terminal):
    in_terminal()
    progress = Progress()

    class Error(Exception):
        pass

    def fail(*_):
        raise Error

    task = task_of()
    task.on_train_batch_end = fail
    with pytest.raises(Error):
        train(task, 11, callbacks=[progress])
    assert capsys.readouterr().err.endswith("\n")
