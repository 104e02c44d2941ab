"""A look inside a trained filter: pictures and numbers into the run's folder and its TensorBoard."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch.utils.tensorboard.writer import SummaryWriter

from convexp.analysis.errors import errors
from convexp.analysis.findings import Findings
from convexp.analysis.representations import representations
from convexp.analysis.subject import Subject
from convexp.analysis.weights import first_layer, whole_filter
from convexp.errors import ConvexpError
from convexp.images.files import write_image
from convexp.operators.verdict import verdict
from convexp.training.pictures import write_picture

SUFFIX = ".inspect"


def inspect_run(
    run: str | Path,
    image: str | None = None,
    *,
    checkpoint: Literal["best", "last"] = "best",
    allow: Sequence[str] = (),
    at: tuple[int, int] | None = None,
) -> Findings:
    """Looks inside what a run has learned, and writes it into `inspect/` in its folder and into its TensorBoard.

    Args:
        run: The run's folder.
        image: A file or the name of a photograph; None takes the run's validation images.
        checkpoint: Which weights.
        allow: Packages besides convexp, torch and kornia that the run's objects may come from.
        at: Row and column of a pixel of the first image, whose local kernel is shown, too.

    Returns:
        What was found, as it was written.

    Raises:
        ConvexpError: If the folder is not a run's or cannot be written into, the image cannot be read, or a class is
            not allowed.
    """
    subject = Subject.of_run(run, image, checkpoint=checkpoint, allow=allow, at=at)
    what = verdict(subject.operator, subject.channels)
    sizes = {name: list(pair.input.shape[-2:]) for name, pair in subject.pairs.items()}
    shown = ", ".join(f"{name} {height}×{width}" for name, (height, width) in sizes.items())
    facts: dict[str, Any] = {"step": subject.step, "checkpoint": checkpoint, "target": subject.name, "images": sizes}
    facts["verdict"] = None if what is None else what.facts()
    found = Findings(facts, lines=[f"{subject.folder.path}, {checkpoint} weights, step {subject.step}; on {shown}"])
    for look in (representations, first_layer, whole_filter, errors):
        found += look(subject)
    _write(found, subject)
    return found


def _write(found: Findings, subject: Subject) -> None:
    place = subject.folder.inspection
    try:
        if place.is_symlink():
            raise ConvexpError(f"{place} is a link: nothing is written through it")
        shutil.rmtree(place, ignore_errors=True)  # of another image, or other weights
        for name, picture in found.pictures.items():
            path = place / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(picture, path)
        subject.folder.write_inspection(found.facts)
        _show(found, subject)
    except OSError as error:
        raise ConvexpError(f"{error.filename or place} cannot be written: {error.strerror or error}") from error


def _show(found: Findings, subject: Subject) -> None:
    """Into TensorBoard, instead of what an earlier inspection showed."""
    for old in subject.folder.path.glob(f"events.out.tfevents.*{SUFFIX}"):
        old.unlink()
    with SummaryWriter(str(subject.folder.path), filename_suffix=SUFFIX) as writer:
        for name, picture in found.pictures.items():
            write_picture(writer, f"inspect/{name}", picture, subject.step)
        writer.add_text("inspect", "\n".join(f"- {sentence}" for sentence in found.lines), subject.step)
