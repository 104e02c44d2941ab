"""The learning task of one convolution, on the statistics of the images instead of their pixels."""

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, cast

import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from convexp.exact.layer import exact_dtype, parts_of
from convexp.training.exact import Exact
from convexp.training.quadratic import Quadratic, plain_rate
from convexp.training.task import ImitationTask, Note


class QuadraticTask(ImitationTask):
    """Minimises the same loss as `ImitationTask` on whole images, by the same optimizer, in a fraction of the time.

    The loss of all pixels is L = c − wᵀh + ½ wᵀHw and its gradient Hw − h, with H = 2G/Q and h = 2b/Q. A batch is a
    number of steps: what Lightning does once a batch would cost more than the steps. The optimizer works on weights in
    float64, of which the model gets the nearest floats: near the optimum of a badly conditioned loss, rounding them is
    more than a step. Plain gradient descent of a constant rate η has a closed form, so that n of its steps are one: the
    distance to the optimum w* is multiplied by (1 − ηH)ⁿ.

    Args:
        model: As for `ImitationTask`.
        quadratic: Its loss.
        every: Optimizer steps between two notes of loss and rate.
        gradient_clip_val: Largest norm of the gradient; None does not clip. The Trainer leaves it to this task.
        loss: As for `ImitationTask`.
        optimizer: As for `ImitationTask`; `Exact` is told the optimum.
        scheduler: As for `ImitationTask`.
        scale: As for `ImitationTask`.
        seed: As for `ImitationTask`.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        quadratic: Quadratic,
        every: int,
        gradient_clip_val: float | None,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler],
        scale: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__(model, loss=loss, optimizer=optimizer, scheduler=scheduler, scale=scale, seed=seed)
        self.automatic_optimization = False
        self.quadratic, self.every = quadratic, every
        self.exact = nn.ParameterList(part.detach().to(exact_dtype()) for part in quadratic.layer.parameters())
        self.gradient_clip_val = gradient_clip_val

    def configure_optimizers(self) -> Any:
        """One optimizer, one scheduler, both counting steps; every process of several takes the same steps."""
        optimizer, scheduler = self.optimizer_and_scheduler()
        if isinstance(optimizer, Exact):
            optimizer.optimum = parts_of(self.quadratic.optimum.weights, self.quadratic.layer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def trained_weights(self) -> Iterable[nn.Parameter]:
        """The convolution's weights in float64."""
        return self.exact

    def on_train_start(self) -> None:
        """Brings the statistics to the weights."""
        statistics = self.quadratic.statistics.to(self.device, exact_dtype())
        outputs = self.quadratic.layer.out_channels
        # In rows for each output, (groups, Q, P), as the parameters lie.
        self._hessian, self._slope = 2 * statistics.gram / outputs, (2 * statistics.moments / outputs).mT.contiguous()
        self._constant = statistics.yy.sum() / (statistics.count * outputs)
        self._rows, self._gradient = torch.empty_like(self._slope), torch.empty_like(self._slope)
        groups, rows, _ = self._slope.shape
        self._parts = [part.detach().view(groups, rows, -1) for part in self.exact]  # they follow the weights
        optimizer, scheduler = self._optimizer_and_scheduler()
        self._rate = plain_rate(optimizer, scheduler) if self.gradient_clip_val is None else None
        optimum = self.quadratic.optimum
        self._curvatures = self.quadratic.descent().curvatures.to(statistics.uu)[:, None]  # (groups, 1, P)
        self._vectors, self._goal = (part.to(statistics.uu) for part in (optimum.eigenvectors, optimum.weights.mT))

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Leaves the random numbers alone: one convolution uses none."""

    @torch.no_grad()
    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Takes so many steps."""
        optimizer, scheduler = self._optimizer_and_scheduler()
        self.notes = []
        for weight in self.exact:
            weight.grad = torch.empty_like(weight)
        if len(self.exact) == 1:  # the only part is the whole: nothing has to be copied
            self._rows, self.exact[0].grad = self._parts[0], self._gradient.view_as(self.exact[0])
        first, behind = self.global_step, self.global_step + int(batch)
        noted = [step for step in range(first, behind) if step % self.every == 0 or step == self.trainer.max_steps - 1]
        for step, following in pairwise([first, *noted, behind]):
            if following > step:
                self._take(following - step, optimizer, scheduler)
            if following != behind:
                self._set_gradient()
                self.notes.append(Note(following, self._loss(), optimizer.param_groups[0]["lr"]))
        for weight, exact in zip(self.quadratic.layer.parameters(), self.exact, strict=True):
            weight.copy_(exact)

    def _optimizer_and_scheduler(self) -> tuple[Optimizer, LRScheduler]:
        # Not Lightning's wrapper of the optimizer, which costs more than a step.
        return cast("LightningOptimizer", self.optimizers()).optimizer, cast("LRScheduler", self.lr_schedulers())

    def _take(self, count: int, optimizer: Optimizer, scheduler: LRScheduler) -> None:
        """Takes steps, and counts them as Lightning counts its own."""
        taken = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        if self._rate is not None:
            self._descend(count, self._rate)
            scheduler.last_epoch += count
            for _ in range(count):
                taken.increment_ready()
                taken.increment_completed()
            return
        searches = not type(optimizer).__module__.startswith("torch.optim.") or isinstance(optimizer, LBFGS)
        closure = self._closure if searches else self._set_gradient
        for _ in range(count):
            taken.increment_ready()
            optimizer.step(closure)  # pyright: ignore[reportCallIssue, reportArgumentType]  # a tensor is a float to torch
            taken.increment_completed()
            scheduler.step()

    def _descend(self, count: int, rate: float) -> None:
        """Takes steps of plain gradient descent, all at once."""
        rows = torch.cat(self._parts, dim=2)
        shrunk = (rows - self._goal) @ self._vectors * (1 - rate * self._curvatures) ** count
        rows = self._goal + shrunk @ self._vectors.mT
        for part, new in zip(self._parts, rows.split([part.shape[2] for part in self._parts], dim=2), strict=True):
            part.copy_(new)

    def _closure(self) -> Tensor:
        """The gradient, and the loss for optimizers that look at it."""
        self._set_gradient()
        return self._loss()

    def _set_gradient(self) -> None:
        if len(self.exact) > 1:
            torch.cat(self._parts, dim=2, out=self._rows)
        torch.baddbmm(self._slope, self._rows, self._hessian, beta=-1, out=self._gradient)
        if len(self.exact) > 1:
            for weight, part in zip(self.exact, parts_of(self._gradient.mT, self.quadratic.layer), strict=True):
                assert weight.grad is not None
                weight.grad.copy_(part)
        if self.gradient_clip_val is not None:
            nn.utils.clip_grad_norm_(self.exact, self.gradient_clip_val)

    def _loss(self) -> Tensor:
        # ½ wᵀHw − wᵀh = ½ w·(gradient − h); rounding may leave less than nothing of a perfect fit.
        gradient = torch.baddbmm(self._slope, self._rows, self._hessian, beta=-1)  # the other one may be clipped
        return (self._constant + 0.5 * (self._rows * (gradient - self._slope)).sum()).clamp_min(0)
