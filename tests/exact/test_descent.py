import math

import numpy as np
import pytest
import torch
from torch import nn

from convexp.exact import Descent, gather, least_squares, solve
from convexp.exact.layer import weights_of


def test_the_textbooks_edge():
    # Dive into Deep Learning, section 7.2.3: X is 6×8, white with black columns 2–5, the target its differences. With
    # the summed loss the Hessian is [[36, 24], [24, 36]] and gradient descent stable below 2/60.
    image = torch.ones(1, 1, 6, 8, dtype=torch.float64)
    image[..., 2:6] = 0
    target = nn.functional.conv2d(image, torch.tensor([[[[1.0, -1.0]]]]).double())
    statistics = gather(nn.Conv2d(1, 1, (1, 2), bias=False), [(image, target)])
    assert statistics.count == 6 * 7
    assert (2 * statistics.uu[0]).tolist() == [[36, 24], [24, 36]]
    optimum = solve(statistics)
    torch.testing.assert_close(optimum.weights.flatten(), torch.tensor([1.0, -1.0]).double())
    descent = Descent(optimum, torch.zeros(1, 2, 1).double())
    assert descent.limit / 42 == pytest.approx(2 / 60)  # the summed loss is 42 times the mean
    assert descent.best_rate / 42 == pytest.approx(2 / (60 + 12))
    assert optimum.condition_number == pytest.approx(5)


def test_the_references_limit(chelsea, highpass):
    layer = nn.Conv2d(3, 1, 3, bias=False)
    descent = Descent(least_squares(layer, [(chelsea, highpass[..., 3:-3, 3:-3])]), weights_of(layer))
    assert descent.limit == pytest.approx(0.1627, rel=1e-3)


@pytest.fixture
def problem(noise):
    """A convolution with two groups, bias and padding, and what it learns from."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 4, 3, groups=2, padding=1).double()
    return layer, [(noise(1, 2, 11, 13), noise(1, 4, 11, 13, seed=1)), (noise(1, 2, 7, 17, seed=2), noise(1, 4, 7, 17))]


def descend(layer, pairs, rate, steps):
    """The losses of plain gradient descent on the pixels, by autograd."""
    losses = []
    for _ in range(steps + 1):
        errors = torch.cat([(layer(image) - target).flatten() for image, target in pairs])
        loss = errors.square().mean()
        losses.append(loss.item())
        loss.backward()
        with torch.no_grad():
            for weight in layer.parameters():
                weight -= rate * weight.grad
                weight.grad = None
    return losses


def test_the_predicted_curve_is_that_of_gradient_descent(problem):
    layer, pairs = problem
    descent = Descent(least_squares(layer, pairs), weights_of(layer))
    rate = 0.8 * descent.limit
    predicted = descent.losses(rate, torch.arange(41))
    np.testing.assert_allclose(predicted, descend(layer, pairs, rate, 40), rtol=1e-10)


@pytest.mark.parametrize(("factor", "stays"), [(0.97, True), (1.03, False)])
def test_the_limit_is_sharp(problem, factor, stays):
    layer, pairs = problem
    descent = Descent(least_squares(layer, pairs), weights_of(layer))
    losses = descend(layer, pairs, factor * descent.limit, 200)
    assert (losses[-1] < losses[0]) == stays
    assert math.isfinite(descent.steps_to(0.001, factor * descent.limit)) == stays


def test_the_best_rate_contracts_the_slowest_direction_fastest(noise, design):
    image, target = noise(1, 1, 11, 13), noise(1, 1, 9, 11, seed=1)
    descent = Descent(least_squares(nn.Conv2d(1, 1, 3), [(image, target)]), torch.ones(1, 10, 1).double())
    rows, _ = design(image, (3, 3), bias=True)
    hessian = 2 * rows.T @ rows / len(rows)

    def slowest(rate):
        return np.abs(np.linalg.eigvals(np.eye(10) - rate * hessian)).max()

    assert slowest(descent.best_rate) < min(slowest(0.99 * descent.best_rate), slowest(1.01 * descent.best_rate))


@pytest.mark.parametrize("gap", [0.5, 0.1])
def test_steps_to_come_near_are_those_that_it_takes(problem, gap):
    layer, pairs = problem
    optimum = least_squares(layer, pairs)
    descent = Descent(optimum, weights_of(layer))
    rate = descent.limit / 3
    steps = descent.steps_to(gap, rate)
    losses = descend(layer, pairs, rate, steps)
    assert losses[steps] <= (1 + gap) * optimum.loss < losses[steps - 1]


def test_steps_to_where_one_is_already(problem):
    layer, pairs = problem
    optimum = least_squares(layer, pairs)
    assert Descent(optimum, optimum.weights).steps_to(0.01, 1e-3) == 0


def test_a_perfect_optimum_is_never_near(noise):
    image = noise(1, 1, 9, 11)
    descent = Descent(least_squares(nn.Conv2d(1, 1, 1), [(image, image)]), torch.zeros(1, 2, 1).double())
    assert descent.steps_to(0.01, descent.best_rate) == math.inf


def test_a_rate_too_large_ends_in_infinity(problem):
    layer, pairs = problem
    descent = Descent(least_squares(layer, pairs), weights_of(layer))
    assert descent.losses(10 * descent.limit, torch.tensor([10**6])).item() == math.inf


def test_black_images_set_no_limit():
    black = torch.zeros(1, 1, 5, 7)
    descent = Descent(least_squares(nn.Conv2d(1, 1, 3, bias=False), [(black, black)]), torch.ones(1, 9, 1).double())
    assert descent.limit == descent.best_rate == math.inf
