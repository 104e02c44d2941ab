"""Ctrl-C and SIGTERM stop a run between two steps, with a checkpoint."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import lightning as L

from convexp.training.checkpoints import Checkpoints, step_is_over


class Stop(BaseException):
    """A signal ends the run. Of a KeyboardInterrupt, Lightning would make exit status 1.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Interruption(L.Callback):
    """Within its context, a signal ends training behind the present step, with a checkpoint.

    A second signal, or one before or after the training, raises `Stop` at once. In the middle of an optimizer step
    that leaves half-updated weights, which no run could continue from bit for bit: the last checkpoint stays.

    Args:
        checkpoints: What keeps the checkpoint.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.signal: int | None = None
        self._training = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        self._previous = self._listen()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _listen(self) -> dict[int, Any]:
        if threading.current_thread() is not threading.main_thread():  # where signals cannot be handled
            return {}
        return {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None or not self._training:
            raise Stop(number)
        self.signal = number

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Takes SIGTERM back, at which Lightning would leave without a checkpoint."""
        self._listen()
        self._training = True

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stops if a signal came."""
        self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stops if a signal came."""
        self._stop_if_asked(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves the steps."""
        self._training = False

    def _stop_if_asked(self, trainer: L.Trainer) -> None:
        # Processes stop at the same step: one of them may have got the signal alone, or later.
        if step_is_over(trainer) and trainer.strategy.reduce_boolean_decision(self.signal is not None, all=False):
            self.checkpoints.save_last(trainer)
            raise Stop(self.signal or signal.SIGTERM)
