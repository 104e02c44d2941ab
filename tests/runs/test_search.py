"""Searches: their trials, their exact number, and the experiment that remains of the best one."""

import os
import re
import signal
import sys
import time
import warnings
from pathlib import Path

import optuna
import pytest
import yaml
from hydra import compose, initialize_config_module
from optuna.trial import TrialState

from convexp.runs.composition import composed
from convexp.runs.config import checked
from convexp.runs.folder import RunFolder
from convexp.runs.record import find_records
from convexp.runs.search_command import search
from convexp.runs.sweep import identity

TINY = ["data=shapes", "data.height=37", "data.width=41", "trainer=cpu", "trainer.max_steps=2", "optimizer=adam"]
SPACE = {"optimizer.lr": {"low": "1e-3", "high": 1e-1, "log": True}, "scheduler": {"choices": ["constant", "cosine"]}}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # the command adds to it
    return tmp_path


def describe(content, name="mine"):
    folder = Path("my/search")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    return [f"search={name}", "--config-dir", "my"]


def trials(name="mine", path="outputs/searches"):
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}/{name}/study.db")
    found = optuna.load_study(study_name=name, storage=storage).get_trials()
    storage.remove_session()
    storage.engine.dispose()
    return found


def complete(found):
    return [trial for trial in found if trial.state == TrialState.COMPLETE]


def refusal(*arguments):
    with pytest.raises(SystemExit) as stopped:
        search(arguments)
    assert "\n" not in stopped.value.code
    return stopped.value.code


def test_a_search_ends_in_a_table_and_an_experiment(here, capfd):
    search([*TINY, *describe({"trials": 3, "space": SPACE})])
    out = capfd.readouterr().out
    found, folder = trials(), Path("outputs/searches/mine")
    assert len(found) == len(complete(found)) == 3
    best = min(found, key=lambda trial: trial.value)
    (record,) = [record for record in find_records(folder) if record.metrics["best"]["val/mse"] == best.value]
    assert record.config["optimizer"]["lr"] == best.params["optimizer.lr"]
    assert record.config["choices"]["scheduler"] == best.params["scheduler"]
    table = out.rpartition("\ntrial")[2].splitlines()
    assert table[0].split() == ["optimizer.lr", "scheduler", "val/mse"]
    assert table[1].split()[0] == str(best.number)
    # The line that is printed composes the configuration of the best run.
    line = re.search(r"python train.py --config-dir (\S+) (experiment=best) '(hydra.searchpath=\[file://\S+\])'", out)
    assert line[1] == str(folder)
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = compose("train", [line[2], f"hydra.searchpath=[file://{folder.resolve()}]"])
    assert identity(checked(config)) == record.config["identity"]


def test_the_same_command_repeats_nothing_and_more_trials_continue(here, capfd):
    words = [*TINY, *describe({"trials": 2, "space": SPACE})]
    search(words)
    runs = {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("metrics.json")}
    search(words)
    assert len(trials()) == len(runs) == 2
    search([*words, "search.trials=4"])
    search([*words, "search.trials=4", "search.name=whole"])
    assert all(path.stat().st_mtime_ns == moment for path, moment in runs.items())
    # Each trial depends on the seed and those before it alone.
    assert [trial.params for trial in trials()] == [trial.params for trial in trials("whole")]
    assert [trial.value for trial in trials()] == [trial.value for trial in trials("whole")]
    assert "search.name=second" in refusal(*words, "seed=1")
    assert "with another objective" in refusal(*words, "search.objective=val/r2")


def test_more_is_better_of_some_objectives_and_integers_are_drawn(here, capfd):
    space = {
        "model.kernel_size": {"low": 3, "high": 7, "step": 2, "int": True},
        "optimizer.betas": {"choices": [[0.5, 0.75]]},
    }
    search([*TINY, *describe({"trials": 3, "objective": "val/psnr", "space": space})])
    found = trials()
    assert {trial.params["model.kernel_size"] for trial in found} <= {3, 5, 7}
    best = max(found, key=lambda trial: trial.value)
    table = capfd.readouterr().out.rpartition("\ntrial")[2].splitlines()
    assert table[1].split()[0] == str(best.number)
    experiment = yaml.safe_load(Path("outputs/searches/mine/experiment/best.yaml").read_text())
    assert experiment["model"]["kernel_size"] == best.params["model.kernel_size"]
    assert experiment["optimizer"] == {"betas": [0.5, 0.75]}
    assert experiment["trainer"] == {"max_steps": 2}
    chosen = {"data": "shapes", "trainer": "cpu", "optimizer": "adam"}
    assert experiment["defaults"] == [{f"override /{group}": choice} for group, choice in chosen.items()] + ["_self_"]


def test_the_best_of_a_recipe_is_that_recipe(here, capfd):
    words = ["experiment=notebook_edges_blur", *TINY, "model.activation.inplace=false"]
    search([*words, *describe({"trials": 1, "space": {"optimizer.lr": {"low": 1e-3, "high": 1e-2}}})])
    (record,) = find_records("outputs")
    config, _ = composed(["experiment=best"], "outputs/searches/mine")
    assert config["identity"] == record.config["identity"]


FRAGILE = """
from convexp.operators import Highpass

class Fragile(Highpass):
    def __init__(self, mood):
        super().__init__()
        self.mood = mood

    def forward(self, image):
        if self.mood == "bad":
            raise RuntimeError("the camera is off")
        return super().forward(image)
"""


def test_a_failed_trial_is_in_the_table_and_not_counted(here, capfd):
    Path("moody.py").write_text(FRAGILE)
    space = {"target.mood": {"choices": ["bad", "good", "calm"]}}
    words = describe({"trials": 3, "space": space})
    Path("my/target").mkdir()
    Path("my/target/moody.yaml").write_text("_target_: moody.Fragile\nmood: good\n")
    search([*TINY, "target=moody", "seed=7", *words])
    found = trials()
    failed = [trial for trial in found if trial.state == TrialState.FAIL]
    assert len(complete(found)) == 3
    assert failed
    reason = "the target fails on shapes (1, 37, 41): RuntimeError: the camera is off"
    assert {trial.user_attrs["reason"] for trial in failed} == {reason}
    # What is drawn again is not run again.
    moods = {trial.params["target.mood"] for trial in complete(found)}
    assert len(list(Path("outputs").rglob("metrics.json"))) == len(moods) < 3
    assert reason in capfd.readouterr().out.rpartition("\ntrial")[2]


def test_a_search_in_which_everything_fails_gives_up(here):
    Path("broken.py").write_text(FRAGILE)
    words = describe({"trials": 2, "space": {"optimizer.lr": {"low": 1e-3, "high": 1e-2}}})
    Path("my/target").mkdir()
    Path("my/target/broken.yaml").write_text("_target_: broken.Fragile\nmood: bad\n")
    assert refusal(*TINY, "target=broken", *words).startswith(
        "convexp: 2 trials failed, the last one: the target fails on shapes (1, 37, 41)"
    )


def test_an_interrupted_trial_is_gone_on_with(here, monkeypatch, capfd):
    from convexp.runs import experiment

    run = experiment.run
    words = [*TINY, *describe({"trials": 2, "space": SPACE})]

    def interrupted(config, place, **_):
        monkeypatch.setattr(experiment, "run", run)
        raise experiment.Interrupted("stopped", signal.SIGTERM)

    monkeypatch.setattr(experiment, "run", interrupted)
    with pytest.raises(SystemExit) as stopped:
        search(words)
    assert stopped.value.code == 128 + signal.SIGTERM
    assert "the same command goes on" in capfd.readouterr().err
    search(words)
    found = trials()
    assert [trial.state for trial in found] == [TrialState.FAIL, TrialState.COMPLETE, TrialState.COMPLETE]
    assert found[0].params == found[1].params
    assert "interrupted" in capfd.readouterr().out


def test_of_two_that_begin_the_last_trial_one_gives_it_up(here, monkeypatch, capfd):
    """Another worker's trial appears between counting and asking."""
    words = [*TINY, *describe({"trials": 1, "space": SPACE})]
    optimize = optuna.Study.optimize

    def late(study, *arguments, **options):
        monkeypatch.setattr(optuna.Study, "optimize", optimize)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it would have no heartbeat
            other = study.ask()
        monkeypatch.setattr(time, "sleep", lambda _: study.tell(other, 0.25))  # while this worker waits
        study.optimize(*arguments, **options)

    monkeypatch.setattr(optuna.Study, "optimize", late)
    Path("outputs/searches/mine/experiment").mkdir(parents=True)
    monkeypatch.setattr("convexp.runs.search.write_best", lambda *_: "best.yaml")  # the other one has no values
    search(words)
    assert [trial.state for trial in trials()] == [TrialState.COMPLETE, TrialState.FAIL]
    assert trials()[1].user_attrs == {"superfluous": True}
    assert "waiting for them" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"optimizer.lrr": {"low": 1, "high": 2}}, "there is no such key; did you mean optimizer.lr?"),
        ({"modle": {"choices": ["deep"]}}, "there is no such key; did you mean model?"),
        ({"model": {"choices": ["deep", "sngle"]}}, "model=sngle: no such choice; did you mean single?"),
        ({"optimizer.lr": {"low": 2, "high": 1}}, "search=mine: optimizer.lr: low=2 must be less than high=1"),
        ({"optimizer.lr": {"low": 0, "high": 1, "log": True}}, "low=0 must be more than 0 with log: true"),
        ({"optimizer.lr": {"low": -1, "high": 1}}, "optimizer.lr=-1.0: must be a number > 0"),
        ({"optimizer.lr": {"low": "x", "high": 1}}, "optimizer.lr.low=x: must be a number"),
        ({"optimizer.lr": {"low": 1, "high": 2, "step": 3}}, "step=3 must be more than 0, at most high − low"),
        ({"optimizer.lr": {"low": 1, "high": 2.5, "int": True}}, "low, high and step must be whole with int: true"),
        ({"optimizer.lr": {"low": 1, "high": 2, "log": 1}}, "optimizer.lr.log=1: must be true or false"),
        ({"optimizer.lr": {"low": 1}}, "optimizer.lr: must be {low: …, high: …}"),
        ({"optimizer.lr": {"choices": []}}, "optimizer.lr.choices: must be a list of names, numbers or lists"),
        ({}, "search=mine: space must name what is searched"),
        ({"trainer.max_steps": {"choices": [1, 2]}}, "every key of its space was typed"),
    ],
)
def test_a_wrong_space_is_one_line(here, space, message):
    assert message in refusal(*TINY, *describe({"space": space}))
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search=defautl"], "search=defautl: no such search; did you mean default?; there are default"),
        (["search.trails=3"], "search.trails=3: there is no such key; there are search.name, search.trials, "),
        (["search.trials=0"], "search.trials=0: must be a whole number ≥ 1"),
        (["search.pruning=5"], "search.pruning=5: must be {startup_trials: …, warmup_steps: …} or null"),
        (["search.pruning.startup_trials=0"], "search.pruning.startup_trials=0: must be a whole number ≥ 1"),
        (["search.pruning={warmup_steps: -1}"], "search.pruning.warmup_steps=-1: must be a whole number ≥ 0"),
        (["search.pruning.warmup=9"], "search.pruning.warmup=9: there is no such key; there are search.pruning.startu"),
        (["search.objective=val/mes"], "search.objective=val/mes: no such metric; did you mean val/mse?; there are "),
        (["search.storage=here.db"], "search.storage=here.db: must be a database's URL"),
        (["search.storage=sqlite:////no/such/folder/a.db"], "storage sqlite:////no/such/folder/a.db cannot be reached"),
        (["search.storage=nosuch://me:secret@host/a"], "storage nosuch://me:…@host/a cannot be reached"),
        (["trainer=ddp"], "use trainer.strategy=ddp_spawn"),
        (["optimizer.momentun=1"], "optimizer.momentun=1: there is no such key"),
    ],
)
def test_a_wrong_word_is_one_line(here, words, message):
    assert message in refusal("model=deep", *words)


WORKER = "import sys; from convexp.runs.search_command import search; search(sys.argv[1:])"


@pytest.mark.slow
def test_of_two_workers_one_is_killed_and_exactly_as_many_trials_are_complete(here, forked):
    space = {"optimizer.lr": {"low": 1e-3, "high": 1e-1, "log": True}}
    words = describe({"trials": 6, "heartbeat": 1, "space": space})
    words += ["model=deep", "target=edges_blur", *TINY, "trainer.max_steps=40", "checkpoint_every=10"]
    words += ["data.crop_size=32"]
    killed, other = (forked(WORKER, words) for _ in range(2))
    folder, deadline = Path("outputs/searches/mine"), time.monotonic() + 200

    def working():
        return any(_holds(killed.pid, path) for path in folder.glob("*/run.lock"))

    while not working() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.join()
    other.join(200)
    assert other.exitcode == 0, Path(f"{other.name}.err").read_text()
    found = trials()
    assert len(complete(found)) == 6
    stale = [trial for trial in found if trial.state == TrialState.FAIL]
    assert len(stale) == 1
    again = [trial for trial in complete(found) if trial.params == stale[0].params]
    assert len(again) == 1
    assert all(RunFolder(path.parent).finished for path in folder.glob("*/config.yaml"))
    # Once more: nothing is left to do.
    search(words)
    assert len(trials()) == len(found)


def _holds(process, path):
    """Whether a process has a file open."""
    try:
        return any(link.readlink() == path.resolve() for link in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False
