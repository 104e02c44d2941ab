"""A search: trials of one Optuna study, shared by every worker that was given the same command."""

import fcntl
import re
import time
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import optuna
from numpy.random import SeedSequence
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from convexp.errors import ConvexpError
from convexp.runs.explanation import explain, mendable
from convexp.runs.folder import RunFolder, slug
from convexp.runs.plan import Plan, write_best
from convexp.runs.ranking import table_text
from convexp.runs.record import canonical, read_record
from convexp.runs.sweep import Sweep, made_of

_LOCK_SECONDS = 60  # that a worker waits while others write into the same SQLite file


class _FailedError(ConvexpError):
    """A trial came to nothing, for a reason that the user is told."""


class _SuperfluousError(Exception):
    """Another worker began the last trial an instant earlier."""


class Search:
    """The folder of a search, and one worker's part in it.

    Args:
        plan: What is searched.

    Raises:
        ConvexpError: If what all trials share is no configuration, or the folder cannot be made.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        base = plan.config({})
        self.path = Path(base["outputs"], "searches", slug(plan.name))
        space = {key: optuna.distributions.distribution_to_json(spread) for key, spread in plan.space.items()}
        self._facts = {"base": base["identity"], "space": canonical(space), "objective": plan.objective}
        self._seed: int = base["seed"]
        self._failures: list[str] = []
        self._values: dict[str, Any] | None = None  # of the trial at work
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConvexpError(f"{self.path} cannot be made ({error.strerror}); name another outputs=…") from error

    def work(self) -> None:
        """Runs trials until as many are complete as wanted, then prints the table and writes the best one.

        Raises:
            ConvexpError: If the study cannot be reached or is another one, or as many trials fail as are wanted.
        """
        plan, waiting = self.plan, False
        with self._study() as study:
            while True:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    fail_stale_trials(study)
                complete, running = (_count(study, state) for state in (TrialState.COMPLETE, TrialState.RUNNING))
                if complete >= plan.trials:
                    break
                if complete + running >= plan.trials:  # one of them may come to nothing
                    if not waiting:
                        print(f"{self.path}: the last trials are with other workers; waiting for them", flush=True)
                    waiting = True
                    time.sleep(min(plan.heartbeat, 2))
                    continue
                if len(self._failures) >= plan.trials:
                    raise ConvexpError(f"{len(self._failures)} trials failed, the last one: {self._failures[-1]}")
                self._next(study)
            self._conclude(study)

    def _next(self, study: optuna.Study) -> None:
        try:
            study.optimize(self._try, n_trials=1, catch=(_FailedError, _SuperfluousError))
        except UpdateFinishedTrialError:
            print(f"{self.path}: a trial was given to another worker meanwhile")
        except KeyboardInterrupt:
            if self._values is not None:
                study.enqueue_trial(self._values)  # so that the same command goes on with it
            raise
        except ValueError as error:
            if not str(error).startswith("Cannot tell"):  # the same, found out a little earlier
                raise
            print(f"{self.path}: a trial was given to another worker meanwhile")

    def _try(self, trial: optuna.Trial) -> float:
        # Trials of smaller number were there before this one was: of all that come to an end, the last one to be made
        # sees all others here, so that more than wanted never do.
        before = [
            other
            for other in trial.study.get_trials(deepcopy=False)
            if other.state == TrialState.COMPLETE
            or (other.number < trial.number and other.state in (TrialState.RUNNING, TrialState.WAITING))
        ]
        if len(before) >= self.plan.trials:
            trial.set_user_attr("superfluous", True)
            raise _SuperfluousError
        values = self._values = {key: _suggest(trial, key, spread) for key, spread in self.plan.space.items()}
        words = self.plan.words(values)
        try:
            measured = self._run(values).get("best", {}).get(self.plan.objective)
            if not isinstance(measured, int | float) or measured != measured:
                raise _FailedError(f"{self.plan.objective} is {measured}")
        except Exception as error:
            if not mendable(error):
                raise
            reason = explain(error, words)
            trial.set_user_attr("reason", reason)
            self._failures.append(reason)
            print(f"{self.path}: trial {trial.number} ({' '.join(words)}) failed: {reason}", flush=True)
            raise _FailedError(reason) from error
        return float(measured)

    def _run(self, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A trial's metrics: of a run, of the rest of an interrupted one, or of one with the same values."""
        from convexp.runs.experiment import resume, run  # torch takes seconds to import

        plain, sweep = self.plan.config(values), Sweep(self.path)
        varied = [
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
        ]
        while True:
            todo, place = sweep.take(plain, varied)
            try:
                if todo == "begin":
                    return run({**plain, "made_of": made_of(plain)}, place)
                if todo == "go on":
                    return resume(plain, RunFolder(place))
            except Exception as error:
                sweep.note_failure(plain, varied, explain(error, plain["overrides"]))
                raise
            record = read_record(place)
            if record.status == "finished":
                return record.metrics
            time.sleep(1)  # another worker drew the same

    @contextmanager
    def _study(self) -> Generator[optuna.Study, None, None]:
        """The study, made if there is none."""
        plan = self.plan
        optuna.logging.set_verbosity(optuna.logging.CRITICAL)
        own = plan.storage is None
        url = f"sqlite:///{self.path.resolve() / 'study.db'}" if plan.storage is None else plan.storage
        typed = re.sub(r"//([^:/@]*):[^@]*@", r"//\1:…@", url)
        options = {"connect_args": {"timeout": _LOCK_SECONDS}} if url.startswith("sqlite:") else {}
        try:
            with self._locked() if own else nullcontext():  # SQLite's tables are not made twice
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    retry = RetryHeartbeatStaleTrialCallback()
                    storage = RDBStorage(
                        url, options, heartbeat_interval=plan.heartbeat, heartbeat_stale_trial_callback=retry
                    )
                try:
                    study = optuna.create_study(
                        storage=storage,
                        study_name=plan.name,
                        direction=plan.direction,
                        sampler=_Seeded(self._seed),
                        load_if_exists=True,
                    )
                    self._require_same(study)
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

    @contextmanager
    def _locked(self) -> Generator[None, None, None]:
        with (self.path / "study.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _require_same(self, study: optuna.Study) -> None:
        known = study.user_attrs
        differing = [what for what, fact in self._facts.items() if known.get(what, fact) != fact]
        if differing:
            what = {"base": "other settings", "space": "another space", "objective": "another objective"}[differing[0]]
            raise ConvexpError(
                f"{self.plan.name}: there is a search of this name with {what} ({' '.join(known['overrides'])}); "
                "name this one, as search.name=second"
            )
        if "overrides" not in known:
            for key, value in {**self._facts, "overrides": list(self.plan.overrides)}.items():
                study.set_user_attr(key, value)

    def _conclude(self, study: optuna.Study) -> None:
        print(f"\n{table_text(self._rows(study))}")
        best = write_best(self.plan, study.best_params, self.path)
        own = self.plan.config_dir
        more = "" if own is None else f" 'hydra.searchpath=[file://{Path(own).resolve()}]'"
        print(f"\n  {self.path}: {_count(study, TrialState.COMPLETE)} trials; the best one is {best}")
        print(f"  python train.py --config-dir {self.path} experiment=best{more}\n")

    def _rows(self, study: optuna.Study) -> list[dict[str, Any]]:
        sign = -1 if self.plan.direction == "maximize" else 1
        trials = [trial for trial in study.get_trials(deepcopy=False) if "superfluous" not in trial.user_attrs]

        def order(trial: FrozenTrial) -> tuple[bool, float, int]:
            return trial.value is None, sign * (trial.value or 0.0), trial.number

        return [
            {
                "trial": trial.number,
                "status": _status(trial),
                **{key: trial.params.get(key) for key in self.plan.space},
                self.plan.objective: trial.value,
                "reason": trial.user_attrs.get("reason"),
            }
            for trial in sorted(trials, key=order)
        ]


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


def _count(study: optuna.Study, state: TrialState) -> int:
    return len(study.get_trials(deepcopy=False, states=(state,)))


def _suggest(trial: optuna.Trial, key: str, spread: BaseDistribution) -> Any:
    if isinstance(spread, CategoricalDistribution):
        return trial.suggest_categorical(key, spread.choices)
    if isinstance(spread, IntDistribution):
        return trial.suggest_int(key, spread.low, spread.high, step=spread.step, log=spread.log)
    assert isinstance(spread, FloatDistribution)
    return trial.suggest_float(key, spread.low, spread.high, step=spread.step, log=spread.log)


def _status(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL and "reason" not in trial.user_attrs:
        return "interrupted"
    names = {TrialState.COMPLETE: "finished", TrialState.FAIL: "failed", TrialState.RUNNING: "running"}
    return names.get(trial.state, "waiting")
