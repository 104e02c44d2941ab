"""`train`: Hydra composes a configuration and a run begins; what is heavy is imported after all checks."""

import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from convexp.errors import ConvexpError
from convexp.runs.composition import composing_once, kept, one_of_many, require_one_command
from convexp.runs.config import checked
from convexp.runs.devices import gpus_to_choose_from, own_gpu
from convexp.runs.explanation import explain, mendable
from convexp.runs.folder import RunFolder
from convexp.runs.record import PLACES, read_record
from convexp.runs.summary import summarise
from convexp.runs.sweep import Sweep, made_of, sweep_name

#: Words that ask Hydra for something else than runs.
_ASKING = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--version", "--shell-completion", "-sc"}

_WANTS_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"


def train() -> None:
    """Runs the training command on `sys.argv`; what a user can mend is one line and exit status 1."""
    sys.path.append(str(Path.cwd()))  # a user's own operators and models lie where the command is typed
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a report of its own and hides the exception
    sweeping = any(map(_asks_for_many, sys.argv[1:])) and not _ASKING & set(sys.argv)
    try:
        if sweeping:
            _sweep()
        else:
            _application()
    except KeyboardInterrupt as interruption:
        said = str(interruption) or ("stopped" if sweeping else "stopped before the first step")
        if sweeping:
            said = f"{said.partition('; to continue')[0]}; the same command goes on with the sweep"
        print(f"\nconvexp: {said}", file=sys.stderr)
        sys.exit(128 + getattr(interruption, "number", signal.SIGINT))
    except Exception as error:
        if _WANTS_TRACEBACK or not mendable(error):
            raise
        sys.exit(f"convexp: {explain(error, sys.argv[1:])}")


def _asks_for_many(word: str) -> bool:
    """Whether it is -m, or --multirun as far as one has typed it, or Hydra's own key for it."""
    return word == "-m" or (word.startswith("--m") and "--multirun".startswith(word)) or word == "hydra.mode=MULTIRUN"


def _sweep() -> None:
    """All runs of a sweep, and what they come to, also if some fail."""
    words = [word for word in sys.argv[1:] if re.match(r"[+~]*[a-z]\S*=|~[a-z]", word)]
    parsed = OverridesParser.create().parse_overrides(words)
    sweep = Sweep(Path(_place(parsed, "outputs") or "outputs", "sweeps", sweep_name(words, _place(parsed, "sweep"))))
    for word in parsed:
        if (word.is_range_sweep() or word.is_choice_sweep()) and not list(word.sweep_string_iterator()):
            raise ConvexpError(f"{word.input_line}: no value, so that there is nothing to run")
    common = [f"'{word.get_key_element()}'" for word in parsed if not word.is_sweep_override()]
    # Beside another word of its kind: those behind an option are not understood.
    place = sys.argv.index(words[0]) if words else len(sys.argv)
    # In the configuration they reach a job wherever it runs, as no environment variable does.
    sys.argv[place:place] = [
        "hydra.sweep.dir='{}'".format(str(sweep.path.absolute()).replace("'", r"\'")),
        f"hydra.job.config.override_dirname.exclude_keys=[{','.join(common)}]",
    ]
    with sweep.held(), composing_once():
        try:
            _application()
        finally:
            summarise(sweep)


def _place(parsed: Sequence[Override], key: str) -> str | None:
    """What was typed for a part of the sweep's path, as text."""
    typed = [word for word in parsed if word.key_or_group == key]
    if not typed or (value := typed[-1].value()) is None:
        return None
    text = value.text if isinstance(value, QuotedString) else str(value)
    if typed[-1].is_sweep_override() or "${" in text:
        raise ConvexpError(f"{typed[-1].input_line}: a sweep has one place, whose name is typed out")
    return text


@hydra.main(version_base="1.3", config_path="pkg://convexp.configs", config_name="train")
def _application(config: DictConfig) -> None:
    job = cast("DictConfig", HydraConfig.get())
    overrides = cast("list[str]", OmegaConf.to_container(job.overrides.task))  # as typed, interpolations and all
    sweeping = job.mode == RunMode.MULTIRUN
    if sweeping:
        _go_to(job.runtime.cwd)  # where the command was typed: a job of another machine begins elsewhere
    try:
        (_job if sweeping else _begin)(config, job, overrides)
    except Exception as error:
        if sweeping:
            # Hydra goes on with the other jobs, and raises at the end what the first of the failed ones raised.
            line = f"job {job.job.num} ({' '.join(overrides)}) failed: {explain(error, overrides)}"
            print(f"convexp: {line}", file=sys.stderr)
        elif mendable(error) and not _WANTS_TRACEBACK:
            sys.exit(f"convexp: {explain(error, overrides)}")  # Hydra adds a line to every exception, but not to this
        raise


def _go_to(folder: str) -> None:
    os.chdir(folder)
    if folder not in sys.path:
        sys.path.append(folder)


def _begin(config: DictConfig, job: DictConfig, overrides: list[str]) -> None:
    """A run of its own, or the rest of one."""
    typed = checked(config)
    if typed["resume"] is not None:
        folder, plain = _interrupted(typed["resume"], typed["allow"], overrides)

        from convexp.runs.experiment import resume

        resume(plain, folder)
        return
    plain = kept(typed, job.runtime.choices, overrides)
    choices = plain["choices"]
    place = Path(plain["outputs"], f"{choices['target']}-{choices['model']}", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")

    from convexp.runs.experiment import run

    run(plain, place)


def _job(config: DictConfig, job: DictConfig, overrides: list[str]) -> None:
    """One run of a sweep, as far as it is still to be done."""
    path, here, common = Path(job.sweep.dir), job.runtime.cwd, job.job.config.override_dirname.exclude_keys
    sweep = Sweep(path.relative_to(here) if path.is_relative_to(here) else path)
    varied = [override for override in overrides if override.partition("=")[0] not in common]
    varied = varied or [override for override in overrides if override.partition("=")[0] not in PLACES]
    try:
        plain = one_of_many(kept(checked(config), job.runtime.choices, overrides))
        require_one_command(plain["trainer"], "under -m")
    except Exception as error:
        raw = cast("dict[str, Any]", OmegaConf.to_container(config))
        sweep.note_failure(kept(raw, job.runtime.choices, overrides), varied, explain(error, overrides))
        raise
    if plain["resume"] is not None:
        raise ConvexpError("resume continues one run; a sweep goes on by itself when its command is given again")
    with sweep.alone(plain["identity"]):
        while True:
            todo, place = sweep.take(plain, varied)
            if todo != "nothing" or read_record(place).status != "running":
                break
            time.sleep(1)  # a command of its own continues it
        if todo != "begin":
            print(f"{place} {_standing(place, plain)}", flush=True)
        if todo == "nothing":
            return
        from convexp.runs.experiment import resume, run

        try:
            with own_gpu(gpus_to_choose_from(plain["trainer"])) as gpu:
                if todo == "go on":
                    resume(plain, RunFolder(place), shelf=sweep.shelf, gpu=gpu)
                else:
                    run({**plain, "made_of": made_of(plain)}, place, shelf=sweep.shelf, gpu=gpu)
        except Exception as error:
            sweep.note_failure(plain, varied, explain(error, overrides))
            raise


def _standing(place: Path, plain: dict[str, Any]) -> str:
    """How a run stands that is not begun again, and whether it would be another one today."""
    record = read_record(place)
    if record.status == "pruned":
        return f"was pruned {record.reason}; resume={place} takes its last steps"
    word = "is finished" if record.status == "finished" else "goes on"
    then, now = record.config.get("made_of", {}), made_of(plain)
    changed = [what for what in now if then.get(what) not in (None, now[what])]
    if not changed:
        return word
    return f"{word}, but its {' and '.join(changed)} changed since: remove it to run it again"


def _interrupted(path: str, allow: list[str], overrides: list[str]) -> tuple[RunFolder, dict[str, Any]]:
    """An interrupted run's folder and its checked configuration."""
    others = [override for override in overrides if not override.startswith(("resume=", "allow="))]
    if others:
        raise ConvexpError(f"resume continues with the run's own configuration; leave {' '.join(others)} out")
    folder = RunFolder(path)
    config = folder.read_config()
    folder.require_unfinished()
    plain = checked(config)

    from convexp.runs.construction import require_trust

    require_trust({key: value for key, value in config.items() if key != "overrides"}, allow=allow)  # words, as typed
    return folder, plain


if __name__ == "__main__":  # how Lightning starts the further processes of trainer=ddp
    train()
