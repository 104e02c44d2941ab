import json
import os
import shlex
import signal
import time
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from convexp.errors import ConvexpError
from convexp.runs.config import GROUPS, checked
from convexp.runs.experiment import Interrupted, resume, run
from convexp.runs.folder import RunFolder
from convexp.training.quadratic_task import QuadraticTask
from convexp.training.task import ImitationTask

STEPS, VALIDATION, CHECKPOINT = 20, 5, 3  # at step 15 both are due
TINY = [
    "data=shapes",
    "data.height=37",
    "data.width=41",
    "target=edges",
    "seed=3",
    f"trainer.max_steps={STEPS}",
    f"trainer.val_check_interval={VALIDATION}",
    "trainer.log_every_n_steps=2",
    "trainer.accelerator=cpu",
    f"checkpoint_every={CHECKPOINT}",
]
RECIPES = {
    "crops": [
        "model=deep",
        "model.blocks.edges=[2@2x2,3@1x1]",
        "model.blocks.blur=[out@3x3]",
        "data.crop_size=17",
        "scheduler=one_cycle",
        "optimizer=adam",
        "initialisation=lsuv",
    ],
    "lbfgs": ["model=single", "objective=pixels"],
    "statistics": ["model=single", "optimizer=adam"],
    "search": ["model=single", "optimizer=lbfgs", "model.bias=true"],
}
# A batch of the last is a stretch of steps, from one place where something is due to the next.
TASKS = {"crops": ImitationTask, "lbfgs": ImitationTask, "statistics": QuadraticTask, "search": QuadraticTask}


def configuration(recipe):
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = compose("train", overrides=TINY + RECIPES[recipe], return_hydra_config=True)
    choices = config.hydra.runtime.choices
    config = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return {**checked(config), "choices": {group: choices[group] for group in (*GROUPS, "experiment")}}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    folders = {recipe: RunFolder(tmp_path_factory.mktemp(recipe) / "run") for recipe in RECIPES}
    for recipe, folder in folders.items():
        run(configuration(recipe), folder.path)
    return folders


class Killed(BaseException):
    """As kill -9: whatever is not on the disk is lost."""


def strike(monkeypatch, method, step, blow, task=ImitationTask):
    """Calls `blow` within a method of the task, when a step's number is reached."""
    original = getattr(task, method)

    def struck(self, *arguments):
        if self.global_step == step and not self.trainer.sanity_checking:
            blow()
        return original(self, *arguments)

    monkeypatch.setattr(task, method, struck)


def go_on(folder):
    resume(checked(folder.read_config()), folder)


def kill():
    raise Killed


def interrupt():
    signal.raise_signal(signal.SIGINT)


def once(blow):
    """A line search calls a training step more than once."""
    blows = iter([blow])
    return lambda: next(blows, lambda: None)()


def stopped_after(step):
    return f"^stopped after {step} of 20 steps; to continue: python train.py resume="


def contents(folder, name):
    checkpoint = torch.load(folder.checkpoint(name), weights_only=True)
    callbacks = checkpoint["callbacks"]
    del callbacks["Curves"]["seconds"]
    return {
        key: checkpoint[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step")
    } | callbacks


def results(folder):
    metrics = json.loads(folder.metrics.read_text())
    return {key: metrics[key] for key in ("final", "best", "steps", "parameters")}


def scalars(folder):
    events = EventAccumulator(str(folder.path), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def assert_identical(value, expected, place):
    if isinstance(expected, dict):
        assert value.keys() == expected.keys(), place
        for key in expected:
            assert_identical(value[key], expected[key], f"{place}.{key}")
    elif isinstance(expected, list):
        assert len(value) == len(expected), place
        for index, pair in enumerate(zip(value, expected, strict=True)):
            assert_identical(*pair, f"{place}.{index}")
    elif isinstance(expected, torch.Tensor):
        assert value.equal(expected), place
    else:
        assert value == expected, place


def assert_same_run(folder, reference, *, resumed=1):
    for name in ("last", "best"):
        assert_identical(contents(folder, name), contents(reference, name), name)
    assert results(folder) == results(reference)
    curves, expected = scalars(folder), scalars(reference)
    assert curves.keys() == expected.keys()
    for tag, points in curves.items():
        assert list(dict.fromkeys(points)) == expected[tag], tag  # the point at the boundary may come twice
        assert len(points) <= len(expected[tag]) + resumed, tag


def test_validation_stands_where_it_was_asked_for(uninterrupted):
    for folder in uninterrupted.values():
        assert [step for step, _ in scalars(folder)["val/mse"]] == [0, 5, 10, 15, 20]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_run_repeats_itself(recipe, uninterrupted, tmp_path):
    run(configuration(recipe), tmp_path / "run")
    assert_same_run(RunFolder(tmp_path / "run"), uninterrupted[recipe])


# Before the first checkpoint; between two; behind one that is due together with a validation.
@pytest.mark.parametrize(
    ("recipe", "step"),
    [
        *(("crops", step) for step in (1, 7, 15)),
        ("lbfgs", 8),
        *(("statistics", step) for step in (8, 15)),
        ("search", 8),
    ],
)
def test_a_killed_run_continues_as_if_nothing_had_happened(recipe, step, uninterrupted, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        strike(patch, "training_step", step, kill, TASKS[recipe])
        with pytest.raises(Killed):
            run(configuration(recipe), folder.path)
    assert folder.checkpoint("last").exists() == (step >= CHECKPOINT)
    go_on(folder)
    assert_same_run(folder, uninterrupted[recipe])


@pytest.mark.parametrize(("step", "kept"), [(15, 12), (20, 18)])  # where a checkpoint is due, too; at the end
def test_a_run_killed_during_validation_validates_again(step, kept, uninterrupted, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        strike(patch, "validation_step", step, kill)
        with pytest.raises(Killed):
            run(configuration("crops"), folder.path)
    assert contents(folder, "last")["global_step"] == kept
    go_on(folder)
    assert_same_run(folder, uninterrupted["crops"])


# At the first step; where a validation is due; where a checkpoint is due, too; at the last step.
@pytest.mark.parametrize(
    ("recipe", "step"),
    [
        *(("crops", step) for step in (1, 5, 15, 20)),
        ("lbfgs", 7),
        *(("statistics", step) for step in (1, 5, 15, 20)),
    ],
)
def test_a_signal_ends_the_run_behind_the_step(recipe, step, uninterrupted, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        strike(patch, "training_step", step - 1, once(interrupt), TASKS[recipe])
        with pytest.raises(Interrupted, match=stopped_after(step)):
            run(configuration(recipe), folder.path)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert contents(folder, "last")["global_step"] == step
    assert not folder.finished
    go_on(folder)
    assert_same_run(folder, uninterrupted[recipe])


def test_a_signal_during_validation_ends_the_run_behind_it(uninterrupted, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        strike(patch, "validation_step", 10, once(interrupt))
        with pytest.raises(Interrupted, match=stopped_after(10)):
            run(configuration("crops"), folder.path)
    assert scalars(folder)["val/mse"] == scalars(uninterrupted["crops"])["val/mse"][:3]
    go_on(folder)
    assert_same_run(folder, uninterrupted["crops"])


def test_a_second_signal_ends_the_run_at_once(uninterrupted, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        strike(patch, "training_step", 7, interrupt)
        strike(patch, "training_step", 7, interrupt)
        with pytest.raises(Interrupted, match=stopped_after(6)):
            run(configuration("crops"), folder.path)
    go_on(folder)
    assert_same_run(folder, uninterrupted["crops"])


def test_a_signal_before_the_first_step_ends_the_run_at_once(uninterrupted, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr(ImitationTask, "on_validation_epoch_start", lambda _: interrupt())
        with pytest.raises(Interrupted, match=stopped_after(0)):
            run(configuration("crops"), folder.path)
    assert not folder.checkpoint("last").exists()
    go_on(folder)
    assert_same_run(folder, uninterrupted["crops"])


def test_a_signal_while_the_end_is_measured_loses_nothing(uninterrupted, tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("convexp.runs.report.save_pictures", lambda *_, **__: interrupt())
        with pytest.raises(Interrupted, match=stopped_after(20)):
            run(configuration("crops"), folder.path)
    assert not folder.finished
    go_on(folder)
    assert_same_run(folder, uninterrupted["crops"])


def test_the_line_to_resume_survives_a_shell_and_hydra(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "model=deep,lr=1e-3 (2)")
    strike(monkeypatch, "training_step", 0, interrupt)
    with pytest.raises(Interrupted) as caught:
        run(configuration("crops"), folder.path)
    (argument,) = shlex.split(str(caught.value).partition("train.py ")[2])
    with initialize_config_module("convexp.configs", version_base="1.3"):
        assert compose("train", overrides=[argument]).resume == str(folder.path)


STRUCK = """
import os, sys
from convexp.runs.command import train
from convexp.training.task import ImitationTask

step, number = int(sys.argv.pop(1)), int(sys.argv.pop(1))
training_step = ImitationTask.training_step

def struck(task, *arguments):
    if task.global_step == step:
        os.kill(os.getpid(), number)
    return training_step(task, *arguments)

ImitationTask.training_step = struck
train()
"""


@pytest.mark.slow
def test_a_run_struck_thrice_ends_as_if_nothing_had_happened(uninterrupted, tmp_path, command, forked, monkeypatch):
    def process(step, number, arguments):
        begun = forked(STRUCK, [str(step), str(int(number)), *arguments])
        begun.join(200)
        return begun.exitcode, Path(f"{begun.name}.err").read_text()

    code, err = process(3, signal.SIGINT, [*TINY, *RECIPES["crops"]])
    assert code == 130, err
    (path,) = (tmp_path / "outputs" / "edges-deep").iterdir()
    line = (
        "convexp: stopped after {} of 20 steps; to continue: python train.py " + f"resume={path.relative_to(tmp_path)}"
    )
    assert err.splitlines()[-1] == line.format(4)
    assert "Traceback" not in err
    argument = line.partition("train.py ")[2]

    assert process(7, signal.SIGKILL, [argument])[0] == -signal.SIGKILL
    assert contents(RunFolder(path), "last")["global_step"] == 6

    time.sleep(1)  # event files are read by the second, then by the process; this one is older than the second
    with monkeypatch.context() as patch:
        strike(patch, "training_step", 12, lambda: os.kill(os.getpid(), signal.SIGTERM))
        code, _, err = command(argument)
    assert code == 143, err
    assert err.splitlines()[-1] == line.format(13)
    assert "Traceback" not in err

    go_on(RunFolder(path))
    assert_same_run(RunFolder(path), uninterrupted["crops"], resumed=3)


def test_a_finished_run_is_not_resumed(uninterrupted):
    with pytest.raises(
        ConvexpError, match=r"run is finished: there is nothing to resume; its result is in .*metrics\.json"
    ):
        go_on(uninterrupted["crops"])
