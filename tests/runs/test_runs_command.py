"""What `convexp runs` prints and says."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from convexp.runs.folder import RunFolder
from convexp.runs.runs_command import list_runs


def make(name, mse=None, *, model="single", seed=0, reason=None):
    path = Path("outputs", name)
    path.mkdir(parents=True)
    folder = RunFolder(path)
    words = [f"model={model}", f"seed={seed}"]
    part = {"_target_": "torch.nn.Conv2d"}
    folder.write_config({"model": part, "seed": seed, "choices": {"model": model}, "overrides": words})
    if mse is not None:
        best = {"step": 9, "train/mse": mse, "val/mse": mse, "val/r2": 0.5, "val/psnr": 20 * mse, "val/ssim": 0.25}
        folder.write_metrics({"best": best, "final": best, "seconds": 1.25})
    if reason is not None:
        (path / "failure.json").write_text(json.dumps({"reason": reason}))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make("single/a", 0.5)
    make("single/b", 0.25, seed=1)
    make("deep/c", 0.125, model="deep")
    make("deep/d", model="deep", seed=1, reason="the loss is nan at step 3")
    return tmp_path


def printed(capsys, *arguments):
    list_runs(arguments)
    return capsys.readouterr().out


def refusal(*arguments):
    with pytest.raises(SystemExit) as stopped:
        list_runs(arguments)
    return stopped.value.code


def test_both_tables(here, capsys):
    assert printed(capsys) == (
        "run       status    model   seed  step  train/mse  val/mse  val/r2  val/psnr  val/ssim  seconds  reason\n"
        "deep/c    finished  deep       0     9      0.125    0.125     0.5       2.5      0.25     1.25  –\n"
        "single/b  finished  single     1     9       0.25     0.25     0.5         5      0.25     1.25  –\n"
        "single/a  finished  single     0     9        0.5      0.5     0.5        10      0.25     1.25  –\n"
        "deep/d    failed    deep       1     –          –        –       –         –         –        –  "
        "the loss is nan at step 3\n"
        "\n"
        "mean ± standard deviation over seeds\n"
        "model   n       train/mse     val/mse       val/r2   val/psnr   val/ssim  seconds\n"
        "deep    1 of 2  0.125         0.125         0.5      2.5        0.25      1.25\n"
        "single  2       0.375 ± 0.18  0.375 ± 0.18  0.5 ± 0  7.5 ± 3.5  0.25 ± 0  1.25 ± 0\n"
    )


def test_a_folder_an_order_and_conditions(here, capsys):
    shown = printed(capsys, "outputs/single", "--sort", "val/psnr").split("\n\n")[0].splitlines()
    assert [row.split()[0] for row in shown] == ["run", "a", "b"]
    shown = printed(capsys, "--where", "model=deep", "seed=1", "--where", "status!=finished").splitlines()
    assert [row.split()[:2] for row in shown] == [["run", "status"], ["deep/d", "failed"]]
    shown = printed(capsys, "--where", "seed=1", "--where", "val/mse<1").splitlines()
    assert [row.split()[0] for row in shown] == ["run", "single/b"]


def test_a_damaged_run_is_a_row_among_others(here, capsys):
    Path("outputs/single/a/metrics.json").write_text('{"best": {"val/')
    (row,) = (row for row in printed(capsys).splitlines() if row.startswith("single/a"))
    assert row.split()[1] == "unreadable"
    assert "metrics.json cannot be read: Unterminated string" in row


def test_csv_into_a_file_or_the_terminal(here, capsys):
    assert "single/a" in printed(capsys, "--csv", "results.csv")
    rows = list(csv.DictReader(io.StringIO(printed(capsys, "--csv", "-"))))
    with Path("results.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == rows
    assert [row["run"] for row in rows] == ["deep/c", "single/b", "single/a", "deep/d"]
    assert [row["val/mse"] for row in rows] == ["0.125", "0.25", "0.5", ""]


def test_json(here, capsys):
    rows = json.loads(printed(capsys, "--json", "--where", "model=deep"))
    assert [(row["run"], row["val/mse"], row["reason"]) for row in rows] == [
        ("deep/c", 0.125, None),
        ("deep/d", None, "the loss is nan at step 3"),
    ]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere"], "convexp: nowhere: there is no such folder; pass one that holds runs, as outputs"),
        (["empty"], "convexp: empty holds no run: no folder in it has a config.yaml; pass one that holds runs"),
        (["--sort", "psnr"], "convexp: sort=psnr: no run has a value of this name; did you mean val/psnr?; there are "),
        (["--where", "modle=deep"], "convexp: modle=deep: no run has a value of this name; did you mean model?; there"),
        (["--where", "seed=0", "outputs"], "convexp: outputs: not understood; write a condition as model=deep or 'v"),
        (["--where", "seed=7", "model=deep"], "convexp: no run in outputs meets seed=7 and model=deep"),
        (["--csv", "nowhere/x.csv"], "convexp: nowhere/x.csv cannot be written (No such file or directory); name ano"),
    ],
)
def test_mistakes_are_one_line(here, capsys, arguments, line):
    Path("empty").mkdir()
    said = refusal(*arguments)
    assert said.startswith(line)
    assert "\n" not in said
    assert capsys.readouterr() == ("", "")


def test_json_and_csv_cannot_both_be_printed(here, capsys):
    assert refusal("--json", "--csv", "-") == 2
    assert "give one of them" in capsys.readouterr().err


def test_nothing_heavy_is_imported_and_a_closed_pipe_is_no_error(here):
    code = (
        "import sys; from convexp.runs.runs_command import list_runs; list_runs([]); "
        "sys.exit(' '.join({'torch', 'hydra', 'numpy'} & {*sys.modules}) or 0)"
    )
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")
