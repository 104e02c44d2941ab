"""The runs of a folder in one picture: what each makes of the first image, and their losses together."""

import math
import os
import struct
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.curves import loss_curve
from convexp.images.files import read_picture
from convexp.images.layout import below, beside, framed, grid, line, shrunk, with_margin
from convexp.runs.ranking import SORT, rank
from convexp.runs.record import Record, differing, one_line, shown, value_of

PICTURES = 16  # runs whose output is shown
CURVES = 10  # runs whose loss is shown: as many as have a colour of their own
SIDE = 480  # pixels of a run's picture
GAP = 24
SIZE = 20  # of the letters in pixels
_LETTERS = 50  # that fit over a picture
_LONGEST = 1000  # bytes of an event that is read: others are pictures


def comparison_sheet(records: Sequence[Record], folder: str | Path, *, sort: str = SORT) -> Tensor:
    """The outputs of all finished runs beside their targets, and below them the training losses of all runs together.

    An output is shown as the run's own `comparison.png` shows it, scaled down; over it stands the run's rank and what
    tells it from the others. Of many runs the best are shown, and the others counted.

    Args:
        records: Of some runs.
        folder: Where they lie; the folders of runs that nothing tells apart are named from there.
        sort: What they are ranked by.

    Returns:
        (3, H, W) uint8.

    Raises:
        ConvexpError: If no run has a value named `sort`.
    """
    ranked = rank(records, sort=sort)
    keys = differing(ranked)
    names = {record.path: f"{place}: {_name(record, keys, folder)}" for place, record in enumerate(ranked, 1)}
    finished = [record for record in ranked if record.status == "finished"]
    outputs = _outputs({names[record.path]: record.path / "comparison.png" for record in finished[:PICTURES]})
    losses = _losses({names[record.path]: record.path for record in ranked[:CURVES]})
    parts = [*outputs, *_rest(len(finished) - PICTURES), losses, *_rest(len(ranked) - CURVES)]
    return with_margin(below(parts, gap=GAP), GAP)


def _name(record: Record, keys: Sequence[str], folder: str | Path) -> str:
    place = os.path.relpath(record.path, os.path.expanduser(folder))  # noqa: PTH111  # Path's own raises without a home
    name = ", ".join(f"{key}={shown(value_of(record, key))}" for key in keys) or one_line(place)
    return name if record.status == "finished" else f"{name} ({record.status})"


def _outputs(pictures: dict[str, Path]) -> list[Tensor]:
    """The pictures in rows, if there are any, their captions of one height so that they stand side by side."""
    captions = [textwrap.wrap(name, _LETTERS, break_on_hyphens=False) for name in pictures]
    height = max(map(len, captions), default=0)
    cells = [
        below([*(line(text, size=SIZE) for text in (*[""] * (height - len(caption)), *caption)), _small(path)], gap=0)
        for caption, path in zip(captions, pictures.values(), strict=True)
    ]
    return [grid(cells, columns=math.ceil(math.sqrt(len(cells))), gap=GAP)] if cells else []


def _small(path: Path) -> Tensor:
    try:
        return framed(shrunk(read_picture(path), SIDE - 2))
    except ConvexpError:  # a run is no less finished without its pictures
        return line(f"{path.name} cannot be read", size=SIZE)


def _losses(runs: dict[str, Path]) -> Tensor:
    """The curves named by ranks, and beside them what the ranks stand for: long names would lie on the curves."""
    curves = {name.partition(":")[0]: _points(path) for name, path in runs.items()}
    plot = loss_curve({rank: curve for rank, curve in curves.items() if curve[0]}, ylabel="training loss")
    return beside([plot, below([line(name, size=SIZE) for name in runs], gap=SIZE // 4)], gap=GAP)


def _points(path: Path) -> tuple[list[int], list[float]]:
    """Steps and losses from the events of a run; nothing where there are none.

    Of a step that was taken again, when an interrupted run went on, the later loss counts.
    """
    points: dict[int, float] = {}
    for file in sorted(path.glob("events.out.tfevents.*")):
        for event in _events(file):
            for value in event.summary.value:
                if value.tag == "train/loss":
                    points[event.step] = value.simple_value
    return list(points), list(points.values())


def _events(path: Path) -> Iterator[Any]:
    """The short events of a TFRecord file up to where it is damaged.

    TensorBoard's reader takes most of its time for pictures. A record is its length and a checksum of that, the bytes
    and their checksum, https://www.tensorflow.org/tutorials/load_data/tfrecord.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        while len(head := file.read(12)) == 12:
            (length,) = struct.unpack("<Q", head[:8])
            if length + 4 > size - file.tell():
                return
            if length > _LONGEST:
                file.seek(length + 4, os.SEEK_CUR)
                continue
            record, (masked,) = file.read(length), struct.unpack("<I", file.read(4))
            checksum = google_crc32c.value(record)
            if masked != (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF:
                return
            yield Event.FromString(record)


def _rest(count: int) -> list[Tensor]:
    return [line(f"{count} more left out", size=SIZE)] if count > 0 else []
