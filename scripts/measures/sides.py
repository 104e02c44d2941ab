"""Two sides of a ratio: how they are set up, taken in turn, and printed."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from hydra import compose, initialize_config_module

from convexp.runs.config import checked

ROOT = Path(__file__).parents[2]
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


def process(*command: str, codes: tuple[int, ...] = (0,)) -> float:
    """Seconds that a fresh process takes."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode in codes, done.stderr.decode()
    return time.perf_counter() - start
