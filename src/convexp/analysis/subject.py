"""What is inspected: a run's model, its operator, and images that it was not trained on."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.images.alignment import center_crop
from convexp.images.samples import find_photograph
from convexp.models import receptive_field
from convexp.operators.examples import Examples
from convexp.operators.response import Operator
from convexp.runs.filter import read_checkpoint
from convexp.runs.finished import FinishedRun
from convexp.runs.folder import RunFolder
from convexp.training.data import ImageData
from convexp.training.pairs import Pair, make_pair
from convexp.training.pictures import centre

MOST = 4  # images of a folder
MOST_PIXELS = 640  # a side; of larger images the centre is inspected: 100 feature maps of it take 160 MB


@dataclass(frozen=True)
class Subject:
    """A run's model and operator, and images for both.

    Args:
        folder: The run's.
        name: Of the target.
        model: With the run's weights, on the CPU.
        operator: What it imitates.
        pairs: Images (1, C, H, W) and what the operator makes of them, by name.
        step: Optimizer steps behind the weights.
        checkpoint: Which weights, as `best`.
        at: Row and column of a pixel of the first image, to be looked at closely.
    """

    folder: RunFolder
    name: str
    model: nn.Module
    operator: Operator
    pairs: dict[str, Pair]
    step: int
    checkpoint: str
    at: tuple[int, int] | None = None

    @property
    def channels(self) -> int:
        """Of the images."""
        return next(iter(self.pairs.values())).input.shape[1]

    @classmethod
    def of_run(
        cls,
        run: str | Path,
        image: str | None = None,
        *,
        checkpoint: Literal["best", "last"] = "best",
        allow: Sequence[str] = (),
        at: tuple[int, int] | None = None,
    ) -> "Subject":
        """Reads it from a run's folder.

        Args:
            run: The folder.
            image: A file or the name of a photograph; None takes the run's validation images.
            checkpoint: Which weights.
            allow: Packages besides convexp, torch and kornia that it may build objects from.
            at: Row and column of a pixel of the first image.

        Raises:
            ConvexpError: If the folder is not a run's, an image cannot be read or is too small, or a class is not
                allowed.
        """
        finished = FinishedRun.read(run, checkpoint=checkpoint, allow=allow)
        folder, model, data = finished.folder, finished.model, finished.data()
        try:
            if image is None and isinstance(data.operator, Examples):
                pairs = {name: _centred(model, name, pair) for name, pair in islice(data.validation().items(), MOST)}
            else:
                images = data.validation_images() if image is None else {Path(image).stem: find_photograph(image)}
                some = islice(images.items(), MOST)
                pairs = {name: _pair(model, data, name, whole) for name, whole in some}
        except ConvexpError:
            raise
        except Exception as error:  # a stranger's configuration may ask for anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConvexpError(f"{folder.config} describes nothing that can be inspected: {reason}") from error
        name, first = next(iter(pairs.items()))
        height, width = first.input.shape[-2:]
        if at is not None and not (0 <= at[0] < height and 0 <= at[1] < width):
            raise ConvexpError(f"--at {at[0]},{at[1]} is not inside {name}, which is {height}×{width}")
        step = read_checkpoint(folder.checkpoint(checkpoint)).get("global_step")
        step = step if isinstance(step, int) and 0 <= step < 2**62 else 0
        target = str(finished.config["choices"].get("target") or "target")
        return cls(folder, target, model, data.operator, pairs, step, checkpoint, at)


def _pair(model: nn.Module, data: ImageData, name: str, whole: Tensor) -> Pair:
    prepared = data.prepared(whole)
    height, width = (min(side, MOST_PIXELS) for side in prepared.shape[-2:])
    centre = center_crop(prepared, height, width)
    _check(model, name, centre[None])
    return make_pair(name, centre, data.operator)


def _centred(model: nn.Module, name: str, pair: Pair) -> Pair:
    middle = centre(pair, MOST_PIXELS)
    _check(model, name, middle.input)
    return middle


def _check(model: nn.Module, name: str, image: Tensor) -> None:
    field, sides = receptive_field(model), image.shape[-2:]
    if any(side < seen for side, seen in zip(sides, field, strict=True)):
        sizes = f"{name} is {sides[0]}×{sides[1]}, smaller than the model's receptive field of {field[0]}×{field[1]}"
        raise ConvexpError(f"{sizes}; inspect a larger image")
    try:
        with torch.no_grad():
            model(image)
    except Exception as error:  # a user's model may raise anything
        raise ConvexpError(
            f"the model fails on {name}, {tuple(image.shape)}: {' '.join(str(error).split())}"
        ) from error
