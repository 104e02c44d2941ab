"""Kernels by name, or typed as numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import cast

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.operators.kernels.edges import (
    emboss,
    horizontal_edge,
    laplacian,
    laplacian_8,
    prewitt_x,
    prewitt_y,
    scharr_x,
    scharr_y,
    sobel_x,
    sobel_y,
    vertical_edge,
)
from convexp.operators.kernels.smoothing import identity, integer_gaussian

#: The kernels without arguments, by name; the simplest first.
FIXED: Mapping[str, Callable[[], Tensor]] = {
    function.__name__: function
    for function in (
        identity,
        vertical_edge,
        horizontal_edge,
        sobel_x,
        sobel_y,
        prewitt_x,
        prewitt_y,
        scharr_x,
        scharr_y,
        laplacian,
        laplacian_8,
        emboss,
        integer_gaussian,
    )
}


def as_kernel(kernel: str | Sequence[Sequence[float]]) -> Tensor:
    """Return the kernel that a name of `FIXED` or rows of numbers stand for, (kh, kw) float64.

    Args:
        kernel: As `"sobel_x"`, or `[[-1, 1]]`.

    Raises:
        ConvexpError: If there is no such name, or the rows are not equally many finite numbers.

    Example:
        >>> as_kernel([[-1, 1]])
        tensor([[-1.,  1.]], dtype=torch.float64)
    """
    if isinstance(kernel, str):
        if kernel not in FIXED:
            near = get_close_matches(kernel, FIXED, n=1)
            suggestion = f"; did you mean {near[0]}?" if near else ""
            raise ConvexpError(f"kernel={kernel}: no such kernel{suggestion}; there are {', '.join(FIXED)}")
        return FIXED[kernel]().double()
    rows = [_list(row) for row in _list(kernel)]
    if not rows or not rows[0] or any(len(row) != len(rows[0]) for row in rows):
        raise ConvexpError(f"kernel={kernel} must be rows of equally many numbers, as [[0,1,0],[1,-4,1],[0,1,0]]")
    numbers = [[value for value in row if isinstance(value, int | float) and math.isfinite(value)] for row in rows]
    if numbers != rows:
        raise ConvexpError(f"kernel={kernel} must hold finite numbers only")
    return torch.tensor(numbers, dtype=torch.float64)


def _list(value: object) -> list[object]:
    """YAML may hold anything, whatever the annotation says."""
    return list(cast("Sequence[object]", value)) if isinstance(value, Sequence) else []
