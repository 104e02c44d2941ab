import math

import pytest
import torch

from convexp.errors import ConvexpError
from convexp.operators import kernels


@pytest.mark.parametrize("name", kernels.FIXED)
def test_a_name_is_a_kernel(name):
    kernel = kernels.FIXED[name]()
    assert kernel.dtype == torch.float32
    assert kernel.dim() == 2
    assert kernels.as_kernel(name).equal(kernel.double())


def test_rows_of_numbers():
    assert kernels.as_kernel([[1, 2.5, 3]]).tolist() == [[1, 2.5, 3]]
    assert kernels.as_kernel(((1, 2), (3, 4))).dtype == torch.float64


@pytest.mark.parametrize(("typed", "meant"), [("sobelx", "sobel_x"), ("laplace", "laplacian"), ("gaus", None)])
def test_an_unknown_name(typed, meant):
    suggestion = rf"; did you mean {meant}\?" if meant else ""
    with pytest.raises(
        ConvexpError, match=rf"^kernel={typed}: no such kernel{suggestion}; there are identity, vertical_edge, .*$"
    ):
        kernels.as_kernel(typed)


@pytest.mark.parametrize("rows", [[[1, 2], [3]], [], [[]], [1, 2], 7, None, [[1], 2]])
def test_ragged_rows(rows):
    with pytest.raises(ConvexpError, match=r"^kernel=.* must be rows of equally many numbers, as \[\[0,1,0\],\["):
        kernels.as_kernel(rows)


@pytest.mark.parametrize("value", [math.nan, math.inf, "1", None, [1]])
def test_what_is_no_number(value):
    with pytest.raises(ConvexpError, match=r"^kernel=.* must hold finite numbers only$"):
        kernels.as_kernel([[0, value]])
