import numpy as np
import pytest
import torch

from convexp.exact.gram import direct_sums, goes_by_structure, structured_sums, sums

ONE = (1, 1)


def expected(design, region, target, kernel_size, **geometry):
    rows, _ = design(region[None], kernel_size, **geometry)
    return rows.T @ rows, rows.T @ target.flatten(1).T.numpy()


@pytest.mark.parametrize("way", [structured_sums, lambda *a, **k: direct_sums(*a, **k, stride=ONE, dilation=ONE)])
@pytest.mark.parametrize(
    ("channels", "kernel_size", "height", "width"),
    [
        (1, (1, 1), 5, 7),
        (2, (3, 5), 17, 23),
        (3, (4, 2), 13, 11),
        (1, (1, 4), 7, 9),
        (1, (5, 1), 11, 13),
        (2, (7, 5), 3, 2),
    ],
)
def test_both_ways_are_the_products_of_all_patches(way, channels, kernel_size, height, width, design, noise):
    region = noise(channels, height + kernel_size[0] - 1, width + kernel_size[1] - 1)
    target = noise(2, height, width, seed=1) - 0.5
    uu, uy = way(region, target, kernel_size=kernel_size)
    for made, wanted in zip((uu, uy), expected(design, region, target, kernel_size), strict=True):
        np.testing.assert_allclose(made, wanted, rtol=1e-12, atol=1e-13)


def test_products_written_out_by_hand():
    region, target = torch.tensor([[[1.0, 2.0, 4.0]]]).double(), torch.tensor([[[10.0, 1.0]]]).double()
    for way in (structured_sums, lambda *a, **k: direct_sums(*a, **k, stride=ONE, dilation=ONE)):
        uu, uy = way(region, target, kernel_size=(1, 2))
        np.testing.assert_allclose(uu, [[1 + 4, 2 + 8], [2 + 8, 4 + 16]], rtol=1e-14)
        np.testing.assert_allclose(uy, [[10 + 2], [20 + 4]], rtol=1e-14)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 2), (2, 1), (3, 2)])
def test_strided_and_dilated_kernels_are_multiplied_out(stride, dilation, design, noise):
    kernel_size = (3, 2)
    span = [dilation * (side - 1) + 1 for side in kernel_size]
    region = noise(2, 4 * stride + span[0], 6 * stride + span[1])
    target = noise(1, 5, 7, seed=1)
    made = sums(region, target, kernel_size=kernel_size, stride=(stride,) * 2, dilation=(dilation,) * 2)
    products = expected(design, region, target, kernel_size, stride=stride, dilation=dilation)
    for ours, wanted in zip(made, products, strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-12)


def test_large_kernels_go_by_structure(noise, monkeypatch):
    region, target = noise(1, 40, 41), noise(1, 30, 31, seed=1)
    wanted = structured_sums(region, target, kernel_size=(11, 11))
    monkeypatch.setattr("convexp.exact.gram.direct_sums", None)
    made = sums(region, target, kernel_size=(11, 11), stride=ONE, dilation=ONE)
    assert all(ours.equal(theirs) for ours, theirs in zip(made, wanted, strict=True))


def test_many_channels_of_a_small_kernel_are_multiplied_out():
    # By structure they would take the spectra of each channel with each: gigabytes.
    assert not goes_by_structure((3, 3), ONE, ONE)
    assert goes_by_structure((5, 5), ONE, ONE)
