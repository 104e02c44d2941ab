"""Trials that are ended early: how many there are, what they leave, and what is never ended."""

import json
import re
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
import torch
import yaml
from optuna.trial import TrialState

from convexp.errors import ConvexpError
from convexp.runs import experiment
from convexp.runs.composition import composed
from convexp.runs.folder import RunFolder
from convexp.runs.record import find_records, read_record
from convexp.runs.search_command import search
from convexp.training.pruning import Pruned, Pruning

TINY = ["data=shapes", "data.height=37", "data.width=41", "trainer=cpu", "optimizer=adam"]
TINY += ["trainer.max_steps=8", "trainer.val_check_interval=2"]
WORKER = "import sys; from convexp.runs.search_command import search; search(sys.argv[1:])"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the command adds to it
    return tmp_path


def described(trials=6, pruning=None, **space):
    folder = Path("my/search")
    folder.mkdir(parents=True, exist_ok=True)
    pruning = {"startup_trials": 2, "warmup_steps": 2, **(pruning or {})}
    content = {"trials": trials, "pruning": pruning, "space": {f"optimizer.{key}": node for key, node in space.items()}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(content))
    return [*TINY, "search=mine", "--config-dir", "my"]


@contextmanager
def seen_by_another():
    """The study, as another worker sees it."""
    storage = optuna.storages.RDBStorage("sqlite:///outputs/searches/mine/study.db")
    yield optuna.load_study(study_name="mine", storage=storage)
    storage.remove_session()
    storage.engine.dispose()


def trials():
    with seen_by_another() as study:
        return study.get_trials()


def states(found):
    return [trial.state for trial in found]


WIDE = {"low": 1e-9, "high": 1e-2, "log": True}  # mostly steps so short that nothing is learned


def test_bad_trials_are_ended_and_count(here, capfd):
    words = described(lr=WIDE)
    search(words)
    found, out = trials(), capfd.readouterr().out
    complete = [trial for trial in found if trial.state == TrialState.COMPLETE]
    pruned = [trial for trial in found if trial.state == TrialState.PRUNED]
    assert len(found) == len(complete) + len(pruned) == 6
    assert len(pruned) >= 1
    assert min(pruned, key=lambda trial: trial.number).number >= 2
    assert f"6 trials ({len(complete)} complete, {len(pruned)} pruned)" in out

    # The best one is complete, and the pruned ones stand below all others.
    best = min(complete, key=lambda trial: trial.value)
    experiment = yaml.safe_load(Path("outputs/searches/mine/experiment/best.yaml").read_text())
    assert experiment["optimizer"]["lr"] == best.params["optimizer.lr"]
    table = [line.split()[:2] for line in out.rpartition("\ntrial")[2].splitlines()[1:7]]
    assert [status for _, status in table] == ["finished"] * len(complete) + ["pruned"] * len(pruned)
    assert table[0][0] == str(best.number)

    records = {record.config["optimizer"]["lr"]: record for record in find_records("outputs")}
    assert len(records) == 6
    for trial in pruned:
        record = records[trial.params["optimizer.lr"]]
        step = trial.last_step
        assert step < 8
        # The median of those that were complete: all before, as one worker did them in turn.
        others = sorted(other.intermediate_values[step] for other in complete if other.number < trial.number)
        assert trial.value > others[(len(others) - 1) // 2]
        assert record.status == "pruned"
        assert re.fullmatch(
            rf"after {step} of 8 steps: val/mse \S+ is worse than the median \S+ of {len(others)} trials", record.reason
        )
        assert f"pruned {record.reason}" in out
        left = {path.name for path in record.path.rglob("*") if path.is_file()}
        assert {"config.yaml", "pruned.json", "best.ckpt"} < left
        assert any(name.startswith("events.") for name in left)
        assert "metrics.json" not in left

    # The same command ends as it was, and with more trials none of the pruned runs is gone on with.
    before = {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("pruned.json")}
    search(words)
    search([*words, "search.trials=7", "search.pruning=null"])
    assert states(trials()) == [*states(found), TrialState.COMPLETE]
    assert {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("pruned.json")} == before


def test_a_pruned_trial_stands_below_a_worse_one_that_is_complete(here, monkeypatch, capfd):
    errors = [5.0, 1.0, 4.0]

    def run(config, place, *, callbacks, **_):
        error = errors.pop(0)
        if reason := callbacks[0].report(2, error):
            raise Pruned(reason)
        return {"best": {"val/mse": error}}

    monkeypatch.setattr(experiment, "run", run)
    search(described(trials=3, lr=WIDE))
    lines = [line.split() for line in capfd.readouterr().out.rpartition("\ntrial")[2].splitlines()[1:4]]
    assert [line[0] for line in lines] == ["1", "0", "2"]
    assert [line[3] for line in lines] == ["1", "5", "4"]
    assert " ".join(lines[2][4:]) == "val/mse 4 is worse than the median 3 of 2 trials"


def test_values_that_were_pruned_are_pruned_when_they_are_drawn_again(here, monkeypatch):
    begun, run = [], experiment.run

    def counted(config, place, **options):
        begun.append(place)
        return run(config, place, **options)

    monkeypatch.setattr(experiment, "run", counted)
    words = described(trials=8, pruning={"startup_trials": 1}, lr={"choices": [1e-9, 1e-2]})
    search([*words, "seed=1"])
    found = trials()
    assert found[0].params["optimizer.lr"] == 1e-2
    bad = [trial for trial in found if trial.params["optimizer.lr"] == 1e-9]
    assert len(found) == 8
    assert len(bad) > 1
    assert set(states(bad)) == {TrialState.PRUNED}
    assert len({trial.user_attrs["reason"] for trial in bad}) == 1
    assert len(begun) == len(find_records("outputs")) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search.objective=train/mse"], "train/mse is not known before the end of a run; no trial is pruned"),
        (["trainer.strategy=ddp_spawn"], "the processes of trainer.strategy=ddp_spawn do not report how far they are"),
        (["search.pruning=null"], None),
    ],
)
def test_where_nothing_can_be_pruned_that_is_said_once(here, capfd, monkeypatch, words, message):
    watchers = []

    def run(config, place, *, callbacks, **_):
        watchers.extend(callbacks)
        return {"best": {"train/mse": 1.0, "val/mse": 1.0}}

    monkeypatch.setattr(experiment, "run", run)
    search([*described(lr=WIDE), *words])
    assert states(trials()) == [TrialState.COMPLETE] * 6
    assert watchers == []
    assert capfd.readouterr().out.count(message or "pruned") == (1 if message else 0)


def test_a_search_of_which_nothing_is_left_says_so(here, monkeypatch, capfd):
    def run(config, place, **_):
        raise Pruned("after 2 of 8 steps: for no reason")

    monkeypatch.setattr(experiment, "run", run)
    with pytest.raises(SystemExit) as stopped:
        search(described(trials=3, lr=WIDE))
    line = "convexp: outputs/searches/mine: all 3 trials were pruned, so that none is the best one; write search.pruni"
    assert stopped.value.code.startswith(line)
    assert "\n" not in stopped.value.code
    assert states(trials()) == [TrialState.PRUNED] * 3


def test_a_trial_that_is_gone_on_with_keeps_what_it_reported(here, monkeypatch):
    run = experiment.run

    def interrupted(config, place, *, callbacks, **_):
        monkeypatch.setattr(experiment, "run", run)
        for step, value in ((0, 3.0), (2, 2.5)):
            assert callbacks[0].report(step, value) is None
        raise experiment.Interrupted("stopped", signal.SIGTERM)

    monkeypatch.setattr(experiment, "run", interrupted)
    words = described(trials=1, lr=WIDE)
    with pytest.raises(SystemExit):
        search(words)
    search(words)
    first, again = trials()
    assert states([first, again]) == [TrialState.FAIL, TrialState.COMPLETE]
    assert first.params == again.params
    assert list(again.intermediate_values) == [0, 2, 4, 6, 8]
    assert first.intermediate_values == {step: again.intermediate_values[step] for step in (0, 2)} == {0: 3.0, 2: 2.5}


def test_a_run_whose_trial_another_worker_was_given_did_not_fail(here, monkeypatch, capfd):
    """As behind a sleep of the machine: it finds out when it reports."""
    run = experiment.run

    def late(config, place, *, callbacks, **_):
        monkeypatch.setattr(experiment, "run", run)
        RunFolder.create(place).write_config(config)
        with seen_by_another() as study:
            study.tell(0, state=TrialState.FAIL)
        callbacks[0].report(0, 1.0)

    monkeypatch.setattr(experiment, "run", late)
    search(described(trials=1, lr=WIDE))
    assert states(trials()) == [TrialState.FAIL, TrialState.COMPLETE]
    assert "a trial was given to another worker meanwhile" in capfd.readouterr().out
    assert sorted(record.status for record in find_records("outputs")) == ["finished", "interrupted"]


def test_an_ended_run_is_let_go_and_can_be_completed(here):
    config, _ = composed([*TINY, "checkpoint_every=3"])
    ending = Pruning(lambda step, value: "enough" if step == 4 else None, metric="val/mse")
    with pytest.raises(Pruned, match=r"^after 4 of 8 steps: enough$"):
        experiment.run(config, Path("ended"), callbacks=[ending])
    folder = RunFolder("ended")
    with folder.held():  # by no one else
        assert read_record("ended").status == "running"
    assert torch.load(folder.checkpoint("best"), weights_only=True)["global_step"] == 4  # what it was ended for is kept
    assert json.loads(folder.pruned.read_text()) == {"reason": "after 4 of 8 steps: enough", "step": 4}
    assert read_record("ended").status == "pruned"
    with pytest.raises(Pruned):
        experiment.resume(config, folder, callbacks=[ending])
    completed, whole = experiment.resume(config, folder), experiment.run(config, Path("whole"))
    assert (completed["best"], completed["final"]) == (whole["best"], whole["final"])
    assert read_record("ended").status == "finished"


def test_callbacks_that_would_not_be_called_are_refused(here):
    config, _ = composed([*TINY, "trainer.strategy=ddp_spawn"])
    for act, place in ((experiment.run, Path("run")), (experiment.resume, RunFolder("run"))):
        with pytest.raises(ConvexpError, match=r"^trainer.strategy=ddp_spawn: no callback of yours reaches its proc"):
            act(config, place, callbacks=[Pruning(lambda *_: None, metric="val/mse")])
    assert not Path("run").exists()


SLOW = """
import os, time
from pathlib import Path
from convexp.operators import Highpass

class Slow(Highpass):
    def forward(self, image):
        mine = Path(f"arrived-{os.getpid()}")
        deadline = time.monotonic() + (0 if mine.exists() else 5)  # at the first call
        mine.touch()
        while len(list(Path().glob("arrived-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return super().forward(image)
"""


@pytest.mark.slow
def test_workers_that_draw_the_same_do_not_do_it_twice(here, forked):
    """Both arrive at the beginning of one run, unless the second one waits for the first."""
    Path("slow.py").write_text(SLOW)
    words = described(trials=2, lr={"choices": [1e-2]})
    Path("my/target").mkdir()
    Path("my/target/slow.yaml").write_text("_target_: slow.Slow\n")
    workers = [forked(WORKER, [*words, "target=slow"]) for _ in range(2)]
    for worker in workers:
        worker.join(200)
        assert worker.exitcode == 0, Path(f"{worker.name}.err").read_text()
    begun = [trial for trial in trials() if "superfluous" not in trial.user_attrs]
    assert states(begun) == [TrialState.COMPLETE] * 2
    assert [record.status for record in find_records("outputs")] == ["finished"]
