"""The Optuna study of a search: the storage that its workers share, and what draws, prunes and repeats its trials."""

import fcntl
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import optuna
from numpy.random import SeedSequence
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.pruners import BasePruner, MedianPruner, NopPruner
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from convexp.errors import ConvexpError
from convexp.runs.plan import Plan
from convexp.runs.record import canonical

_LOCK_SECONDS = 60  # that a worker waits while others write into the same SQLite file


@contextmanager
def opened(plan: Plan, folder: Path, base: Mapping[str, Any]) -> Generator[optuna.Study, None, None]:
    """The study, made if there is none.

    Args:
        plan: What is searched.
        folder: Of the search, where the storage is unless the plan names another one.
        base: The configuration that all trials share.

    Raises:
        ConvexpError: If it cannot be reached, also later, or is another one.
    """
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    own = plan.storage is None
    url = f"sqlite:///{folder.resolve() / 'study.db'}" if plan.storage is None else plan.storage
    typed = re.sub(r"//([^:/@]*):[^@]*@", r"//\1:…@", url)
    options = {"connect_args": {"timeout": _LOCK_SECONDS}} if url.startswith("sqlite:") else {}
    try:
        with _locked(folder) if own else nullcontext():  # SQLite's tables are not made twice
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                storage = RDBStorage(
                    url, options, heartbeat_interval=plan.heartbeat, heartbeat_stale_trial_callback=repeat
                )
            try:
                study = optuna.create_study(
                    storage=storage,
                    study_name=plan.name,
                    direction=plan.direction,
                    sampler=_Seeded(base["seed"]),
                    pruner=_pruner(plan.pruning),
                    load_if_exists=True,
                )
                _require_same(study, plan, base)
            except BaseException:
                storage.engine.dispose()
                raise
        try:
            yield study
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        line = str(error.__cause__ or error).splitlines()[0]
        raise ConvexpError(
            f"storage {typed} cannot be reached: {line}; write search.storage=URL, as "
            "postgresql://user@host/searches, or null for a file"
        ) from error


def repeat(study: optuna.Study, trial: FrozenTrial) -> None:
    """Lets some worker go on with a trial whose own was stopped: with the same values, and what it has reported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        again = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
    again(study, trial)


def suggest(trial: optuna.Trial, key: str, spread: BaseDistribution) -> Any:
    """A trial's value of a key."""
    if isinstance(spread, CategoricalDistribution):
        return trial.suggest_categorical(key, spread.choices)
    if isinstance(spread, IntDistribution):
        return trial.suggest_int(key, spread.low, spread.high, step=spread.step, log=spread.log)
    assert isinstance(spread, FloatDistribution)
    return trial.suggest_float(key, spread.low, spread.high, step=spread.step, log=spread.log)


def count(study: optuna.Study, *states: TrialState) -> int:
    """How many trials are in one of these states."""
    return len(study.get_trials(deepcopy=False, states=states))


@contextmanager
def _locked(folder: Path) -> Generator[None, None, None]:
    with (folder / "study.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _pruner(pruning: Mapping[str, int] | None) -> BasePruner:
    if pruning is None:
        return NopPruner()
    startup, warmup = pruning["startup_trials"], pruning["warmup_steps"]
    return MedianPruner(startup, warmup, n_min_trials=startup)


def _require_same(study: optuna.Study, plan: Plan, base: Mapping[str, Any]) -> None:
    space = {key: optuna.distributions.distribution_to_json(spread) for key, spread in plan.space.items()}
    facts = {"base": base["identity"], "space": canonical(space), "objective": plan.objective}
    known = study.user_attrs
    differing = [what for what, fact in facts.items() if known.get(what, fact) != fact]
    if differing:
        what = {"base": "other settings", "space": "another space", "objective": "another objective"}[differing[0]]
        raise ConvexpError(
            f"{plan.name}: there is a search of this name with {what} ({' '.join(known['overrides'])}); "
            "name this one, as search.name=second"
        )
    if "overrides" not in known:
        for key, value in {**facts, "overrides": list(plan.overrides)}.items():
            study.set_user_attr(key, value)


class _Seeded(BaseSampler):
    """Draws a trial's values from the seed, its number and the trials before it alone, in whichever process."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._sampler = TPESampler(seed=seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._sampler = TPESampler(seed=int(SeedSequence([self._seed, trial.number]).generate_state(1)[0]))
        self._sampler.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._sampler.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._sampler.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._sampler.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._sampler.after_trial(study, trial, state, values)
