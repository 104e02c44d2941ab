"""The numbers that convexp lives by: each is a ratio of two sides measured in turn, the median of several rounds.

python scripts/benchmark.py [--quick]
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import torch
from hydra import compose, initialize_config_module
from lightning.pytorch.loggers import TensorBoardLogger

from convexp.images.alignment import common_center
from convexp.runs.config import checked
from convexp.runs.experiment import run
from convexp.runs.parts import make_data, make_task, make_trainer, with_channels
from convexp.runs.quiet import quiet
from convexp.training.checkpoints import Checkpoints
from convexp.training.curves import Curves
from convexp.training.progress import Progress

ROOT = Path(__file__).parents[1]
DEEP = ["model=deep", "target=edges_blur", "data.gray=true"]


def configuration(*overrides: str) -> dict[str, Any]:
    """What `python train.py …` would run."""
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = checked(compose("train", overrides=list(overrides)))
    return {**config, "choices": {}}


def ratio(name: str, ours: Callable[[], float], theirs: Callable[[], float], *, rounds: int, limit: str) -> None:
    """Prints the median of ours/theirs over rounds in which both run, one after the other."""
    pairs = [(ours(), theirs()) for _ in range(rounds)]
    ratios = sorted(mine / other for mine, other in pairs)
    print(
        f"{name:64} {median(ratios):6.3f}  ({ratios[0]:.3f} to {ratios[-1]:.3f}; "
        f"{median(mine for mine, _ in pairs):.2f} s over {median(other for _, other in pairs):.2f} s; {limit})",
        flush=True,
    )


def bare_loop(config: dict[str, Any]) -> float:
    """Seconds that plain PyTorch needs for the same batches, model, optimizer, schedule and clipping."""
    data = make_data(config)
    task = make_task(with_channels(config, data), data)
    setup = task.configure_optimizers()
    optimizer, scheduler = setup["optimizer"], setup["lr_scheduler"]["scheduler"]
    batches = data.batches(start=0)
    start = time.perf_counter()
    for step in range(config["trainer"]["max_steps"]):
        ((image, target),) = batches.batch(step)
        output, target = common_center(task.model(image), target)
        loss = task.loss(output / task.scale, target / task.scale)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.model.parameters(), config["trainer"]["gradient_clip_val"])
        optimizer.step()
        scheduler.step()
    return time.perf_counter() - start


def lightning_loop(config: dict[str, Any]) -> float:
    """Seconds of the same steps in the Trainer, with curves, checkpoints, progress bar and TensorBoard."""
    data = make_data(config)
    task = make_task(with_channels(config, data), data)
    trainer = make_trainer({"trainer": {**config["trainer"], "limit_val_batches": 0}})
    with tempfile.TemporaryDirectory() as folder:
        curves = Curves(every=config["trainer"]["log_every_n_steps"])
        trainer.callbacks += [curves, Checkpoints(Path(folder), every=config["checkpoint_every"]), Progress()]
        trainer.logger = TensorBoardLogger(folder, name="", version="")
        trainer.logger.experiment.flush()  # opens the file, as a run does before its first step
        trainer.fit(task, datamodule=data)
    return curves.seconds


def whole_run(config: dict[str, Any]) -> float:
    """Seconds of the same steps in a run as users have it, with validation and pictures too."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        return run(config, Path(folder) / "run")["seconds"]


def process(*command: str) -> float:
    """Seconds that a fresh process takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=False, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round instead of three, and fewer steps")
    rounds, steps = (1, 100) if parser.parse_args().quick else (3, 400)
    quiet()
    warnings.filterwarnings("ignore")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")

    deep = configuration(*DEEP, f"trainer.max_steps={steps}")
    bare_loop(configuration(*DEEP, "trainer.max_steps=20"))  # the first steps of a process are slower
    ratio(
        f"Lightning with logging / bare loop, {steps} steps of the deep stack",
        lambda: lightning_loop(deep),
        lambda: bare_loop(deep),
        rounds=rounds,
        limit="at most 1.05",
    )
    full = configuration(*DEEP)
    if rounds > 1:
        ratio(
            "whole run with validation and pictures / bare loop, 2500 steps",
            lambda: whole_run(full),
            lambda: bare_loop(full),
            rounds=1,
            limit="for information",
        )
    ratio(
        "python train.py --help / python -c pass",
        lambda: process("train.py", "--help"),
        lambda: process("-c", "pass"),
        rounds=max(rounds, 3),
        limit="--help at most 1 s",
    )
    ratio(
        "a wrong value / python -c pass",
        lambda: process("train.py", "optimizer.lr=abc"),
        lambda: process("-c", "pass"),
        rounds=max(rounds, 3),
        limit="an error at most 2 s",
    )


if __name__ == "__main__":
    main()
