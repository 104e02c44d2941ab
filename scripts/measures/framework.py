"""What Lightning, logging and a process's start cost."""

import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from convexp.images.alignment import common_center
from convexp.runs.parts import make_data, make_task, make_trainer, with_channels
from convexp.training.checkpoints import Checkpoints
from convexp.training.curves import Curves
from convexp.training.progress import Progress
from measures.sides import DEEP, configuration, pairs_of, process, row


def fit(config: dict[str, Any], task: Any, data: Any, *callbacks: L.Callback) -> Curves:
    """Trains in the Trainer, with curves, checkpoints, progress bar and TensorBoard, but without validation."""
    trainer = make_trainer({"trainer": {**config["trainer"], "limit_val_batches": 0}})
    with tempfile.TemporaryDirectory() as folder:
        curves = Curves(every=config["trainer"]["log_every_n_steps"])
        checkpoints = Checkpoints(Path(folder), every=config["checkpoint_every"])
        trainer.callbacks += [*callbacks, curves, checkpoints, Progress()]
        trainer.logger = TensorBoardLogger(folder, name="", version="")
        trainer.logger.experiment.flush()  # opens the file, as a run does before its first step
        trainer.fit(task, datamodule=data)
    return curves


def bare_loop(config: dict[str, Any]) -> float:
    """Seconds that plain PyTorch needs for the same batches, model, optimizer, schedule and clipping."""
    data = make_data(config)
    task, _ = make_task(with_channels(config, data), data)
    optimizer, scheduler = task.optimizer_and_scheduler()
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
    """Seconds of the same steps in the Trainer."""
    data = make_data(config)
    task, _ = make_task(with_channels(config, data), data)
    return fit(config, task, data).seconds


def lightning_share(rounds: int, quick: bool) -> None:
    """Lightning with logging over a bare loop."""
    deep = configuration(*DEEP, f"trainer.max_steps={100 if quick else 400}")
    bare_loop(configuration(*DEEP, "trainer.max_steps=20"))  # the first steps of a process are slower
    loops, runs = pairs_of(rounds, lambda: bare_loop(deep), lambda: lightning_loop(deep))
    row("deep stack: Lightning with logging / bare loop", loops, runs, limit="≤ 1.05", faster=False)


def first_step() -> float:
    """Seconds from `python train.py` to its first step."""
    with tempfile.TemporaryDirectory() as place:
        start = time.time()
        process("train.py", "trainer.max_steps=1", f"outputs={place}")
        (folder,) = Path(place).glob("*/*")
        return EventAccumulator(str(folder)).Reload().Scalars("train/loss")[0].wall_time - start


def start_up(rounds: int, quick: bool) -> None:
    """The first step over the imports that it cannot do without; answers that need none of them."""
    imports, steps = pairs_of(rounds, lambda: process("-c", "import torch, torchvision, lightning"), first_step)
    row("`python train.py` to the first step / bare imports", imports, steps, limit="≤ 1.15", faster=False)
    for name, word, codes in (("--help", "--help", (0,)), ("a wrong value", "optimizer.lr=abc", (1,))):
        answer = partial(process, "train.py", word, codes=codes)
        python, ours = pairs_of(3, lambda: process("-c", "pass"), answer)
        row(f"`train.py` with {name} / `python -c pass`", python, ours, limit="≤ 1 s", faster=False)


def inspection(rounds: int, quick: bool) -> None:
    """What a look inside a deep run takes, imports and all."""
    with tempfile.TemporaryDirectory() as place:
        words = [*DEEP, "trainer.max_steps=2", f"outputs={place}"]
        process("train.py", *words)
        (run,) = Path(place).glob("*/*")
        script = "from convexp.cli import main; main()"
        seconds = sorted(process("-c", script, "inspect", str(run)) for _ in range(rounds))
    sides = f"{median(seconds):.3g} s ({seconds[0]:.3g} to {seconds[-1]:.3g})"
    print(f"\nconvexp inspect of a deep run: {sides}, wanted ≤ 30")
