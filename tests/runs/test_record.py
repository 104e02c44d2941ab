import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convexp.errors import ConvexpError
from convexp.runs.folder import RunFolder
from convexp.runs.record import (
    Record,
    canonical,
    differing,
    find_records,
    keys_of,
    number,
    one_line,
    read_record,
    shown,
    value_of,
)

CONFIG = {
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001, "betas": [0.9, 0.99]},
    "model": {"_target_": "torch.nn.Conv2d", "kernel_size": 3},
    "seed": 0,
    "outputs": "outputs",
    "resume": None,
    "choices": {"model": "single", "optimizer": "adam", "experiment": None},
}
METRICS = {
    "best": {"step": 40, "val/mse": 0.25, "val/psnr": 6.0, "val/ssim": None},
    "final": {"step": 50, "val/mse": 0.5, "val/psnr": 3.0, "val/ssim": None},
    "optimum": {"gap": 0.125},
    "steps": 50,
    "seconds": 2.5,
    "parameters": 27,
    "seed": 0,
}

HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def folder_with(path, metrics=None, **config):
    path.mkdir(parents=True, exist_ok=True)
    folder = RunFolder(path)
    folder.write_config({**CONFIG, **config})
    if metrics is not None:
        folder.write_metrics(metrics)
    return path


def record(**config):
    return Record(Path("run"), "finished", {**CONFIG, **config}, METRICS)


@pytest.fixture
def holder(tmp_path):
    """A process that works on a run, as far as the lock tells."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_finished_run(tmp_path):
    found = read_record(folder_with(tmp_path, METRICS))
    assert found == Record(tmp_path, "finished", CONFIG, METRICS, None)


def test_a_run_is_running_as_long_as_its_process_lives(tmp_path, holder):
    folder_with(tmp_path)
    (tmp_path / "failure.json").write_text('{"reason": "of an earlier attempt"}')
    assert [read_record(tmp_path).status for _ in range(3)] == ["running"] * 3
    holder.kill()
    holder.wait()
    (tmp_path / "failure.json").unlink()
    assert read_record(tmp_path).status == "interrupted"


def test_a_pruned_run_says_why_until_it_is_completed(tmp_path):
    folder = RunFolder(folder_with(tmp_path))
    folder.write_pruned("after 4 of 8 steps:\nval/mse 2 is worse", step=4)
    assert json.loads((tmp_path / "pruned.json").read_text())["step"] == 4
    assert read_record(tmp_path) == Record(tmp_path, "pruned", CONFIG, {}, "after 4 of 8 steps: val/mse 2 is worse")
    folder.write_metrics(METRICS)
    assert read_record(tmp_path).status == "finished"


def test_a_pruned_run_that_is_worked_on_is_running(tmp_path, holder):
    RunFolder(folder_with(tmp_path)).write_pruned("after 4 of 8 steps", step=4)
    assert read_record(tmp_path).status == "running"


def test_its_metrics_end_a_run_that_still_holds_its_lock(tmp_path, holder):
    assert read_record(folder_with(tmp_path, METRICS)).status == "finished"


def test_asking_leaves_no_lock(tmp_path):
    folder_with(tmp_path)
    with (tmp_path / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH)  # another one asks at this moment
        assert read_record(tmp_path).status == "interrupted"
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert read_record(tmp_path).status == "running"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"reason": "the loss is nan at step 3"}', "the loss is nan at step 3"),
        ('{"reason": "two\\nlines \\u001b[31mred"}', "two lines [31mred"),
        ('{"reason": 3}', "failure.json cannot be read"),
        ("[]", "failure.json cannot be read"),
        ('{"rea', "failure.json cannot be read"),
    ],
)
def test_a_failed_run_says_why(tmp_path, text, reason):
    folder_with(tmp_path)
    (tmp_path / "failure.json").write_text(text)
    assert read_record(tmp_path) == Record(tmp_path, "failed", CONFIG, {}, reason)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"best": {"val/mse": 0.', "metrics.json cannot be read: "),
        (b"", "metrics.json cannot be read: Expecting value"),
        (bytes(range(256)), "metrics.json cannot be read: "),
        (b"[" * 100_000, "metrics.json cannot be read: "),
        (b"[1, 2]", "metrics.json is not what a run writes: it has no best metrics"),
        (b'{"best": {}}', "metrics.json is not what a run writes: it has no final metrics"),
        (b'{"best": [], "final": {}}', "metrics.json is not what a run writes: it has no best metrics"),
        (b'{"best": {"val/mse": "low"}, "final": {}}', "metrics.json is not what a run writes: best val/mse is no num"),
        (b'{"best": {"step": 1%s}, "final": {}}' % (b"0" * 400), "metrics.json is not what a run writes: best step is"),
    ],
    ids=["truncated", "empty", "garbage", "deep", "list", "half", "no mapping", "text", "huge"],
)
def test_damaged_metrics_are_said(tmp_path, content, reason):
    (folder_with(tmp_path) / "metrics.json").write_bytes(content)
    found = read_record(tmp_path)
    assert (found.status, found.config, found.metrics) == ("unreadable", CONFIG, {})
    assert found.reason.startswith(reason)
    assert "\n" not in found.reason


def test_metrics_that_are_a_folder(tmp_path):
    (folder_with(tmp_path) / "metrics.json").mkdir()
    assert read_record(tmp_path).status == "unreadable"


def test_what_is_not_finite_is_none(tmp_path):
    folder_with(tmp_path)
    (tmp_path / "metrics.json").write_text('{"best": {"val/mse": NaN, "val/psnr": -Infinity}, "final": {}}')
    assert read_record(tmp_path).metrics["best"] == {"val/mse": None, "val/psnr": None}


@pytest.mark.parametrize(
    "content", [b"", b"model: [1,\nb: }", b"[1]", b"\xff\xfe\x00", b"a: &a [*a]", b"a: 2026-99-99"]
)
def test_a_damaged_configuration_is_said(tmp_path, content):
    folder_with(tmp_path, METRICS)
    (tmp_path / "config.yaml").write_bytes(content)
    found = read_record(tmp_path)
    assert (found.status, found.config, found.metrics) == ("unreadable", {}, {})
    assert found.reason.startswith("config.yaml ")
    assert "\n" not in found.reason


def test_runs_are_found_at_any_depth(tmp_path):
    names = ["a", *(f"sweeps/a/seed={seed}" for seed in range(9)), "sweeps/b"]
    for name in (*names[::2], *names[1::2]):
        folder_with(tmp_path / name)
    folder_with(tmp_path / "a" / "inspect")  # belongs to its run
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "sweeps" / "loop").symlink_to(tmp_path)
    (tmp_path / "empty").mkdir()
    found = [str(record.path.relative_to(tmp_path)) for record in find_records(tmp_path)]
    assert found == names
    assert [record.path for record in find_records(str(tmp_path / "a"))] == [tmp_path / "a"]


def test_folders_without_runs_are_said(tmp_path):
    with pytest.raises(ConvexpError, match=r"^/.* holds no run: no folder in it has a config\.yaml; pass one that hol"):
        find_records(tmp_path)
    with pytest.raises(ConvexpError, match=r"^/.*/nowhere: there is no such folder; pass one that holds runs, as outp"):
        find_records(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", "finished"),
        ("model", "single"),
        ("experiment", None),
        ("model.kernel_size", 3),
        ("optimizer.betas", [0.9, 0.99]),
        ("seed", 0),
        ("step", 40),
        ("val/psnr", 6.0),
        ("best/val/psnr", 6.0),
        ("final/val/psnr", 3.0),
        ("val/ssim", None),
        ("seconds", 2.5),
        ("parameters", 27),
        ("optimum.gap", 0.125),
        ("model.kernel", None),
        ("seed.more", None),
        ("final/", None),
        ("", None),
    ],
)
def test_values_by_name(key, value):
    assert value_of(record(), key) == value


def test_values_of_a_run_of_which_nothing_is_known():
    assert value_of(Record(Path("run"), "unreadable", {}, {}), "val/psnr") is None
    assert value_of(Record(Path("run"), "unreadable", {}, {}), "status") == "unreadable"


def test_every_name_has_a_value():
    names = list(keys_of(record(overrides=["seed=0"])))
    metrics = {"val/mse", "final/val/mse", "best/val/mse", "steps", "optimum.gap"}
    assert {"status", "model", "optimizer.lr", *metrics} < set(names)
    assert {name for name in names if value_of(record(), name) is None} == {
        "resume",
        "experiment",
        "val/ssim",
        "final/val/ssim",
        "best/val/ssim",
    }


def test_what_differs_in_the_order_typed_and_the_seed_last():
    typed = ["seed=1", "optimizer.lr=1e-2", "+model.kernel_size=5", "outputs=runs", "optimizer.betas=[0.9,0.99]"]
    changed = record(
        overrides=typed,
        seed=1,
        outputs="runs",
        optimizer={**CONFIG["optimizer"], "lr": 0.01},
        model={"_target_": "torch.nn.Conv2d", "kernel_size": 5},
    )
    assert differing([record(overrides=["seed=0"]), changed]) == ["optimizer.lr", "model.kernel_size", "seed"]
    assert differing([changed, changed]) == []


def test_a_choice_differs_by_its_name():
    other = record(choices={**CONFIG["choices"], "model": "deep"}, overrides=["model=deep", "~loss"])
    assert differing([record(overrides=["model=single"]), other]) == ["model"]


def test_of_older_runs_choices_and_seed_differ():
    other = record(seed=1, choices={**CONFIG["choices"], "optimizer": "sgd"}, overrides="damaged")
    assert differing([record(), other]) == ["optimizer", "seed"]


def test_nothing_differs_from_a_run_of_which_nothing_is_known():
    unreadable = Record(Path("bad"), "unreadable", {}, {})
    assert differing([unreadable, record(overrides=["seed=0"]), record(overrides=["seed=0"])]) == []


def test_numbers():
    assert [number(value) for value in (3, 2.5, True, "3", None, float("nan"), float("inf"), 10**400)] == [
        3.0,
        2.5,
        *[None] * 6,
    ]


def test_texts():
    assert [shown(value) for value in (None, True, 0.00123456, 12345678, [1, 2], "a\nb")] == [
        "–",
        "true",
        "0.001235",
        "12345678",
        "[1, 2]",
        "a b",
    ]
    assert one_line(" a\t\x1b[0m\u202eb ") == "a [0m b"
    assert canonical({"b": 1, "a": [{"y": 1, "x": None}]}) == canonical({"a": [{"x": None, "y": 1}], "b": 1})
    assert canonical({"a": 1}) != canonical({"a": "1"})


def test_metrics_as_a_run_writes_them(tmp_path):
    folder_with(tmp_path, {**METRICS, "best": {**METRICS["best"], "val/mse": float("nan")}})
    assert read_record(tmp_path).status == "finished"
    assert json.loads((tmp_path / "metrics.json").read_text())["best"]["val/mse"] is None


@pytest.mark.parametrize("name", ["run.lock", "metrics.json", "pruned.json", "failure.json"])
def test_a_pipe_in_a_run_is_not_waited_for(tmp_path, name):
    path = folder_with(tmp_path / "run")
    os.mkfifo(path / name)
    record = read_record(path)
    assert (record.status, record.reason) == {
        "run.lock": ("interrupted", None),
        "metrics.json": ("unreadable", "metrics.json cannot be read: it is a folder, a pipe or a device"),
        "pruned.json": ("pruned", "pruned.json cannot be read"),
        "failure.json": ("failed", "failure.json cannot be read"),
    }[name]
