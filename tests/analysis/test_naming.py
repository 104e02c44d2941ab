import math

import numpy as np
import pytest
import torch

from convexp.analysis.naming import Name, _catalogue, nearest
from convexp.operators import kernels
from convexp.operators.kernels import FIXED

EDGES = {
    "vertical_edge": 0,
    "horizontal_edge": 90,
    "sobel_x": 0,
    "sobel_y": 90,
    "prewitt_x": 0,
    "prewitt_y": 90,
    "scharr_x": 0,
    "scharr_y": 90,
    "emboss": 45,
}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", FIXED)
@pytest.mark.parametrize("scale", [1.0, -0.03])
def test_every_kernel_without_arguments_has_its_own_name(name, scale):
    found = nearest(scale * FIXED[name]()[None])
    assert (found.name, found.cosine) == (name, 1)
    angle = EDGES.get(name)
    if angle is not None and scale < 0:
        angle = angle - 180 if angle else 180
    assert found.angle == angle
    assert (found.steered is None) == (angle is None)


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        (kernels.gaussian(7, 1.5), "gaussian σ=1.5"),
        (kernels.gaussian(5, 0.75), "gaussian σ=0.75"),
        (kernels.gaussian(5, 1.4), "gaussian σ=1.5"),
        (kernels.gaussian_highpass(7, 4.0), "gaussian_highpass σ=4"),
        (kernels.laplacian_of_gaussian(9, 1.0), "laplacian_of_gaussian σ=1"),
        (kernels.difference_of_gaussians(9, 1.5), "difference_of_gaussians σ=1.5"),
        (kernels.unsharp(5, 1.0, amount=2.0), "unsharp σ=1 amount=2"),
        (kernels.gabor(9, 4.0, angle=45.0), "gabor λ=4 at 45°"),
        (kernels.motion_blur(5, 90.0), "motion_blur 5 pixels at 90°"),
        (kernels.impulse(3), "identity"),
        (torch.ones(2, 2), "box 2×2"),
        (torch.ones(5, 5), "box 5×5"),
    ],
)
def test_kernels_with_arguments_have_names_that_say_them(kernel, name):
    found = nearest(kernel[None])
    assert found.name == name
    assert found.cosine > 0.995


def test_a_kernel_is_found_anywhere_in_a_larger_one():
    kernel = torch.zeros(1, 7, 5)
    kernel[0, 3:6, :3] = kernels.sobel_y()
    assert nearest(kernel) == Name("sobel_y", 1.0, 90.0, 1.0)


def test_a_part_of_a_larger_kernel_by_hand():
    # (−1, 1) in the middle row of the Laplacian (1, −4, 1): 5/√(2·20).
    assert nearest(torch.tensor([[[-1.0, 1.0]]])) == Name(
        "laplacian", pytest.approx(5 / 40**0.5), 0.0, pytest.approx(0.5**0.5)
    )


@pytest.mark.parametrize("shape", [(1, 2, 2), (1, 5, 2), (3, 3, 4), (2, 6, 6)])
def test_the_similarity_is_the_best_of_all_places(shape):
    kernel = noise(*shape).double().numpy()
    _, height, width = kernel.shape
    best = 0
    for template in _catalogue(max(height, width))[1]:
        h, w = template.shape
        full = np.zeros((shape[0], max(h, height) + abs(h - height), max(w, width) + abs(w - width)))
        for dy in range(abs(h - height) + 1):
            for dx in range(abs(w - width) + 1):
                # The one that is larger along an axis stays, the other one moves.
                ours, theirs = np.zeros_like(full), np.zeros_like(full)
                y, x = (dy, 0) if height < h else (0, dy), (dx, 0) if width < w else (0, dx)
                ours[:, y[0] : y[0] + height, x[0] : x[0] + width] = kernel
                theirs[:, y[1] : y[1] + h, x[1] : x[1] + w] = template.numpy()
                cosine = (ours * theirs).sum() / np.linalg.norm(ours) / np.linalg.norm(theirs)
                best = max(best, abs(cosine))
    assert nearest(torch.from_numpy(kernel)).cosine == pytest.approx(best, abs=1e-8)


def test_channels_are_summed():
    edge = kernels.vertical_edge()
    assert nearest(edge.repeat(3, 1, 1)) == nearest(edge[None])
    one = torch.stack([edge, 0 * edge, 0 * edge])
    assert nearest(one).cosine == pytest.approx(3**-0.5)
    assert nearest(torch.stack([edge, -edge])).cosine == pytest.approx(0)


@pytest.mark.parametrize("pair", [("vertical_edge", "horizontal_edge"), ("sobel_x", "sobel_y")])
@pytest.mark.parametrize("angle", range(-165, 181, 15))
def test_edges_in_any_direction(pair, angle):
    along_x, along_y = (FIXED[name]() for name in pair)
    kernel = math.cos(math.radians(angle)) * along_x + math.sin(math.radians(angle)) * along_y
    found = nearest(0.3 * kernel[None])
    assert found.angle == pytest.approx(angle, abs=1e-4)
    assert found.steered == pytest.approx(1)
    # A disc that grows brighter in that direction.
    y, x = torch.meshgrid(torch.arange(-1.0, 2), torch.arange(-1.0, 2), indexing="ij")
    ramp = math.cos(math.radians(angle)) * x + math.sin(math.radians(angle)) * y
    size = len(along_x)
    assert (kernel * ramp[:size, :size]).sum() > 0


def test_noise_around_an_edge_hardly_turns_it():
    for seed in range(20):
        kernel = 0.15 * noise(1, 5, 5, seed=seed)
        kernel[0, 1:3, 2:4] += kernels.horizontal_edge()
        found = nearest(kernel)
        assert found.name == "horizontal_edge"
        assert found.angle == pytest.approx(90, abs=20)


def test_left_is_180_degrees_never_minus_180():
    kernel = -kernels.vertical_edge().double() - 1e-9 * kernels.horizontal_edge()
    assert nearest(kernel[None]).angle == 180


def test_noise_is_hardly_ever_an_edge():
    kernels = [noise(1, 9, 9, seed=seed) for seed in range(20)]
    assert sum(nearest(kernel - kernel.mean()).angle is not None for kernel in kernels) <= 1


def test_a_wide_odd_kernel_is_an_edge_whose_angle_is_that_of_its_middle():
    found = nearest(kernels.gabor(13, 8.0, angle=-120.0, sigma=3.0)[None])
    assert found.angle == pytest.approx(-120, abs=1)
    assert found.steered < 0.5


@pytest.mark.parametrize(
    "kernel",
    [
        torch.tensor([[1.0, -2.0, 1.0]]),
        torch.tensor([[1.0, -4.0, 6.0, -4.0, 1.0]]),
        kernels.laplacian_of_gaussian(9, 1.5),
        kernels.sobel_x() + 0.4,  # odd about the middle but for its sum
        kernels.gabor(9, 4.0, phase=0.0),
    ],
)
def test_what_is_even_or_has_a_sum_has_no_direction(kernel):
    assert nearest(kernel[None]).angle is None


def test_kernels_of_nothing():
    assert nearest(torch.zeros(3, 5, 5)) == Name("zero", 0.0, None, None)
    found = nearest(torch.full((1, 3, 3), torch.nan))
    assert found.name == "not finite"
    assert math.isnan(found.cosine)


def test_one_pixel_is_the_identity():
    assert nearest(torch.full((1, 1, 1), -0.2)) == Name("identity", 1.0)
