"""The learning task: a model imitates an operator's output."""

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from convexp.errors import ConvexpError
from convexp.images.alignment import common_center
from convexp.training.metrics import Similarity, image_metrics, of_one_image
from convexp.training.pairs import Whole


class Note(NamedTuple):
    """A step that was taken: its number, counted from 0, and the loss and the learning rate just before it."""

    step: int
    loss: Tensor
    rate: float


class ImitationTask(L.LightningModule):
    """Minimises a loss between a model's output and an operator's, on their common centre.

    Args:
        model: Maps (B, C, H, W) images in [0, 1] to the target's units.
        loss: Of output and target, both divided by `scale`.
        optimizer: Makes an optimizer of parameters.
        scheduler: Makes a learning-rate scheduler of an optimizer; it is stepped after every optimizer step.
        scale: Unit in which the loss measures the target: its standard deviation, or 1.
        seed: With the step's number decides everything random inside the model (dropout).
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.model = model
        self.loss = loss
        self.scale = scale
        self.seed = seed
        self.metrics = image_metrics()
        self.val: dict[str, float] = {}
        self.images: dict[str, list[float]] = {}  # what `val` is of, by name
        self.measured_at = -1  # the step that `val` belongs to
        self.notes: list[Note] = []  # of the steps of the present batch
        self._optimizer, self._scheduler = optimizer, scheduler

    def forward(self, image: Tensor) -> Tensor:
        """The model's output for images (B, C, H, W)."""
        return self.model(image)

    def configure_optimizers(self) -> Any:
        """One optimizer, one scheduler, both counting steps.

        Raises:
            ConvexpError: If several processes would each search along their own line.
        """
        optimizer, scheduler = self.optimizer_and_scheduler()
        if isinstance(optimizer, LBFGS) and self.trainer.world_size > 1:
            raise ConvexpError(
                f"optimizer=lbfgs on {self.trainer.world_size} processes: their line searches, each on its own loss, "
                "would part; use trainer.devices=1, or another optimizer as optimizer=adam"
            )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def optimizer_and_scheduler(self) -> tuple[Optimizer, LRScheduler]:
        """New ones, as the training begins with them."""
        optimizer = self._optimizer(self.trained_weights())
        return optimizer, self._scheduler(optimizer)

    def trained_weights(self) -> Iterable[nn.Parameter]:
        """What the optimizer works on."""
        return self.model.parameters()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Makes the model's own randomness depend on (seed, step) alone, as the batch does."""
        # Not torch.manual_seed: without a GPU it notes a traceback at each call, for the day when there is one.
        generator = torch.cuda.default_generators[self.device.index] if self.device.type == "cuda" else None
        (generator or torch.default_generator).manual_seed((self.seed * 1_000_003 + self.global_step) % 2**63)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor | None:
        """The loss over a batch: each image size's mean, weighted by its number of pixels."""
        losses: list[Tensor] = []
        pixels: list[int] = []
        for image, target in batch:
            output, target = common_center(self.model(image), target)
            losses.append(self.loss(output / self.scale, target / self.scale))
            pixels.append(target.numel())
        loss = losses[0]
        if len(losses) > 1:
            loss = torch.stack(losses) @ torch.tensor(pixels, dtype=loss.dtype, device=loss.device) / sum(pixels)
        if not self.notes or self.notes[-1].step != self.global_step:  # a line search looks at other weights, too
            rate = self.trainer.optimizers[0].param_groups[0]["lr"] if self._trainer else math.nan
            self.notes = [Note(self.global_step, loss.detach(), rate)]
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forgets the images measured before."""
        self.metrics.reset()
        self.images = {}

    def validation_step(self, batch: Whole, batch_idx: int) -> None:
        """Measures one whole image."""
        output, target = common_center(self.model(batch.input), batch.target)
        output, target = output.float().contiguous(), target.contiguous()  # torchmetrics takes views of rows
        self.metrics.update(output, target)
        similarity = self.metrics["ssim"]
        assert isinstance(similarity, Similarity)
        self.images[batch.name] = of_one_image(output, target, similarity=similarity.latest)

    def on_validation_epoch_end(self) -> None:
        """Writes the metrics over all validation images, at the optimizer step that they belong to."""
        self.measured_at = self.global_step
        self.val = {f"val/{name}": float(value) for name, value in self.metrics.compute().items()}
        if self.logger:
            log10 = {"val/log10_mse": math.log10(self.val["val/mse"])} if self.val["val/mse"] > 0 else {}
            self.logger.log_metrics(self.val | log10, step=self.global_step)
