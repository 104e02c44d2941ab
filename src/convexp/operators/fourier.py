"""Convolution by Fourier transforms."""

import torch
from torch import Tensor


def correlate(image: Tensor, kernel: Tensor, *, spectrum: Tensor | None = None) -> Tensor:
    """Compute what ``conv2d`` does, by Fourier transforms: for kernels of hundreds of weights in float64.

    There, ``conv2d`` would copy every window of the image first. Rounding is that of the largest value.

    Args:
        image: (B, I, H, W), real.
        kernel: (O, I, h, w), of the same type and no larger; weights of pairs of channels that are all 0 cost nothing,
            nor do those that are the same as the ones before.
        spectrum: Of the image, as `torch.fft.rfft2` gives it, if it is known.

    Returns:
        (B, O, H − h + 1, W − w + 1).

    Example:
        >>> image, kernel = torch.rand(2, 3, 17, 23), torch.rand(4, 3, 5, 2)
        >>> torch.testing.assert_close(correlate(image, kernel), torch.nn.functional.conv2d(image, kernel))
    """
    size = height, width = image.shape[-2:]
    rows, columns = kernel.shape[-2:]
    spectrum = torch.fft.rfft2(image) if spectrum is None else spectrum
    products = spectrum.new_zeros(len(image), len(kernel), *spectrum.shape[-2:])
    weights, own = kernel.new_zeros(0), spectrum
    for output, channel in kernel.flatten(2).any(dim=2).nonzero().tolist():
        if not kernel[output, channel].equal(weights):
            weights = kernel[output, channel]
            own = torch.fft.rfft2(weights, s=size).conj()
        products[:, output].addcmul_(spectrum[:, channel], own)
    return torch.fft.irfft2(products, s=size)[..., : height - rows + 1, : width - columns + 1]
