"""What is imitated: image operators, and the facts of convolution that all of convexp keeps to.

- Tensors are ``(B, C, H, W)``, floating point, images in [0, 1]. Gray images have C = 1.
- "Convolution" is cross-correlation, as in ``torch.nn.Conv2d``: the kernel is not flipped.
- Operators are *valid* unless told otherwise: an output pixel exists only where every input pixel does, so no border is
  invented. A padded operator names its border: ``reflect``, ``replicate``, ``zeros`` or ``circular``.
- Outputs of different size are compared on their common centre; an odd remainder drops the last row or column.
- A kernel that reads several channels sums over them, as ``Conv2d`` does; an operator that filters each channel on its
  own or averages them says so.

An operator is a function of an image and its arguments, and a module that holds the arguments, so that YAML can build
it. A linear one applies a kernel (``kernels``).
"""

from convexp.operators.bands import (
    DifferenceOfGaussians,
    Gabor,
    Highpass,
    LaplacianOfGaussian,
    Sharpen,
    difference_of_gaussians,
    gabor,
    highpass,
    laplacian_of_gaussian,
    sharpen,
)
from convexp.operators.border import Border
from convexp.operators.linear import Channels, Filter, Gradients, filter2d, gradients
from convexp.operators.nonlinear import Magnitude, magnitude
from convexp.operators.pipeline import Pipeline
from convexp.operators.smoothing import (
    Blur,
    BoxBlur,
    GaussianBlur,
    MotionBlur,
    Shift,
    blur,
    box_blur,
    gaussian_blur,
    motion_blur,
    shift,
)

__all__ = [
    "Blur",
    "Border",
    "BoxBlur",
    "Channels",
    "DifferenceOfGaussians",
    "Filter",
    "Gabor",
    "GaussianBlur",
    "Gradients",
    "Highpass",
    "LaplacianOfGaussian",
    "Magnitude",
    "MotionBlur",
    "Pipeline",
    "Sharpen",
    "Shift",
    "blur",
    "box_blur",
    "difference_of_gaussians",
    "filter2d",
    "gabor",
    "gaussian_blur",
    "gradients",
    "highpass",
    "laplacian_of_gaussian",
    "magnitude",
    "motion_blur",
    "sharpen",
    "shift",
]
