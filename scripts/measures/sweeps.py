"""Many runs in one process: what each costs beside its steps, and what it leaves behind."""

import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import lightning as L
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from convexp.runs import command, experiment, report
from convexp.runs.events import Events
from convexp.runs.record import find_records
from convexp.runs.sweep import Sweep
from convexp.training.checkpoints import Checkpoints
from convexp.training.curves import Curves
from convexp.training.optimum import OptimumCurves
from convexp.training.pictures import Pictures
from convexp.training.quadratic_task import QuadraticTask
from measures.notebooks import notebook_loop
from measures.sides import DEEP, NOTEBOOK, process, row
from measures.stopwatch import Stopwatch

RATES = ("0.001", "0.002", "0.005", "0.01", "0.02", "0.03", "0.05", "0.07", "0.1", "0.15")

PARTS = {
    "Hydra composes": [(ConfigLoaderImpl, "load_sweep_config")],
    "trainer, images, targets, statistics": [
        (experiment, "make_trainer"),
        (experiment, "make_data"),
        (experiment, "make_task"),
        (experiment, "verdict"),
    ],
    "steps": [(QuadraticTask, "training_step")],
    "Lightning around them": [(L.Trainer, "fit")],
    "validation": [(QuadraticTask, "validation_step"), (QuadraticTask, "on_validation_epoch_end")],
    "pictures for TensorBoard": [(Pictures, "on_train_start"), (Pictures, "on_train_batch_end")],
    "curves for TensorBoard": [
        (Curves, "on_train_batch_end"),
        (OptimumCurves, "on_train_batch_end"),
        (Events, "open"),
        (Events, "close"),
    ],
    "checkpoints": [(Checkpoints, "_save")],
    "closing pictures": [(report, "save_pictures")],
    "closing figures": [(experiment._Experiment, "_finish")],
    "the sweep's folder": [(Sweep, "take"), (command, "made_of")],
    "the sweep's table and picture": [(command, "summarise")],
}


def _words(runs: int, outputs: str) -> list[str]:
    rates = ",".join(RATES[: runs // 10])
    grid = ["optimizer=sgd,adam", f"optimizer.lr={rates}", "seed=0,1,2,3,4"]
    return ["-m", *NOTEBOOK, *grid, f"outputs={outputs}"]


def _sweep(words: Sequence[str]) -> float:
    start = time.perf_counter()
    with patch.object(sys, "argv", ["train.py", *words]), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        command.train()
    return time.perf_counter() - start


def bulk(rounds: int, quick: bool) -> None:
    """A grid of linear runs, each with its folder, beside one run of the first notebook's loop."""
    runs, loops, grids, joined, watch = 20 if quick else 100, [], [], [], Stopwatch()
    with tempfile.TemporaryDirectory() as place:
        _sweep(_words(10, place))  # the first run of a process is slower
    for _ in range(rounds):
        loops.append(notebook_loop()[0])
        with tempfile.TemporaryDirectory() as place, watch.watching(PARTS):
            grids.append(_sweep(_words(runs, place)))
            finished = [record.status for record in find_records(place)]
            assert finished == ["finished"] * runs, finished
        with tempfile.TemporaryDirectory() as place:
            workers = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={os.cpu_count()}"]
            joined.append(process("train.py", *_words(runs, place), *workers))
    row(f"{runs} linear runs of 2000 steps / the first notebook's loop", loops, grids, limit="≤ 3", faster=False)
    row("… in as many processes as cores, their start-up included", loops, joined, limit="≤ 3", faster=False)
    print(f"\n| milliseconds of each of the {runs} runs |  |\n|---|---|")
    watch.seconds["the rest"] = sum(grids) - sum(watch.seconds.values())
    for name, seconds in sorted(watch.seconds.items(), key=lambda item: -item[1]):
        print(f"| {name} | {1000 * seconds / runs / rounds:.1f} |", flush=True)
    print()


def memory(rounds: int, quick: bool) -> None:
    """Memory and open files over 50 runs in one process."""
    for name, words in (
        ("linear", [*NOTEBOOK, "trainer.max_steps=20"]),
        ("deep", [*DEEP, "data=photo", "data.gray=true", "trainer.max_steps=5"]),
    ):
        held: list[tuple[float, int]] = []
        with tempfile.TemporaryDirectory() as place, patch.object(experiment, "run", _noting(held, experiment.run)):
            _sweep(["-m", *words, "seed=range(51)", f"outputs={place}"])
        (start, files), (end, more) = held[10], held[50]  # caches are filled by then
        print(
            f"\n50 {name} runs in one process: {start:.0f} MB before the 11th, {end:.0f} MB before the 51st; "
            f"{files} and {more} open files",
            flush=True,
        )


def _noting(held: list[tuple[float, int]], run: Callable[..., object]) -> Callable[..., object]:
    def noted(*arguments: object, **named: object) -> object:
        gc.collect()
        held.append((_megabytes(), len(list(Path("/proc/self/fd").iterdir()))))
        return run(*arguments, **named)

    return noted


def _megabytes() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024
