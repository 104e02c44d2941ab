import numpy as np
import torch

from convexp.operators import Magnitude, magnitude


def test_magnitude_by_hand():
    gx = torch.tensor([[3.0, 0, -5], [1, 0, 8]])
    gy = torch.tensor([[4.0, 0, 12], [0, -2, 15]])
    assert magnitude(torch.stack([gx, gy])[None]).tolist() == [[[[5, 0, 13], [1, 2, 17]]]]


def test_magnitude_like_numpy():
    gradients = torch.randn(2, 2, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    output = magnitude(gradients)
    assert output.shape == (2, 1, 17, 23)
    gx, gy = gradients.numpy().swapaxes(0, 1)
    np.testing.assert_allclose(output[:, 0], np.hypot(gx, gy), rtol=1e-15)


def test_magnitude_does_not_see_direction():
    gradients = torch.randn(1, 2, 17, 23, generator=torch.Generator().manual_seed(0))
    assert magnitude(gradients).equal(magnitude(-gradients))
    assert magnitude(gradients).equal(magnitude(gradients.flip(1)))


def test_derivative_is_the_direction_and_zero_at_zero():
    gradients = torch.tensor([[3.0, 0.0], [-4.0, 0.0]]).reshape(1, 2, 1, 2).requires_grad_()
    output = magnitude(gradients)
    assert output.flatten().tolist() == [5, 0]
    output.sum().backward()
    torch.testing.assert_close(gradients.grad.reshape(2, 2), torch.tensor([[0.6, 0.0], [-0.8, 0.0]]))


def test_module_is_function():
    gradients = torch.randn(1, 2, 17, 23, generator=torch.Generator().manual_seed(0))
    assert Magnitude()(gradients).equal(magnitude(gradients))
