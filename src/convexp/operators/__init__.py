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
from convexp.operators.classic import Bilateral, Canny, Guided, Median, bilateral, canny, guided, median
from convexp.operators.colour import ColourMatrix, colour_matrix
from convexp.operators.examples import Examples
from convexp.operators.histogram import Autocontrast, Equalize, autocontrast, equalize
from convexp.operators.linear import Channels, Filter, Gradients, filter2d, gradients
from convexp.operators.morphology import Closing, Dilation, Erosion, Opening, closing, dilation, erosion, opening
from convexp.operators.nonlinear import (
    Gamma,
    LocalDeviation,
    LocalMaximum,
    Magnitude,
    gamma,
    local_deviation,
    local_maximum,
    magnitude,
)
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
from convexp.operators.template import Template, best_place, match_template

__all__ = [
    "Autocontrast",
    "Bilateral",
    "Blur",
    "Border",
    "BoxBlur",
    "Canny",
    "Channels",
    "Closing",
    "ColourMatrix",
    "DifferenceOfGaussians",
    "Dilation",
    "Equalize",
    "Erosion",
    "Examples",
    "Filter",
    "Gabor",
    "Gamma",
    "GaussianBlur",
    "Gradients",
    "Guided",
    "Highpass",
    "LaplacianOfGaussian",
    "LocalDeviation",
    "LocalMaximum",
    "Magnitude",
    "Median",
    "MotionBlur",
    "Opening",
    "Pipeline",
    "Sharpen",
    "Shift",
    "Template",
    "autocontrast",
    "best_place",
    "bilateral",
    "blur",
    "box_blur",
    "canny",
    "closing",
    "colour_matrix",
    "difference_of_gaussians",
    "dilation",
    "equalize",
    "erosion",
    "filter2d",
    "gabor",
    "gamma",
    "gaussian_blur",
    "gradients",
    "guided",
    "highpass",
    "laplacian_of_gaussian",
    "local_deviation",
    "local_maximum",
    "magnitude",
    "match_template",
    "median",
    "motion_blur",
    "opening",
    "sharpen",
    "shift",
]
