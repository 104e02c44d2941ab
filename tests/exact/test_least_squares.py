import numpy as np
import pytest
import torch
from torch import nn

from convexp.exact import gather, least_squares, solve
from convexp.exact.layer import parts_of, weights_of

# Made with NumPy's solver on all patches of chelsea/255, one convolution 3→1 without bias; the target is the channels'
# mean of image − Gaussian 7/σ4.
VALID = {3: 2.527770e-04, 5: 3.056023e-05}
PADDED = {3: 5.281577e-04, 5: 2.939761e-04, 7: 2.230417e-04}


@pytest.mark.parametrize("kernel_size", VALID)
def test_the_reference_without_borders(kernel_size, chelsea, highpass):
    optimum = least_squares(nn.Conv2d(3, 1, kernel_size, bias=False), [(chelsea, highpass[..., 3:-3, 3:-3])])
    assert optimum.loss == pytest.approx(VALID[kernel_size], rel=1e-6)


def test_a_kernel_that_holds_the_operator_leaves_nothing(chelsea, highpass):
    optimum = least_squares(nn.Conv2d(3, 1, 7, bias=False), [(chelsea, highpass[..., 3:-3, 3:-3])])
    assert optimum.loss < 1e-20
    assert optimum.perfect
    assert optimum.gap(1e-3) is None
    (kernel,) = parts_of(optimum.weights, nn.Conv2d(3, 1, 7, bias=False))
    y, x = np.mgrid[-3:4, -3:4]
    gaussian = np.exp(-(x**2 + y**2) / 32)
    np.testing.assert_allclose(kernel[0, 1], ((x == 0) & (y == 0)) / 3 - gaussian / gaussian.sum() / 3, atol=1e-10)


@pytest.mark.parametrize("kernel_size", PADDED)
def test_the_reference_with_another_border(kernel_size, chelsea, highpass):
    layer = nn.Conv2d(3, 1, kernel_size, padding=kernel_size // 2, bias=False)
    assert least_squares(layer, [(chelsea, highpass)]).loss == pytest.approx(PADDED[kernel_size], rel=1e-6)


def test_the_references_condition(chelsea, highpass):
    optimum = least_squares(nn.Conv2d(3, 1, 3, bias=False), [(chelsea, highpass[..., 3:-3, 3:-3])])
    assert optimum.condition_number == pytest.approx(1.385e6, rel=1e-3)
    assert optimum.determined
    assert optimum.rank == 27


@pytest.mark.parametrize("bias", [True, False])
def test_weights_and_standard_errors_are_those_of_the_textbook(bias, design, noise):
    image, target = noise(1, 2, 17, 23), noise(1, 1, 15, 21, seed=1)
    optimum = least_squares(nn.Conv2d(2, 1, 3, bias=bias), [(image, target)])
    rows, _ = design(image, (3, 3), bias=bias)
    y = target.numpy().ravel()
    weights, (squares,), _, _ = np.linalg.lstsq(rows, y, rcond=None)
    np.testing.assert_allclose(optimum.weights[0, :, 0], weights, rtol=1e-9, atol=1e-12)
    assert optimum.loss == pytest.approx(squares / len(y), rel=1e-10)
    # Greene, Econometric Analysis: s² (XᵀX)⁻¹ with s² = e'e / (n − K).
    variance = squares / (len(y) - rows.shape[1]) * np.linalg.inv(rows.T @ rows)
    np.testing.assert_allclose(optimum.standard_errors()[0, :, 0], np.sqrt(np.diag(variance)), rtol=1e-8)


def test_each_output_has_its_own_errors(noise):
    image = noise(1, 1, 17, 23)
    target = torch.cat([image, image + noise(1, 1, 17, 23, seed=1)], dim=1)
    exact, rough = least_squares(nn.Conv2d(1, 2, 1), [(image, target)]).standard_errors()[0].T
    assert (exact < 1e-7).all()
    alone = least_squares(nn.Conv2d(1, 1, 1), [(image, target[:, 1:])]).standard_errors()[0, :, 0]
    torch.testing.assert_close(rough, alone)


def test_standard_errors_are_the_spread_over_noise(noise):
    image = noise(1, 1, 17, 23)
    true = nn.functional.conv2d(image, torch.tensor([[[[0.5, -0.25]]]]).double())
    random = torch.Generator().manual_seed(3)
    found, told = [], []
    for _ in range(400):
        target = true + 0.1 * torch.randn(true.shape, generator=random, dtype=torch.float64)
        optimum = least_squares(nn.Conv2d(1, 1, (1, 2)), [(image, target)])
        found.append(optimum.weights)
        told.append(optimum.standard_errors())
    torch.testing.assert_close(torch.stack(found).std(dim=0), torch.stack(told).mean(dim=0), rtol=0.12, atol=0)


def test_groups_are_solved_apart(noise):
    image, target = noise(1, 4, 11, 13), noise(1, 2, 11, 13, seed=1)
    optimum = least_squares(nn.Conv2d(4, 2, 3, groups=2), [(image, target)])
    alone = [
        least_squares(nn.Conv2d(2, 1, 3), [(image[:, 2 * group :][:, :2], target[:, group : group + 1])])
        for group in range(2)
    ]
    torch.testing.assert_close(optimum.weights, torch.cat([one.weights for one in alone]))
    assert optimum.loss == pytest.approx(sum(one.loss for one in alone) / 2)


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_constant_image_determines_next_to_nothing(value):
    image, target = torch.full((1, 2, 9, 11), value), torch.full((1, 1, 9, 11), 0.9)
    optimum = least_squares(nn.Conv2d(2, 1, 3, bias=False), [(image, target)])
    assert optimum.rank == (value > 0)
    assert not optimum.determined
    assert optimum.condition_number == float("inf")
    wanted = 0.9 / (18 * value) if value else 0.0  # of all kernels with the right sum the one of least norm
    torch.testing.assert_close(optimum.weights, torch.full((1, 18, 1), wanted, dtype=torch.float64), rtol=1e-6, atol=0)
    assert optimum.loss == pytest.approx(0.0 if value else 0.81, abs=1e-12, rel=1e-6)
    assert optimum.standard_errors().isnan().all()


def test_fewer_pixels_than_weights_leave_the_least_norm(design, noise):
    image, target = noise(1, 3, 6, 7), noise(1, 1, 2, 3, seed=1)
    optimum = least_squares(nn.Conv2d(3, 1, 5, bias=False), [(image, target)])
    rows, _ = design(image, (5, 5))
    np.testing.assert_allclose(optimum.weights[0, :, 0], np.linalg.pinv(rows) @ target.numpy().ravel(), atol=1e-10)
    assert (optimum.rank, optimum.weights.shape[1]) == (6, 75)
    assert optimum.loss < 1e-20


def test_a_target_that_has_nothing_to_do_with_the_image(noise):
    image, target = noise(1, 1, 101, 103), noise(1, 1, 101, 103, seed=1)
    optimum = least_squares(nn.Conv2d(1, 1, 3), [(image, target)])
    assert optimum.loss == pytest.approx(float(target[..., 1:-1, 1:-1].var()), rel=0.01)
    errors = optimum.standard_errors()[0, :9, 0]
    assert (optimum.weights[0, :9, 0].abs() < 4 * errors).all()


def test_a_constant_target_is_the_bias(noise):
    optimum = least_squares(nn.Conv2d(1, 1, 3), [(noise(1, 1, 11, 13), torch.full((1, 1, 11, 13), 0.25))])
    assert optimum.perfect
    wanted = torch.zeros(1, 10, 1, dtype=torch.float64)
    wanted[0, 9] = 0.25
    torch.testing.assert_close(optimum.weights, wanted, atol=1e-9, rtol=0)


def test_a_black_target_is_met_exactly(noise):
    optimum = least_squares(nn.Conv2d(1, 1, 3), [(noise(1, 1, 11, 13), torch.zeros(1, 1, 11, 13))])
    assert optimum.perfect
    assert optimum.loss == 0


def test_small_remainders_are_seen(chelsea):
    # A millionth of noise on a perfect target: 1e-12 of its energy, where the statistics alone have few digits left.
    noise = 1e-6 * torch.randn(1, 1, 298, 449, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    target = chelsea[:, :1, 1:-1, 1:-1] + noise
    layer = nn.Conv2d(3, 1, 3, bias=False)
    refined = least_squares(layer, [(chelsea, target)])
    assert refined.loss == pytest.approx(float(noise.square().mean()), rel=1e-3)
    assert refined.loss < float(noise.square().mean())


def test_gap():
    layer = nn.Conv2d(1, 1, 1, bias=False)
    image, target = torch.tensor([[[[1.0, 1.0]]]]), torch.tensor([[[[1.0, 3.0]]]])
    optimum = solve(gather(layer, [(image, target)]))
    assert optimum.loss == pytest.approx(1.0)  # the weight is 2
    assert optimum.gap(1.5) == pytest.approx(0.5)
    assert optimum.gap(1.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.slow
def test_a_huge_kernel(noise):
    # 31×31 of three colours: 2,883 unknowns and 66 MB of G.
    image = noise(1, 3, 300, 301)
    kernel = torch.randn(1, 3, 31, 31, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = nn.functional.conv2d(image, kernel)
    layer = nn.Conv2d(3, 1, 31, bias=False)
    optimum = least_squares(layer, [(image, target)])
    torch.testing.assert_close(parts_of(optimum.weights, layer)[0], kernel, rtol=0, atol=1e-9)
    assert optimum.rank == weights_of(layer).shape[1] == 2883
