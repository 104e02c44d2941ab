"""`train`: Hydra composes a configuration and a run begins; what is heavy is imported after all checks."""

import os
import re
import signal
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from convexp.errors import ConvexpError
from convexp.runs.config import GROUPS, checked
from convexp.runs.explanation import MENDABLE, explain


def train() -> None:
    """Runs the training command on `sys.argv`; what a user can mend is one line and exit status 1."""
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a report of its own and hides the exception
    try:
        _application()
    except MENDABLE as error:
        if wants_traceback:
            raise
        sys.exit(f"convexp: {explain(error, sys.argv[1:])}")
    except KeyboardInterrupt as interruption:
        print(f"\nconvexp: {interruption or 'stopped before the first step; nothing was written'}", file=sys.stderr)
        sys.exit(128 + getattr(interruption, "number", signal.SIGINT))


@hydra.main(version_base="1.3", config_path="pkg://convexp.configs", config_name="train")
def _application(config: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    overrides = list(hydra_config.overrides.task)
    plain = checked(config)
    if plain["resume"] is not None:
        _resume(plain, overrides)
        return
    if sweeping and plain["trainer"]["strategy"] == "ddp":
        raise ConvexpError(
            "trainer.strategy=ddp under -m: its processes would each start a sweep of their own; "
            "use trainer.strategy=ddp_spawn"
        )
    choices = hydra_config.runtime.choices
    plain["choices"] = {group: choices[group] for group in (*GROUPS, "experiment")}
    name = _slug(",".join(overrides)) if sweeping else f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
    parent = (
        Path(hydra_config.sweep.dir) if sweeping else Path(plain["outputs"], f"{choices['target']}-{choices['model']}")
    )

    from convexp.runs.experiment import run

    run(plain, parent / name)


def _resume(typed: dict[str, Any], overrides: list[str]) -> None:
    others = [override for override in overrides if not override.startswith(("resume=", "allow="))]
    if others:
        raise ConvexpError(f"resume continues with the run's own configuration; leave {' '.join(others)} out")

    from convexp.runs.construction import require_trust
    from convexp.runs.experiment import resume
    from convexp.runs.folder import RunFolder

    folder = RunFolder(typed["resume"])
    config = folder.read_config()
    require_trust(config, allow=typed["allow"])
    resume(checked(OmegaConf.create(config)), folder)


def _slug(text: str) -> str:
    """A readable folder name of at most 100 characters.

    >>> _slug("model=deep,data.train=/home/a b/*.png")
    'model=deep,data.train=-home-a-b-.png'
    """
    return re.sub(r"[^\w=.,+-]+", "-", text)[:100] or "default"


if __name__ == "__main__":  # how Lightning starts the further processes of trainer=ddp
    train()
