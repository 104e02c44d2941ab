"""The runs of a folder as tables: ranked, chosen by conditions, and averaged over seeds."""

import contextlib
import csv
import io
import json
import math
import os
import re
import statistics
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import yaml

from convexp.errors import ConvexpError
from convexp.runs.record import PLACES, STATUSES, Record, canonical, differing, keys_of, number, shown, value_of

METRICS = ("step", "train/mse", "val/mse", "val/r2", "val/psnr", "val/ssim")
SORT = "val/mse"

#: Of all other numbers the smaller one is better.
_HIGHER = ("r2", "psnr", "ssim", "steps_per_second")

#: What a narrow terminal does without, first of all the first.
_DISPENSABLE = ("train/mse", "step", "seconds", "val/ssim", "val/psnr", "val/r2", "val/mse")
_LEAST = {"run": 32, "reason": 30}  # characters that they keep

_CONDITION = re.compile(r"\s*([^\s=<>!]+)\s*(>=|<=|!=|==?|>|<)\s*([^\s=<>!].*?)\s*", re.DOTALL)


def rank(records: Sequence[Record], *, sort: str = SORT) -> list[Record]:
    """The records with the best first: finished runs before others, and runs without the number behind all with it.

    Args:
        records: Of some runs.
        sort: What is compared, a name as `value_of` takes it. More is better of R², PSNR, SSIM and steps per second,
            less of everything else.

    Raises:
        ConvexpError: If no run has a value of this name.
    """
    _require_known(sort, records, f"sort={sort}")
    return sorted(records, key=lambda record: (record.status != "finished", *_order(value_of(record, sort), sort)))


def where(records: Sequence[Record], conditions: Sequence[str]) -> list[Record]:
    """The records that meet all conditions.

    Args:
        records: Of some runs.
        conditions: As `model=deep`, `optimizer.lr<=1e-2`, `status!=failed` or `val/r2>0.9`. Values are read as YAML and
            compared as numbers where both are; a run without the value meets none but `!=`.

    Raises:
        ConvexpError: If one is not a condition, or no run has a value of its name.
    """
    chosen = list(records)
    for condition in conditions:
        parts = _CONDITION.fullmatch(condition)
        if not parts:
            raise ConvexpError(f"{condition}: not understood; write a condition as model=deep or 'val/r2>0.9'")
        key, sign, text = parts.groups()
        _require_known(key, records, condition)
        if key == "status" and text not in STATUSES:
            raise ConvexpError(f"{condition}: must be one of {', '.join(STATUSES)}")
        if sign[0] in "<>" and _read_number(text) is None:
            raise ConvexpError(f"{condition}: {sign} compares numbers, and {text} is none")
        chosen = [record for record in chosen if _meets(value_of(record, key), sign, text)]
    return chosen


def rows(records: Sequence[Record], folder: str | Path, *, sort: str = SORT) -> list[dict[str, Any]]:
    """A table of plain values, a row for each run in the order given, all with the same columns.

    They are the folder, the status, what tells the runs apart, the metrics of the best weights, the seconds, and why a
    run was pruned or failed; and what the runs are sorted by.
    """
    keys, numbers = differing(records), [*METRICS, "seconds"]
    named = [*keys, *numbers] if sort in (*keys, *numbers, "status") else [*keys, sort, *numbers]
    place = os.path.expanduser(folder)  # noqa: PTH111  # Path's own raises where there is no such user
    return [
        {
            "run": os.path.relpath(record.path, place),
            "status": record.status,
            **{name: value_of(record, name) for name in named},
            "reason": record.reason,
        }
        for record in records
    ]


def table_text(table: Sequence[Mapping[str, Any]], *, sort: str = SORT, width: int | None = None) -> str:
    """The rows as aligned text, without the columns that say nothing.

    Args:
        table: As `rows` gives it.
        sort: A column that is never left out.
        width: Of the terminal in characters: to fit it, reasons and folders are cut and less interesting numbers left
            out.
    """
    names = [name for name in table[0] if any(row[name] is not None for row in table)]
    if all(row.get("status") == "finished" for row in table):
        names.remove("status")
    columns = {name: [name, *(shown(row[name]) for row in table)] for name in names}
    missing: list[str] = []
    if width is not None:
        _fit(columns, width, missing, sort)
    for name, texts in columns.items():
        wide = max(map(len, texts))
        numeric = all(row[name] is None or number(row[name]) is not None for row in table)
        columns[name] = [text.rjust(wide) if numeric else text.ljust(wide) for text in texts]
    lines = ["  ".join(line).rstrip() for line in zip(*columns.values(), strict=True)]
    return "\n".join([*lines, f"(no room for {', '.join(missing)})"] if missing else lines)


def seeds_text(records: Sequence[Record], *, sort: str = SORT, width: int | None = None) -> str:
    """The runs that differ in nothing but the seed as aligned text: mean ± standard deviation over the finished ones.

    The deviation is that of a sample, of which `n` says how many there are. Runs whose configuration no other seed
    shares are left out.

    Args:
        records: Of some runs.
        sort: What the groups are compared by, as in `rank`.
        width: Of the terminal in characters.

    Returns:
        The table, or nothing if no two runs differ in the seed alone, or none is finished.
    """
    groups: dict[str, dict[str, Record]] = {}
    for record in sorted(records, key=lambda record: record.status != "finished"):
        if record.config:  # of several runs of one seed, which are alike, the first that is finished
            groups.setdefault(_all_but_the_seed(record), {}).setdefault(canonical(record.config.get("seed")), record)
    keys = [key for key in differing(records) if key != "seed"]
    names = [name for name in (*METRICS[1:], "seconds") if name not in keys]
    names = names if sort in (*keys, *names, "seed", "status") else [sort, *names]
    table: list[tuple[Any, dict[str, Any]]] = []
    for group in groups.values():
        if len(group) < 2:
            continue
        members = list(group.values())
        finished = [record for record in members if record.status == "finished"]
        values = {name: [number(value_of(record, name)) for record in finished] for name in names}
        row: dict[str, Any] = {key: value_of(members[0], key) for key in keys}
        row["n"] = str(len(members)) if len(finished) == len(members) else f"{len(finished)} of {len(members)}"
        row |= {name: _mean_and_deviation(numbers) for name, numbers in values.items()}
        best = _mean(values[sort]) if sort in values else row.get(sort)
        table.append((_order(best, sort), row))
    if not table or all(record.status != "finished" for record in records):
        return ""
    ranked = [row for _, row in sorted(table, key=lambda entry: entry[0])]
    return f"mean ± standard deviation over seeds\n{table_text(ranked, sort=sort, width=width)}"


def write_csv(table: Sequence[Mapping[str, Any]], path: str | Path) -> None:
    """Writes rows as a CSV file, whole or not at all.

    Raises:
        ConvexpError: If it cannot be written.
    """
    path = Path(os.path.expanduser(path))  # noqa: PTH111  # Path's own raises where there is no such user
    partial = path.parent / f"{path.name}.partial"
    try:
        partial.unlink(missing_ok=True)
        partial.write_text(to_csv(table), encoding="utf-8", newline="")
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise ConvexpError(f"{path} cannot be written ({error.strerror}); name another file") from error


def to_csv(table: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV; what a run lacks is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    return text.getvalue()


def to_json(table: Sequence[Mapping[str, Any]]) -> str:
    """The rows as a JSON list of objects; what a run lacks, or is not finite, is null."""
    plain = [
        {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
        for row in table
    ]
    return json.dumps(plain, indent=2, ensure_ascii=False, default=str)


def more_is_better(name: str) -> bool:
    """Whether a larger value of a metric is the better one.

    >>> more_is_better("val/psnr"), more_is_better("val/mse")
    (True, False)
    """
    return name.rpartition("/")[2] in _HIGHER


def _require_known(key: str, records: Sequence[Record], typed: str) -> None:
    known = dict.fromkeys((*METRICS, "seconds", *(name for record in records for name in keys_of(record))))
    if key in known:
        return
    ends = [name for name in known if re.split(r"[./]", name)[-1] == key]  # lr means optimizer.lr
    near = ends or get_close_matches(key, known, n=1)
    suggestion = f"; did you mean {near[0]}?" if near else ""
    groups = dict.fromkeys(group for record in records for group in map(str, record.config.get("choices", {})))
    some = ", ".join(("status", *groups, "optimizer.lr", *METRICS[2:]))
    raise ConvexpError(f"{typed}: no run has a value of this name{suggestion}; there are {some}, …")


def _order(value: object, name: str) -> tuple[bool, bool, float, str]:
    """What sorts values with the best first, text behind numbers and nothing behind text."""
    place = number(value)
    if place is not None and more_is_better(name):
        place = -place
    return value is None, place is None, place or 0.0, "" if place is not None else str(value)


def _meets(value: object, sign: str, text: str) -> bool:
    given, wanted = _read_number(value), _read_number(text)
    if given is not None and wanted is not None:
        equal = given == wanted
    else:
        equal = str(value) == text or canonical(value) == canonical(_read_yaml(text))
    if sign in ("=", "==", "!="):
        return equal != (sign == "!=")
    if given is None or wanted is None:
        return False
    return (equal and "=" in sign) or (given > wanted if sign[0] == ">" else given < wanted)


def _read_number(value: object) -> float | None:
    """A number, or one written as YAML 1.1 does not read it, as 1e-3."""
    try:
        return number(float(value) if isinstance(value, str) else value)
    except ValueError:
        return None


def _read_yaml(text: str) -> object:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text


def _all_but_the_seed(record: Record) -> str:
    return canonical({key: value for key, value in record.config.items() if key not in (*PLACES, "seed", "overrides")})


def _mean(numbers: Sequence[float | None]) -> float | None:
    """The mean, if there are numbers and nothing else."""
    present = [value for value in numbers if value is not None]
    return statistics.fmean(present) if present and len(present) == len(numbers) else None


def _mean_and_deviation(numbers: Sequence[float | None]) -> str | None:
    mean = _mean(numbers)
    if mean is None or len(numbers) < 2:
        return None if mean is None else f"{mean:.4g}"
    return f"{mean:.4g} ± {statistics.stdev(cast('Sequence[float]', numbers)):.2g}"


def _fit(columns: dict[str, list[str]], width: int, missing: list[str], sort: str) -> None:
    """Cuts and leaves out what a terminal has no room for."""
    if "run" in columns and _width(columns) > width:
        room = max(_LEAST["run"], width // 3)  # paths differ at their end
        columns["run"] = [text if len(text) <= room else f"…{text[1 - room :]}" for text in columns["run"]]
    for name in _DISPENSABLE:
        if name in columns and name != sort and _width(columns) > width:
            del columns[name]
            missing.append(name)
    if "reason" in columns:
        room = _LEAST["reason"] + max(0, width - _width(columns))
        columns["reason"] = [text if len(text) <= room else f"{text[: room - 1]}…" for text in columns["reason"]]


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    """The characters of a line, if a reason has no more room than it keeps."""
    sizes = {name: max(map(len, texts)) for name, texts in columns.items()}
    fitted = [min(size, _LEAST["reason"]) if name == "reason" else size for name, size in sizes.items()]
    return sum(fitted) + 2 * (len(fitted) - 1)
