from typing import get_args

import numpy as np
import pytest
import torch
from scipy import ndimage

from convexp.errors import ConvexpError
from convexp.operators import (
    Blur,
    Border,
    BoxBlur,
    DifferenceOfGaussians,
    Filter,
    Gabor,
    GaussianBlur,
    Gradients,
    Highpass,
    LaplacianOfGaussian,
    MotionBlur,
    Sharpen,
    Shift,
    blur,
    box_blur,
    difference_of_gaussians,
    filter2d,
    gabor,
    gaussian_blur,
    gradients,
    highpass,
    kernels,
    laplacian_of_gaussian,
    magnitude,
    motion_blur,
    sharpen,
    shift,
)

BORDERS = [None, *get_args(Border)]
SCIPY_MODES = {"reflect": "mirror", "replicate": "nearest", "zeros": "constant", "circular": "wrap"}
MODULES = [
    (Filter("sobel_x", channels="mean"), lambda image: filter2d(image, kernels.sobel_x(), channels="mean")),
    (Filter([[1, 2]], border="zeros"), lambda image: filter2d(image, torch.tensor([[1.0, 2.0]]), border="zeros")),
    (Highpass(5, 2.0), lambda image: highpass(image, 5, 2.0)),
    (GaussianBlur(5, 2.0, border="zeros"), lambda image: gaussian_blur(image, 5, 2.0, border="zeros")),
    (BoxBlur(3, border="reflect"), lambda image: box_blur(image, 3, border="reflect")),
    (MotionBlur(5, 30, border="reflect"), lambda image: motion_blur(image, 5, 30, border="reflect")),
    (Shift(2, -1, border="zeros"), lambda image: shift(image, 2, -1, border="zeros")),
    (Blur(border="circular"), lambda image: blur(image, border="circular")),
    (Blur(2, border="circular"), lambda image: blur(image, 2, border="circular")),
    (
        Sharpen(5, 2.0, amount=0.3, border="reflect"),
        lambda image: sharpen(image, 5, 2.0, amount=0.3, border="reflect"),
    ),
    (
        LaplacianOfGaussian(5, 1.0, border="zeros", channels="sum"),
        lambda image: laplacian_of_gaussian(image, 5, 1.0, border="zeros", channels="sum"),
    ),
    (
        DifferenceOfGaussians(5, 1.0, ratio=2.0, border="zeros", channels="sum"),
        lambda image: difference_of_gaussians(image, 5, 1.0, ratio=2.0, border="zeros", channels="sum"),
    ),
    (
        Gabor(5, 4.0, angle=30, sigma=1.5, aspect=2, phase=10, border="zeros", channels="mean"),
        lambda image: gabor(image, 5, 4.0, angle=30, sigma=1.5, aspect=2, phase=10, border="zeros", channels="mean"),
    ),
    (Gradients("edges", border="replicate"), lambda image: gradients(image, "edges", border="replicate")),
    (Gradients(), lambda image: gradients(image, "sobel")),
]
OPERATORS = [module for module, _ in MODULES]


def name(value):
    return type(value).__name__ if isinstance(value, torch.nn.Module) else None


@pytest.fixture
def image():
    return torch.rand(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def scipy_filter(image, kernel, border):
    """Cross-correlate every channel; an even kernel has its centre before the middle, as ours."""
    origin = [-1 if side % 2 == 0 else 0 for side in kernel.shape]
    filtered = np.stack(
        [
            ndimage.correlate(plane, kernel.double().numpy(), mode=SCIPY_MODES[border], origin=origin)
            for plane in image.flatten(0, 1).numpy()
        ]
    )
    return torch.from_numpy(filtered).unflatten(0, image.shape[:2])


def test_filter2d_by_hand():
    image = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 10]])[None, None]
    kernel = torch.tensor([[1.0, 10], [100, 1000]])
    assert filter2d(image, kernel).tolist() == [[[[5421, 6532], [8754, 10865]]]]
    assert filter2d(image, kernel, border="zeros").tolist() == [
        [[[5421, 6532, 603], [8754, 10865, 1006], [87, 108, 10]]],
    ]


def test_an_impulse_gives_the_flipped_kernel():
    kernel = torch.arange(1.0, 16).reshape(3, 5)
    image = torch.zeros(1, 1, 5, 9)
    image[..., 2, 4] = 1
    assert filter2d(image, kernel)[0, 0].equal(kernel.flip(0, 1))


def test_the_impulse_kernel_gives_the_image(image):
    for border in get_args(Border):
        assert filter2d(image, kernels.impulse(5), border=border).equal(image)
    assert filter2d(image, kernels.impulse(5)).equal(image[..., 2:-2, 2:-2])


@pytest.mark.parametrize("border", get_args(Border))
@pytest.mark.parametrize("shape", [(3, 5), (2, 2), (4, 1), (7, 6)])
def test_filter2d_like_scipy(image, shape, border):
    kernel = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    ours = filter2d(image, kernel, border=border)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, scipy_filter(image, kernel, border), rtol=0, atol=1e-13)


@pytest.mark.parametrize("shape", [(3, 5), (2, 2), (4, 1), (7, 6)])
def test_valid_is_the_common_centre_of_same(image, shape):
    kernel = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    valid, same = filter2d(image, kernel), filter2d(image, kernel, border="zeros")
    assert valid.shape == (2, 3, 17 - shape[0] + 1, 23 - shape[1] + 1)
    top, left = ((17 - valid.shape[-2]) // 2, (23 - valid.shape[-1]) // 2)
    torch.testing.assert_close(valid, same[..., top : top + valid.shape[-2], left : left + valid.shape[-1]])


def test_channels(image):
    stack = torch.stack([kernels.sobel_x(), kernels.integer_gaussian()[1:4, 1:4]])
    each = filter2d(image, stack)
    assert each.shape == (2, 6, 15, 21)
    for channel in range(3):
        for index in range(2):
            alone = filter2d(image[:, channel : channel + 1], stack[index])
            torch.testing.assert_close(each[:, 2 * channel + index], alone[:, 0])
    per_channel = each.unflatten(1, (3, 2))
    torch.testing.assert_close(filter2d(image, stack, channels="sum"), per_channel.sum(1))
    torch.testing.assert_close(filter2d(image, stack, channels="mean"), per_channel.mean(1))


def test_channels_sum_is_conv2d(image):
    conv = torch.nn.Conv2d(3, 1, 3, bias=False, dtype=torch.float64)
    with torch.no_grad():
        conv.weight.copy_(kernels.sobel_y().expand(1, 3, 3, 3))
    torch.testing.assert_close(filter2d(image, kernels.sobel_y(), channels="sum"), conv(image).detach())


def test_gradients_reach_image_and_kernel(image):
    kernel = kernels.sobel_x().double().requires_grad_()
    filter2d(image.requires_grad_(), kernel, border="reflect").square().sum().backward()
    assert kernel.grad.all()
    assert image.grad.all()


def test_image_is_left_alone(image):
    before = image.clone()
    filter2d(image, kernels.sobel_x(), border="zeros", channels="sum")
    assert image.equal(before)


@pytest.mark.parametrize(("module", "function"), MODULES, ids=name)
def test_module_is_function(image, module, function):
    assert module(image).equal(function(image))


@pytest.mark.parametrize("operator", OPERATORS, ids=name)
def test_operators_are_linear(image, operator):
    first, second = image
    torch.testing.assert_close(
        operator((2 * first - 3 * second)[None]), 2 * operator(first[None]) - 3 * operator(second[None])
    )


@pytest.mark.parametrize("operator", [operator for operator in OPERATORS if operator.border is None], ids=name)
def test_valid_operators_are_shift_equivariant(image, operator):
    torch.testing.assert_close(operator(image[..., 3:, 5:]), operator(image)[..., 3:, 5:], rtol=0, atol=1e-13)


@pytest.mark.parametrize("operator", OPERATORS, ids=name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_operators_keep_the_type(image, operator, dtype):
    output = operator(image.to(dtype))
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), operator(image), rtol=0, atol=1e-5)


@pytest.mark.parametrize("border", [None, "reflect", "replicate", "circular"])
def test_constant_image(border):
    constant = torch.full((1, 3, 17, 23), 0.7, dtype=torch.float64)
    for zero in (Highpass(border=border), Gradients("sobel", border=border), Gradients("edges", border=border)):
        torch.testing.assert_close(zero(constant), torch.zeros_like(zero(constant)), rtol=0, atol=1e-14)
    for same in (GaussianBlur(7, 2.0, border=border), Blur(border=border), Sharpen(7, 2.0, border=border)):
        torch.testing.assert_close(same(constant), torch.full_like(same(constant), 0.7), rtol=0, atol=1e-14)


def test_gradients_by_hand():
    right = torch.tensor([[0.0, 0, 1], [0, 0, 1], [0, 0, 1]])[None, None]
    assert gradients(right).flatten().tolist() == [4, 0]
    assert gradients(right.mT).flatten().tolist() == [0, 4]
    assert gradients(right, "edges").tolist() == [[[[0, 2], [0, 2]], [[0, 0], [0, 0]]]]
    assert gradients(right.mT, "edges").tolist() == [[[[0, 0], [0, 0]], [[0, 0], [2, 2]]]]
    assert gradients(right.repeat(1, 3, 1, 1)).flatten().tolist() == [12, 0]


def test_sobel_is_one_convolution_of_three_channels(image):
    # As in a convolution's weights (2, 3, 3, 3): both directions, each the same for every channel.
    weight = torch.stack([kernels.sobel_x(), kernels.sobel_y()])[:, None].expand(2, 3, 3, 3).double()
    together = torch.nn.functional.conv2d(image, weight)
    torch.testing.assert_close(gradients(image, "sobel"), together, rtol=0, atol=1e-14)
    alone = [filter2d(image, kernel, channels="sum") for kernel in (kernels.sobel_x(), kernels.sobel_y())]
    torch.testing.assert_close(torch.cat(alone, dim=1), together, rtol=0, atol=1e-14)
    grays = image.sum(1).numpy()
    length = np.stack([np.hypot(ndimage.sobel(gray, axis=1), ndimage.sobel(gray, axis=0)) for gray in grays])
    expected = torch.from_numpy(length[:, 1:-1, 1:-1])
    torch.testing.assert_close(magnitude(together)[:, 0], expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["sobel", "scharr", "prewitt"])
def test_gradients_are_its_two_kernels(image, name):
    expected = [filter2d(image, kernels.FIXED[f"{name}_{axis}"](), channels="sum") for axis in "xy"]
    torch.testing.assert_close(gradients(image, name), torch.cat(expected, dim=1))


def test_modules_show_their_arguments():
    assert repr(Sharpen(5, 2.0)) == "Sharpen(border=None, kernel_size=5, sigma=2.0, amount=1.0)"


def test_modules_have_no_state():
    for module in OPERATORS:
        assert not module.state_dict()


@pytest.mark.parametrize("shape", [(17, 23), (3, 17, 23), (1, 1, 3, 17, 23)])
def test_image_must_have_four_dimensions(shape):
    with pytest.raises(
        ConvexpError, match=r"^image is a torch.float32 tensor of shape \(.*17, 23\); .* \(B, C, H, W\)"
    ):
        filter2d(torch.zeros(shape), kernels.sobel_x())


def test_image_must_be_floating_point():
    with pytest.raises(ConvexpError, match=r"^image is a torch.uint8 tensor .* must be floating point .* / 255"):
        filter2d(torch.zeros(1, 1, 17, 23, dtype=torch.uint8), kernels.sobel_x())


@pytest.mark.parametrize("shape", [(3,), (1, 1, 3, 3), (0, 3, 3), (3, 0)])
def test_kernels_must_be_one_or_a_stack(image, shape):
    with pytest.raises(ConvexpError, match=r"^kernels has shape \(.*\); must be \(kh, kw\) or \(K, kh, kw\)"):
        filter2d(image, torch.zeros(shape))


@pytest.mark.parametrize(
    ("border", "least"),
    [(None, (5, 8)), ("reflect", (3, 5)), ("circular", (2, 4)), ("zeros", (1, 1)), ("replicate", (1, 1))],
)
def test_smallest_image(border, least):
    kernel, (height, width) = torch.ones(5, 8), least
    assert filter2d(torch.ones(1, 1, height, width), kernel, border=border).numel() > 0
    for size in ((height - 1, width), (height, width - 1)):
        with pytest.raises(
            ConvexpError,
            match=rf"^image is {size[0]}x{size[1]} \(HxW\), kernel is 5x8: with border={border} the image must be at "
            rf"least {height}x{width}; ",
        ):
            filter2d(torch.ones(1, 1, *size), kernel, border=border)


BAD_CHANNELS = r"^channels='all' must be one of each, sum, mean$"
BAD_BORDER = r"^border='mirror' must be one of reflect, replicate, zeros, circular, or None \(null\): valid$"


def test_border_must_be_known(image):
    with pytest.raises(ConvexpError, match=BAD_BORDER):
        filter2d(image, kernels.sobel_x(), border="mirror")


def test_channels_must_be_known(image):
    with pytest.raises(ConvexpError, match=BAD_CHANNELS):
        filter2d(image, kernels.sobel_x(), channels="all")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Highpass(border="mirror"), BAD_BORDER),
        (lambda: GaussianBlur(5, 1.0, border="mirror"), BAD_BORDER),
        (lambda: Blur(border="mirror"), BAD_BORDER),
        (lambda: Sharpen(5, 1.0, border="mirror"), BAD_BORDER),
        (lambda: Gradients(border="mirror"), BAD_BORDER),
        (lambda: Highpass(4), r"^kernel_size=4 must be odd"),
        (lambda: GaussianBlur(5, -1.0), r"^sigma=-1\.0 must be a positive"),
        (lambda: Sharpen(5, 1.0, amount=float("nan")), r"^amount=nan must be a finite"),
        (lambda: Gradients("roberts"), r"^kernels='roberts' must be one of sobel, scharr, prewitt, edges$"),
        (lambda: Filter("sobelx"), r"^kernel=sobelx: no such kernel; did you mean sobel_x\?; there are "),
        (lambda: Filter([[1], [2, 3]]), r"^kernel=\[\[1\], \[2, 3\]\] must be rows of equally many numbers"),
        (lambda: Filter("sobel_x", channels="all"), BAD_CHANNELS),
        (lambda: LaplacianOfGaussian(3, 1.0, channels="all"), BAD_CHANNELS),
        (lambda: DifferenceOfGaussians(3, 1.0, channels="all"), BAD_CHANNELS),
        (lambda: Gabor(3, 1.0, channels="all"), BAD_CHANNELS),
        (lambda: BoxBlur(2), r"^kernel_size=2 must be odd"),
        (lambda: MotionBlur(2, 0), r"^kernel_size=2 must be odd"),
        (lambda: Shift(0.5), r"^right=0\.5 must be a whole number of pixels"),
        (lambda: Blur(0), r"^times=0 must be a whole number of at least 1, e\.g\. times=5$"),
        (lambda: Blur(1.5), r"^times=1\.5 must be a whole number"),
    ],
)
def test_modules_refuse_bad_arguments_when_built(build, message):
    with pytest.raises(ConvexpError, match=message):
        build()
