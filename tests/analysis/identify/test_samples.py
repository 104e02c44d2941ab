import numpy as np
import pytest
import torch

from convexp.analysis.identify.kernel_fit import solve
from convexp.analysis.identify.samples import take
from convexp.exact import gather

KERNEL = torch.tensor([[0.1, 0.0, 0.3], [-0.2, 0.5, 0.0], [0.0, 0.2, 0.1]], dtype=torch.float64)


def scene(height=67, width=71, channels=1, seed=0):
    return torch.rand(channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def filtered(image):
    return torch.nn.functional.conv2d(image[None], KERNEL.expand(1, len(image), 3, 3))[0, 0]


def test_statistics_are_those_of_a_convolution():
    image = scene(channels=2)
    target = filtered(image)
    samples = take(image, target, target > -9, side=3, offset=(1, 1), most=10**6)
    expected = gather(torch.nn.Conv2d(2, 1, 3), [(image[None], target[None, None])])
    assert samples.statistics.count == expected.count == 65 * 69
    torch.testing.assert_close(samples.statistics.uu, expected.uu)
    torch.testing.assert_close(samples.statistics.uy, expected.uy)
    torch.testing.assert_close(samples.statistics.yy, expected.yy)


def test_pixels_that_are_not_used_do_not_count():
    image = scene()
    target = filtered(image)
    use = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    target[~use] = 77.0
    samples = take(image, target, use, side=3, offset=(1, 1), most=10**6)
    assert samples.statistics.count == int(use.sum())
    weights, constant, _ = solve(samples.statistics)
    torch.testing.assert_close(weights.reshape(3, 3), KERNEL, atol=1e-6, rtol=0)
    assert abs(constant) < 1e-6


def test_other_values_at_the_same_windows():
    image = scene()
    target, other = filtered(image), filtered(image).square()
    use = torch.rand(target.shape, generator=torch.Generator().manual_seed(1)) < 0.5
    samples = take(image, target, use, side=5, offset=(1, 1), most=500).retargeted(other, (1, 1))
    rows, columns = samples.rows - 1, samples.columns - 1
    windows = torch.stack(
        [image[0, y - 2 : y + 3, x - 2 : x + 3].flatten() for y, x in zip(samples.rows, samples.columns, strict=True)]
    )
    torch.testing.assert_close(samples.statistics.uy[0, :-1, 0], windows.T @ other[rows, columns])
    torch.testing.assert_close(samples.statistics.yy[0, 0], other[rows, columns].square().sum())


def test_too_few_pixels():
    image = scene(17, 23)
    assert take(image, image[0], image[0] > -1, side=9, offset=(0, 0), most=1000) is None


def errors_of(noise, image=None):
    image = scene(131, 127) if image is None else image
    target = filtered(image) + noise
    samples = take(image, target, target > -9, side=3, offset=(1, 1), most=10**6)
    weights, constant, _ = solve(samples.statistics)
    covariance = samples.covariance(torch.eye(9, dtype=torch.float64), weights, constant, (-1, 1, -1, 1))
    return weights, covariance, samples


def test_the_covariance_of_independent_noise_is_the_textbook_s():
    noise = 0.1 * torch.randn(129, 125, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    _, covariance, samples = errors_of(noise)
    design = np.concatenate([window.numpy() for _, window in samples.windows((-1, 1, -1, 1))])
    design = np.hstack([design, np.ones((len(design), 1))])
    expected = 0.01 * np.linalg.inv(design.T @ design)
    ratio = covariance.diagonal().numpy() / np.diag(expected)
    assert 0.5 < ratio.min() <= ratio.max() < 2  # estimated from 20 tiles


def test_errors_cover_what_correlated_noise_does_to_the_weights():
    """Of noise that is smooth, the textbook's errors are too small, these are not."""
    smoothing = torch.ones(1, 1, 5, 5, dtype=torch.float64) / 5
    image = torch.nn.functional.conv2d(scene(135, 131)[None], smoothing)[0]
    found, predicted = [], []
    for seed in range(40):
        white = torch.randn(1, 1, 133, 129, dtype=torch.float64, generator=torch.Generator().manual_seed(100 + seed))
        smooth = 0.1 * torch.nn.functional.conv2d(white, smoothing)[0, 0]
        weights, covariance, _ = errors_of(smooth, image)
        found.append(weights)
        predicted.append(covariance.diagonal()[:-1].sqrt())
    spread = torch.stack(found).std(dim=0)
    ratio = float(torch.stack(predicted).mean() / spread.mean())
    assert 0.7 < ratio < 1.3


@pytest.mark.parametrize("levels", [9, 40])
def test_all_pixels_of_a_level_are_rounded_alike(levels):
    """Ten thousand pixels tell no more of a gain than their few levels: its errors are as large as if they were few."""
    image = 5 * torch.randint(levels, (1, 100, 100), generator=torch.Generator().manual_seed(4)).double() / 255
    away = []
    for gain in torch.linspace(0.62, 0.97, 20, dtype=torch.float64):
        target = (255 * (gain * image[0] + 0.02)).round() / 255
        samples = take(image, target, target > -9, side=1, offset=(0, 0), most=10**6, rounding=1 / 255**2 / 12)
        weights, constant, _ = solve(samples.statistics)
        covariance = samples.covariance(torch.eye(1, dtype=torch.float64), weights, constant, (0, 0, 0, 0))
        away.append(float((weights[0] - gain) / covariance[0, 0].sqrt()))
    assert sum(abs(distance) < 2 for distance in away) >= 18  # not of a gain by whose multiples all are rounded one way
