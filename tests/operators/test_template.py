from copy import deepcopy
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import ndimage, signal
from skimage.feature import match_template as reference

from convexp.errors import ConvexpError
from convexp.operators.border import Border
from convexp.operators.response import impulse_response, support
from convexp.operators.template import Method, Template, best_place, match_template

METHODS = get_args(Method)
PATCH = [4, 9, 10, 17]  # 5×7 (HxW)
NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "zeros": "constant", "circular": "wrap"}


@pytest.fixture
def image():
    return torch.rand(1, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def cut_out(image, patch=PATCH):
    top, bottom, left, right = patch
    return image[0, :, top:bottom, left:right]


def test_plain_and_zero_mean_by_hand():
    image = torch.tensor([[1.0, 2, 4], [8, 16, 32]]).reshape(1, 1, 2, 3)
    template = torch.tensor([[0.0, 8], [4, 0]])[None]
    assert match_template(image, template).tolist() == [[[[(16 + 32) / 4, (32 + 64) / 4]]]]
    # less its mean the template is -3, 5, 1, -3
    expected = [[[[(-3 + 10 + 8 - 48) / 4, (-6 + 20 + 16 - 96) / 4]]]]
    assert match_template(image, template, method="zero_mean").tolist() == expected


def test_normalised_by_hand():
    image = torch.tensor([0.0, 1, 3, 3, 2, 2]).reshape(1, 1, 1, 6)
    template = torch.tensor([[[10.0, 20, 20]]])  # less its mean: -20/3, 10/3, 10/3
    found = match_template(image, template, method="normalised")
    # windows less their means, times 3: (-4, -1, 5), (-4, 2, 2), (1, 1, -2), (2, -1, -1)
    expected = torch.tensor([12 / (6 * 42) ** 0.5, 1, -0.5, -1])
    torch.testing.assert_close(found.flatten(), expected)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", get_args(Border))
def test_plain_like_scipy(image, channels, border):
    image = image[:, :channels]
    template = torch.randn(channels, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    valid = sum(signal.correlate2d(image[0, c], template[c], mode="valid") for c in range(channels))
    ours = match_template(image, template)
    torch.testing.assert_close(ours[0, 0] * template.numel(), torch.from_numpy(valid), rtol=0, atol=1e-13)
    padded = np.pad(image[0], [(0, 0), (1, 2), (3, 3)], NUMPY_MODES[border])
    same = sum(ndimage.correlate(padded[c], template[c].numpy(), origin=(-1, 0)) for c in range(channels))
    ours = match_template(image, template, border=border)
    torch.testing.assert_close(ours[0, 0] * template.numel(), torch.from_numpy(same[1:-2, 3:-3]), rtol=0, atol=1e-13)


@pytest.mark.parametrize("channels", [1, 3])
def test_normalised_like_skimage(image, channels):
    image = image[:, :channels]
    template = torch.randn(channels, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for pattern in (template, cut_out(image)):
        ours = match_template(image, pattern, method="normalised")
        expected = reference(image[0].permute(1, 2, 0).numpy(), pattern.permute(1, 2, 0).numpy())[..., 0]
        assert ours.shape[:2] == (1, 1)
        np.testing.assert_allclose(ours[0, 0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("border", get_args(Border))
def test_valid_is_the_interior_of_any_border(image, method, border):
    template = cut_out(image)
    valid = match_template(image, template, method=method)
    same = match_template(image, template, method=method, border=border)
    assert same.shape == (1, 1, 17, 23)
    torch.testing.assert_close(valid, same[..., 2:-2, 3:-3], rtol=0, atol=1e-13)
    module = Template(PATCH, method=method, border=border)
    assert module(image).equal(same)
    assert module.size == (5, 7)


@pytest.mark.parametrize("method", ["zero_mean", "normalised"])
@pytest.mark.parametrize("patch", [PATCH, [0, 5, 0, 7], [12, 17, 16, 23]])
def test_a_patch_is_found_where_it_was(image, method, patch):
    for colours in (image, image[:, :1], image.float()):
        response = Template(patch, method=method)(colours)
        assert best_place(response[0]) == best_place(response[0, 0]) == (patch[0], patch[2])
        assert response.max() <= 1
        if method == "normalised":
            assert response.max() > 1 - 1e-6


def test_normalised_sees_neither_brightness_nor_contrast(image):
    template = cut_out(image)
    found = match_template(image, template, method="normalised")
    torch.testing.assert_close(match_template(0.1 * image + 0.7, 3 * template - 1, method="normalised"), found)
    torch.testing.assert_close(match_template(-image, template, method="normalised"), -found)


def test_normalised_is_exact_in_a_faint_and_bright_image(image):
    faint = (1 + (1e-4 * image * 2**23).round() / 2**23).float()  # float32 holds it exactly
    expected = match_template(faint.double() - 1, cut_out(faint.double() - 1), method="normalised")
    ours = match_template(faint, cut_out(faint), method="normalised")
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("level", [0.0, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_is_zero(image, level, dtype):
    image = image.to(dtype)
    image[..., :8, :9] = level
    image[..., 0, 0] = 0.5
    template = cut_out(image)
    found = match_template(image.requires_grad_(), template, method="normalised")
    flat = found[0, 0, :4, :3]
    assert (flat == 0).tolist() == [[False, True, True], *[[True] * 3] * 3]
    assert not match_template(image, torch.full_like(template, level), method="normalised").any()
    found.sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad.any()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_type_is_that_of_the_image(image, method, dtype):
    found = match_template(image.to(dtype), cut_out(image), method=method)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), match_template(image, cut_out(image), method=method), rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_is_its_images(image, method):
    module = Template(PATCH, method=method)
    module.cut(image[0])
    batch = torch.cat([image, image.flip(-1), image.square()])
    for one, found in zip(batch, module(batch), strict=True):
        torch.testing.assert_close(module(one[None])[0], found)


def test_a_template_is_cut_once_or_from_each_image(image):
    module, other = Template(PATCH, method="normalised"), image.flip(-1)
    assert module.template is None
    torch.testing.assert_close(module(other), match_template(other, cut_out(other), method="normalised"))
    assert module.template is None
    module.cut(image[0])
    assert module.template.equal(cut_out(image))
    expected = match_template(other, cut_out(image), method="normalised")
    image.zero_()  # the template is a copy
    assert module(other).equal(expected)
    assert deepcopy(module)(other).equal(expected)
    assert not module.state_dict()
    module.cut(other[0])
    assert module(other).max() > 1 - 1e-6


def test_linear_methods_are_kernels(image):
    template = cut_out(image)
    for method, kernel in (("plain", template), ("zero_mean", template - template.mean())):
        module = Template(PATCH, method=method)
        module.cut(image[0])
        found = impulse_response(module, 3)
        torch.testing.assert_close(found.kernel[0], (kernel / kernel.numel()).float(), rtol=0, atol=1e-7)
        assert found.box == support(module, 3) == (-2, 2, -3, 3)
    module = Template(PATCH, method="normalised")
    module.cut(image[0])
    assert impulse_response(module, 3) is None
    assert support(module, 3) == (-2, 2, -3, 3)


def test_the_first_of_several_best_places():
    assert best_place(torch.tensor([[0, 1], [1, 0]])) == (0, 1)
    assert all(type(index) is int for index in best_place(torch.rand(1, 3, 5)))


def test_module_shows_its_arguments():
    assert repr(Template(PATCH)) == "Template(border=None, patch=(4, 9, 10, 17), method='plain')"


@pytest.mark.parametrize("patch", [[1, 2, 3], [1, 2, 3, 4, 5], [0, 5, 0, 7.0], [0, 5, 0, "7"], None, 4, "0507"])
def test_a_patch_is_four_whole_numbers(patch):
    with pytest.raises(ConvexpError, match=r"^patch=.* must be four whole numbers, top, bottom, left and right, "):
        Template(patch)


@pytest.mark.parametrize(
    "patch", [[-1, 4, 0, 7], [0, 5, -2, 7], [5, 5, 0, 7], [5, 0, 0, 7], [0, 5, 7, 7], [0, 5, 7, 0]]
)
def test_a_patch_is_not_empty(patch):
    with pytest.raises(ConvexpError, match=r"^patch=\[.*\] must have 0 ≤ top < bottom and 0 ≤ left < right, "):
        Template(patch)


@pytest.mark.parametrize("patch", [[0, 18, 0, 7], [0, 5, 20, 24]])
def test_a_patch_is_inside_the_image(image, patch):
    message = (
        r"^patch=\[.*\] \(top, bottom, left, right\) is not inside the image, which is 17x23 \(HxW\); "
        "bottom must be at most 17, right at most 23$"
    )
    with pytest.raises(ConvexpError, match=message):
        Template(patch)(image)
    with pytest.raises(ConvexpError, match=message):
        Template(patch).cut(image[0])


def test_wrong_images_and_templates_are_named(image):
    module = Template(PATCH)
    with pytest.raises(ConvexpError, match=r"^image is a batch of 2 and no template is cut yet; .* cut\(image\[0\]\)"):
        module(image.repeat(2, 1, 1, 1))
    with pytest.raises(ConvexpError, match=r"^image is a torch.float64 tensor of shape \(3, 17, 23\); .*image\[None\]"):
        module(image[0])
    for wrong in (image, image[0].long()):
        with pytest.raises(ConvexpError, match=r"^image is a torch\.\w+ tensor of shape .* is cut from one "):
            module.cut(wrong)
    module.cut(image[0])
    with pytest.raises(ConvexpError, match=r"^the template has channels: 3, the image: 1; must be as many$"):
        module(image[:, :1])
    with pytest.raises(ConvexpError, match=r"^image is 4x23 \(HxW\), kernel is 5x7: with border=None "):
        module(image[..., :4, :])
    for shape in [(5, 7), (1, 3, 5, 7), (3, 0, 7)]:
        with pytest.raises(ConvexpError, match=r"^template has shape .*; must be \(C, h, w\), none of them 0$"):
            match_template(image, torch.zeros(shape))


def test_methods_and_borders_must_be_known(image):
    message = r"^method='normalized' must be one of plain, zero_mean, normalised$"
    with pytest.raises(ConvexpError, match=message):
        Template(PATCH, method="normalized")
    with pytest.raises(ConvexpError, match=message):
        match_template(image, cut_out(image), method="normalized")
    with pytest.raises(ConvexpError, match=r"^border='same' must be one of "):
        Template(PATCH, border="same")


@pytest.mark.parametrize("shape", [(3,), (3, 17, 23), (1, 1, 17, 23), (0, 5)])
def test_a_response_is_one_image(shape):
    with pytest.raises(ConvexpError, match=r"^response has shape .*; must be \(1, H, W\) or \(H, W\): one of a batch$"):
        best_place(torch.zeros(shape))
