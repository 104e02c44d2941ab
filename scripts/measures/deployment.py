"""What ONNX Runtime gains over PyTorch."""

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from convexp.deploy.formats.onnx_file import ONNX
from convexp.deploy.learned import Learned
from convexp.runs.construction import build, complete
from measures.sides import configuration, pairs_of, row


def onnx(rounds: int, quick: bool) -> None:
    """A photograph through the deep stack and can24, by PyTorch and by ONNX Runtime with as many threads."""
    for name, target in (("deep", "edges_blur"), ("can24", "bilateral")):
        node = configuration(f"model={name}", f"target={target}")["model"]
        outputs = 1 if target == "edges_blur" else 3
        model = complete(build(node, "model"), "model", in_channels=3, out_channels=outputs)
        learned = Learned.of_model(model.eval().requires_grad_(False), name)
        image, repeat = learned.photo(), 1 if quick else 5
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            ONNX.write(learned, path)
            with ONNX.opened(learned, path) as opened:
                pytorch, runtime = (partial(_seconds, run, image, repeat) for run in (model, opened.run))
                theirs, ours = pairs_of(max(rounds, 3), pytorch, runtime)
        size = "×".join(map(str, image.shape[2:]))
        row(f"{name}, {size}: PyTorch / ONNX Runtime", theirs, ours, limit="none")


@torch.no_grad()
def _seconds(run: Callable[[Any], Any], image: torch.Tensor, repeat: int) -> float:
    run(image)  # the first one allocates
    start = time.perf_counter()
    for _ in range(repeat):
        run(image)
    return (time.perf_counter() - start) / repeat
