import numpy as np
import pytest
import skimage
import torch
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage


@pytest.fixture(scope="session")
def chelsea():
    """The cat in float64, (1, 3, 300, 451)."""
    return torch.from_numpy(skimage.data.chelsea() / 255).permute(2, 0, 1)[None]


@pytest.fixture(scope="session")
def highpass(chelsea):
    """Channel mean of image − Gaussian 7/σ4, reflect border, by SciPy: (1, 1, 300, 451)."""
    image = chelsea[0].numpy()
    blurred = ndimage.gaussian_filter(image, 4.0, radius=3, mode="mirror", axes=(1, 2))
    return torch.from_numpy((image - blurred).mean(axis=0))[None, None]


@pytest.fixture
def design():
    """The matrix of a convolution, a row a pixel, by NumPy alone: what lstsq needs."""

    def make(image, kernel_size, *, bias=False, pad=None, mode="constant", stride=1, dilation=1):
        pixels = np.asarray(image[0], dtype=float)
        if pad:
            pixels = np.pad(pixels, [(0, 0), (pad[0], pad[0]), (pad[1], pad[1])], mode=mode)
        span = [dilation * (side - 1) + 1 for side in kernel_size]
        windows = sliding_window_view(pixels, span, axis=(1, 2))[:, ::stride, ::stride, ::dilation, ::dilation]
        height, width = windows.shape[1:3]
        rows = windows.transpose(1, 2, 0, 3, 4).reshape(height * width, -1)
        if bias:
            rows = np.hstack([rows, np.ones((len(rows), 1))])
        return rows, (height, width)

    return make


@pytest.fixture
def noise():
    """Seeded noise in float64."""

    def make(*shape, seed=0):
        return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)

    return make
