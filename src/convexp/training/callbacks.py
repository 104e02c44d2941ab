"""Numbers and pictures of the learning, into TensorBoard."""

import math
import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.images.alignment import common_center
from convexp.images.pictures import comparison
from convexp.images.tiles import feature_tiles, kernel_tiles
from convexp.models.blocks import feature_maps, kernels
from convexp.training.pairs import Pair, crop
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
        self._rate = 0.0

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

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Notes the rate: after the step it is already the next one's."""
        self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds a point.

        Raises:
            ConvexpError: If the loss is not finite.
        """
        step = trainer.global_step - 1
        if step % self.every and trainer.global_step != trainer.max_steps:
            return
        assert isinstance(pl_module, ImitationTask)
        loss = float(pl_module.loss_before_step)
        self._require_finite("the loss", loss, step)
        self.steps.append(step)
        self.losses.append(loss)
        if trainer.logger:
            trainer.logger.log_metrics({"train/loss": loss, "train/learning_rate": self._rate}, step=step)

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


class Pictures(L.Callback):
    """Shows comparisons, kernels and feature maps at a few moments, the first and the last among them.

    Args:
        pairs: The images to show, by name; never trained on. Their centres are shown.
        max_steps: The last moment.
        moments: How many moments there are at most, spread evenly over the logarithm of the steps.
        side: Of the shown centre, in pixels.
    """

    def __init__(self, pairs: Mapping[str, Pair], *, max_steps: int, moments: int = 10, side: int = 256) -> None:
        self.pairs = {name: _centre(pair, side) for name, pair in pairs.items()}
        self.moments = {0, *np.geomspace(1, max_steps, moments - 1).round().astype(int).tolist()}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows the start."""
        if trainer.global_step == 0:
            self._show(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shows a moment when it comes."""
        if trainer.global_step in self.moments:
            self._show(trainer, pl_module)

    def _show(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ImitationTask)
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                for tag, picture in pictures(pl_module.model, self.pairs).items():
                    logger.experiment.add_image(tag, picture, trainer.global_step)


def _centre(pair: Pair, side: int) -> Pair:
    height, width = pair.input.shape[-2:]
    side = min(side, height, width)
    return crop(pair, (height - side) // 2, (width - side) // 2, side)


def pictures(model: nn.Module, pairs: Mapping[str, Pair]) -> dict[str, Tensor]:
    """All pictures of a model: comparisons on images, feature maps on the first of them, and the kernels.

    The scales depend on the targets alone, so that pictures of different moments compare.

    Args:
        model: Any module on (B, C, H, W) images.
        pairs: Images and their targets by name, each with B = 1.

    Returns:
        (3, H, W) uint8 pictures by TensorBoard tag.
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    shown: dict[str, Tensor] = {}
    for name, pair in pairs.items():
        output, maps = feature_maps(model, pair.input.to(device))
        output, target = common_center(output.cpu(), pair.target)
        shown[f"comparison/{name}"] = comparison(pair.input[0], target[0], output[0], error_limit=_deviation(target))
        if name == next(iter(pairs)):
            shown |= {f"features/{block}": feature_tiles(features[0]) for block, features in maps.items()}
    return shown | {f"kernels/{name}": kernel_tiles(weight) for name, weight in kernels(model).items()}


def _deviation(target: Tensor) -> float:
    return float(target.std()) or 1.0
