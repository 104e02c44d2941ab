import json
import select
import subprocess
import sys

import pytest
import torch

from convexp.runs.devices import gpus_to_choose_from, own_gpu
from convexp.runs.parts import make_trainer

AUTO = {"accelerator": "auto", "devices": 1, "strategy": "auto"}
SETTINGS = {"max_steps": 2, "val_check_interval": 2}

# A worker says which GPU it has, and keeps it until its input ends.
WORKER = """
import sys
from convexp.runs.devices import own_gpu
with own_gpu(2, sys.argv[1]) as gpu:
    print(gpu, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    workers = []

    def begin():
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        workers.append(subprocess.Popen([sys.executable, "-c", WORKER, tmp_path], text=True, **pipes))
        return workers[-1]

    yield begin
    for worker in workers:
        with worker:  # closes its pipes
            worker.kill()


def test_each_worker_has_a_gpu_of_its_own_and_a_further_one_waits(start):
    first, second = start(), start()
    assert {first.stdout.readline(), second.stdout.readline()} == {"0\n", "1\n"}
    third = start()
    assert select.select([third.stdout], [], [], 1)[0] == []  # says nothing
    second.stdin.close()
    assert third.stdout.readline() in ("0\n", "1\n")


def test_a_gpu_is_free_again_after_a_run_that_fails_or_is_killed(start, tmp_path):
    with pytest.raises(ZeroDivisionError), own_gpu(2, tmp_path) as gpu:
        _ = 1 / gpu
    killed = start()
    assert killed.stdout.readline() == "0\n"
    with own_gpu(2, tmp_path) as gpu:
        assert gpu == 1
    killed.kill()
    killed.wait()
    with own_gpu(2, tmp_path) as gpu:
        assert gpu == 0


def test_the_gpus_that_a_process_sees_count_by_their_own_names(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, GPU-8f")
    with own_gpu(2, tmp_path) as first, own_gpu(2, tmp_path) as second:
        assert (first, second) == (0, 1)
    assert {path.name.rpartition("-gpu-")[2] for path in tmp_path.iterdir()} == {"4.lock", "GPU-8f.lock"}


@pytest.mark.parametrize("count", [0, 1])
def test_where_there_is_no_choice_none_is_made(count, tmp_path):
    with own_gpu(count, tmp_path) as gpu:
        assert gpu is None
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 3),
        ({"accelerator": "gpu"}, 3),
        ({"accelerator": "cuda"}, 3),
        ({"accelerator": "cpu"}, 0),
        ({"devices": 2, "strategy": "ddp_spawn"}, 0),
        ({"strategy": "ddp_spawn"}, 0),
    ],
)
def test_a_run_on_one_gpu_chooses_from_all(change, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert gpus_to_choose_from({**AUTO, **change}) == expected


@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_lightning_takes_the_gpu(accelerator, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    config = {"trainer": {**AUTO, **SETTINGS, "accelerator": accelerator}}
    before = json.dumps(config)
    trainer = make_trainer(config, gpu=2)
    assert (str(trainer.strategy.root_device), trainer.num_devices) == ("cuda:2", 1)
    assert json.dumps(config) == before
    assert str(make_trainer(config).strategy.root_device) == "cuda:0"
