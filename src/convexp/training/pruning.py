"""A run ends early where others do better."""

import math
from collections.abc import Callable

import lightning as L

from convexp.training.checkpoints import Checkpoints


class Pruned(BaseException):
    """A run is ended early: its words say after how many steps, and why. No Exception, as the run does not fail."""


class Pruning(L.Callback):
    """Reports after each validation how good the best weights are by now, and ends the run if it is told to.

    Behind the last step there is nothing left to save. A metric that validation does not measure is not reported.

    Args:
        report: Takes a step and the metric; returns why the run is to end, or None.
        metric: Of the best weights, as `val/mse`.
    """

    def __init__(self, report: Callable[[int, float], str | None], *, metric: str) -> None:
        self.report, self.metric = report, metric

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Reports.

        Raises:
            Pruned: If the run is to end.
        """
        (checkpoints,) = (callback for callback in trainer.callbacks if isinstance(callback, Checkpoints))  # pyright: ignore[reportAttributeAccessIssue]  # a list that Lightning leaves untyped
        value = checkpoints.best_val.get(self.metric, math.nan)
        if math.isnan(value):
            return
        step = trainer.global_step
        reason = self.report(step, value)
        if reason is not None and step < trainer.max_steps:
            raise Pruned(f"after {step} of {trainer.max_steps} steps: {reason}")
