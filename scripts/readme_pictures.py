"""Makes the README's pictures from a real run: python scripts/readme_pictures.py [SEED] (about two minutes)."""

import sys
import tempfile
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from convexp.analysis.inspection import inspect_run
from convexp.images.files import write_image
from convexp.images.layout import below, beside, line, shrunk
from convexp.runs.command import train

PLACE = Path(__file__).with_name("readme.jpg")
PROBES = Path(__file__).with_name("probes.png")
TAG = "comparison/coffee"
MOMENTS = (0, 5, 7, 9)  # of the ten that a run shows
SIDE = 240


def decoded(encoded: bytes) -> Tensor:
    return torch.from_numpy(np.array(Image.open(BytesIO(encoded)).convert("RGB"))).permute(2, 0, 1)


def panel(picture: Tensor, row: int, column: int) -> Tensor:
    """One of the four square images of a comparison, without its title and its scale."""
    gap = picture.shape[2] // 35  # two panels of sixteen gaps and three gaps fill the width
    width, height = (picture.shape[2] - 3 * gap) // 2, (picture.shape[1] - 3 * gap) // 2
    title = line("title", size=width // 14).shape[1] + width // 14 // 4
    top, left = gap + row * (height + gap) + title, gap + column * (width + gap)
    return shrunk(picture[:, top : top + width, left : left + width].float(), SIDE).round().to(torch.uint8)


def strip(steps: dict[int, Tensor]) -> Tensor:
    """Input, outputs over errors, target."""
    last = steps[max(steps)]
    columns = [column("input", panel(last, 0, 0))]
    for step in (sorted(steps)[moment] for moment in MOMENTS):
        columns.append(column(f"step {step}", panel(steps[step], 1, 0), panel(steps[step], 1, 1)))
    return beside([*columns, column("target", panel(last, 0, 1))], gap=8)


def column(title: str, *squares: Tensor) -> Tensor:
    return below([line(title, size=22), *squares], gap=8)


def main() -> None:
    seed = sys.argv[1] if len(sys.argv) > 1 else "0"
    with tempfile.TemporaryDirectory() as outputs:
        sys.argv = ["train.py", "model=deep", "target=edges_blur", f"seed={seed}", f"outputs={outputs}"]
        train()
        (folder,) = Path(outputs).glob("edges_blur-deep/*")
        events = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
        write_image(inspect_run(folder).pictures["probes"], PROBES)
        write_image(strip({event.step: decoded(event.encoded_image_string) for event in events.Images(TAG)}), PLACE)


if __name__ == "__main__":
    main()
