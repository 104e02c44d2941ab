"""The loss of one convolution as the quadratic function that it is: known in full, optimum and all."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import ConstantLR, LRScheduler

from convexp.errors import ConvexpError
from convexp.exact import Descent, Optimum, Shelf, Statistics, only_convolution
from convexp.exact.floor import Floor
from convexp.exact.layer import parts_of, weights_of
from convexp.exact.shelf import NOWHERE
from convexp.models import Standardised
from convexp.training.pairs import Pair

#: Gathering and solving takes seconds up to here, and grows with the third power.
MOST_UNKNOWNS = 4096


def why_not_quadratic(model: nn.Module, loss: nn.Module) -> str | None:
    """What keeps a model and a loss from being a quadratic function of few weights, in words; None if nothing does."""
    if type(loss) is not nn.MSELoss or loss.reduction != "mean":
        return f"the loss {type(loss).__name__} is not the mean squared error"
    layer = only_convolution(model)
    if layer is None:
        return f"the model {_name(model)} is not one convolution, linear in all its weights"
    unknowns = weights_of(layer).shape[1]
    if unknowns > MOST_UNKNOWNS:
        return f"the convolution has {unknowns:,} weights for an output; more than {MOST_UNKNOWNS:,} are not solved for"
    return None


def _name(model: nn.Module) -> str:
    return type(model.model if isinstance(model, Standardised) else model).__name__


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The mean squared error of a model that is one convolution, over all pixels of whole images.

    Args:
        layer: The convolution, with the weights of the moment.
        statistics: Of what it reads and what it should return, in the units that it works in.
        optimum: Its least loss.
        scale: The target's units in those of the convolution's output: a loss of the run is scale² smaller than the
            mean squared error of the target.
        unit: What a weight of the convolution is in a filter from image to target.
        seconds: That finding all this has taken.
        pairs: What the convolution reads, and what it should return.
        shelf: Where that is kept.
    """

    layer: nn.Conv2d
    statistics: Statistics
    optimum: Optimum
    scale: float
    unit: float
    seconds: float
    pairs: Iterable[Pair]
    shelf: Shelf

    @classmethod
    def of(cls, model: nn.Module, pairs: Iterable[Pair], *, shelf: Shelf = NOWHERE) -> "Quadratic":
        """Gathers and solves, unless that was done before.

        Args:
            model: One for which `why_not_quadratic` has nothing to say.
            pairs: Whole images and targets; they are gone through several times.
            shelf: Where statistics are kept.

        Raises:
            ConvexpError: If an image holds NaN or infinity.
        """
        start = time.perf_counter()
        layer = only_convolution(model)
        if layer is None:
            raise ConvexpError(f"{_name(model)} is not one convolution, and its loss not quadratic")
        scale, unit = 1.0, 1.0
        if isinstance(model, Standardised):
            pairs = _Standardised(model, pairs)
            scale = float(model.scale)
            unit = scale / float(model.std)
        statistics, optimum = shelf.solved(layer, pairs)
        return cls(layer, statistics, optimum, scale, unit, time.perf_counter() - start, pairs, shelf)

    @property
    def weights(self) -> Tensor:
        """The weights of the moment, (groups, P, Q) float64 on the CPU."""
        return weights_of(self.layer)

    def loss(self) -> float:
        """The loss of the weights of the moment."""
        return self.statistics.loss(self.weights)

    def descent(self) -> Descent:
        """Gradient descent from the weights of the moment."""
        return Descent(self.optimum, self.weights)

    def floor(self, reach: tuple[int, int, int, int] | None) -> Floor | None:
        """Where the least loss comes from, if the target depends on the pixels within `reach`."""
        return self.shelf.floor(self.layer, self.pairs, loss=self.optimum.loss, reach=reach)

    def of_own_channels(self, kernel: Tensor) -> Tensor:
        """What of a kernel (O, I, kh, kw) reads the channels of each output's group, (O, I / groups, kh, kw)."""
        groups = self.layer.groups
        blocks = kernel.unflatten(0, (groups, -1)).unflatten(2, (groups, -1))
        return torch.cat([blocks[index, :, index] for index in range(groups)])

    def kernels(self) -> tuple[Tensor, Tensor]:
        """Learned and optimal kernel (O, I, kh, kw), as filters from image to target."""
        learned, optimal = (parts_of(weights, self.layer)[0] for weights in (self.weights, self.optimum.weights))
        return self.unit * learned, self.unit * optimal


@dataclass(frozen=True)
class _Standardised(Iterable[Pair]):
    """Pairs as the model in a standardised one sees them, as often as they are asked for."""

    model: Standardised
    pairs: Iterable[Pair]

    def __iter__(self) -> Iterator[Pair]:
        for image, target in self.pairs:
            yield Pair(self.model.standardised_input(image), self.model.standardised_target(target))


def plain_rate(optimizer: Optimizer, scheduler: LRScheduler) -> float | None:
    """The rate of plain gradient descent: constant, without momentum or weight decay; None for everything else."""
    if type(optimizer) is not SGD or type(scheduler) is not ConstantLR:
        return None
    (group,) = optimizer.param_groups
    varies = scheduler.factor != 1 and scheduler.total_iters > 0
    if varies or group["momentum"] or group["weight_decay"] or group["maximize"]:
        return None
    return float(group["lr"])
