"""Named kernels: ``(kh, kw)`` tensors in the orientation in which cross-correlation applies them."""

from convexp.operators.kernels.bands import (
    difference_of_gaussians,
    gabor,
    gaussian_highpass,
    laplacian_of_gaussian,
    unsharp,
)
from convexp.operators.kernels.checks import check_kernel_size, check_length, check_number
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
from convexp.operators.kernels.fixed import FIXED, as_kernel
from convexp.operators.kernels.smoothing import (
    box,
    gaussian,
    identity,
    impulse,
    integer_gaussian,
    motion_blur,
    shift,
)

__all__ = [
    "FIXED",
    "as_kernel",
    "box",
    "check_kernel_size",
    "check_length",
    "check_number",
    "difference_of_gaussians",
    "emboss",
    "gabor",
    "gaussian",
    "gaussian_highpass",
    "horizontal_edge",
    "identity",
    "impulse",
    "integer_gaussian",
    "laplacian",
    "laplacian_8",
    "laplacian_of_gaussian",
    "motion_blur",
    "prewitt_x",
    "prewitt_y",
    "scharr_x",
    "scharr_y",
    "shift",
    "sobel_x",
    "sobel_y",
    "unsharp",
    "vertical_edge",
]
