"""What the arguments of several kernels have to be."""

import math
from numbers import Integral, Real

from convexp.errors import ConvexpError


def check_kernel_size(kernel_size: int) -> None:
    """Refuse a side without a centre.

    Raises:
        ConvexpError: If the size is even or not positive.
    """
    if not isinstance(kernel_size, Integral) or kernel_size < 1 or kernel_size % 2 == 0:
        raise ConvexpError(
            f"kernel_size={kernel_size!r} must be odd and positive (it needs a centre), e.g. kernel_size=7"
        )


def check_length(name: str, pixels: float) -> None:
    """Refuse what is no length.

    Raises:
        ConvexpError: If it is not a positive finite number.
    """
    if not isinstance(pixels, Real) or not 0 < pixels < math.inf:
        raise ConvexpError(f"{name}={pixels!r} must be a positive number of pixels, e.g. {name}=1.5")


def check_number(name: str, value: float, what: str) -> None:
    """Refuse what is no number.

    Args:
        name: Of the argument.
        value: Its value.
        what: An example of it, and what it means.

    Raises:
        ConvexpError: If it is not finite.
    """
    if not isinstance(value, Real) or not math.isfinite(value):
        raise ConvexpError(f"{name}={value!r} must be a finite number, e.g. {what}")
