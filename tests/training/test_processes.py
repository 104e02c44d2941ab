import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from hydra import compose, initialize_config_module

from convexp.runs.config import checked
from convexp.runs.experiment import run

STEPS = 12
SETTINGS = [
    "data=shapes",
    "data.height=37",
    "data.width=41",
    "data.crop_size=17",
    "target=edges",
    "model=deep",
    "model.blocks.edges=[2@2x2,3@1x1]",
    "model.blocks.blur=[out@3x3]",
    "initialisation=null",
    f"trainer.max_steps={STEPS}",
    "trainer.val_check_interval=5",
]


@pytest.mark.slow
@pytest.mark.parametrize("words", [["trainer.strategy=ddp"], ["-m", "seed=0", "trainer.strategy=ddp_spawn"]])
def test_two_processes_learn_what_one_learns_of_batches_twice_as_large(tmp_path, words):
    process = subprocess.run(
        [
            *[sys.executable, "-m", "convexp.runs.command", *words, *SETTINGS],
            *[f"outputs={tmp_path}", "trainer.accelerator=cpu", "trainer.devices=2"],
        ],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
    )
    assert process.returncode == 0, process.stderr
    (two,) = (path.parent for path in tmp_path.rglob("metrics.json"))

    one = tmp_path / "one"
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = checked(compose("train", overrides=[*SETTINGS, "trainer=cpu", "data.batch_size=8"]))
    run({**config, "choices": {}}, one)

    assert process.stdout.count(f"{STEPS} steps in ") == 1  # one of them speaks
    metrics, expected = (json.loads((folder / "metrics.json").read_text()) for folder in (two, one))
    assert metrics["steps"] == STEPS
    for key in ("train/mse", "val/mse", "val/r2", "val/psnr", "val/ssim"):
        assert metrics["final"][key] == pytest.approx(expected["final"][key], rel=1e-4)
    weights, same = (
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for folder in (two, one)
    )
    torch.testing.assert_close(weights, same, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_signal_to_all_processes_keeps_a_checkpoint(tmp_path):
    number = signal.SIGTERM  # SIGINT goes the same way
    words = ["data=dead_leaves", "data.height=37", "data.width=41", "data.workers=2", *SETTINGS[3:8], "pictures=0"]
    command = [sys.executable, "-m", "convexp.runs.command", *words, f"outputs={tmp_path}", "trainer.max_steps=100000"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=tmp_path, env=os.environ
    ) as process:
        deadline = time.monotonic() + 100
        while not list(tmp_path.glob("edges-deep/*/checkpoints/best.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(1)  # the first validation is before the first step
        os.killpg(process.pid, number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "to continue: python train.py resume=" in err
    assert "Traceback" not in err
    assert list(tmp_path.glob("edges-deep/*/checkpoints/last.ckpt"))
