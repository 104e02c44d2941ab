"""What a sweep leaves, and what the same command does with it."""

import csv
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from convexp.images import shapes, write_image
from convexp.runs.folder import RunFolder
from convexp.runs.sweep import Sweep

TRAIN = Path(__file__).parents[1] / "train.py"
TINY = ["-m", "data=shapes", "data.height=37", "data.width=41", "trainer=cpu", "trainer.max_steps=2"]
WORKER = "from convexp.runs.command import train; train()"
GRID = ["optimizer=sgd", "optimizer.lr=1e-2,1e-1", "seed=0,1"]
NAMES = [f"lr={lr},seed={seed}" for lr in ("0.01", "0.1") for seed in (0, 1)]


def results(folder):
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def measured(folder):
    """What a sweep came to, without what differs from one time to the next."""
    return sorted(
        ({key: value for key, value in row.items() if key != "seconds"} for row in results(folder)),
        key=lambda row: row["run"],
    )


def test_a_sweep_leaves_a_folder_for_each_run_and_a_table(command, tmp_path):
    code, out, _ = command(*TINY, *GRID)
    assert code == 0
    folder = tmp_path / "outputs/sweeps/highpass-single"
    assert sorted(path.parent.name for path in folder.glob("*/metrics.json")) == NAMES
    table = out.rpartition("\nrun ")[2].splitlines()
    assert table[0].split() == [
        "optimizer.lr", "seed", "step", "train/mse", "val/mse", "val/r2", "val/psnr", "val/ssim", "seconds",
    ]  # fmt: skip
    losses = [float(row["val/mse"]) for row in results(folder)]
    assert losses == sorted(losses)
    assert [line.split()[0] for line in table[1:5]] == [row["run"] for row in results(folder)]
    assert "mean ± standard deviation over seeds" in out
    assert (folder / "comparison.png").stat().st_size > 10_000
    assert not list(folder.glob("*/run.lock"))


def test_the_same_command_repeats_nothing(command, tmp_path):
    command(*TINY, *GRID)
    folder = tmp_path / "outputs/sweeps/highpass-single"
    before, written = measured(folder), {path: path.stat().st_mtime_ns for path in folder.glob("*/metrics.json")}
    code, out, err = command(*TINY, *GRID)
    assert (code, err) == (0, "")
    assert [f"{Path('outputs/sweeps/highpass-single', name)} is finished" in out for name in NAMES] == [True] * 4
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/metrics.json")} == written
    assert measured(folder) == before


def test_a_run_is_known_by_its_configuration_and_not_by_its_number_or_name(command, tmp_path):
    command(*TINY, "sweep=mine", "optimizer=sgd", "optimizer.lr=1e-2")
    # The same run as the second of others, its rate written another way.
    code, out, _ = command(*TINY, "sweep=mine", "optimizer=sgd", "optimizer.lr=1e-1,0.01", "seed=0,1")
    assert code == 0
    name = "data=shapes,height=37,width=41,trainer=cpu,max_steps=2,optimizer=sgd,lr=0.01"  # of all that was typed
    assert f"outputs/sweeps/mine/{name} is finished" in out
    names = {path.parent.name for path in (tmp_path / "outputs/sweeps/mine").glob("*/metrics.json")}
    assert names == {name, *NAMES[1:]}


MINE = """
from pathlib import Path
from convexp.operators import Highpass

class Fragile(Highpass):
    def forward(self, image):
        if Path("broken").exists():
            raise RuntimeError("the camera is off")
        return super().forward(image)
"""


def test_a_failed_run_is_in_the_table_and_tried_again(command, tmp_path):
    (tmp_path / "fragile.py").write_text(MINE)
    (tmp_path / "my/target").mkdir(parents=True)
    (tmp_path / "my/target/fragile.yaml").write_text("_target_: fragile.Fragile\n")
    (tmp_path / "broken").touch()
    words = ["--config-dir=my", *TINY, "sweep=mine", "target=highpass,fragile", "optimizer.lr=1,-1"]
    code, out, err = command(*words)
    assert isinstance(code, str)  # an exit status of 1
    folder = tmp_path / "outputs/sweeps/mine"
    reasons = {row["run"]: (row["status"], row["reason"]) for row in results(folder)}
    assert reasons == {
        "target=highpass,lr=1": ("finished", ""),
        "target=highpass,lr=-1": ("failed", "optimizer.lr=-1: must be a number > 0"),
        "target=fragile,lr=1": (
            "failed",
            "the target fails on shapes (1, 37, 41): RuntimeError: the camera is off",
        ),
        "target=fragile,lr=-1": ("failed", "optimizer.lr=-1: must be a number > 0"),
    }
    assert err.count(" failed: ") == 3
    assert "failed" in out

    (tmp_path / "broken").unlink()
    command(*words)
    statuses = {row["run"]: row["status"] for row in results(folder)}
    assert [name for name, status in statuses.items() if status == "failed"] == [
        name for name in sorted(statuses) if name.endswith("-1")
    ]
    assert not (folder / "target=fragile,lr=1/failure.json").exists()


def test_a_pruned_run_is_left_as_it_is(command, tmp_path):
    words = [*TINY, "sweep=mine", "optimizer=sgd", "seed=0,1"]
    command(*words)
    folder = RunFolder(tmp_path / "outputs/sweeps/mine/seed=1")
    folder.metrics.unlink()
    folder.write_pruned("after 1 of 2 steps: others are better", step=1)
    code, out, _ = command(*words)
    assert code == 0
    place = "outputs/sweeps/mine/seed=1"
    line = f"{place} was pruned after 1 of 2 steps: others are better; resume={place} takes its last steps"
    assert line in out.splitlines()
    rows = [(row["run"], row["status"], row["reason"]) for row in results(folder.path.parent)]
    assert rows == [("seed=0", "finished", ""), ("seed=1", "pruned", "after 1 of 2 steps: others are better")]
    assert not folder.finished


def test_two_commands_do_not_work_on_one_sweep(command, tmp_path):
    with Sweep(tmp_path / "outputs/sweeps/highpass-single").held():
        code, out, _ = command(*TINY, *GRID)
    assert code == (
        "convexp: another command works on the sweep outputs/sweeps/highpass-single; wait for it, or name another one, "
        "as sweep=second"
    )
    assert out == ""
    assert command(*TINY, "seed=0,1", "sweep=second")[0] == 0


@pytest.mark.parametrize("word", ["seed=range(0)", "seed=range(3,1)"])
def test_a_sweep_without_values_is_refused(command, tmp_path, word):
    code, out, err = command(*TINY, "optimizer=sgd,adam", word)
    assert (code, out, err) == (f"convexp: {word}: no value, so that there is nothing to run", "", "")
    assert not (tmp_path / "outputs").exists()


def test_the_same_run_twice_is_one(command, tmp_path):
    code, out, err = command(*TINY, "optimizer=exact", "seed=0,0,1,0")
    assert (code, err, out.count(" is finished\n")) == (0, "", 2)
    assert sorted(path.parent.name for path in tmp_path.rglob("metrics.json")) == ["seed=0", "seed=1"]


def test_a_finished_run_that_is_damaged_is_kept(command, tmp_path):
    words = [*TINY, "optimizer=exact", "sweep=mine", "seed=0,1"]
    command(*words)
    folder = tmp_path / "outputs/sweeps/mine"
    (folder / "seed=0/metrics.json").write_text("{")
    code, out, _ = command(*words)
    assert (code, out.count(" is finished\n")) == (0, 1)
    assert (folder / "seed=0/metrics.json").read_text() == "{"
    assert json.loads((folder / "seed=0-2/metrics.json").read_text())["seed"] == 0
    (row,) = [row for row in results(folder) if row["run"] == "seed=0"]
    assert row["status"] == "unreadable"
    assert row["reason"].startswith("metrics.json cannot be read: ")


@pytest.mark.parametrize(
    ("words", "folder"),
    [
        (["outputs='my out'", "sweep='my sweep'"], "my out/sweeps/my-sweep"),
        (["outputs='it\\'s'", "sweep=.."], "it's/sweeps/default"),
        (["sweep=null"], "outputs/sweeps/highpass-single"),
    ],
    ids=["spaces", "quote", "null"],
)
def test_odd_names_of_places(command, tmp_path, words, folder):
    code, _, err = command(*TINY, "optimizer=exact", "seed=3", *words)
    assert (code, err) == (0, "")
    (made,) = tmp_path.rglob("results.csv")
    assert made.parent == tmp_path / folder


@pytest.mark.parametrize("word", ["outputs=a,b", "sweep=a,b", "outputs=${oc.env:PWD}"])
def test_a_sweep_has_one_place(command, tmp_path, word):
    code, *_ = command(*TINY, "seed=0,1", word)
    assert code == f"convexp: {word}: a sweep has one place, whose name is typed out"
    assert not list(tmp_path.iterdir())


def test_a_sweep_where_the_folder_has_a_quote(command, tmp_path, monkeypatch):
    (tmp_path / "it's").mkdir()
    monkeypatch.chdir(tmp_path / "it's")
    assert command("--multi", *TINY[1:], "optimizer=exact", "seed=0,1")[0] == 0
    assert len(list(tmp_path.glob("it's/outputs/sweeps/highpass-single/*/metrics.json"))) == 2


def test_a_second_process_waits_for_a_run_that_another_one_makes(forked, tmp_path):
    words = [*TINY[1:], "optimizer=adam", "trainer.max_steps=3000", "sweep=mine", "seed=0"]
    worker = forked(WORKER, ["-m", *words])
    sweep = Sweep(tmp_path / "outputs/sweeps/mine")
    deadline = time.monotonic() + 100
    while not list(sweep.path.glob("*/run.lock")) and time.monotonic() < deadline:
        time.sleep(0.01)
    (record,) = sweep.records()
    started = time.monotonic()
    with sweep.alone(record.config["identity"]):  # until the other one has finished
        assert [record.status for record in sweep.records()] == ["finished"]
    assert time.monotonic() - started > 0.01
    worker.join(60)
    assert worker.exitcode == 0, Path(f"{worker.name}.err").read_text()


def test_changed_images_and_code_are_noticed(command, tmp_path):
    (tmp_path / "altered.py").write_text(MINE)
    (tmp_path / "my/target").mkdir(parents=True)
    (tmp_path / "my/target/altered.yaml").write_text("_target_: altered.Fragile\n")
    write_image(shapes(53, 67, seed=1), tmp_path / "a.png")
    words = ["-m", "target=altered", "data=files", "data.train=a.png", "trainer=cpu", "seed=0,1"]
    words += ["trainer.max_steps=2", "data.size=48", "--config-dir=my"]
    command(*words)
    assert command(*words)[1].count(" is finished\n") == 2
    write_image(shapes(53, 67, seed=2, count=40), tmp_path / "a.png")
    assert command(*words)[1].count(" is finished, but its data changed since: remove it to run it again\n") == 2
    (tmp_path / "altered.py").write_text(MINE + "\n")
    assert command(*words)[1].count(" is finished, but its code and data changed since: ") == 2
    (tmp_path / "outputs/sweeps/altered-single/seed=0/metrics.json").unlink()  # as if it had been interrupted
    assert "/seed=0 goes on, but its code and data changed since: remove it to run it again\n" in command(*words)[1]


def test_resume_is_of_one_run(command):
    code, *_ = command(*TINY, "resume=somewhere", "seed=0,1")
    assert str(code).startswith(
        "convexp: resume continues one run; a sweep goes on by itself when its command is given"
    )


def test_ctrl_c_ends_the_sweep_with_a_checkpoint_and_says_how_to_go_on(command, tmp_path):
    crops = ["data=shapes", "data.height=67", "data.width=71", "data.crop_size=40", "data.batch_size=4"]
    words = ["-m", *crops, "optimizer=adam", "trainer=cpu", "trainer.max_steps=100000", "checkpoint_every=10"]
    checkpoint = tmp_path / "outputs/sweeps/highpass-single/seed=0/checkpoints/last.ckpt"

    def interrupt():
        deadline = time.monotonic() + 60
        while not checkpoint.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    code, out, err = command(*words, "seed=0,1")
    thread.join()
    assert code == 128 + signal.SIGINT
    assert re.search(r"\nconvexp: stopped after \d+ of 100000 steps; the same command goes on with the sweep\n$", err)
    assert "resume=" not in err
    (record,) = Sweep(tmp_path / "outputs/sweeps/highpass-single").records()  # the second one never began
    assert record.status == "interrupted"
    assert "interrupted" in out


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_and_comes_to_the_same(command, forked, tmp_path):
    crops = ["data=shapes", "data.height=67", "data.width=71", "model=deep", "target=edges_blur", "data.crop_size=40"]
    words = ["-m", *crops, "trainer=cpu", "trainer.max_steps=60", "checkpoint_every=10", "seed=0,1,2"]
    folder = tmp_path / "outputs/sweeps/killed"
    process = forked(WORKER, [*words, "sweep=killed"])
    deadline = time.monotonic() + 100
    while not (folder / "seed=1/checkpoints/last.ckpt").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.join()
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*/metrics.json")}
    assert [path.parent.name for path in finished] == ["seed=0"]
    assert json.loads((folder / "seed=0/metrics.json").read_text())["steps"] == 60

    assert command(*words, "sweep=killed")[0] == 0
    assert all(path.stat().st_mtime_ns == moment for path, moment in finished.items())
    assert command(*words, "sweep=whole")[0] == 0
    assert measured(folder) == measured(tmp_path / "outputs/sweeps/whole")


@pytest.mark.slow
def test_runs_share_the_cores_of_a_machine(command, tmp_path):
    words = [*TINY, "optimizer=adam", "optimizer.lr=1,-1", "seed=0,1"]
    code, _, err = command(*words, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "sweep=together")
    assert code == "convexp: optimizer.lr=-1: must be a number > 0"
    assert err.count("failed: optimizer.lr=-1: must be a number > 0") == 2
    command(*words, "sweep=alone")
    together, alone = (measured(tmp_path / "outputs/sweeps" / name) for name in ("together", "alone"))
    assert together == alone
    assert [row["status"] for row in together].count("finished") == 2


def test_ddp_fails_in_the_table_too(command, tmp_path):
    code, out, _ = command(*TINY, "trainer.strategy=ddp", "seed=0,1")
    reason = "trainer.strategy=ddp with trainer.devices=1 under -m: its processes would each start all of it"
    rows = results(tmp_path / "outputs/sweeps/highpass-single")
    assert [(row["seed"], row["status"]) for row in rows] == [("0", "failed"), ("1", "failed")]
    assert all(row["reason"].startswith(reason) for row in rows)
    assert out.count(reason) == 2
    assert code.startswith(f"convexp: {reason}")


def shown(folder):
    events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return [image.step for image in events.Images("kernels/kernel")]


def test_runs_of_a_sweep_share_their_statistics_and_show_fewer_pictures(command, tmp_path):
    grid = ["sweep=grid", "optimizer=sgd,adam", "optimizer.lr=0.01", "seed=0,1"]
    command(*TINY, *grid, "trainer.max_steps=100")
    folder = tmp_path / "outputs/sweeps/grid"
    runs = sorted(path.parent for path in folder.glob("*/metrics.json"))
    assert len(runs) == 4
    assert (
        len(list((folder / "statistics").iterdir())) == 4
    )  # of each seed's shapes sums and floor, for both optimizers
    assert [shown(run) for run in runs] == [[0, 10, 100]] * 4
    command(*TINY[1:], "optimizer=adam", "optimizer.lr=0.01", "seed=0", "trainer.max_steps=100", "outputs=alone")
    (alone,) = (tmp_path / "alone").glob("*/*")
    assert shown(alone) == [0, 1, 2, 3, 6, 10, 18, 32, 56, 100]
    same = [
        json.loads((run / "metrics.json").read_text())["final"] for run in (folder / "optimizer=adam,seed=0", alone)
    ]
    assert same[0] == same[1]
    # How often a run is shown is nothing by which it is known.
    code, out, _ = command(*TINY, *grid, "trainer.max_steps=100", "pictures=0")
    assert (code, out.count("is finished")) == (0, 4)
