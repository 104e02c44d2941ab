import threading
import warnings

import pytest

from convexp.runs.quiet import quiet


@pytest.fixture
def quieted(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # and back again
    with warnings.catch_warnings():
        quiet()
        yield


def fail(error):
    def work():
        raise error

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_full_disk_is_told_once(quieted, capfd):
    fail(OSError(28, "No space left on device"))
    assert capfd.readouterr() == ("", "")


def test_any_other_failure_of_a_thread_is_told(quieted, capfd):
    fail(ValueError("a defect"))
    assert "ValueError: a defect" in capfd.readouterr().err


def test_a_remark_that_does_not_apply_is_not_heard(quieted):
    warnings.warn("The 'train_dataloader' does not have many workers, which may be a bottleneck", stacklevel=1)
    with pytest.raises(UserWarning, match="a remark of another kind"):
        warnings.warn("a remark of another kind", stacklevel=1)
