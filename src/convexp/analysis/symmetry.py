"""What can be said of one kernel: its gain, whether it separates, and its symmetries."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Symmetry:
    """Gain, separability and symmetries of a kernel (kh, kw). All numbers are 0 for a kernel of zeros.

    An asymmetry is ‖k − flip(k)‖ / 2‖k‖: 0 if the flip changes nothing, 1 if it changes the sign.

    Args:
        dc_gain: Σk, what the kernel makes of a white image.
        rank1_error: √(1 − s₁²/Σs²) with the singular values s, 0 for a separable kernel: the part of the kernel's norm
            that the best separable kernel misses.
        column: (kh,) float64; column·rowᵀ is the best separable kernel, both of one norm, column's largest value > 0.
        row: (kw,) float64.
        left_right: Asymmetry when left and right are swapped.
        up_down: Asymmetry when up and down are swapped.
        half_turn: Asymmetry when turned by 180°.
        transpose: Asymmetry when rows and columns are swapped; None if the kernel is not square.
    """

    dc_gain: float
    rank1_error: float
    column: Tensor
    row: Tensor
    left_right: float
    up_down: float
    half_turn: float
    transpose: float | None

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """Column and row of the best separable kernel."""
        return self.column, self.row


def describe(kernel: Tensor) -> Symmetry:
    """What there is to say of a kernel (kh, kw), in float64.

    Example:
        >>> facts = describe(torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]))
        >>> facts.dc_gain, round(facts.rank1_error, 6), facts.left_right, facts.up_down
        (0.0, 0.0, 1.0, 0.0)
    """
    kernel = kernel.detach().cpu().double()
    column, row, error = _separated(kernel)
    return Symmetry(
        dc_gain=float(kernel.sum()),
        rank1_error=error,
        column=column,
        row=row,
        left_right=_asymmetry(kernel, kernel.flip(1)),
        up_down=_asymmetry(kernel, kernel.flip(0)),
        half_turn=_asymmetry(kernel, kernel.flip(0, 1)),
        transpose=_asymmetry(kernel, kernel.T) if kernel.shape[0] == kernel.shape[1] else None,
    )


def _separated(kernel: Tensor) -> tuple[Tensor, Tensor, float]:
    left, values, right = torch.linalg.svd(kernel, full_matrices=False)
    column, row = left[:, 0] * values[0].sqrt(), right[0] * values[0].sqrt()
    sign = -1.0 if column[column.abs().argmax()] < 0 else 1.0
    # The other values' own sum: 1 − s₁²/Σs² would leave 1e-8 of rounding under the root.
    error = float(values[1:].norm() / values.norm()) if values[0] > 0 else 0.0
    return sign * column, sign * row, error


def _asymmetry(kernel: Tensor, flipped: Tensor) -> float:
    norm = kernel.norm()
    return float((kernel - flipped).norm() / (2 * norm)) if norm > 0 else 0.0
