"""A search: trials of one Optuna study, shared by every worker that was given the same command."""

import time
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning, OptunaError, TrialPruned, UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from convexp.errors import ConvexpError
from convexp.runs.composition import one_of_many
from convexp.runs.devices import gpus_to_choose_from, own_gpu
from convexp.runs.explanation import explain, mendable
from convexp.runs.folder import RunFolder, slug
from convexp.runs.plan import Plan, write_best
from convexp.runs.ranking import table_text
from convexp.runs.record import read_record
from convexp.runs.study import count, opened, repeat, suggest
from convexp.runs.sweep import Sweep, made_of

_DONE = (TrialState.COMPLETE, TrialState.PRUNED)
_STATUSES = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


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
        self._base = plan.config({})
        self.path = Path(self._base["outputs"], "searches", slug(plan.name))
        self._failures: list[str] = []
        self._trial: optuna.Trial | None = None  # at work
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConvexpError(f"{self.path} cannot be made ({error.strerror}); name another outputs=…") from error

    def work(self) -> None:
        """Runs trials until as many are complete or pruned as wanted, then prints the table and writes the best one.

        Raises:
            ConvexpError: If the study cannot be reached or is another one, as many trials fail as are wanted, or all
                were pruned.
        """
        plan, waiting = self.plan, False
        if obstacle := self._obstacle():
            print(f"{self.path}: {obstacle}; no trial is pruned", flush=True)
        with opened(plan, self.path, self._base) as study:
            while True:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    fail_stale_trials(study)
                done, running = count(study, *_DONE), count(study, TrialState.RUNNING)
                if done >= plan.trials:
                    break
                if done + running >= plan.trials:  # one of them may come to nothing
                    if not waiting:
                        print(f"{self.path}: the last trials are with other workers; waiting for them", flush=True)
                    waiting = True
                    time.sleep(min(plan.heartbeat, 2))
                    continue
                if len(self._failures) >= plan.trials:
                    raise ConvexpError(f"{len(self._failures)} trials failed, the last one: {self._failures[-1]}")
                self._next(study)
            self._conclude(study)

    def _obstacle(self) -> str | None:
        """Why no trial can be pruned though the plan says so."""
        if self.plan.pruning is None:
            return None
        if not self.plan.objective.startswith("val/"):
            return f"{self.plan.objective} is not known before the end of a run"
        if self._base["trainer"]["strategy"] == "ddp_spawn":
            return "the processes of trainer.strategy=ddp_spawn do not report how far they are"
        return None

    def _next(self, study: optuna.Study) -> None:
        self._trial = None
        try:
            study.optimize(self._try, n_trials=1, catch=(_FailedError, _SuperfluousError))
        except UpdateFinishedTrialError:
            print(f"{self.path}: a trial was given to another worker meanwhile")
        except KeyboardInterrupt:
            if self._trial is not None:
                repeat(study, _frozen(self._trial))  # so that the same command goes on with it
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
            if other.state in _DONE
            or (other.number < trial.number and other.state in (TrialState.RUNNING, TrialState.WAITING))
        ]
        if len(before) >= self.plan.trials:
            trial.set_user_attr("superfluous", True)
            raise _SuperfluousError
        values = {key: suggest(trial, key, spread) for key, spread in self.plan.space.items()}
        self._trial, words = trial, self.plan.words(values)
        try:
            measured = self._run(trial, values).get("best", {}).get(self.plan.objective)
            if not isinstance(measured, int | float) or measured != measured:
                raise _FailedError(f"{self.plan.objective} is {measured}")
        except TrialPruned as pruned:
            trial.set_user_attr("reason", str(pruned))
            print(f"{self.path}: trial {trial.number} ({' '.join(words)}) pruned {pruned}", flush=True)
            raise
        except Exception as error:
            if not mendable(error):
                raise
            reason = explain(error, words)
            trial.set_user_attr("reason", reason)
            self._failures.append(reason)
            print(f"{self.path}: trial {trial.number} ({' '.join(words)}) failed: {reason}", flush=True)
            raise _FailedError(reason) from error
        return float(measured)

    def _run(self, trial: optuna.Trial, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """A trial's metrics: of a run, of the rest of an interrupted one, or of one with the same values."""
        from convexp.runs.experiment import resume, run  # torch takes seconds to import
        from convexp.training.pruning import Pruned, Pruning

        plain, sweep = one_of_many(self.plan.config(values)), Sweep(self.path)
        varied = [
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
        ]
        told = max(_frozen(trial).intermediate_values, default=-1)  # before it was interrupted
        judge = Pruning(partial(self._judge, trial, told), metric=self.plan.objective)
        watchers = [judge] if self.plan.pruning is not None and self._obstacle() is None else []
        with sweep.alone(plain["identity"]):
            while True:
                todo, place = sweep.take(plain, varied)
                try:
                    with own_gpu(0 if todo == "nothing" else gpus_to_choose_from(plain["trainer"])) as gpu:
                        if todo == "begin":
                            whole = {**plain, "made_of": made_of(plain)}
                            return run(whole, place, shelf=sweep.shelf, callbacks=watchers, gpu=gpu)
                        if todo == "go on":
                            return resume(plain, RunFolder(place), shelf=sweep.shelf, callbacks=watchers, gpu=gpu)
                except Pruned as pruned:
                    raise TrialPruned(str(pruned)) from pruned
                except (OptunaError, SQLAlchemyError):  # the run did not fail
                    raise
                except Exception as error:
                    sweep.note_failure(plain, varied, explain(error, plain["overrides"]))
                    raise
                record = read_record(place)
                if record.status == "finished":
                    return record.metrics
                if record.status == "pruned":
                    raise TrialPruned(record.reason)
                time.sleep(1)  # another command works on it

    def _judge(self, trial: optuna.Trial, told: int, step: int, value: float) -> str | None:
        """Reports how good a run is by now; why it is to end, if Optuna says so."""
        if step <= told:
            return None
        trial.report(value, step)
        if not trial.should_prune():
            return None
        others = [
            other.intermediate_values[step]
            for other in trial.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if step in other.intermediate_values
        ]
        shown = f"the median {median(others):.4g} of {len(others)} trials"
        return f"{self.plan.objective} {value:.4g} is worse than {shown}"

    def _conclude(self, study: optuna.Study) -> None:
        print(f"\n{table_text(self._rows(study))}")
        complete, pruned = count(study, TrialState.COMPLETE), count(study, TrialState.PRUNED)
        if not complete:
            raise ConvexpError(
                f"{self.path}: all {pruned} trials were pruned, so that none is the best one; write search.pruning=null"
            )
        best = write_best(self.plan, study.best_params, self.path)
        own = self.plan.config_dir
        more = "" if own is None else f" 'hydra.searchpath=[file://{Path(own).resolve()}]'"
        parts = f" ({complete} complete, {pruned} pruned)" if pruned else ""
        print(f"\n  {self.path}: {complete + pruned} trials{parts}; the best one is {best}")
        print(f"  python train.py --config-dir {self.path} experiment=best{more}\n")

    def _rows(self, study: optuna.Study) -> list[dict[str, Any]]:
        sign = -1 if self.plan.direction == "maximize" else 1
        trials = [trial for trial in study.get_trials(deepcopy=False) if "superfluous" not in trial.user_attrs]

        def order(trial: FrozenTrial) -> tuple[bool, bool, float, int]:
            unfinished = trial.state != TrialState.COMPLETE
            return unfinished, trial.value is None, sign * (trial.value or 0.0), trial.number

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


def _frozen(trial: optuna.Trial) -> FrozenTrial:
    return trial.study.get_trials(deepcopy=False)[trial.number]


def _status(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL and "reason" not in trial.user_attrs:
        return "interrupted"
    return _STATUSES.get(trial.state, "waiting")
