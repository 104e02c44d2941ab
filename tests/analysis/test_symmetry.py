import numpy as np
import pytest
import torch

from convexp.analysis.symmetry import describe

SOBEL_X = [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]


def asymmetries(kernel):
    facts = describe(torch.tensor(kernel))
    return facts.left_right, facts.up_down, facts.half_turn, facts.transpose


def noise(height, width):
    return torch.randn(height, width, generator=torch.Generator().manual_seed(0))


def test_sobel_by_hand():
    facts = describe(torch.tensor(SOBEL_X))
    assert facts.dc_gain == 0
    assert facts.rank1_error < 1e-15
    # (1, 2, 1)·(−1, 0, 1)ᵀ, in factors of norm √(√6·√2).
    norm = 12**0.25
    torch.testing.assert_close(facts.column, norm * torch.tensor([1.0, 2.0, 1.0]).double() / 6**0.5)
    torch.testing.assert_close(facts.row, norm * torch.tensor([-1.0, 0.0, 1.0]).double() / 2**0.5)
    assert asymmetries(SOBEL_X) == pytest.approx((1.0, 0.0, 1.0, 0.5**0.5))


def test_the_factors_of_a_negative_kernel_keep_the_column_positive():
    facts = describe(-torch.tensor(SOBEL_X))
    assert facts.column.min() > 0
    torch.testing.assert_close(torch.outer(*facts.factors).float(), -torch.tensor(SOBEL_X))


def test_each_flip_by_hand():
    # ‖k‖² = 2 each; a flip moves the 1s (difference² 4 → 4/(2·√2)… = 1/√2) or leaves them.
    moved = 0.5**0.5
    assert asymmetries([[1.0, 0.0], [1.0, 0.0]]) == pytest.approx((moved, 0, moved, 0.5))
    assert asymmetries([[1.0, 1.0], [0.0, 0.0]]) == pytest.approx((0, moved, moved, 0.5))
    assert asymmetries([[1.0, 0.0], [0.0, 1.0]]) == pytest.approx((moved, moved, 0, 0))
    assert asymmetries([[0.0, 1.0], [-1.0, 0.0]]) == pytest.approx((moved, moved, 1, 1))


def test_a_blur_is_symmetric_and_keeps_white():
    facts = describe(torch.full((5, 5), 1 / 25))
    assert facts.dc_gain == pytest.approx(1)
    assert (facts.left_right, facts.up_down, facts.half_turn, facts.transpose) == (0, 0, 0, 0)
    assert facts.rank1_error < 1e-15


def test_the_identity_matrix_is_as_far_from_separable_as_can_be():
    assert describe(torch.eye(4)).rank1_error == pytest.approx((3 / 4) ** 0.5)


def test_a_kernel_that_is_not_square_has_no_transpose():
    facts = describe(noise(3, 5))
    assert facts.transpose is None
    assert (facts.column.shape, facts.row.shape) == ((3,), (5,))


def test_any_kernel_is_as_numpy_says():
    kernel = noise(5, 5)
    k = kernel.double().numpy()
    facts = describe(kernel)
    values = np.linalg.svd(k, compute_uv=False)
    assert facts.rank1_error == pytest.approx(np.sqrt(1 - values[0] ** 2 / (values**2).sum()))
    best = torch.outer(*facts.factors).numpy()
    assert np.linalg.norm(k - best) / np.linalg.norm(k) == pytest.approx(facts.rank1_error)
    for found, flipped in [
        (facts.left_right, np.fliplr(k)),
        (facts.up_down, np.flipud(k)),
        (facts.half_turn, np.rot90(k, 2)),
        (facts.transpose, k.T),
    ]:
        assert found == pytest.approx(np.linalg.norm(k - flipped) / (2 * np.linalg.norm(k)))
    assert facts.dc_gain == pytest.approx(k.sum())


def test_a_kernel_of_zeros_is_all_zeros():
    facts = describe(torch.zeros(3, 3))
    assert (facts.dc_gain, facts.rank1_error, facts.left_right, facts.half_turn, facts.transpose) == (0, 0, 0, 0, 0)
    assert not facts.column.any()
    assert not facts.row.any()
