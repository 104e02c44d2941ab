"""How well a finished run does on other images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from convexp.deploy.application import Application
from convexp.deploy.rows import rows_of
from convexp.errors import ConvexpError
from convexp.images.alignment import common_center
from convexp.images.samples import TRAINING, VALIDATION
from convexp.runs.finished import FinishedRun
from convexp.training.folders import Files, Pairs
from convexp.training.library import Library
from convexp.training.metrics import COLUMNS, Similarity, image_metrics, of_one_image, worst_first

ROOM = 1e-3  # gigabytes, so that each image is forgotten when it was measured


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        overall: What `convexp.training.metrics.COLUMNS` names: MSE, R² and PSNR over all pixels, SSIM the images' mean.
        images: The same of each image by name, the worst PSNR first.
        left_out: Names of pictures that could not be read, or do not fit the operator or the model, as if too small.
        notes: What a user should know of the images, as that their targets lie beside them.
    """

    overall: list[float]
    images: dict[str, list[float]]
    left_out: list[str]
    notes: list[str]


def evaluate(
    run: str | Path,
    images: str | None = None,
    targets: str | None = None,
    *,
    checkpoint: Literal["best", "last"] = "best",
    allow: Sequence[str] = (),
    device: torch.device | None = None,
    advance: Callable[[int, int], None] = lambda done, all_: None,
) -> Evaluation:
    """Compares what a run has learned with its target.

    Args:
        run: The run's folder.
        images: A file, a folder, a glob or the name of a photograph; None takes the run's validation images. They keep
            their size, whatever the run made of its own.
        targets: What the images should become, likewise; None asks the run's operator.
        checkpoint: Which weights.
        allow: Packages besides convexp, torch and kornia that the run's objects may come from.
        device: Where the model works; None: on the CPU.
        advance: Is told how many images are done, and of how many.

    Raises:
        ConvexpError: If the folder is not a run's, no image can be measured, or the run has no operator and there are
            no targets.
    """
    finished = FinishedRun.read(run, checkpoint=checkpoint, allow=allow)
    device = device or torch.device("cpu")
    # The ignore: torch's stubs leave this form of the call out.
    finished.model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    (library, notes), application = _library(finished, images, targets), Application(finished.model)
    metrics, each = image_metrics().to(device), dict[str, list[float]]()
    similarity = cast("Similarity", metrics["ssim"])
    for name, pair in library.items():
        try:
            output = _output(application, pair.input.to(device), name)
        except ConvexpError as error:
            library.leave_out(name, error)
            continue
        output, target = common_center(output, pair.target.to(device))
        output, target = output.float().contiguous(), target.contiguous()
        metrics.update(output, target)
        each[name] = of_one_image(output, target, similarity=similarity.latest)
        advance(len(each), len(library))
    if not each:
        raise ConvexpError(f"{images or finished.folder.config}: there is no picture to measure on; above stands why")
    overall = {name: float(value) for name, value in metrics.compute().items()}
    images_of = {name: each[name] for name in worst_first(each)}
    return Evaluation([overall[name] for name in COLUMNS], images_of, library.damaged, notes)


def _library(run: FinishedRun, images: str | None, targets: str | None) -> tuple[Library, list[str]]:
    if images is None:
        if targets is not None:
            raise ConvexpError("--targets belong to images: name these, too, as --data before --targets after")
        return run.data().validation(), []
    own: dict[str, Any] = {"_partial_": True, "gray": run.config["data"].get("gray", False), "crop_size": None}
    if images in TRAINING + VALIDATION and not Path(images).exists() and targets is None:
        data = run.data(data={"_target_": "convexp.training.Photo", "name": images, **own})
        return data.library(data.training_images()), []
    own["cache_gb"] = ROOM
    if targets is None:
        if run.config["target"]["_target_"] == "convexp.operators.Examples":
            raise ConvexpError("the run has learned from pictures; name their targets, too, as --targets after")
        data = run.data(data={"_target_": "convexp.training.Files", "train": images, **own})
    else:
        node = {"_target_": "convexp.training.Pairs", "inputs": images, "targets": targets, "centred": True, **own}
        data = run.data(data=node, target={"_target_": "convexp.operators.Examples"})
    assert isinstance(data, Files | Pairs)
    return data.everything(), data.notes


def _output(application: Application, image: Tensor, name: str) -> Tensor:
    height, width = image.shape[-2:]
    if application.channels[0] not in (None, image.shape[1]):
        raise ConvexpError(f"{name} has {image.shape[1]} channels, the model reads {application.channels[0]}")
    try:
        return torch.cat([*application.parts(rows_of(image), height, width)], dim=2)
    except ConvexpError as error:
        raise ConvexpError(f"{name}: {error}") from error
