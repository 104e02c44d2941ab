"""What a search is to do, as its YAML and the command line say it, checked before anything slow is imported."""

import importlib.resources
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast

import yaml
from optuna.distributions import BaseDistribution

from convexp.errors import ConvexpError
from convexp.runs.composition import composed, require_one_command
from convexp.runs.config import COUNT, GROUPS, integer
from convexp.runs.explanation import explain, mendable
from convexp.runs.ranking import METRICS, more_is_better
from convexp.runs.record import PLACES
from convexp.runs.space import read_space

_PRUNING: Mapping[str, int] = {"startup_trials": 5, "warmup_steps": 1000}
_DEFAULTS: Mapping[str, Any] = {
    "trials": 20,
    "objective": "val/mse",
    "pruning": _PRUNING,
    "storage": None,
    "heartbeat": 30,
}
_SETTINGS = ("name", *_DEFAULTS)


@dataclass(frozen=True)
class Plan:
    """What is searched.

    Args:
        name: Of the study and its folder.
        trials: How many are to be complete or pruned.
        objective: A metric of the best weights.
        storage: A database's URL; without, a file in the folder.
        heartbeat: Seconds between a worker's signs of life.
        space: What the values of each key are drawn from.
        overrides: What all trials share, as typed.
        config_dir: A folder with choices of the user's own.
        pruning: How many complete trials (`startup_trials`) a trial is compared with, and from which step on
            (`warmup_steps`), to end it where it is worse than their median; None to end none.
    """

    name: str
    trials: int
    objective: str
    storage: str | None
    heartbeat: int
    space: Mapping[str, BaseDistribution]
    overrides: Sequence[str]
    config_dir: str | None = None
    pruning: Mapping[str, int] | None = None

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """Whether more or less of the objective is better."""
        return "maximize" if more_is_better(self.objective) else "minimize"

    def words(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial with these values.

        >>> Plan("a", 1, "val/mse", None, 30, {}, ["model=deep"]).words({"optimizer.lr": 0.001, "loss": "l1"})
        ['model=deep', 'optimizer.lr=0.001', 'loss=l1']
        """
        return [*self.overrides, *(f"{key}={_typed(value)}" for key, value in values.items())]

    def config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The checked configuration of a trial with these values."""
        return composed(self.words(values), self.config_dir)[0]


def read_plan(words: Sequence[str], config_dir: str | None = None) -> Plan:
    """What is searched, according to the words typed and the YAML that they name.

    Args:
        words: `search=name`, `search.trials=…` and the like, and overrides as of training; a key among them is not
            searched.
        config_dir: A folder whose `search/` has spaces of the user's own.

    Raises:
        ConvexpError: If there is no such search, or something in it is wrong.
    """
    own = dict(word.split("=", 1) for word in words if word.startswith(("search=", "search.")) and "=" in word)
    name = own.pop("search", "default")
    overrides = [word for word in words if not word.startswith(("search=", "search."))]
    content = _read(name, config_dir)
    for key, text in own.items():
        setting = key.removeprefix("search.")
        if setting.startswith("pruning."):
            content["pruning"] = _with(content.get("pruning"), setting.removeprefix("pruning."), yaml.safe_load(text))
            continue
        if setting not in _SETTINGS:
            raise ConvexpError(f"{key}={text}: there is no such key; there are search.{', search.'.join(_SETTINGS)}")
        content[setting] = yaml.safe_load(text)
    if unknown := set(content) - {*_SETTINGS, "space"}:
        raise ConvexpError(
            f"search={name}: {min(unknown)}: nothing reads this key; there are space, {', '.join(_SETTINGS)}"
        )
    values: dict[str, Any] = {"name": name, **_DEFAULTS, **content}
    for key in ("trials", "heartbeat"):
        if not COUNT.accepts(values[key]):
            raise ConvexpError(f"search.{key}={values[key]}: must be a whole number ≥ 1")
    if values["objective"] not in METRICS[1:]:
        near = get_close_matches(str(values["objective"]), METRICS[1:], n=1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        raise ConvexpError(
            f"search.objective={values['objective']}: no such metric{suggestion}; there are {', '.join(METRICS[1:])}"
        )
    if values["storage"] is not None and "://" not in str(values["storage"]):
        raise ConvexpError(
            f"search.storage={values['storage']}: must be a database's URL, as postgresql://user@host/searches, or null"
        )
    space = read_space(
        values.pop("space", None), f"search={name}", {word.lstrip("+~").split("=", 1)[0] for word in words}
    )
    plan = Plan(
        name=str(values["name"]),
        trials=values["trials"],
        objective=values["objective"],
        storage=values["storage"],
        heartbeat=values["heartbeat"],
        space=space,
        overrides=overrides,
        config_dir=config_dir,
        pruning=_read_pruning(values["pruning"]),
    )
    _require_runnable(plan)
    return plan


def write_best(plan: Plan, values: Mapping[str, Any], folder: Path) -> Path:
    """Writes a trial as an experiment: its choices, and every key that they alone would set otherwise.

    Args:
        plan: Of the search.
        values: Of the trial.
        folder: That of the search.

    Returns:
        `experiment/best.yaml` in the folder, which then serves as `--config-dir`.
    """
    plain, written = composed(plan.words(values), plan.config_dir)
    choices, standard = plain["choices"], composed([])[0]["choices"]
    model = {} if choices["model"] == standard["model"] else {"model": choices["model"]}
    brought = composed(_choosing(model), plan.config_dir)[0]["choices"]  # a model chooses its recipe too
    chosen = model | {group: choices[group] for group in GROUPS if choices[group] != brought[group]}
    _, bare = composed(_choosing(chosen), plan.config_dir)
    entries: dict[str, Any] = {"defaults": [{f"override /{group}": choice} for group, choice in chosen.items()]}
    entries["defaults"].append("_self_")
    entries |= _otherwise({key: value for key, value in written.items() if key not in (*PLACES, "allow")}, bare)
    text = yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=120)
    path = folder / "experiment" / "best.yaml"
    path.parent.mkdir(exist_ok=True)
    partial = path.with_name(f"{path.name}.{time.time_ns()}.partial")  # several workers may come to the end at once
    partial.write_text(f"# @package _global_\n{text}", encoding="utf-8")
    partial.replace(path)
    return path


def _choosing(choices: Mapping[str, Any]) -> list[str]:
    return [f"{group}={choice}" for group, choice in choices.items()]


def _typed(value: object) -> str:
    """A value as Hydra reads it; a list among the choices is text already."""
    if isinstance(value, str) and not re.fullmatch(r"[\w./-]+|\[.*\]", value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return value if isinstance(value, str) else json.dumps(value)


def _read(name: str, config_dir: str | None) -> dict[str, Any]:
    """A search's YAML: the user's own before convexp's."""
    found: dict[str, Any] = {}
    for place in (importlib.resources.files("convexp.configs"), *([] if config_dir is None else [Path(config_dir)])):
        folder = place / "search"
        if folder.is_dir():
            found |= {file.name[:-5]: file for file in folder.iterdir() if file.name.endswith(".yaml")}
    if name not in found:
        near = get_close_matches(name, found, n=1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        raise ConvexpError(f"search={name}: no such search{suggestion}; there are {', '.join(sorted(found))}")
    try:
        content = yaml.safe_load(found[name].read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConvexpError(f"{found[name]} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConvexpError(f"{found[name]}: must be a mapping with a space")
    return cast("dict[str, Any]", content)


def _with(content: object, key: str, value: object) -> dict[str, object]:
    """A mapping with a key set otherwise; a new one if there was none."""
    return {**cast("dict[str, object]", content if isinstance(content, dict) else {}), key: value}


def _read_pruning(content: object) -> dict[str, int] | None:
    if content is None:
        return None
    if not isinstance(content, Mapping):
        raise ConvexpError(f"search.pruning={content}: must be {{startup_trials: …, warmup_steps: …}} or null")
    values = cast("Mapping[str, object]", content)
    for key, value in values.items():
        if key not in _PRUNING:
            raise ConvexpError(
                f"search.pruning.{key}={value}: there is no such key; there are search.pruning."
                f"{', search.pruning.'.join(_PRUNING)}"
            )
        least = 1 if key == "startup_trials" else 0
        if not integer(at_least=least).accepts(value):
            raise ConvexpError(f"search.pruning.{key}={value}: must be a whole number ≥ {least}")
    return {**_PRUNING, **cast("Mapping[str, int]", values)}


def _require_runnable(plan: Plan) -> None:
    """Composes every choice and both bounds of every key, so that no trial fails for a reason known beforehand."""
    ends: Mapping[str, Sequence[Any]] = {
        key: getattr(spread, "choices", None) or (getattr(spread, "low", None), getattr(spread, "high", None))
        for key, spread in plan.space.items()
    }
    first = {key: values[0] for key, values in ends.items()}
    base = composed(plan.overrides, plan.config_dir)[0]
    optimizer = base["choices"]["optimizer"]
    steps_itself = optimizer == "exact" or base["optimizer"].get("line_search_fn") is not None
    if steps_itself and set(ends) <= {"optimizer.lr", "scheduler"}:
        raise ConvexpError(
            f"optimizer={optimizer} finds the length of its steps itself, so that there is nothing to search; choose "
            "model=deep, or optimizer=adam or sgd, or write a space of your own and choose it with search=…"
        )
    for key, values in ends.items():
        for value in values:
            words = plan.words({**first, key: value})
            try:
                trainer = composed(words, plan.config_dir)[0]["trainer"]
            except Exception as error:
                if not mendable(error):
                    raise
                raise ConvexpError(f"the space: {explain(error, words)}") from error
            require_one_command(trainer, "in a search")


def _otherwise(node: Mapping[str, Any], bare: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a mapping that another one says otherwise, or does not say."""
    changed: dict[str, Any] = {}
    for key, value in node.items():
        other = bare.get(key)
        if isinstance(value, dict) and isinstance(other, dict):
            if part := _otherwise(cast("dict[str, Any]", value), cast("dict[str, Any]", other)):
                changed[key] = part
        elif key not in bare or value != other or type(value) is not type(other):
            changed[key] = value
    return changed
