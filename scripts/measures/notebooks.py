"""The two course notebooks, beside what learns the same."""

import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import lightning as L
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import convexp
from convexp.images.alignment import common_center
from convexp.runs import experiment
from convexp.runs.parts import make_data, make_task, with_channels
from convexp.training.metrics import whole_image_metrics
from measures.framework import fit
from measures.sides import NOTEBOOK, configuration, row

# The first notebook: one convolution learns a high-pass filter by gradient descent on a whole photograph.


def notebook_loop(steps: int = 2000) -> tuple[float, torch.Tensor]:
    """Seconds of the notebook's loop in plain PyTorch, and the weights it ends with."""
    config = configuration(*NOTEBOOK)
    ((image, target),) = make_data(config).train_pairs.values()
    image, target = image.contiguous(), target.contiguous()
    torch.manual_seed(config["seed"])
    model = nn.Conv2d(3, 1, 3, padding=1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=config["optimizer"]["lr"])
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(image), target)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start, model.weight.detach()


def whole_run(*overrides: str, until: Callable[[EventAccumulator], float | None]) -> tuple[float, torch.Tensor]:
    """Seconds from the data to a moment of a run as users have it, statistics, pictures, validation and all.

    Args:
        overrides: The command line.
        until: The moment, from the run's events.
    """
    ready: list[float] = []

    def noted(config: Any, shelf: Path | None) -> Any:
        data = make_data(config, shelf)
        ready.append(time.time())
        return data

    experiment.make_data = noted  # the loop, too, finds its image made
    try:
        with tempfile.TemporaryDirectory() as place, redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            folder = Path(place) / "run"
            experiment.run(configuration(*overrides), folder)
            moment = until(EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload())
            (weights,) = convexp.load_run(folder, checkpoint="last").parameters()
    finally:
        experiment.make_data = make_data
    assert moment is not None, "the run never came to this moment"
    return moment - ready[0], weights.detach()


def at_the_end(events: EventAccumulator) -> float:
    """When the last step's validation was over."""
    return events.Scalars("val/r2")[-1].wall_time


def within_one_percent(events: EventAccumulator) -> float | None:
    """When the loss was no more than 1 % above the optimum."""
    return next((event.wall_time for event in events.Scalars("train/gap") if event.value <= 0.01), None)


def first_notebook(rounds: int, quick: bool) -> None:
    """The same path, and the same optimum, sooner."""
    loops, runs, exact, lbfgs = [], [], [], []
    for _ in range(rounds):
        seconds, weights = notebook_loop()
        loops.append(seconds)
        seconds, followed = whole_run(*NOTEBOOK, until=at_the_end)
        runs.append(seconds)
        torch.testing.assert_close(followed, weights, atol=1e-5, rtol=0)  # an identical path
        exact.append(whole_run(*NOTEBOOK, "optimizer=exact", "trainer.max_steps=1", until=within_one_percent)[0])
        search = ["optimizer=lbfgs", "optimizer.lr=1.0", "trainer.log_every_n_steps=1", "trainer.max_steps=300"]
        lbfgs.append(whole_run(*NOTEBOOK, *search, until=within_one_percent)[0])
    row("first notebook, 2000 steps: loop / whole run, same path", loops, runs, limit="≥ 15")
    row("… / within 1 % of the optimum, `optimizer=exact`", loops, exact, limit="≥ 30")
    row("… / within 1 % of the optimum, `optimizer=lbfgs`", loops, lbfgs, limit="for information")


# The second notebook: a deep stack learns edges + blur on a whole picture of shapes.


class Until(L.Callback):
    """Stops where the whole image's loss falls below a threshold; the time that looking takes does not count."""

    def __init__(self, threshold: float, pairs: list[Any]) -> None:
        self.threshold, self.pairs = threshold, pairs
        self.reached: float | None = None
        self.looking = 0.0

    def _look(self, trainer: L.Trainer, module: Any) -> None:
        start = time.perf_counter()
        if self.reached is None and whole_image_metrics(module.model, self.pairs)["mse"] < self.threshold:
            self.reached, trainer.should_stop = start - self.looking, True
        self.looking += time.perf_counter() - start

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks at the start."""
        self._look(trainer, pl_module)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Looks at every tenth step."""
        if trainer.global_step % 10 == 0:
            self._look(trainer, pl_module)


def second_loop(seed: int, steps: int) -> tuple[float, float]:
    """Seconds and final whole-image loss of the notebook's loop in plain PyTorch."""
    config = configuration("experiment=notebook_edges_blur", "model.activation.inplace=false", f"seed={seed}")
    data = make_data(config)
    task, _ = make_task(with_channels(config, data), data)
    ((image, target),) = data.train_pairs.values()
    image, target, model = image.contiguous(), target.contiguous(), task.model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    start = time.perf_counter()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(*common_center(model(image), target))
        loss.backward()
        optimizer.step()
    return time.perf_counter() - start, whole_image_metrics(model, data.train_pairs.values())["mse"]


def sooner(seed: int, threshold: float) -> float:
    """Seconds until `model=deep target=edges_blur data=shapes` is below a whole-image loss, its start included."""
    config = configuration("model=deep", "target=edges_blur", "data=shapes", f"seed={seed}")
    data = make_data(config)
    start = time.perf_counter()
    watch = Until(threshold, list(data.train_pairs.values()))
    task, _ = make_task(with_channels(config, data), data)
    fit(config, task, data, watch)
    assert watch.reached is not None, "the run never came below the loop's loss"
    return watch.reached - start


def second_notebook(rounds: int, quick: bool) -> None:
    """The deep stack, below the loop's final loss sooner."""
    loops, runs = [], []
    for seed in range(1 if quick else 5):
        seconds, loss = second_loop(seed, 500)
        loops.append(seconds)
        runs.append(sooner(seed, loss))
    row(f"second notebook, 500 steps, seeds 0–{len(loops) - 1}: loop / below its final loss", loops, runs, limit="≥ 10")
