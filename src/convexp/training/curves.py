"""Numbers of the learning, into TensorBoard."""

import math
import time
from typing import Any

import lightning as L

from convexp.errors import ConvexpError
from convexp.training.task import ImitationTask


class Curves(L.Callback):
    """Writes loss and learning rate, keeps the loss for the closing picture, and stops a run that is not finite.

    Loss and rate stand at the step whose weights they belong to: the first at 0.

    Args:
        every: Optimizer steps between two points.
    """

    def __init__(self, *, every: int) -> None:
        self.every = every
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.seconds = 0.0
        self._started: float | None = None
        self._rate = math.nan

    def state_dict(self) -> dict[str, Any]:
        """The curve and the seconds so far, for a resumed run."""
        return {"steps": list(self.steps), "losses": list(self.losses), "seconds": self._elapsed()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the curve of the interrupted run over."""
        self.steps, self.losses = state_dict["steps"], state_dict["losses"]
        self.seconds = state_dict["seconds"]

    def _elapsed(self) -> float:
        return self.seconds if self._started is None else self.seconds + time.monotonic() - self._started

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._started = time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops the clock."""
        self.seconds, self._started = self._elapsed(), None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the points of the batch.

        Raises:
            ConvexpError: If a loss is not finite.
        """
        assert isinstance(pl_module, ImitationTask)
        for step, loss, rate in pl_module.notes:
            if step % self.every == 0 or step == trainer.max_steps - 1:
                self._add(trainer, step, float(loss), rate)

    def _add(self, trainer: L.Trainer, step: int, loss: float, rate: float) -> None:
        self._rate = rate
        self._require_finite("the loss", loss, step)
        self.steps.append(step)
        self.losses.append(loss)
        if trainer.logger:
            trainer.logger.log_metrics({"train/loss": loss, "train/learning_rate": rate}, step=step)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks at the weights after the step.

        Raises:
            ConvexpError: If the validation error is not finite.
        """
        assert isinstance(pl_module, ImitationTask)
        self._require_finite("val/mse", pl_module.val["val/mse"], trainer.global_step)

    def _require_finite(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            raise ConvexpError(
                f"{what} is {value} at step {step}: the run has diverged; try a smaller optimizer.lr "
                f"(now {self._rate:.3g}), trainer.gradient_clip_val=1 or standardise=true"
            )
