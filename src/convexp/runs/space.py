"""The space of a search: what the values of each key are drawn from."""

import json
import math
from typing import Any, cast

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from convexp.errors import ConvexpError
from convexp.runs.record import number

_SPREAD = ("low", "high", "log", "step", "int")


def read_space(content: object, source: str, typed: set[str]) -> dict[str, BaseDistribution]:
    """What the values of each key are drawn from.

    Args:
        content: As YAML has it.
        source: Where it stands, as `search=default`.
        typed: Keys that are not searched.

    Raises:
        ConvexpError: If there is something wrong in it, or nothing left to search.
    """
    if not isinstance(content, dict) or not content:
        raise ConvexpError(f"{source}: space must name what is searched, as optimizer.lr: {{low: 1e-4, high: 1e-1}}")
    entries = cast("dict[object, object]", content)
    space = {str(key): _spread(node, f"{source}: {key}") for key, node in entries.items() if str(key) not in typed}
    if not space:
        raise ConvexpError(
            f"{source}: every key of its space was typed, so that nothing is left to search; leave one out"
        )
    return space


def _spread(node: object, where: str) -> BaseDistribution:
    """What a key's values are drawn from."""
    entry = cast("dict[str, Any]", node) if isinstance(node, dict) else {}
    if set(entry) == {"choices"}:
        return CategoricalDistribution(_choices(entry["choices"], where))
    if not {"low", "high"} <= set(entry) <= set(_SPREAD):
        raise ConvexpError(
            f"{where}: must be {{low: …, high: …}}, with log: true, int: true or step: …, or {{choices: […]}}"
        )
    low, high = (_number(entry[bound], f"{where}.{bound}") for bound in ("low", "high"))
    log, whole, step = entry.get("log", False), entry.get("int", False), entry.get("step")
    for flag, value in (("log", log), ("int", whole)):
        if not isinstance(value, bool):
            raise ConvexpError(f"{where}.{flag}={value}: must be true or false")
    if low >= high:
        raise ConvexpError(f"{where}: low={low:g} must be less than high={high:g}")
    if log and low <= 0:
        raise ConvexpError(f"{where}: low={low:g} must be more than 0 with log: true")
    if step is not None:
        step = _number(step, f"{where}.step")
        if log or not 0 < step <= high - low:
            raise ConvexpError(f"{where}: step={step:g} must be more than 0, at most high − low, and without log: true")
    if not whole:
        return FloatDistribution(low, high, log=log, step=step)
    if any(value != math.floor(value) for value in (low, high, step or 1)):
        raise ConvexpError(f"{where}: low, high and step must be whole with int: true")
    return IntDistribution(int(low), int(high), log=log, step=int(step or 1))


def _choices(node: object, where: str) -> list[bool | int | float | str | None]:
    values = cast("list[object]", node) if isinstance(node, list) else []
    if not values or any(isinstance(value, dict) for value in values):
        raise ConvexpError(f"{where}.choices: must be a list of names, numbers or lists")
    plain = [json.dumps(value) if isinstance(value, list) else value for value in values]
    return cast("list[bool | int | float | str | None]", plain)


def _number(value: object, where: str) -> float:
    try:
        found = number(float(value) if isinstance(value, str) else value)  # YAML 1.1 reads 1e-3 as text
    except ValueError:
        found = None
    if found is None:
        raise ConvexpError(f"{where}={value}: must be a number")
    return found
