"""What is imitated: image operators, and the facts of convolution that all of convexp keeps to.

- Tensors are ``(B, C, H, W)``, floating point, images in [0, 1]. Gray images have C = 1.
- "Convolution" is cross-correlation, as in ``torch.nn.Conv2d``: the kernel is not flipped.
- Operators are *valid* unless told otherwise: an output pixel exists only where every input pixel does, so no border is
  invented. A padded operator names its border: ``reflect``, ``replicate``, ``zeros`` or ``circular``.
- Outputs of different size are compared on their common centre; an odd remainder drops the last row or column.
- A kernel that reads several channels sums over them, as ``Conv2d`` does; an operator that filters each channel on its
  own or averages them says so.

A linear operator is a kernel (``kernels``), its application to an image (a function) and a module that holds the
arguments of that function, so that YAML can build it.
"""

from convexp.operators.border import Border
from convexp.operators.linear import (
    Blur,
    Channels,
    GaussianBlur,
    Gradients,
    Highpass,
    Sharpen,
    blur,
    filter2d,
    gaussian_blur,
    gradients,
    highpass,
    sharpen,
)
from convexp.operators.nonlinear import Magnitude, magnitude
from convexp.operators.pipeline import Pipeline

__all__ = [
    "Blur",
    "Border",
    "Channels",
    "GaussianBlur",
    "Gradients",
    "Highpass",
    "Magnitude",
    "Pipeline",
    "Sharpen",
    "blur",
    "filter2d",
    "gaussian_blur",
    "gradients",
    "highpass",
    "magnitude",
    "sharpen",
]
