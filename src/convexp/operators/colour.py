"""Linear mixtures of the channels."""

import difflib
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.operators.border import padded

GRAYSCALE = ((0.299, 0.587, 0.114),)
"""Luma of red, green and blue: https://www.itu.int/rec/R-REC-BT.601"""

SEPIA = ((0.393, 0.769, 0.189), (0.349, 0.686, 0.168), (0.272, 0.534, 0.131))
"""The brown of old photographs, https://www.w3.org/TR/filter-effects-1/#sepiaEquivalent; white exceeds 1."""

_NAMED = {"grayscale": GRAYSCALE, "sepia": SEPIA}


def colour_matrix(image: Tensor, matrix: Sequence[Sequence[float]]) -> Tensor:
    """Mix the channels of each pixel: ``out[o] = Σᵢ matrix[o][i] · image[i]``, not clipped.

    Args:
        image: ``(B, I, H, W)``, floating point.
        matrix: O rows of I numbers.

    Raises:
        ConvexpError: If the matrix is not made of equal rows of finite numbers, or the image has another number of
            channels.

    Example:
        >>> red, green = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])[..., None, None]
        >>> colour_matrix(torch.stack([red, green]), GRAYSCALE).flatten()
        tensor([0.2990, 0.5870])
    """
    _check_matrix(matrix)
    image = padded(image, 1, 1, None)
    columns = len(matrix[0])
    if image.shape[1] != columns:
        advice = "; set data.gray=false" if image.shape[1] == 1 and columns == 3 else ""
        raise ConvexpError(
            f"the image has channels: {image.shape[1]}, the matrix has columns: {columns}; must be as many{advice}"
        )
    # Type first: not every device has float64.
    weight = torch.tensor(matrix, dtype=torch.float64).to(image.dtype).to(image.device)
    return nn.functional.conv2d(image, weight[..., None, None])


class ColourMatrix(nn.Module):
    """``colour_matrix`` as a module.

    Args:
        matrix: O rows of I numbers, or ``grayscale`` (3 channels → 1) or ``sepia`` (3 → 3).

    Raises:
        ConvexpError: If it is neither.
    """

    def __init__(self, matrix: str | Sequence[Sequence[float]]) -> None:
        super().__init__()
        self._rows = _named(matrix) if isinstance(matrix, str) else matrix
        _check_matrix(self._rows)
        self.matrix = matrix

    def forward(self, image: Tensor) -> Tensor:
        """Return the mixed channels."""
        return colour_matrix(image, self._rows)

    def extra_repr(self) -> str:
        """Show the argument."""
        return f"matrix={self.matrix!r}"


def _named(name: str) -> Sequence[Sequence[float]]:
    if name not in _NAMED:
        nearest = difflib.get_close_matches(name, _NAMED, n=1)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise ConvexpError(
            f"there is no colour matrix {name!r}{hint}; choose from {', '.join(_NAMED)}, or write its rows out"
        )
    return _NAMED[name]


def _check_matrix(matrix: Any) -> None:
    wrong = f"matrix={matrix!r} must be equal rows of finite numbers, e.g. [[0.299, 0.587, 0.114]]"
    if not _is_row(matrix):
        raise ConvexpError(wrong)
    for row in matrix:
        if not _is_row(row):
            raise ConvexpError(f"{wrong}; {row!r} is no row")
        for number in row:
            if not isinstance(number, Real) or not math.isfinite(number):
                raise ConvexpError(f"{wrong}; {number!r} is no number")
    if len({len(row) for row in matrix}) > 1:
        raise ConvexpError(f"{wrong}; these have {', '.join(str(len(row)) for row in matrix)} numbers")


def _is_row(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and len(value) > 0
