"""What it takes to filter large pictures."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from convexp.deploy.application import Application
from convexp.deploy.rows import channels_last, rows_of
from convexp.images.samples import photograph
from convexp.images.sink import Layout, sink
from convexp.runs.construction import build, complete
from measures.sides import ROOT, configuration, pairs_of, process, row

# The command, and the most memory that it had, on Linux. getrusage would tell that of this process, if it had more.
_MEASURED = """
import pathlib, re
from convexp.cli import main
main()
print(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
"""


def applying(rounds: int, quick: bool) -> None:
    """Tiles against the whole image, and the memory of a hundred megapixels."""
    coffee = photograph("coffee").repeat(1, 3, 3)[None]  # 1200×1800
    for name in ("deep", "can24"):
        model = complete(
            build(configuration(f"model={name}")["model"], "model"), "model", in_channels=3, out_channels=3
        )
        model = model.eval().to(memory_format=torch.channels_last)
        application, image = Application(model), channels_last(coffee)
        _tiled(application, image), _whole(model, image)  # the first calls are slower
        whole, tiles = pairs_of(
            rounds, lambda m=model, i=image: _whole(m, i), lambda a=application, i=image: _tiled(a, i)
        )
        row(f"{name}, {image.shape[2]}×{image.shape[3]}: whole image / tiles", whole, tiles, limit="≥ 0.9")
    side = 5_000 if quick else 10_000
    megabytes, seconds = _memory(side)
    print(
        f"\nconvexp apply, deep, {side**2 // 10**6} megapixels: peak {megabytes:.0f} MB, wanted < 2000; {seconds:.0f} s"
    )


def _whole(model: nn.Module, image: Tensor) -> float:
    start = time.perf_counter()
    with torch.inference_mode():
        model(image)
    return time.perf_counter() - start


def _tiled(application: Application, image: Tensor) -> float:
    start = time.perf_counter()
    for _ in application.parts(rows_of(image), *image.shape[2:]):
        pass
    return time.perf_counter() - start


def _memory(side: int) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as place:
        process("train.py", "model=deep", "target=edges_blur", "trainer.max_steps=2", f"outputs={place}/outputs")
        (run,) = Path(place).glob("outputs/*/*")
        coffee = photograph("coffee").mul(255).byte().permute(1, 2, 0).numpy()
        strip = np.tile(coffee, (1, -(-side // coffee.shape[1]), 1))[:, :side]
        with sink(Path(place, "large.png"), Layout(side, side, 3, "uint8")) as picture:
            for start in range(0, side, len(strip)):
                picture.write(strip[: side - start])
        words = ["apply", str(run), f"{place}/large.png", "-o", f"{place}/filtered.png"]
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", _MEASURED, *words], cwd=ROOT, check=True, capture_output=True, text=True
        )
        return int(done.stdout.split()[-1]) / 1e3, time.perf_counter() - start
