"""A run as its folder tells it: how far it came, with which configuration, and what it measured."""

import fcntl
import json
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

from convexp.errors import ConvexpError
from convexp.runs.folder import RunFolder, read_text

Status = Literal["finished", "pruned", "running", "interrupted", "failed", "unreadable"]
STATUSES: tuple[str, ...] = get_args(Status)

#: Where a run lies and how it came about, which says nothing of what it learned.
PLACES = ("outputs", "sweep", "resume", "identity", "made_of")


@dataclass(frozen=True)
class Record:
    """What is known of a run.

    Args:
        path: Its folder.
        status: How far it came; the others have no metrics.
        config: Its resolved configuration; empty where it cannot be read.
        metrics: What `metrics.json` holds of a finished run.
        reason: Why it was pruned, failed or is unreadable, in one line.
    """

    path: Path
    status: Status
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    reason: str | None = None


def read_record(path: str | Path) -> Record:
    """What a folder tells of its run, however damaged it is."""
    folder = RunFolder(path)
    working = _held(folder.path / "run.lock")  # first: a run that ends right now has its metrics already
    config: Mapping[str, Any] = {}
    try:
        config = folder.read_config()
        metrics = _read_metrics(folder.metrics) if folder.finished else None
    except ConvexpError as error:
        reason = one_line(str(error)).replace(f"{folder.path}{os.sep}", "", 1)
        return Record(folder.path, "unreadable", config, {}, reason)
    if metrics is not None:
        return Record(folder.path, "finished", config, metrics)
    if working:
        return Record(folder.path, "running", config, {})
    if folder.pruned.exists():
        return Record(folder.path, "pruned", config, {}, _read_reason(folder.pruned))
    if folder.failure.exists():
        return Record(folder.path, "failed", config, {}, _read_reason(folder.failure))
    return Record(folder.path, "interrupted", config, {})


def find_records(folder: str | Path) -> list[Record]:
    """The runs in a folder and in all below it, by path; links to other folders are not followed.

    Raises:
        ConvexpError: If there is no such folder, or no run in it.
    """
    top = RunFolder(folder).path
    if not os.path.isdir(top):  # noqa: PTH112  # Path's own raises where a folder above is closed
        raise ConvexpError(f"{top}: there is no such folder; pass one that holds runs, as outputs")
    found: list[Path] = []
    for place, folders, files in os.walk(top):
        if "config.yaml" in files:
            found.append(Path(place))
            folders.clear()
    if not found:
        raise ConvexpError(f"{top} holds no run: no folder in it has a config.yaml; pass one that holds runs")
    return [read_record(path) for path in sorted(found)]


def value_of(record: Record, key: str) -> object:
    """A value of a run by its name, or None where it has no such value.

    Args:
        record: The run.
        key: `status`; a group, as `model`, for the name of its choice; a dotted key of the configuration, as
            `optimizer.lr`; a metric, as `val/psnr` or `best/val/psnr` of the best weights, `final/val/psnr` of the last
            ones, `seconds` or `optimum.gap` of the run.
    """
    if key == "status":
        return record.status
    choices = record.config.get("choices", {})
    if key in choices:
        return choices[key]
    part, _, metric = key.partition("/")
    if part in ("best", "final") and metric:
        return record.metrics.get(part, {}).get(metric)
    for found in (_descend(record.config, key), record.metrics.get("best", {}).get(key)):
        if found is not None:
            return found
    return _descend(record.metrics, key)


def keys_of(record: Record) -> Iterator[str]:
    """Every name that a value of the run has."""
    yield "status"
    yield from map(str, record.config.get("choices", {}))
    yield from _dotted({key: value for key, value in record.config.items() if key not in ("choices", "overrides")})
    yield from record.metrics.get("best", {})
    yield from (f"best/{name}" for name in record.metrics.get("best", {}))
    yield from (f"final/{name}" for name in record.metrics.get("final", {}))
    for name, value in record.metrics.items():
        if name not in ("best", "final"):
            yield from (f"{name}.{part}" for part in value) if isinstance(value, dict) else (name,)


def differing(records: Sequence[Record]) -> list[str]:
    """What tells the runs apart: the keys that were typed and whose values differ, in that order, the seed last.

    Of a run that does not say what was typed, the groups' choices count.
    """
    keys: dict[str, None] = {}
    for record in records:
        keys |= dict.fromkeys(_typed(record))
    keys = {key: None for key in keys if key not in (*PLACES, "seed")} | {"seed": None}
    readable = [record for record in records if record.config]
    return [key for key in keys if len({canonical(value_of(record, key)) for record in readable}) > 1]


def number(value: object) -> float | None:
    """A value as a finite number, or None if it is none: true and false are not."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    return None


def canonical(value: object) -> str:
    """A text that is the same for the same plain values, in whichever order their keys stand.

    >>> canonical({"b": [1, None], "a": "x"})
    "{'a': 'x', 'b': [1, None]}"
    """
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value).items()
        return "{" + ", ".join(sorted(f"{key!r}: {canonical(entry)}" for key, entry in entries)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(canonical, cast("list[object]", value))) + "]"
    return repr(value)


def shown(value: object) -> str:
    """A value as it stands in tables."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else one_line(str(value))


def one_line(text: str) -> str:
    """A text without line ends and control characters, of which a stranger's folder may be full."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _held(lock: Path) -> bool:
    """Whether a process holds a lock; to ask, it is shared for an instant."""
    if not os.path.isfile(lock):  # noqa: PTH113  # opening a pipe would wait for its other end
        return False
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _read_metrics(path: Path) -> dict[str, Any]:
    try:
        metrics = json.loads(read_text(path), parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError) as error:
        raise ConvexpError(f"{path} cannot be read: {error}") from error
    for part in ("best", "final"):
        values = metrics.get(part) if isinstance(metrics, dict) else None
        if not isinstance(values, dict):
            raise ConvexpError(f"{path} is not what a run writes: it has no {part} metrics")
        for name, value in cast("dict[str, object]", values).items():
            if value is not None and number(value) is None and value not in (math.inf, -math.inf):
                raise ConvexpError(f"{path} is not what a run writes: {part} {name} is no number")
    return metrics


def _read_reason(path: Path) -> str:
    try:
        reason = json.loads(read_text(path))["reason"]
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        reason = None
    return one_line(reason) if isinstance(reason, str) else f"{path.name} cannot be read"


def _typed(record: Record) -> list[str]:
    overrides = record.config.get("overrides")
    if not isinstance(overrides, list):
        return [str(group) for group in record.config.get("choices", {})]
    return [str(word).lstrip("+~").partition("=")[0] for word in cast("list[object]", overrides)]


def _descend(node: object, key: str) -> object:
    for part in key.split("."):
        node = cast("dict[str, object]", node).get(part) if isinstance(node, dict) else None
    return node


def _dotted(node: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _dotted(cast("dict[Any, Any]", value), f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
