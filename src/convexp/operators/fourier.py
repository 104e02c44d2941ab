"""Convolution by Fourier transforms."""

import torch
from torch import Tensor


def correlate(image: Tensor, kernel: Tensor) -> Tensor:
    """Compute what ``conv2d`` does, by Fourier transforms: for kernels of hundreds of weights in float64.

    There, ``conv2d`` would copy every window of the image first. Rounding is that of the largest value.

    Args:
        image: (B, I, H, W), real.
        kernel: (O, I, h, w), of the same type and no larger.

    Returns:
        (B, O, H − h + 1, W − w + 1).

    Example:
        >>> image, kernel = torch.rand(2, 3, 17, 23), torch.rand(4, 3, 5, 2)
        >>> torch.testing.assert_close(correlate(image, kernel), torch.nn.functional.conv2d(image, kernel))
    """
    size = height, width = image.shape[-2:]
    rows, columns = kernel.shape[-2:]
    spectrum = torch.fft.rfft2(kernel, s=size).conj()
    products = torch.einsum("bihw,oihw->bohw", torch.fft.rfft2(image), spectrum)
    return torch.fft.irfft2(products, s=size)[..., : height - rows + 1, : width - columns + 1]
