"""`train`: Hydra composes a configuration and a run begins; what is heavy is imported after all checks."""

import os
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from convexp.errors import ConvexpError
from convexp.runs.config import GROUPS, checked
from convexp.runs.explanation import explain, mendable
from convexp.runs.folder import RunFolder, slug

_WANTS_TRACEBACK = os.environ.get("HYDRA_FULL_ERROR") == "1"


def train() -> None:
    """Runs the training command on `sys.argv`; what a user can mend is one line and exit status 1."""
    sys.path.append(str(Path.cwd()))  # a user's own operators and models lie where the command is typed
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a report of its own and hides the exception
    try:
        _application()
    except KeyboardInterrupt as interruption:
        print(f"\nconvexp: {str(interruption) or 'stopped before the first step'}", file=sys.stderr)
        sys.exit(128 + getattr(interruption, "number", signal.SIGINT))
    except Exception as error:
        if _WANTS_TRACEBACK or not mendable(error):
            raise
        sys.exit(f"convexp: {explain(error, sys.argv[1:])}")


@hydra.main(version_base="1.3", config_path="pkg://convexp.configs", config_name="train")
def _application(config: DictConfig) -> None:
    job = cast("DictConfig", HydraConfig.get())
    overrides = cast("list[str]", OmegaConf.to_container(job.overrides.task))  # as typed, interpolations and all
    try:
        _begin(config, job, overrides)
    except Exception as error:
        if job.mode == RunMode.MULTIRUN:
            # Hydra goes on with the other jobs, and raises at the end what the first of the failed ones raised.
            line = f"job {job.job.num} ({' '.join(overrides)}) failed: {explain(error, overrides)}"
            print(f"convexp: {line}", file=sys.stderr)
        elif mendable(error) and not _WANTS_TRACEBACK:
            sys.exit(f"convexp: {explain(error, overrides)}")  # Hydra adds a line to every exception, but not to this
        raise


def _begin(config: DictConfig, job: DictConfig, overrides: list[str]) -> None:
    sweeping = job.mode == RunMode.MULTIRUN
    typed = checked(config)
    if typed["resume"] is not None:
        folder, plain = _interrupted(typed["resume"], typed["allow"], overrides)
    else:
        folder, plain = None, typed
    if sweeping:
        _require_single_command(plain["trainer"])
    if folder is not None:
        from convexp.runs.experiment import resume

        resume(plain, folder)
        return
    chosen = cast("dict[str, Any]", OmegaConf.to_container(job.runtime.choices))
    choices = plain["choices"] = {group: chosen.get(group) for group in (*GROUPS, "experiment")}
    if sweeping:
        varied = [override for override in overrides if override not in sys.argv]
        place = Path(job.sweep.dir, slug(",".join(varied)))
    else:
        place = Path(plain["outputs"], f"{choices['target']}-{choices['model']}", f"{datetime.now():%Y-%m-%d_%H-%M-%S}")

    from convexp.runs.experiment import run

    run(plain, place)


def _interrupted(path: str, allow: list[str], overrides: list[str]) -> tuple[RunFolder, dict[str, Any]]:
    """An interrupted run's folder and its checked configuration."""
    others = [override for override in overrides if not override.startswith(("resume=", "allow="))]
    if others:
        raise ConvexpError(f"resume continues with the run's own configuration; leave {' '.join(others)} out")
    folder = RunFolder(path)
    config = folder.read_config()
    folder.require_unfinished()
    plain = checked(OmegaConf.create(config))

    from convexp.runs.construction import require_trust

    require_trust(config, allow=allow)
    return folder, plain


def _require_single_command(trainer: dict[str, Any]) -> None:
    strategy, devices = trainer["strategy"], trainer.get("devices", "auto")
    if strategy == "ddp" or (strategy == "auto" and devices != 1):  # with several devices, auto is ddp
        raise ConvexpError(
            f"trainer.strategy={strategy} with trainer.devices={devices} under -m: its processes would each start a "
            "sweep of their own; use trainer.strategy=ddp_spawn"
        )


if __name__ == "__main__":  # how Lightning starts the further processes of trainer=ddp
    train()
