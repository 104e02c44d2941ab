import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from skimage import exposure

from convexp.errors import ConvexpError
from convexp.images.samples import photograph
from convexp.operators.histogram import Autocontrast, Equalize, autocontrast, equalize
from convexp.operators.response import support

OPERATORS = [(equalize, Equalize), (autocontrast, Autocontrast)]


@pytest.fixture
def image():
    levels = torch.rand(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return 0.2 + 0.5 * levels.square()


@pytest.mark.parametrize("name", ["chelsea", "camera", "moon"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equalize_like_pillow(name, dtype):
    image_CHW = photograph(name)
    levels = (255 * image_CHW).round().to(torch.uint8)
    expected = torch.stack([torch.from_numpy(np.array(ImageOps.equalize(Image.fromarray(c.numpy())))) for c in levels])
    found = equalize(image_CHW[None].to(dtype))[0]
    assert found.dtype == dtype
    torch.testing.assert_close(255 * found, expected.to(dtype), rtol=0, atol=1e-4)


def test_equalize_makes_brightnesses_equally_frequent():
    image = photograph("camera")[None]
    found = equalize(image)
    torch.testing.assert_close(found.flatten().sort().values, torch.linspace(0, 1, found.numel()), rtol=0, atol=0.02)
    expected = exposure.equalize_hist(image[0, 0].numpy())
    np.testing.assert_allclose(found[0, 0], expected, rtol=0, atol=0.03)


def test_equalize_by_hand():
    # 4 levels of 1020 pixels each: a step of 255 levels takes (4080 − 1020) // 255 = 12 pixels, and 1020 / 12 = 85.
    image = torch.tensor([10.0, 20, 30, 40]).div(255).repeat(1020).reshape(1, 1, 60, 68)
    torch.testing.assert_close(255 * equalize(image)[0, 0, 0, :4], torch.tensor([0.0, 85, 170, 255]))


def test_equalize_leaves_what_has_no_histogram_to_stretch():
    for image in (torch.full((1, 1, 17, 23), 0.7), torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(0))):
        torch.testing.assert_close(equalize(image), image)


def test_autocontrast_by_hand():
    image = torch.tensor([[0.25, 0.5, 0.75], [0.3, 0.3, 0.3], [-1.0, 0.0, 3.0]])[None, :, None]
    assert autocontrast(image).equal(torch.tensor([[0, 0.5, 1], [0.3, 0.3, 0.3], [0, 0.25, 1]])[None, :, None])


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_autocontrast_like_skimage(image, channels, dtype):
    image = image[:, :channels].to(dtype)
    found = autocontrast(image)
    assert found.dtype == dtype
    for plane, stretched in zip(image.flatten(0, 1), found.flatten(0, 1), strict=True):
        expected = exposure.rescale_intensity(plane.numpy(), out_range=(0.0, 1.0))
        np.testing.assert_allclose(stretched, expected, rtol=0, atol=1e-6)
        assert (stretched.min(), stretched.max()) == (0, 1)


def test_autocontrast_has_a_gradient(image):
    image[0, 0] = 0.5
    image.requires_grad_()
    autocontrast(image).square().sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad.flatten(1).any(1).all()


@pytest.mark.parametrize(("function", "module"), OPERATORS)
def test_operators(image, function, module):
    before = image.clone()
    output = module()(image)
    assert output.equal(function(image))
    assert image.equal(before)
    for one, found in zip(image, output, strict=True):
        assert function(one[None])[0].equal(found)
    assert support(module(), 1) is None


@pytest.mark.parametrize("function", [equalize, autocontrast])
def test_images_must_be_images(image, function):
    with pytest.raises(ConvexpError, match=r"^image is a torch.float64 tensor of shape \(3, 17, 23\); .*image\[None\]"):
        function(image[0])
    with pytest.raises(ConvexpError, match=r"^image is a torch.int64 tensor .* / 255"):
        function(image.long())


@pytest.mark.parametrize("value", [-0.001, 1.5, float("nan")])
def test_equalize_needs_images_in_0_1(image, value):
    image[1, 2, 3, 4] = value
    with pytest.raises(
        ConvexpError, match=r"^image has values from .* to .*; equalize takes \[0, 1\]: clamp or scale it$"
    ):
        equalize(image)
