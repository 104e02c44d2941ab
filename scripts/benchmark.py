"""The numbers that convexp lives by: each is a ratio of two sides measured in turn, the median of several rounds.

python scripts/benchmark.py [--quick] [NAME ...]     (all: half an hour; --quick: five minutes)
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
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from statistics import median
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_module
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import convexp
from convexp.exact import gather, solve
from convexp.images.alignment import common_center
from convexp.runs import experiment
from convexp.runs.config import checked
from convexp.runs.parts import make_data, make_task, make_trainer, with_channels
from convexp.runs.quiet import quiet
from convexp.training.checkpoints import Checkpoints
from convexp.training.curves import Curves
from convexp.training.metrics import whole_image_metrics
from convexp.training.progress import Progress

ROOT = Path(__file__).parents[1]
DEEP = ["model=deep", "target=edges_blur", "data.gray=true"]
NOTEBOOK = ["experiment=notebook_highpass", "data.size=512"]


def configuration(*overrides: str) -> dict[str, Any]:
    """What `python train.py …` would run."""
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = checked(compose("train", overrides=list(overrides)))
    return {**config, "choices": {}}


def row(name: str, theirs: list[float], ours: list[float], *, limit: str, faster: bool = True) -> None:
    """Prints the median of the pairs' ratios: how many times sooner ours is, or how much longer it takes."""
    ratios = sorted(a / b if faster else b / a for a, b in zip(theirs, ours, strict=True))
    sides = f"{median(theirs):.3g} s and {median(ours):.3g} s"
    print(f"| {name} | {median(ratios):.3g} ({ratios[0]:.3g} to {ratios[-1]:.3g}) | {limit} | {sides} |", flush=True)


def pairs_of(rounds: int, theirs: Callable[[], float], ours: Callable[[], float]) -> tuple[list[float], list[float]]:
    """Measures both sides in turn."""
    measured = [(theirs(), ours()) for _ in range(rounds)]
    return [a for a, _ in measured], [b for _, b in measured]


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

    def noted(config: Any) -> Any:
        data = make_data(config)
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


# What the framework costs.


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


def process(*command: str, codes: tuple[int, ...] = (0,)) -> float:
    """Seconds that a fresh process takes."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode in codes, done.stderr.decode()
    return time.perf_counter() - start


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


def growth(rounds: int, quick: bool) -> None:
    """Statistics and steps as the image's sides double."""

    def seconds(side: int, what: Callable[[Any, Any], object], repeat: int) -> float:
        image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        layer = nn.Conv2d(3, 1, 3)
        statistics = gather(layer, [(image, image[:, :1])])
        start = time.perf_counter()
        for _ in range(repeat):
            what(layer, statistics if repeat > 1 else [(image, image[:, :1])])
        return (time.perf_counter() - start) / repeat

    for name, what, repeat, limit in (
        ("statistics", gather, 1, "4"),
        ("solving them", lambda _, statistics: solve(statistics), 20, "1"),
    ):
        small, large = pairs_of(max(rounds, 5), *(lambda s=s, w=what, r=repeat: seconds(s, w, r) for s in (512, 1024)))
        row(f"image sides × 2: {name}", small, large, limit=f"about {limit}", faster=False)
    layer = nn.Conv2d(3, 1, 31, bias=False)
    image = torch.rand(1, 3, 300, 451, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    solve(gather(layer, [(image, image[:, :1])]))
    print(f"\n31×31 kernel of three colours (2,883 unknowns, 66 MB of G): {time.perf_counter() - start:.2f} s")


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


MEASURES = {
    measure.__name__: measure
    for measure in (first_notebook, second_notebook, lightning_share, start_up, growth, inspection)
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--quick", action="store_true", help="one round instead of three, one seed, fewer steps")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    quiet()
    warnings.filterwarnings("ignore")
    print(f"{_processor()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    print("| what | ratio (range) | wanted | both sides |\n|---|---|---|---|", flush=True)
    for name in arguments.names or MEASURES:
        MEASURES[name](1 if arguments.quick else 3, arguments.quick)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
