"""The progress bar."""

from typing import Any

import lightning as L
from tqdm import tqdm

from convexp.training.task import ImitationTask


class Progress(L.Callback):
    """Steps, steps a second, loss and validation R², in a terminal; silent elsewhere.

    Lightning's own bars count batches of an epoch, and cost more than a step of a small model.
    """

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Opens the bar."""
        self._bar = tqdm(
            total=trainer.max_steps,
            initial=trainer.global_step,
            unit="step",
            dynamic_ncols=True,
            disable=None if trainer.is_global_zero else True,  # None: only in a terminal
        )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Moves the bar, at most ten times a second by tqdm's own choice."""
        if self._bar is None or self._bar.disable:
            return
        advance = trainer.global_step - self._bar.n
        if advance >= 10 or trainer.global_step == trainer.max_steps:
            assert isinstance(pl_module, ImitationTask)
            numbers = {"loss": f"{float(pl_module.notes[-1].loss):.3e}"} if pl_module.notes else {}
            if pl_module.val:
                numbers["val R²"] = f"{pl_module.val['val/r2']:.4f}"
            self._bar.set_postfix(numbers, refresh=False)
            self._bar.update(advance)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Closes the bar."""
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Closes the bar before a message follows."""
        self._close()

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
