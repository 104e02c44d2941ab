"""What a user sees of the command: its lines, its exit status, and what it leaves behind."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import convexp
from convexp import cli
from convexp.images import shapes, write_image

TRAIN = Path(__file__).parents[1] / "train.py"
TINY = ["data=shapes", "data.height=37", "data.width=41", "trainer=cpu", "trainer.max_steps=2"]

# Runs the command once for each list of arguments, each time as a process forked from one that has imported it: a fresh
# interpreter for each would take a second. What it leaves and whether it imported torch is told, too.
FORKING = """
import json, os, sys
from pathlib import Path
from convexp.runs.command import train
for name, arguments in json.load(sys.stdin).items():
    place = Path(name)
    (place / "here").mkdir(parents=True)
    pid = os.fork()
    if pid == 0:
        for number, stream in ((1, "out"), (2, "err")):
            os.dup2(os.open(place / stream, os.O_CREAT | os.O_WRONLY), number)
        os.chdir(place / "here")
        sys.argv = ["train.py", *arguments]
        status = 0
        try:
            train()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if "torch" not in sys.modules else 99)
    print(json.dumps([name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]))
"""

FILES = {
    "model/brackets.yaml": "kernel_size: [1,\nbias: true\n",
    "model/tabs.yaml": "_target_: torch.nn.Conv2d\n\tpadding: 1\n",
    "model/nameless.yaml": "kernel_size: 3\n",
    "optimizer/entries.yaml": "- 1\n- 2\n",
    "optimizer/chained.yaml": "defaults:\n  - nope\n",
}

RULE_LR = "must be a number > 0"
MISTAKES = {
    "wrong type": (["optimizer.lr=abc"], f"optimizer.lr=abc: {RULE_LR}"),
    "negative rate": (["optimizer.lr=-1"], f"optimizer.lr=-1: {RULE_LR}"),
    "list for a number": (["optimizer.lr=[1]"], f"optimizer.lr=[1]: {RULE_LR}"),
    "mapping for a number": (["optimizer.lr={a:1}"], f"optimizer.lr={{'a': 1}}: {RULE_LR}"),
    "negative sigma": (["target.sigma=-1"], "target.sigma=-1: must be a number > 0"),
    "negative size": (["data.size=-5"], "data.size=-5: must be a whole number ≥ 1 or null"),
    "negative steps": (["trainer.max_steps=-1"], "trainer.max_steps=-1: must be a whole number ≥ 1"),
    "fraction of a step": (["trainer.max_steps=1.5"], "trainer.max_steps=1.5: must be a whole number ≥ 1"),
    "unknown objective": (["objective=pixel"], "objective=pixel: must be one of auto, statistics, pixels"),
    "no seed": (["seed=null"], "seed=null: must be a whole number from 0 to 4294967295"),
    "empty value": (["outputs="], "outputs=: must be text"),
    "unknown group": (["modle=deep"], "modle=deep: there is no such key; did you mean model?; --help lists all keys"),
    "unknown key": (
        ["trainer.max_step=3"],
        "trainer.max_step=3: there is no such key; did you mean trainer.max_steps?; --help lists all keys",
    ),
    "added key": (["+speed=3"], "speed: nothing reads this key; there are data, target, loss, trainer, scheduler, "),
    "added twice": (["+optimizer=adam"], "+optimizer=adam: optimizer has a value already; write optimizer=… once, "),
    "added value": (["+model.bias=true"], "+model.bias=true: model.bias has a value already; write model.bias=… on"),
    "deleted key": (["~seed"], "seed is missing: a run needs it; leave ~seed out"),
    "deleted group": (["~model"], "model is missing: a run needs it; leave ~model out"),
    "wrong choice": (
        ["model=depe"],
        "model=depe: no such choice; did you mean deep?; there are can24, can32, deep, single",
    ),
    "null for a choice": (["model=null"], "model=null: must be the name of one of the group's choices, as model=deep"),
    "number for a choice": (["seed=1", "loss=2"], "loss=2: must be the name of one of the group's choices, as "),
    "unknown experiment": (["experiment=mine"], "experiment=mine: no such choice; there are notebook_edges_blur, not"),
    "missing value": (["data=files"], "data.train has no value: give one, as data.train=…"),
    "no key": (["deep"], "deep: not understood; write key=value, a list as key=[1,2], and a value with special chara"),
    "open bracket": (["data.size=[1"], "data.size=[1: not understood; write key=value, a list as key=[1,2], and a va"),
    "interpolation": (["optimizer.lr=${nope}"], "optimizer.lr=${nope}: Interpolation key 'nope' not found"),
    "brackets": (["--config-dir=CONFIGS", "model=brackets"], "CONFIGS/model/brackets.yaml, line 1: not valid YAML: wh"),
    "tabs": (["--config-dir=CONFIGS", "model=tabs"], "CONFIGS/model/tabs.yaml, line 2: not valid YAML: while scanni"),
    "nameless": (
        ["--config-dir=CONFIGS", "model=nameless"],
        "model has no _target_: name the class or function to build, as model._target_=package.Name",
    ),
    "entries": (["--config-dir=CONFIGS", "optimizer=entries"], "optimizer=[1, 2]: must be one of the group's choices"),
    "chained": (["--config-dir=CONFIGS", "optimizer=chained"], "optimizer=nope: there is no optimizer/nope.yaml in t"),
    "no such folder": (["--config-dir=nowhere"], "Additional config directory '"),
    "resume nothing": (["resume=nowhere"], "nowhere is not the folder of a run: it has no config.yaml"),
    "resume finished": (["resume=FINISHED"], "FINISHED is finished: there is nothing to resume; its result is in FI"),
    "resume and more": (
        ["resume=FINISHED", "optimizer.lr=3"],
        "resume continues with the run's own configuration; leave optimizer.lr=3 out",
    ),
    "short schedule": (
        ["scheduler=one_cycle", "scheduler.total_steps=9"],
        "scheduler.total_steps=9: must be at least trainer.max_steps=150",
    ),
}


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    """The folder in which every mistake was made, and the exit statuses."""
    place = tmp_path_factory.mktemp("mistakes")
    for name, text in FILES.items():
        (place / "CONFIGS" / name).parent.mkdir(parents=True, exist_ok=True)
        (place / "CONFIGS" / name).write_text(text)
    (place / "FINISHED").mkdir()
    (place / "FINISHED/config.yaml").write_text("{model: {_target_: torch.nn.ELU}, choices: {}}")
    (place / "FINISHED/metrics.json").write_text("{}")
    cases = {
        str(place / name): [
            word.replace("=CONFIGS", f"={place}/CONFIGS").replace("=FIN", f"={place}/FIN") for word in words
        ]
        for name, (words, _) in MISTAKES.items()
    }
    done = subprocess.run([sys.executable, "-c", FORKING], input=json.dumps(cases), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return place, {Path(name).name: status for name, status in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_imported_or_written(mistakes, name):
    place, statuses = mistakes
    line = (place / name / "err").read_text().replace(f"{place}/", "")
    assert line.startswith(f"convexp: {MISTAKES[name][1]}")
    assert line.count("\n") == 1
    assert (place / name / "out").read_text() == ""
    assert statuses[name] == 1  # 99 if torch was imported
    assert list((place / name / "here").iterdir()) == []


def test_the_script_as_a_user_calls_it(tmp_path):
    done = subprocess.run([sys.executable, TRAIN, "modle=deep"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "convexp: modle=deep: there is no such key; did you mean model?; --help lists all keys\n"
    assert list(tmp_path.iterdir()) == []


def test_a_traceback_on_demand(tmp_path):
    environment = {**os.environ, "HYDRA_FULL_ERROR": "1"}
    command = [sys.executable, TRAIN, "seed=-1"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("ConvexpError: seed=-1: must be a whole number from 0 to 4294967295\n")


def test_a_run_leaves_its_folder_and_a_table(command, tmp_path):
    code, out, err = command(*TINY)
    assert code == 0
    assert err == "" or err.startswith("WARNING: the output explains ")
    (folder,) = (tmp_path / "outputs/highpass-single").iterdir()
    assert "tensorboard --logdir outputs --samples_per_plugin images=1000\n" in out
    assert str(folder.relative_to(tmp_path)) in out
    assert {path.name.partition(".")[0] for path in folder.iterdir()} == {
        "checkpoints",
        "comparison",
        "config",
        "events",
        "kernels",
        "loss",
        "metrics",
        "val_images",
    }
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 2
    assert config["choices"]["target"] == "highpass"
    assert convexp.load_run(folder)(torch.zeros(1, 1, 17, 23)).shape == (1, 1, 15, 21)


def results(tmp_path):
    (folder,) = (tmp_path / "outputs/highpass-single").iterdir()
    return json.loads((folder / "metrics.json").read_text()), folder


def test_a_linear_run_knows_its_optimum(command, tmp_path):
    code, out, _ = command(*TINY, "optimizer=sgd", "optimizer.lr=0.1", "trainer.log_every_n_steps=1")
    assert code == 0
    assert "one 3×3 convolution, mean squared error: trains on the statistics of 1,085 pixels, found in " in out
    metrics, folder = results(tmp_path)
    optimum = metrics["optimum"]
    assert metrics["objective"] == "statistics"
    assert (1 + optimum["gap"]) * optimum["mse"] == pytest.approx(metrics["final"]["train/mse"], rel=1e-4)
    assert optimum["condition_number"] > 1
    assert optimum["learning_rate_limit"] > 0.1
    assert sum(value for name, value in optimum["floor"].items() if name != "kernel_size") == pytest.approx(
        optimum["mse"], rel=1e-6
    )
    assert f"least train/mse that is possible: {optimum['mse']:.4e} (" in out
    events = EventAccumulator(str(folder)).Reload()
    assert {"train/gap", "train/optimum", "train/gradient_descent"} <= set(events.Tags()["scalars"])
    # At its own constant rate gradient descent is what the closed form says.
    losses, predicted = (
        [event.value for event in events.Scalars(f"train/{name}")] for name in ("loss", "gradient_descent")
    )
    assert losses[:2] == pytest.approx(predicted[:2], rel=1e-5)


def test_the_exact_step_arrives(command, tmp_path):
    code, out, _ = command(*TINY, "optimizer=exact", "trainer.max_steps=1", "data.crop_size=17", "data.batch_size=2")
    assert code == 0
    assert "not of the samples that data.crop_size=17 would take, but of all pixels" in out
    assert "after 1 step less than 0.0001 % above it: there is nothing left to learn" in out
    metrics, _ = results(tmp_path)
    assert metrics["final"]["train/mse"] == pytest.approx(metrics["optimum"]["mse"], rel=1e-5)


def test_too_large_a_rate_is_warned_of_before_the_first_step(command, tmp_path):
    _, _, err = command(*TINY, "optimizer=sgd", "optimizer.lr=9", "trainer.gradient_clip_val=null")
    assert err.startswith("WARNING: lr 9 is above the limit 0.")
    assert err.splitlines()[0].endswith(": this will diverge")


def test_other_models_are_held_against_the_best_linear_filter(command, tmp_path):
    code, out, _ = command(*TINY, "loss=l1")
    assert code == 0
    assert "trains on pixels: the loss L1Loss is not the mean squared error" in out
    metrics, _ = results(tmp_path)
    assert metrics["objective"] == "pixels"
    best = metrics["best_linear_filter"]
    assert best["kernel_size"] == [3, 3]
    assert best["val/r2"] > metrics["final"]["val/r2"]
    assert f"the best linear 3×3 filter {100 * best['val/r2']:.3g} %" in out


def test_a_finished_run_is_never_overwritten(command, tmp_path):
    command(*TINY)
    (folder,) = (tmp_path / "outputs/highpass-single").iterdir()
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    code, out, _ = command(f"resume={folder}")
    assert code == f"convexp: {folder} is finished: there is nothing to resume; its result is in {folder}/metrics.json"
    assert out == ""
    command(*TINY)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert len(list((tmp_path / "outputs/highpass-single").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["model=deep", "optimizer=exact", "data.crop_size=29"],
            "optimizer=exact solves for the weights of one convolution with loss=mse; ",
        ),
        (["objective=statistics", "loss=l1"], "objective=statistics: the loss L1Loss is not the mean squared error; "),
        (["model._target_=torch.nn.Conv3"], "model=torch.nn.Conv3: No module named 'torch.nn.Conv3'"),
        (
            ["+model.speed=3"],
            "model=torch.nn.modules.conv.Conv2d: Conv2d.__init__() got an unexpected keyword argument",
        ),
        (["+optimizer.speed=3"], "optimizer=torch.optim.lbfgs.LBFGS: LBFGS.__init__() got an unexpected keyword arg"),
        (["model._target_=torch.zeros", "model._partial_=false"], "model=torch.zeros: zeros()"),
        (["model._target_=builtins.dict"], "model=builtins.dict is no torch.nn.Module"),
        (["target._target_=builtins.dict"], "the target fails on "),
        (["data._target_=builtins.dict"], "data=builtins.dict is no convexp.training.ImageData"),
        (
            ["+trainer.speed=3"],
            "trainer.accelerator=cpu trainer.devices=1 trainer.precision=32-true: Trainer.__init__()",
        ),
        (["data.crop_size=99", "data.batch_size=4"], "shapes is 37×41, smaller than data.crop_size=99; use smaller"),
        (["outputs=blocked"], "blocked/highpass-single/"),
        (["outputs=blocked/deeper"], "blocked/deeper/highpass-single/"),
    ],
)
def test_what_only_the_parts_can_tell_is_one_line_too(command, tmp_path, arguments, message):
    (tmp_path / "blocked").write_text("a file is in the way")
    code, out, err = command(*TINY, *arguments)
    assert str(code).startswith(f"convexp: {message}"), code
    assert "\n" not in code
    assert (out, err) == ("", "")
    assert [path.name for path in tmp_path.iterdir()] == ["blocked"]


def test_an_image_that_is_not_there_is_one_line(command, tmp_path):
    code, out, _ = command("data=files", "data.train=cat.png", "trainer=cpu", "trainer.max_steps=2")
    assert (code, out) == ("convexp: cat.png does not exist", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_one_line(command, tmp_path):
    code, out, err = command("trainer=gpu", "data=shapes")
    assert code.startswith("convexp: trainer.accelerator=gpu trainer.devices=1 trainer.precision=32-true: ")
    assert code.endswith("; trainer=auto takes what this machine has")
    assert (out, err) == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_what_was_there(command, tmp_path, monkeypatch):
    def full(self, text, encoding):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    code, out, _ = command(*TINY)
    assert code.startswith("convexp: outputs/highpass-single/")
    assert code.endswith("config.yaml cannot be written (No space left on device); free some space, then start again")
    assert out == ""


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("trainer.strategy=ddp", "trainer.strategy=ddp with trainer.devices=1"),
        ("trainer.devices=2", "trainer.strategy=auto with trainer.devices=2"),  # Lightning then takes ddp
        ("trainer=ddp", "trainer.strategy=ddp with trainer.devices=auto"),
    ],
)
def test_a_sweep_refuses_ddp(command, argument, told):
    code, _, err = command("-m", argument)
    assert code == (
        f"convexp: {told} under -m: its processes would each start all of it; use trainer.strategy=ddp_spawn"
    )
    assert err.startswith(f"convexp: job 0 ({argument}) failed: {told} under -m: ")


def test_a_failing_job_stops_no_other(command, tmp_path):
    code, out, err = command("-m", "optimizer.lr=0.5,abc,1.0", *TINY)
    assert code == "convexp: optimizer.lr=abc: must be a number > 0"
    rest = " ".join(TINY)
    lines = [line for line in err.splitlines() if line.startswith("convexp: ")]
    assert lines == [f"convexp: job 1 (optimizer.lr=abc {rest}) failed: optimizer.lr=abc: must be a number > 0"]
    assert "Traceback" not in err
    (sweep,) = (tmp_path / "outputs/sweeps").iterdir()
    finished = sorted(path.parent.name for path in sweep.glob("*/metrics.json"))
    assert [name.partition(",")[0] for name in finished] == ["lr=0.5", "lr=1.0"]
    assert out.count("tensorboard --logdir") == 3  # of each run, and of the sweep


def test_of_many_validation_images_the_worst_are_shown_and_what_cannot_be_read_is_counted(command, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(9):
        write_image(shapes(37, 41, seed=number), tmp_path / f"photos/{number}.png")
    (tmp_path / "photos/bad.png").write_bytes((tmp_path / "photos/0.png").read_bytes()[:90])
    code, out, err = command("data=files", "data.train=photos", "data.val_fraction=0.5", "trainer.max_steps=2")
    assert code == 0
    assert "convexp: photos/bad.png cannot be decoded" in err
    assert "  could not be read, left out (1): bad" in out.splitlines()
    (folder,) = (tmp_path / "outputs/highpass-single").iterdir()
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["left_out"] == {"count": 1, "names": ["bad"]}
    names = [row.partition(",")[0] for row in (folder / "val_images.csv").read_text().splitlines()[1:]]
    assert 4 <= len(set(names)) == len(names) <= 5
    assert "bad" not in names
    tags = EventAccumulator(str(folder)).Reload().Tags()["images"]
    assert {"worst/1", "worst/2", "worst/3"} <= set(tags)
    assert (folder / "worst.png").stat().st_size > 1000


def test_a_strangers_run_is_not_resumed(command, tmp_path):
    command(*TINY)
    (folder,) = (tmp_path / "outputs/highpass-single").iterdir()
    (folder / "metrics.json").unlink()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["target"] = {"_target_": "os.mkdir", "path": "trap", "_partial_": False}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    code, out, _ = command(f"resume={folder}")
    assert code.startswith("convexp: _target_: os.mkdir is refused: it is no module, optimizer, scheduler or data of ")
    assert out == ""
    assert not (tmp_path / "trap").exists()


def test_a_damaged_checkpoint_is_not_resumed(command, tmp_path):
    command(*TINY)
    (folder,) = (tmp_path / "outputs/highpass-single").iterdir()
    (folder / "metrics.json").unlink()
    last = folder / "checkpoints/last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    code, _, _ = command(f"resume={folder}")
    assert code.startswith(f"convexp: {last} is damaged, or no checkpoint: ")
    assert "\n" not in code


@pytest.fixture
def convexp_command(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["convexp", *arguments])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        return code, capsys.readouterr().out

    return run


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_the_commands_are_listed(convexp_command, arguments):
    code, out = convexp_command(*arguments)
    assert code == 0
    assert out.startswith("usage: convexp COMMAND …\n")
    words = {
        "train": "learn an operator",
        "filter": "see an ",
        "runs": "compare runs",
        "inspect": "look inside a trained",
    }
    assert all(f"  {command:10}{what}" in out for command, what in words.items())


def test_control_c_while_a_command_begins_is_no_traceback(convexp_command, monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("convexp.analysis.identify.command.identify_pair", interrupted)
    assert convexp_command("identify", "before.png", "after.png") == (130, "")


@pytest.mark.parametrize(("typed", "suggestion"), [("trian", "; did you mean train?"), ("fly", "")])
def test_an_unknown_command_is_one_line(convexp_command, typed, suggestion):
    line = f"convexp: {typed}: no such command{suggestion}; there are {', '.join(cli.COMMANDS)}"
    assert convexp_command(typed) == (line, "")


def test_the_installed_command_is_the_same(tmp_path):
    done = subprocess.run(
        [Path(sys.executable).with_name("convexp"), "train", "seed=-1"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "convexp: seed=-1: must be a whole number from 0 to 4294967295\n"
    assert list(tmp_path.iterdir()) == []
