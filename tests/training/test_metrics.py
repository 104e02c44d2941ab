import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from convexp.training.metrics import ExplainedVariance, image_metrics, ssim, whole_image_metrics, worst_first


def noisy(height, width, channels, seed):
    generator = torch.Generator().manual_seed(seed)
    target = torch.rand(1, channels, height, width, generator=generator)
    return target + 0.1 * torch.randn(target.shape, generator=generator), target


# Of different sizes, as validation images are.
IMAGES = [noisy(37, 43, 3, 0), noisy(17, 23, 3, 1), noisy(11, 13, 3, 2)]


def measured(images):
    metrics = image_metrics()
    for output, target in images:
        metrics.update(output, target)
    return {name: float(value) for name, value in metrics.compute().items()}


def pixels(images):
    return (np.concatenate([image[part].numpy().ravel() for image in images]).astype(float) for part in (0, 1))


def test_error_and_explained_variance_are_those_of_all_pixels():
    output, target = pixels(IMAGES)
    values = measured(IMAGES)
    assert values["mse"] == pytest.approx(np.mean((output - target) ** 2), rel=1e-5)
    assert values["r2"] == pytest.approx(
        1 - np.sum((output - target) ** 2) / np.sum((target - target.mean()) ** 2), rel=1e-5
    )
    assert values["psnr"] == pytest.approx(peak_signal_noise_ratio(target, output, data_range=1.0), rel=1e-5)


def similarity(output, target):
    """Wang et al., Image quality assessment: from error visibility to structural similarity, 2004."""

    def local(image):
        return ndimage.gaussian_filter(image, 1.5, radius=5, mode="mirror", axes=(1, 2))

    x, y = (image[0].double().numpy() for image in (output, target))
    mean_x, mean_y = local(x), local(y)
    var_x, var_y, cov = local(x * x) - mean_x**2, local(y * y) - mean_y**2, local(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    return np.mean(luminance * (2 * cov + 0.03**2) / (var_x + var_y + 0.03**2))


def test_similarity_is_the_mean_over_images():
    assert measured(IMAGES)["ssim"] == pytest.approx(np.mean([similarity(*image) for image in IMAGES]), abs=1e-5)


def test_similarity_is_that_of_scikit_image():
    output, target = IMAGES[0]
    _, everywhere = structural_similarity(
        target[0].numpy(),
        output[0].numpy(),
        data_range=1.0,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert measured(IMAGES[:1])["ssim"] == pytest.approx(everywhere.mean(), abs=5e-4)  # its borders repeat the edge


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_similarity_of_a_batch_is_that_of_torchmetrics(dtype):
    output, target = (torch.cat([noisy(17, 23, 3, seed)[part] for seed in (0, 1)]).to(dtype) for part in (0, 1))
    expected = structural_similarity_index_measure(output, target, data_range=1.0, reduction="none")
    torch.testing.assert_close(ssim(output, target), expected, rtol=0, atol=2e-6)


def test_images_smaller_than_the_window_have_no_similarity():
    small = noisy(10, 23, 1, 3)
    assert np.isnan(measured([small])["ssim"])
    assert measured([small, noisy(17, 23, 1, 4)])["ssim"] == measured([noisy(17, 23, 1, 4)])["ssim"]
    assert measured([small])["mse"] == pytest.approx(0.01, rel=0.3)


def test_a_perfect_output():
    _, target = noisy(17, 23, 1, 5)
    values = measured([(target, target)])
    assert (values["mse"], values["r2"], values["psnr"]) == (0, 1, np.inf)
    assert values["ssim"] == pytest.approx(1)


def test_the_targets_mean_explains_nothing():
    _, target = noisy(17, 23, 1, 6)
    assert measured([(target.mean().expand_as(target), target)])["r2"] == pytest.approx(0, abs=1e-6)


def test_small_targets_count_as_much_as_large_ones():
    output, target = noisy(17, 23, 1, 7)
    assert measured([(1e-4 * output, 1e-4 * target)])["r2"] == pytest.approx(
        measured([(output, target)])["r2"], rel=1e-5
    )


@pytest.mark.parametrize(("output", "expected"), [(0.3, 1), (0.4, 0)])
def test_a_constant_target_is_met_or_not(output, expected):
    assert measured([(torch.full((1, 1, 17, 23), output), torch.full((1, 1, 17, 23), 0.3))])["r2"] == expected


def test_a_black_target():
    black = torch.zeros(1, 1, 17, 23)
    assert measured([(black, black)])["r2"] == 1
    assert measured([(black + 0.1, black)])["r2"] == 0


def test_a_small_variation_on_a_large_mean_counts():
    """A high-pass target has no mean, a smooth one nearly nothing else."""
    target = 0.9 + 0.005 * torch.randn(1, 1, 113, 127, generator=torch.Generator().manual_seed(0))
    r2 = ExplainedVariance()
    r2.update(target + 0.001 * torch.randn(target.shape, generator=torch.Generator().manual_seed(1)), target)
    assert float(r2.compute()) == pytest.approx(1 - 0.001**2 / 0.005**2, abs=5e-3)


def test_whole_images_count_every_pixel_once():
    model = nn.Conv2d(1, 1, 3, bias=False)
    nn.init.zeros_(model.weight)
    # 15 pixels of error 1, and 8 of error 9 (3 squared): their means' mean would be 5.
    pairs = [
        (torch.zeros(1, 1, 5, 7), torch.ones(1, 1, 3, 5)),
        (torch.zeros(1, 1, 4, 6), torch.full((1, 1, 4, 6), 3.0)),
    ]
    values = whole_image_metrics(model, pairs)
    assert values["mse"] == pytest.approx((15 * 1 + 8 * 9) / 23)
    mean = (15 * 1 + 8 * 3) / 23
    assert values["r2"] == pytest.approx(1 - (15 + 8 * 9) / (15 * (1 - mean) ** 2 + 8 * (3 - mean) ** 2), rel=1e-5)


def test_an_image_without_a_number_is_the_worst():
    images = {name: [0, 0, psnr, 0] for name, psnr in {"a": 30, "none": math.nan, "b": 10, "c": 20}.items()}
    assert worst_first(images) == ["none", "b", "c", "a"]


def test_forgetting():
    metrics = image_metrics()
    metrics.update(*IMAGES[0])
    metrics.reset()
    metrics.update(*IMAGES[1])
    assert {name: float(value) for name, value in metrics.compute().items()} == measured([IMAGES[1]])
