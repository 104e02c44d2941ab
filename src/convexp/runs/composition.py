"""A configuration from the words that were typed, as a run keeps it."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from convexp.errors import ConvexpError
from convexp.runs.config import GROUPS, checked
from convexp.runs.sweep import identity

_PICTURES = 3  # at the start, on the way, and at the end: a megabyte and a twentieth of a second each
_MOST_READY = 200  # configurations of jobs that are kept until they begin, 0.3 MB each


def composed(words: Sequence[str], config_dir: str | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration that overrides make: as a run keeps it, and as it is written, interpolations and all.

    Args:
        words: As typed for training.
        config_dir: A folder with choices of the user's own.

    Raises:
        ConvexpError: If there is no such folder, or the configuration breaks a rule; Hydra's own errors pass.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise ConvexpError(f"--config-dir {config_dir}: there is no such folder")
    search = [] if config_dir is None else [f"hydra.searchpath=['file://{Path(config_dir).resolve()}']"]
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = compose("train", [*words, *search], return_hydra_config=True)
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    written = cast("dict[str, Any]", OmegaConf.to_container(own))
    return kept(checked(own), config.hydra.runtime.choices, words), written


@contextmanager
def composing_once() -> Generator[None, None, None]:
    """Lets Hydra compose each job of a sweep once.

    It composes all of them before the first begins, so that a wrong word is found in time, and throws the results
    away: a twentieth of a second for each job, as long as a linear run takes for its steps.
    """
    ready: dict[tuple[str, ...], list[DictConfig]] = {}
    checking = False
    compose_job, check = ConfigLoaderImpl.load_sweep_config, Sweeper.validate_batch_is_legal

    def checked_first(self: Sweeper, batch: Sequence[Sequence[str]]) -> None:
        nonlocal checking
        checking = True
        try:
            check(self, batch)
        finally:
            checking = False

    def once(self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        words = tuple(sweep_overrides)
        if not checking and ready.get(words):
            return ready[words].pop()  # for this job alone, which writes into it
        config = compose_job(self, master_config, sweep_overrides)
        if checking and len(ready) < _MOST_READY:
            ready.setdefault(words, []).append(config)
        return config

    ConfigLoaderImpl.load_sweep_config, Sweeper.validate_batch_is_legal = once, checked_first
    try:
        yield
    finally:
        ConfigLoaderImpl.load_sweep_config, Sweeper.validate_batch_is_legal = compose_job, check


def kept(plain: Mapping[str, Any], choices: Mapping[str, Any], words: Sequence[str]) -> dict[str, Any]:
    """A configuration with what a run keeps beside it: the names of the choices, what was typed, and its identity."""
    chosen = {group: choices.get(group) for group in (*GROUPS, "experiment")}
    return {**plain, "choices": chosen, "overrides": list(words), "identity": identity(plain)}


def one_of_many(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a run of a sweep or search, where TensorBoard is shown fewer pictures of each."""
    return {**plain, "pictures": _PICTURES if plain["pictures"] is None else plain["pictures"]}


def require_one_command(trainer: Mapping[str, Any], where: str) -> None:
    """Refuses a trainer whose processes start the whole command again, where it is more than one run.

    Args:
        trainer: That part of the configuration.
        where: As `under -m`.

    Raises:
        ConvexpError: If the strategy is ddp, or becomes it with several devices.
    """
    strategy, devices = trainer["strategy"], trainer.get("devices", "auto")
    if strategy == "ddp" or (strategy == "auto" and devices != 1):  # with several devices, auto is ddp
        raise ConvexpError(
            f"trainer.strategy={strategy} with trainer.devices={devices} {where}: its processes would each start "
            "all of it; use trainer.strategy=ddp_spawn"
        )
