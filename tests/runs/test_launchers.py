"""Sweeps whose runs are on other machines: Ray's and Slurm's launchers, as far as one machine can show them."""

import csv
import os
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.errors import MissingConfigException

from convexp.runs.explanation import explain, mendable
from convexp.runs.record import find_records

TRAIN = Path(__file__).parents[2] / "train.py"
TINY = ["-m", "--config-dir=my", "target=where", "data=shapes", "data.height=37", "data.width=41", "trainer=cpu"]
TINY += ["trainer.max_steps=2", "optimizer=sgd", "sweep=far"]

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="needs convexp[ray], which is large")
needs_submitit = pytest.mark.skipif(find_spec("submitit") is None, reason="needs convexp[slurm], and two minutes")

# An operator that lies where the command is typed, and tells which node of a cluster it was on.
WHERE = """
import sys
from pathlib import Path
from convexp.operators import Highpass

class Where(Highpass):
    def forward(self, image):
        if ray := sys.modules.get("ray"):
            Path(f"node-{ray.get_runtime_context().get_node_id()}").touch()
        return super().forward(image)
"""

# Two nodes of one CPU each, until the input ends.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def here(tmp_path):
    """Where the commands are typed."""
    (tmp_path / "where.py").write_text(WHERE)
    (tmp_path / "my/target").mkdir(parents=True)
    (tmp_path / "my/target/where.yaml").write_text("_target_: where.Where\n")
    return tmp_path


@pytest.fixture
def cluster(tmp_path_factory, monkeypatch):
    """A Ray cluster, begun in another folder than the sweep."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # its sockets have names of at most 107 letters
        monkeypatch.setenv("RAY_TMPDIR", short)
        (Path(short) / "ray").mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=elsewhere, text=True
        ) as process:
            monkeypatch.setenv("RAY_ADDRESS", process.stdout.readline().strip())
            yield
            process.stdin.close()
            process.wait(60)
    assert not list(elsewhere.iterdir())


def sweep(here, *words):
    done = subprocess.run(
        [sys.executable, TRAIN, *TINY, *words], cwd=here, capture_output=True, text=True, check=False, timeout=300
    )
    with (here / "outputs/sweeps/far/results.csv").open(newline="") as file:
        return done, list(csv.DictReader(file))


def require_that_it_works(here, launcher):
    """Of two runs that learn and two that diverge the table tells; the same again repeats nothing."""
    done, rows = sweep(here, launcher, "optimizer.lr=0.1,1e30", "seed=0,1")
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[-1].startswith("convexp: val/mse is nan at step 2: the run has diverged")
    finished = [row for row in rows if row["status"] == "finished"]
    assert sorted((row["optimizer.lr"], row["seed"]) for row in finished) == [("0.1", "0"), ("0.1", "1")]
    assert len({row["val/mse"] for row in finished}) == 2
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["optimizer.lr"] for row in failed] == ["1e+30"] * 2
    assert all(row["reason"].startswith("val/mse is nan at step 2") for row in failed)
    folder = here / "outputs/sweeps/far"
    records = find_records(here / "outputs")
    assert [record.path.parent for record in records] == [folder] * 4
    assert all("lr=" in record.path.name and "target" not in record.path.name for record in records)
    assert "mean ± standard deviation over seeds" in done.stdout

    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/metrics.json")}
    done, again = sweep(here, launcher, "optimizer.lr=0.1", "seed=0,1")
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/metrics.json")} == before
    assert again == rows


@needs_ray
@pytest.mark.slow
def test_a_sweep_on_a_ray_cluster(here, cluster):
    require_that_it_works(here, "hydra/launcher=ray_cluster")
    assert len(list(here.glob("node-*"))) == 2


@needs_submitit
@pytest.mark.slow
def test_a_sweep_in_a_queue(here):
    require_that_it_works(here, "hydra/launcher=submitit_local")
    logs = (here / "outputs/sweeps/far/.submitit").glob("*/*_log.out")
    assert any("val/mse" in log.read_text() for log in logs)


@needs_submitit
@pytest.mark.slow
def test_a_run_that_the_queue_ends_is_queued_again_and_goes_on(here):
    words = ["hydra/launcher=submitit_local", "trainer.max_steps=3000", "checkpoint_every=10"]
    words += ["data.crop_size=17", "data.batch_size=2", "optimizer.lr=0.1", "seed=0"]
    command = [sys.executable, TRAIN, *TINY, *words]
    folder = here / "outputs/sweeps/far"
    with subprocess.Popen(command, cwd=here, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 100
        while not (last := list(folder.glob("*/checkpoints/last.ckpt"))) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert last
        (job,) = (path.name for path in (folder / ".submitit").iterdir() if path.name.isdigit())
        children = Path(f"/proc/{job}/task/{job}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGUSR2)  # as Slurm does before the time is up
        assert process.wait(200) == 0, process.stderr.read()
    log = (folder / f".submitit/{job}/{job}_0_log.out").read_text()
    assert log.count("Starting with JobEnvironment") == 2
    (record,) = find_records(folder)
    assert (record.status, record.metrics["steps"]) == ("finished", 3000)
    assert len(list(record.path.glob("events.out.tfevents.*"))) >= 2


def launcher(*words):
    with initialize_config_module("convexp.configs", version_base="1.3"):
        return compose("train", list(words), return_hydra_config=True).hydra.launcher


@needs_submitit
def test_slurm_queues_a_run_again_whose_time_is_up():
    words = ["hydra/launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.gpus_per_node=1"]
    composed = launcher(*words)
    assert composed._target_.endswith(".SlurmLauncher")
    assert (composed.max_num_timeout, composed.partition, composed.gpus_per_node) == (100, "gpu", 1)


@needs_ray
def test_a_run_on_a_ray_cluster_may_have_a_gpu():
    composed = launcher("hydra/launcher=ray_cluster", "hydra.launcher.ray.remote.num_gpus=1")
    assert composed.ray.remote == {"num_cpus": 1, "num_gpus": 1}


@pytest.mark.parametrize(("name", "extra"), [("ray", "ray"), ("submitit_slurm", "slurm"), ("submitit_local", "slurm")])
def test_a_launcher_that_is_not_installed_says_what_installs_it(name, extra):
    error = MissingConfigException("not found", f"hydra/launcher/{name}", ["basic", "joblib"])
    assert explain(error, []) == f"hydra/launcher={name} is not installed: pip install 'convexp[{extra}]'"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RuntimeError('Could not detect "srun", are you indeed on a slurm cluster?'),
            "hydra/launcher=slurm: there is no srun here; type it on a machine that submits to Slurm",
        ),
        (
            ConnectionError("Could not find any running Ray instance. Please specify"),
            "no connection: Could not find any running Ray instance. Please specify",
        ),
    ],
)
def test_a_cluster_that_is_not_there_is_one_line(error, line):
    assert mendable(error)
    assert explain(error, []) == line
