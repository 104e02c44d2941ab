"""How a filter treats the colours: each on its own, added up, or mixed."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from convexp.analysis.identify.kernel_fit import solve
from convexp.analysis.identify.observation import LUMA, Observation, luma
from convexp.analysis.identify.samples import take

Kind = Literal["gray", "each", "equal", "luma", "mixed"]

PIXELS = 40_000
SIDE = 5
ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Mixing:
    """A way to reduce colour pictures to one channel each, in which one kernel is sought.

    Args:
        kind: ``gray``: there are no colours. ``each``: every channel is filtered alike. ``equal``: the channels are
            averaged. ``luma``: they are weighted as brightness is. ``mixed``: they are weighted by any numbers.
        weights: (I,) of the first picture's channels.
    """

    kind: Kind
    weights: Tensor

    def source(self, observation: Observation) -> Tensor:
        """The first picture in one channel, (1, H, W)."""
        return torch.einsum("chw,c->hw", observation.before, self.weights)[None]

    @property
    def gains(self) -> tuple[float, ...]:
        """The gains that operators have by themselves: the sum of three channels is three times their average."""
        return (3.0, 1.0) if self.kind == "equal" else (1.0,)

    def kernels(self, kernel: Tensor, outputs: int) -> Tensor:
        """The kernel for each output and input, (O, I, kh, kw); of ``mixed``, the same for all outputs."""
        if self.kind == "each":
            return torch.eye(outputs, dtype=kernel.dtype)[..., None, None] * kernel
        return (self.weights[:, None, None] * kernel).expand(outputs, -1, -1, -1)


def simple_mixings(observation: Observation) -> list[Mixing]:
    """The ways that there are a priori, the simplest first."""
    inputs, outputs = len(observation.before), len(observation.after)
    one = torch.ones(inputs, dtype=torch.float64)
    brightness = torch.tensor(LUMA, dtype=torch.float64)
    if inputs == outputs:
        return [Mixing("gray", one) if inputs == 1 else Mixing("each", brightness)]
    if outputs == 1:
        return [Mixing("equal", one / 3), Mixing("luma", brightness)]
    return []


def fitted_mixing(observation: Observation, use: Tensor, *, side: int = SIDE) -> Mixing | None:
    """The colour weights of the best kernel that is the same for all channels but for a factor, by alternation.

    Args:
        observation: The pictures.
        use: (h, w), which pixels of the second one count.
        side: Of the kernel.

    Returns:
        None if the pictures are too small.
    """
    inputs = len(observation.before)
    if inputs == 1:
        return Mixing("mixed", torch.ones(1, dtype=torch.float64))
    target = luma(observation.after)
    samples = take(observation.before, target, use, side=side, offset=observation.offset, most=PIXELS)
    if samples is None:
        return None
    weights, _, _ = solve(samples.statistics)
    factors, _, _ = torch.linalg.svd(weights.reshape(inputs, -1), full_matrices=False)
    colour = factors[:, 0]
    gram, moments = samples.statistics.gram[0], samples.statistics.moments[0, :, 0]
    centred = gram[:-1, :-1] - torch.outer(gram[:-1, -1], gram[:-1, -1])
    together = (moments[:-1] - gram[:-1, -1] * moments[-1]).reshape(inputs, -1)
    blocks = centred.reshape(inputs, side**2, inputs, side**2)
    for _ in range(ROUNDS):  # the best kernel of these weights, then the best weights of this kernel
        kernel = _solved(
            torch.einsum("c,cpdq,d->pq", colour, blocks, colour), torch.einsum("c,cp->p", colour, together)
        )
        colour = _solved(
            torch.einsum("p,cpdq,q->cd", kernel, blocks, kernel), torch.einsum("p,cp->c", kernel, together)
        )
    total = colour.sum()
    colour = colour / total if abs(float(total)) > 0.1 * float(colour.abs().sum()) else colour / colour.abs().sum()
    return Mixing("mixed", colour)


def _solved(gram: Tensor, moments: Tensor) -> Tensor:
    return torch.linalg.pinv(gram, rtol=1e-10, hermitian=True) @ moments
