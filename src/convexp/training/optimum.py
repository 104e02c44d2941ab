"""The optimum beside the learning, in TensorBoard."""

from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor, nn

from convexp.exact import Descent
from convexp.images.tiles import KernelComparison
from convexp.models.blocks import kernels
from convexp.operators.response import impulse_response
from convexp.training.quadratic import Quadratic
from convexp.training.quadratic_task import QuadraticTask

_CHART = ["train/loss", "train/optimum", "train/gradient_descent"]


class OptimumCurves(L.Callback):
    """Writes how far the loss is above the optimum, and what plain gradient descent would have reached by now.

    All of it is about whole images, also where the steps are taken on crops.

    Args:
        quadratic: The loss.
        every: Optimizer steps between two points.
        rate: At which gradient descent goes: that of the run, which it then predicts, or any other.
    """

    def __init__(self, quadratic: Quadratic, *, every: int, rate: float) -> None:
        self.quadratic, self.every, self.rate = quadratic, every, rate
        self.descent = quadratic.descent()

    def state_dict(self) -> dict[str, Any]:
        """Where the run began, for a resumed one."""
        return {"start": self.descent.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the beginning over."""
        self.descent = Descent(self.quadratic.optimum, state_dict["start"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lays the three curves over each other, on the page of custom scalars."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_custom_scalars({"learning": {"loss": ["Multiline", _CHART]}})

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Adds a point before a step on pixels, whose own loss may be that of crops."""
        if not isinstance(pl_module, QuadraticTask) and trainer.global_step % self.every == 0:
            self._add(trainer, [(trainer.global_step, self.quadratic.loss())])

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Adds the points of steps on the statistics, and the last one."""
        if isinstance(pl_module, QuadraticTask):
            self._add(trainer, [(step, float(loss)) for step, loss, _ in pl_module.notes if step % self.every == 0])
        if trainer.global_step == trainer.max_steps:
            self._add(trainer, [(trainer.global_step, self.quadratic.loss())])

    def _add(self, trainer: L.Trainer, points: list[tuple[int, float]]) -> None:
        if not trainer.logger or not points:
            return
        optimum = self.quadratic.optimum
        descended = self.descent.losses(self.rate, torch.tensor([step for step, _ in points])).tolist()
        for (step, loss), predicted in zip(points, descended, strict=True):
            values = {"train/gap": optimum.gap(loss), "train/gradient_descent": predicted}
            if step in (0, trainer.max_steps):  # the ends of a line
                values["train/optimum"] = optimum.loss
            # TensorBoard keeps float32.
            shown = {tag: value for tag, value in values.items() if value is not None and value < 1e38}
            trainer.logger.log_metrics(shown, step=step)


def beside_the_optimum(
    quadratic: Quadratic, operator: Callable[[Tensor], Tensor]
) -> Callable[[nn.Module], dict[str, Tensor]]:
    """What draws the kernel that is learned, beside the optimal one and, of a linear operator, the true one."""
    response = impulse_response(operator, quadratic.layer.in_channels)
    truth = None if response is None else quadratic.of_own_channels(response.kernel)
    beside = KernelComparison(quadratic.kernels()[1], truth=truth)

    def draw(model: nn.Module) -> dict[str, Tensor]:
        (name,) = kernels(model)
        return {name: beside.picture(quadratic.kernels()[0])}

    return draw
