"""A run's filter in the formats of other software: each file is run and compared with the run before it counts."""

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from convexp.deploy.formats.array import NPY
from convexp.deploy.formats.c_header import C
from convexp.deploy.formats.ffmpeg import FFMPEG
from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.formats.glsl import GLSL
from convexp.deploy.formats.onnx_file import ONNX
from convexp.deploy.formats.opencv import OPENCV
from convexp.deploy.formats.pt2 import PT2
from convexp.deploy.formats.svg import SVG
from convexp.deploy.learned import Learned
from convexp.deploy.programs import UnverifiedError
from convexp.errors import ConvexpError
from convexp.images.files import expanded
from convexp.runs.folder import RunFolder

FORMATS = {fmt.name: fmt for fmt in (ONNX, PT2, NPY, C, OPENCV, FFMPEG, SVG, GLSL)}
ALL = "all"

TOLERANCE = 2e-5  # of the run's largest output: float32 sums in another order
ROUNDING = 1e-6  # of the weights of a single kernel, which may cancel each other in the output
LEVEL = 1 / 255
PART = 192, 256  # height and width of the photograph's part that a program of its own gets
PRIMES = 101, 97


@dataclass(frozen=True)
class Comparison:
    """How an exported file's output differs from the run's.

    Args:
        by: What ran it.
        error: The largest difference, in the run's units.
        where: On which image, at which row, column and channel.
        images: What was compared.
        least: Height and width of the smallest image that it was run on.
        margin: Rows and columns at every side that were left out.
    """

    by: str
    error: float
    where: str
    images: tuple[str, ...]
    least: tuple[int, int]
    margin: tuple[int, int]


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Args:
        format: Its format.
        path: Where it is.
        size: Of it and what lies beside it, in bytes.
        learned: What it holds.
        comparison: With the run; or why there was none.
    """

    format: Format
    path: Path
    size: int
    learned: Learned
    comparison: Comparison | str


@dataclass(frozen=True)
class Refusal:
    """A format in which nothing was written.

    Args:
        format: The format.
        reason: Why.
        failed: Whether it could hold the filter, but something went wrong; else it was asked for with all others.
    """

    format: Format
    reason: str
    failed: bool = False


def export(
    run: str | Path,
    names: Sequence[str],
    *,
    output: str | Path | None = None,
    checkpoint: Literal["best", "last"] = "best",
    allow: Sequence[str] = (),
    force: bool = False,
) -> Iterator[Export | Refusal]:
    """Writes a run's filter in some formats, and compares each with the run before its file has its name.

    Args:
        run: The run's folder.
        names: Of formats, or `all` for those that can hold the filter.
        output: A file, for a single format, or a folder; without, `export` in the run's folder.
        checkpoint: Which weights.
        allow: Packages besides convexp, torch and kornia that the model may come from.
        force: Whether files that are there may be replaced.

    Yields:
        One after the other what was written, and what was not.

    Raises:
        ConvexpError: Before anything is written, if a format cannot hold the filter or a file is there.
    """
    formats, everything = _chosen(names)
    learned = Learned.of_run(run, checkpoint=checkpoint, allow=allow)
    refusals = {fmt.name: fmt.refusal(learned) for fmt in FORMATS.values()}
    able = [name for name, reason in refusals.items() if reason is None]
    if not everything:
        for fmt in formats:
            if (reason := refusals[fmt.name]) is not None:
                raise ConvexpError(f"{learned.name} cannot become {fmt.name}: {reason}; these can: {', '.join(able)}")
    chosen = [fmt for fmt in formats if refusals[fmt.name] is None]
    paths = _paths(chosen, learned.name, output, RunFolder(run).path, force=force)
    for fmt in formats:
        reason = refusals[fmt.name]
        if reason is not None:
            yield Refusal(fmt, reason)
            continue
        try:
            exported: Export | Refusal = _exported(fmt, learned, paths[fmt.name], force=force)
        except ConvexpError as error:  # the others may do
            exported = Refusal(fmt, str(error), failed=True)
        yield exported


def _chosen(names: Sequence[str]) -> tuple[list[Format], bool]:
    for name in names:
        if name != ALL and name not in FORMATS:
            near = get_close_matches(name, [ALL, *FORMATS], n=1)
            suggestion = f"; did you mean {near[0]}?" if near else ""
            raise ConvexpError(f"--to {name}: no such format{suggestion}; there are {', '.join(FORMATS)}, and {ALL}")
    if ALL in names:
        return list(FORMATS.values()), True
    return [FORMATS[name] for name in dict.fromkeys(names)], False


def _paths(
    formats: Sequence[Format], stem: str, output: str | Path | None, run: Path, *, force: bool
) -> dict[str, Path]:
    """Where the files go, which is nowhere through a link in a stranger's folder, and over nothing that is there."""
    if output is None:
        folder = run / "export"
        if folder.is_symlink():
            raise ConvexpError(f"{folder} is a link: nothing is written through it; name a place, as -o exported")
    else:
        folder = expanded(output)
    if output is not None and len(formats) == 1 and not folder.is_dir():
        (fmt,) = formats
        if folder.suffix.lower() != fmt.suffix:
            raise ConvexpError(
                f"-o {output}: a file of {fmt.name} ends in {fmt.suffix}; or name a folder that is there"
            )
        paths = {fmt.name: folder}
    else:
        paths = {fmt.name: folder / f"{stem}{fmt.suffix}" for fmt in formats}
    for path in paths.values():
        if path.is_dir():
            raise ConvexpError(f"{path} is a folder: name a file")
        _require_free(path, force=force)
    return paths


def _require_free(path: Path, *, force: bool) -> None:
    if not force and (path.exists() or path.is_symlink()):
        raise ConvexpError(f"{path} is there already: --force replaces it, -o names another place")


def _exported(fmt: Format, learned: Learned, path: Path, *, force: bool) -> Export:
    """Writes into a folder of its own, whose files get their names when they are right."""
    place = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        place.mkdir(parents=True)
        try:
            unfinished = place / path.name
            fmt.write(learned, unfinished)
            comparison = _compared(fmt, learned, unfinished)
            written = sorted(place.iterdir())
            size = sum(file.stat().st_size for file in written)
            for file in written:
                _require_free(path.parent / file.name, force=force)
            for file in written:
                file.replace(path.parent / file.name)
        finally:
            if place.is_dir():
                for file in place.iterdir():
                    file.unlink()
                place.rmdir()
    except OSError as error:
        raise ConvexpError(
            f"{path} cannot be written: {error.strerror or error}; name another place with -o"
        ) from error
    return Export(fmt, path, size, learned, comparison)


def _compared(fmt: Format, learned: Learned, path: Path) -> Comparison | str:
    try:
        with fmt.opened(learned, path) as opened:
            return compare(fmt, learned, opened)
    except UnverifiedError as reason:
        return str(reason)


@torch.no_grad()
def compare(fmt: Format, learned: Learned, opened: Opened) -> Comparison:
    """Runs an exported file on photographs, and compares what it makes of them with what the run does.

    Args:
        fmt: Its format.
        learned: What it has to do.
        opened: The file.

    Raises:
        UnverifiedError: If what runs it fails.
        ConvexpError: If the largest difference is more than rounding explains.
    """
    images, least = _trials(fmt, learned, opened)
    floats = TOLERANCE * max(abs(value) for value in learned.span) + ROUNDING * _weight(learned)
    worst, where = -1.0, ""
    for name, image in images.items():
        expected = learned.model(image)
        if fmt.values == "8 bits":
            expected = expected.clamp(0, 1)
        answer = opened.run(image)
        if answer.shape != expected.shape:
            raise ConvexpError(
                f"{fmt.name}: {opened.by} makes {tuple(answer.shape)} of {name}, the run {tuple(expected.shape)}; "
                "the file was removed"
            )
        rows, columns = fmt.margin(learned)
        inner = (..., slice(rows, expected.shape[2] - rows), slice(columns, expected.shape[3] - columns))
        difference = (answer.double() - expected.double())[inner].abs().nan_to_num(torch.inf)
        error = float(difference.max())
        allowed = LEVEL + fmt.slack(learned, image) if fmt.values == "8 bits" else floats
        place = torch.unravel_index(difference.argmax(), difference.shape)
        at = f"{name}, row {int(place[2]) + rows}, column {int(place[3]) + columns}, channel {int(place[1])}"
        if not error <= allowed:
            raise ConvexpError(
                f"{fmt.name}: run by {opened.by}, it differs from the run by {error:.3g} on {at}; {allowed:.3g} would "
                "be rounding; the file was removed"
            )
        if error > worst:
            worst, where = error, at
    return Comparison(opened.by, worst, where, tuple(images), least, fmt.margin(learned))


def _weight(learned: Learned) -> float:
    """What a white image could add up to at most; 0 of a filter that is not linear."""
    kernel = learned.kernel
    return 0.0 if kernel is None else float((kernel.kernel.abs().sum(dim=(1, 2, 3)) + kernel.constant.abs()).max())


def _trials(fmt: Format, learned: Learned, opened: Opened) -> tuple[dict[str, Tensor], tuple[int, int]]:
    """The images that it is compared on, by name, and the size of the smallest."""
    rows, columns = fmt.margin(learned)
    least = max(learned.least[0], 2 * rows + 1), max(learned.least[1], 2 * columns + 1)  # something has to be left
    if not fmt.everywhere:
        photo = learned.photo(most=PART)
        return {f"coffee ({_by(photo)})": photo}, least
    photo = learned.photo()
    pair = torch.cat([learned.photo(name, most=_at_least(PRIMES, least)) for name in ("astronaut", "coffee")])
    images = {f"coffee ({_by(photo)})": photo, f"2 images of {_by(pair)}": pair}
    small = learned.photo(most=least)
    try:
        opened.run(small)
    except Exception:  # torch.export may not take an output of a single pixel; any other failure comes again
        least = least[0] + 1, least[1] + 1
        small = learned.photo(most=least)
    return {**images, f"{_by(small)}": small}, least


def _at_least(size: tuple[int, int], least: tuple[int, int]) -> tuple[int, int]:
    return max(size[0], least[0] + 4), max(size[1], least[1] + 2)


def _by(image: Tensor) -> str:
    return f"{image.shape[2]}×{image.shape[3]}"
