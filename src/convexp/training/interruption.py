"""Ctrl-C and SIGTERM stop a run between two steps, with a checkpoint."""

import signal
import threading
from types import FrameType
from typing import Any

import lightning as L

from convexp.training.checkpoints import Checkpoints


class Interruption(L.Callback):
    """Finishes the step, keeps a checkpoint and stops the trainer; a second signal stops at once.

    An exception in the middle of an optimizer step would leave half-updated weights, which no run could continue from
    bit for bit.

    Args:
        checkpoints: What keeps the checkpoint.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.checkpoints = checkpoints
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listens. Not earlier: Lightning sets its own handlers before."""
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stops if a signal came during the step."""
        if self.signal is not None and not trainer.should_stop:
            self.checkpoints.save(trainer, self.checkpoints.last)
            trainer.should_stop = True

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Gives the signals back."""
        self._restore()
