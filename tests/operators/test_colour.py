import math

import numpy as np
import pytest
import torch

from convexp.errors import ConvexpError
from convexp.operators.colour import GRAYSCALE, SEPIA, ColourMatrix, colour_matrix
from convexp.operators.response import impulse_response

MIXTURE = [[0.5, -1.0, 2.0], [0.0, 3.0, 0.25]]


@pytest.fixture
def image():
    return torch.rand(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_by_hand():
    pixel = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    assert colour_matrix(pixel, MIXTURE).flatten().tolist() == [6.5, 7.0]
    assert colour_matrix(pixel[:, :2], [[1, -1]]).tolist() == [[[[-1]]]]


@pytest.mark.parametrize("matrix", [MIXTURE, GRAYSCALE, SEPIA])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_like_numpy(image, matrix, dtype):
    output = colour_matrix(image.to(dtype), matrix)
    expected = np.einsum("oi,bihw->bohw", np.array(matrix), image)
    assert output.dtype == dtype
    np.testing.assert_allclose(output, expected, rtol=0, atol=1e-15 if dtype == torch.float64 else 1e-6)


def test_the_named_ones():
    image = torch.eye(3, dtype=torch.float64).reshape(3, 3, 1, 1)  # red, green, blue
    assert ColourMatrix("grayscale")(image).flatten().tolist() == [0.299, 0.587, 0.114]
    assert ColourMatrix("sepia")(image)[..., 0, 0].T.tolist() == [
        [0.393, 0.769, 0.189],
        [0.349, 0.686, 0.168],
        [0.272, 0.534, 0.131],
    ]
    white = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    torch.testing.assert_close(ColourMatrix("grayscale")(white), white[:, :1])
    torch.testing.assert_close(ColourMatrix("sepia")(white).flatten(), torch.tensor([1.351, 1.203, 0.937]).double())


def test_it_is_a_convolution_of_one_pixel():
    found = impulse_response(ColourMatrix(MIXTURE), 3)
    assert found.box == (0, 0, 0, 0)
    torch.testing.assert_close(found.kernel[..., 0, 0], torch.tensor(MIXTURE))


def test_module_is_function(image):
    assert ColourMatrix(MIXTURE)(image).equal(colour_matrix(image, MIXTURE))
    assert ColourMatrix("sepia")(image).equal(colour_matrix(image, SEPIA))
    assert not ColourMatrix("sepia").state_dict()
    assert repr(ColourMatrix("sepia")) == "ColourMatrix(matrix='sepia')"


def test_gradients_flow(image):
    colour_matrix(image.requires_grad_(), MIXTURE).sum().backward()
    assert image.grad[0, :, 0, 0].tolist() == [0.5, 2.0, 2.25]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("greyscale", r" \(did you mean grayscale\?\)"), ("Sepia", r" \(did you mean sepia\?\)"), ("x", "")],
)
def test_a_name_must_be_known(name, hint):
    message = rf"^there is no colour matrix '{name}'{hint}; choose from grayscale, sepia, or write its rows out$"
    with pytest.raises(ConvexpError, match=message):
        ColourMatrix(name)


@pytest.mark.parametrize(
    ("matrix", "what"),
    [
        ([], ""),
        (None, ""),
        ([[]], r"; \[\] is no row"),
        ([[1.0], []], r"; \[\] is no row"),
        ([0.3, 0.6, 0.1], "; 0.3 is no row"),
        ([[1.0, 2.0], "12"], "; '12' is no row"),
        ([[1.0, 2.0], [3.0]], "; these have 2, 1 numbers"),
        ([[1.0, "2"]], "; '2' is no number"),
        ([[1.0, math.nan]], "; nan is no number"),
        ([[1.0, [2.0]]], r"; \[2.0\] is no number"),
    ],
)
def test_a_matrix_is_made_of_equal_rows(image, matrix, what):
    message = rf"^matrix=.* must be equal rows of finite numbers, e\.g\. \[\[0\.299, 0\.587, 0\.114\]\]{what}$"
    with pytest.raises(ConvexpError, match=message):
        ColourMatrix(matrix)
    with pytest.raises(ConvexpError, match=message):
        colour_matrix(image, matrix)


def test_channels_must_be_columns(image):
    message = "^the image has channels: {}, the matrix has columns: {}; must be as many{}$"
    with pytest.raises(ConvexpError, match=message.format(1, 3, "; set data.gray=false")):
        ColourMatrix("grayscale")(image[:, :1])
    with pytest.raises(ConvexpError, match=message.format(2, 3, "")):
        ColourMatrix("grayscale")(image[:, :2])
    with pytest.raises(ConvexpError, match=message.format(1, 2, "")):
        colour_matrix(image[:, :1], [[1.0, 2.0]])
    with pytest.raises(ConvexpError, match=r"^image is a torch.float64 tensor of shape \(3, 17, 23\); .*image\[None\]"):
        colour_matrix(image[0], SEPIA)
