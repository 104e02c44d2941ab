"""Checkpoints that survive what interrupts their writing."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L

from convexp.errors import ConvexpError
from convexp.training.task import ImitationTask


def step_is_over(trainer: L.Trainer) -> bool:
    """Whether a callback that is called at the end of a step or of a validation stands between two steps.

    A checkpoint from anywhere else would make a resumed run leave the step's validation out, or repeat it.
    """
    assert isinstance(trainer.val_check_interval, int)  # batches, which may be of several steps
    return trainer.validating or (trainer.fit_loop.total_batch_idx + 1) % trainer.val_check_interval != 0


class Checkpoints(L.Callback):
    """Keeps `best.ckpt` (least val/mse) and `last.ckpt` (periodic, and at the end); never one with non-finite weights.

    Lightning's ModelCheckpoint writes into the final name, so that a kill or a full disk in that moment destroys the
    only copy; this one renames a finished file into place.

    Args:
        folder: Where the files go.
        every: Optimizer steps between two writings of `last.ckpt`.
    """

    def __init__(self, folder: Path, *, every: int) -> None:
        self.folder, self.every = folder, every
        self.best_val: dict[str, float] = {}
        self.best_images: dict[str, list[float]] = {}  # of each validation image
        self.best_step = -1
        self.last_step = 0

    @property
    def best(self) -> Path:
        """The checkpoint with the least validation error."""
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        """The latest checkpoint with finite weights."""
        return self.folder / "last.ckpt"

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"best_val": dict(self.best_val), "best_images": self.best_images, "best_step": self.best_step}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the state of the interrupted run over."""
        self.best_val, self.best_step = state_dict["best_val"], state_dict["best_step"]
        self.best_images = state_dict.get("best_images", {})  # checkpoints were made before there were any

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes where a resumed run starts."""
        self.last_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Saves periodically."""
        self._save_periodically(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the model if no earlier one was better, and periodically."""
        assert isinstance(pl_module, ImitationTask)
        if pl_module.val["val/mse"] < self.best_val.get("val/mse", float("inf")):
            self.best_val, self.best_images = pl_module.val, pl_module.images
            self.best_step = trainer.global_step
            self._save(trainer, self.best)
        self._save_periodically(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Saves the end."""
        self.save_last(trainer)

    def _save_periodically(self, trainer: L.Trainer) -> None:
        if step_is_over(trainer) and trainer.global_step % self.every == 0:
            self.save_last(trainer)

    def save_last(self, trainer: L.Trainer) -> None:
        """Writes `last.ckpt`, unless a weight is not finite.

        Raises:
            ConvexpError: If the file cannot be written; what was there before stays.
        """
        if all(weight.isfinite().all() for weight in trainer.lightning_module.parameters()):
            self._save(trainer, self.last)
            self.last_step = trainer.global_step

    def _save(self, trainer: L.Trainer, path: Path) -> None:
        partial = path.with_suffix(".partial")
        try:
            trainer.save_checkpoint(partial)
            if trainer.is_global_zero:
                partial.replace(path)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            with suppress(OSError):  # there may be no folder
                partial.unlink()
            raise ConvexpError(f"{path} cannot be written ({error}); free some space, then resume") from error
