import numpy as np
import pytest
import torch

from convexp.analysis.identify.kernel_fit import best_kernel, sides, solve
from convexp.analysis.identify.samples import take


def scene():
    return torch.rand(1, 61, 67, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def fitted(kernel, noise=1e-4, side=7):
    image = scene()
    target = torch.nn.functional.conv2d(image[None], kernel[None, None])[0, 0] + 0.25
    target += noise * torch.randn(target.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    top, left = (kernel.shape[0] - 1) // 2, (kernel.shape[1] - 1) // 2
    samples = take(image, target, target > -9, side=side, offset=(top, left), most=10**6)
    return samples, best_kernel(samples, floor=1e-12)


def test_the_kernel_its_place_and_its_constant():
    kernel = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 1.0, 0.0, -1.0]], dtype=torch.float64)
    _, fit = fitted(kernel)
    assert fit.box == (0, 1, -1, 2)
    assert fit.constant == pytest.approx(0.25, abs=1e-4)
    off = ((fit.kernel - kernel) / fit.errors).abs()
    assert fit.errors.max() < 1e-4
    assert off.max() < 5
    assert (off < 2).double().mean() > 0.7


def test_weights_are_numpy_s():
    samples, _ = fitted(torch.tensor([[0.2, 0.3], [0.1, 0.4]], dtype=torch.float64), noise=0.1, side=3)
    design = np.concatenate([window.numpy() for _, window in samples.windows((-1, 1, -1, 1))])
    design = np.hstack([design, np.ones((len(design), 1))])
    expected, left, *_ = np.linalg.lstsq(design, samples.target.numpy())
    weights, constant, variance = solve(samples.statistics)
    np.testing.assert_allclose([*weights.tolist(), constant], expected, atol=1e-6)
    assert variance == pytest.approx(left[0] / (len(design) - 10), rel=1e-6)


def test_r2_grows_with_the_size_until_it_is_enough():
    _, fit = fitted(torch.full((5, 5), 0.04, dtype=torch.float64), noise=0.01)
    r2 = list(fit.r2.values())
    assert list(fit.r2) == [1, 3, 5, 7]
    assert r2[0] < r2[1] < r2[2]
    assert r2[3] == pytest.approx(r2[2], abs=0.01)
    assert fit.kernel.shape == (5, 5)


def test_a_kernel_that_fills_the_window_may_go_on_beyond_it():
    _, fit = fitted(torch.full((9, 9), 1 / 81, dtype=torch.float64))
    assert fit.kernel.shape == (7, 7)


def test_sides():
    assert sides(1) == [1]
    assert sides(7) == [1, 3, 5, 7]
    assert sides(31)[-1] == 31
