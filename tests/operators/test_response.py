import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from convexp.errors import ConvexpError
from convexp.operators import Blur, GaussianBlur, Gradients, Highpass, Magnitude, Pipeline, gaussian_blur, sharpen
from convexp.operators.response import impulse_response, support

EDGES_BLUR = Pipeline(
    {"edges": Gradients("edges"), "magnitude": Magnitude(), **{f"blur_{i}": Blur() for i in range(1, 6)}}
)


def gaussian(size, sigma):
    """Return a normalised Gaussian, computed by NumPy."""
    y, x = np.mgrid[:size, :size] - size // 2
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return kernel / kernel.sum()


def scipy_correlation(kernel, origin=(0, 0), mode="mirror"):
    """Return an operator on gray images that is not ours."""

    def correlate(image):
        return torch.from_numpy(ndimage.correlate(image[0, 0].numpy(), kernel, mode=mode, origin=origin))[None, None]

    return correlate


def fourier_correlation(kernel):
    """Return a circular operator that leaves rounding errors in all pixels."""

    def correlate(image):
        size = image.shape[-2:]
        spectrum = torch.fft.rfft2(torch.from_numpy(kernel).float(), s=size).conj()
        return torch.fft.irfft2(torch.fft.rfft2(image) * spectrum, s=size)

    return correlate


def median(image):
    *_, height, width = image.shape
    return functional.unfold(image, 5).median(dim=1).values.view(1, 1, height - 4, width - 4)


def fails(image):
    raise RuntimeError("not today")


def close(actual, expected, tolerance=1e-6):
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=torch.float32), rtol=0, atol=tolerance)


def test_highpass_averages_three_channels():
    expected = -gaussian(7, 4.0)
    expected[3, 3] += 1
    found = impulse_response(Highpass(), 3)
    assert found.kernel.dtype == found.constant.dtype == torch.float32
    close(found.kernel, np.stack([[expected / 3] * 3]))
    assert (found.top, found.left, found.constant.tolist()) == (-3, -3, [0.0])
    assert found.box == support(Highpass(), 3) == (-3, 3, -3, 3)


@pytest.mark.parametrize("border", [None, "reflect", "zeros"])
def test_blur_keeps_channels_apart(border):
    expected = np.zeros((2, 2, 5, 5))
    expected[0, 0] = expected[1, 1] = gaussian(5, 1.5)
    operator = GaussianBlur(5, 1.5, border=border)
    found = impulse_response(operator, 2)
    close(found.kernel, expected)
    assert found.box == support(operator, 2) == (-2, 2, -2, 2)


@pytest.mark.parametrize("border", [None, "reflect"])
def test_edges_start_at_the_aligned_pixel(border):
    operator = Gradients("edges", border=border)
    found = impulse_response(operator, 1)
    assert found.kernel.tolist() == [[[[-1, 1], [-1, 1]]], [[[-1, -1], [1, 1]]]]
    assert (found.top, found.left, found.constant.tolist()) == (0, 0, [0.0, 0.0])
    assert found.box == support(operator, 1) == (0, 1, 0, 1)


def test_stages_of_a_pipeline_become_one_kernel():
    pipeline = Pipeline({"edges": Gradients("edges"), "scale": lambda image: 3 * image, "blur": GaussianBlur(3, 1.0)})
    found = impulse_response(pipeline, 1)
    along_x = np.zeros((4, 4))
    for row, column, sign in [(0, 0, -1), (0, 1, 1), (1, 0, -1), (1, 1, 1)]:
        along_x[row : row + 3, column : column + 3] += 3 * sign * gaussian(3, 1.0)
    close(found.kernel, np.stack([along_x, along_x.T])[:, None])
    assert found.box == support(pipeline, 1) == (-1, 2, -1, 2)


@pytest.mark.parametrize("shape", [(1, 7), (5, 2), (6, 3)])
def test_kernels_that_are_not_square_come_in_the_orientation_of_cross_correlation(shape):
    kernel = np.random.default_rng(0).uniform(0.5, 1.0, shape)
    found = impulse_response(scipy_correlation(kernel), 1, side=37)
    close(found.kernel[0, 0], kernel)
    # An even kernel of SciPy has its centre after the middle.
    top, left = -(shape[0] // 2), -(shape[1] // 2)
    box = (top, top + shape[0] - 1, left, left + shape[1] - 1)
    assert found.box == box
    assert support(scipy_correlation(kernel), 1, side=37) == box


def test_each_pair_of_channels_has_its_kernel():
    conv = torch.nn.Conv2d(2, 3, (4, 7))
    found = impulse_response(conv, 2)
    close(found.kernel, conv.weight.detach())
    close(found.constant, conv.bias.detach())
    assert found.box == support(conv, 2) == (-1, 2, -3, 3)


def test_an_output_may_be_larger_than_the_image():
    conv = torch.nn.Conv2d(1, 1, (3, 5), padding=(7, 6))
    found = impulse_response(conv, 1)
    close(found.kernel, conv.weight.detach())
    assert found.box == support(conv, 1) == (-1, 1, -2, 2)


def test_identity():
    found = impulse_response(lambda image: image, 1)
    assert (found.kernel.tolist(), found.top, found.left, found.constant.tolist()) == ([[[[1.0]]]], 0, 0, [0.0])
    assert support(lambda image: image, 1) == (0, 0, 0, 0)


def test_a_shift_is_an_offset():
    def shift(image):
        return torch.roll(image, (2, -1), dims=(2, 3))

    found = impulse_response(shift, 1)
    assert (found.kernel.tolist(), found.top, found.left) == ([[[[1.0]]]], -2, 1)
    assert support(shift, 1) == (-2, -2, 1, 1)


def test_the_negative_has_a_constant():
    found = impulse_response(lambda image: 1 - image, 2)
    assert found.kernel.flatten(1).tolist() == [[-1.0, 0.0], [0.0, -1.0]]
    assert found.constant.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("value", [0.3, 0.0])
def test_a_constant_has_no_support(value):
    def constant(image):
        return torch.full((1, 2, image.shape[2] - 4, image.shape[3]), value)

    found = impulse_response(constant, 3)
    assert found.kernel.shape == (2, 3, 1, 1)
    assert not found.kernel.any()
    close(found.constant, [value, value])
    assert found.box == (0, 0, 0, 0)
    assert support(constant, 3) is None


def test_gray_is_a_mean_of_three():
    found = impulse_response(lambda image: image.mean(dim=1, keepdim=True), 3)
    assert found.kernel.shape == (1, 3, 1, 1)
    close(found.kernel.flatten(), [1 / 3] * 3)


def test_rounding_is_not_part_of_the_kernel():
    kernel = np.random.default_rng(0).uniform(0.5, 1.0, (7, 4))
    found = impulse_response(fourier_correlation(kernel), 1)
    close(found.kernel[0, 0], kernel)
    assert found.box == support(fourier_correlation(kernel), 1) == (0, 6, 0, 3)


@pytest.mark.parametrize("size", [15, 31])
def test_small_weights_are_part_of_the_kernel(size):
    operator = GaussianBlur(size, size / 10)  # its outer rows have at most 4e-6 of the largest weight
    found = impulse_response(operator, 1)
    close(found.kernel[0, 0], gaussian(size, size / 10))
    assert found.box == support(operator, 1)


def test_what_an_operator_does_to_the_border_does_not_matter():
    found = impulse_response(lambda image: functional.pad(image[..., 5:-7, 6:-6], (6, 6, 5, 7), value=0.5), 1)
    assert found.kernel.tolist() == [[[[1.0]]]]


def test_a_kernel_fits_into_half_of_the_side():
    assert impulse_response(GaussianBlur(31, 9.0), 1).box == support(GaussianBlur(31, 9.0), 1) == (-15, 15, -15, 15)
    assert impulse_response(GaussianBlur(31, 9.0), 1, side=61) is None
    assert support(GaussianBlur(31, 9.0), 1, side=41) is None
    assert impulse_response(GaussianBlur(67, 9.0), 1) is None  # the image is too small to be filtered at all
    assert support(GaussianBlur(83, 9.0), 1) is None
    assert impulse_response(GaussianBlur(61, 20.0, border="reflect"), 1).box == (-30, 30, -30, 30)
    assert impulse_response(GaussianBlur(65, 20.0, border="reflect"), 1) is None


@pytest.mark.parametrize(
    "operator",
    [
        torch.square,
        lambda image: image.abs().sqrt(),
        lambda image: sharpen(image, 5, 1.0).clamp(0, 1),
        lambda image: (1.5 * gaussian_blur(image, 9, 3.0)).clamp(max=1),  # white noise alone would not be clipped
        lambda image: gaussian_blur(image, 15, 3.0).diff(dim=3).clamp(max=0.04),  # only large edges are clipped
        lambda image: image + 1e-3 * image.square(),
        lambda image: 1e-2 * image + 1e-5 * image.square(),
        lambda image: (255 * image).round() / 255,
        Pipeline({"sobel": Gradients("sobel"), "magnitude": Magnitude()}),
        median,
    ],
)
def test_what_is_not_linear_has_no_response(operator):
    assert impulse_response(operator, 1) is None


@pytest.mark.parametrize(
    "operator",
    [
        lambda image: image * torch.linspace(0, 1, image.shape[-1]),
        lambda image: image.mT,
        lambda image: image.flip(-1),
        lambda image: image[..., :12, :12],
        lambda image: torch.zeros(1, 1, 1, 1),
        lambda image: image[..., ::2, ::2],
        lambda image: functional.interpolate(image, scale_factor=2.0),
        lambda image: functional.interpolate(image[..., ::2, ::2], image.shape[-2:]),
        lambda image: image + torch.linspace(0, 0.1, image.shape[-2])[:, None],
        lambda image: image * image.shape[-1] / 65,
    ],
)
def test_what_is_not_the_same_everywhere_has_no_response(operator):
    assert impulse_response(operator, 1) is None


@pytest.mark.parametrize(
    "operator",
    [
        lambda image: image - image.mean(dim=(2, 3), keepdim=True),
        lambda image: image.mean(dim=(2, 3), keepdim=True),
        lambda image: image.flatten(2).sort().values.view_as(image),
        lambda image: image / image.std(),
        lambda image: image.cumsum(dim=2),
        lambda image: image.cumsum(dim=3),
        lambda image: image.flip(2).cumsum(dim=2).flip(2),
        lambda image: image.flip(3).cumsum(dim=3).flip(3),
        lambda image: image + 0.01 * torch.randn_like(image),
    ],
)
def test_what_depends_on_everything_has_neither(operator):
    assert impulse_response(operator, 1) is None
    assert support(operator, 1) is None


@pytest.mark.parametrize(
    "operator",
    [
        fails,
        lambda image: None,
        lambda image: image[0],
        lambda image: image.expand(2, -1, -1, -1),
        lambda image: image[..., :0],
        lambda image: image.log() * 0,
        lambda image: image.to(torch.complex64),
        lambda image: image[..., : 50 + int(10 * image.amax(dim=(2, 3)))],
    ],
)
def test_what_fails_has_neither(operator):
    assert impulse_response(lambda image: operator(image - 0.1), 1) is None
    assert support(lambda image: operator(image - 0.1), 1) is None


def test_an_operator_that_fails_late_has_no_response():
    def picky(image):
        if image.shape[-1] > 65:
            raise ValueError("too wide")
        return image

    assert impulse_response(picky, 1) is None
    assert (
        impulse_response(lambda image: image.expand(-1, image.shape[-1] // 65 + image.shape[-1] % 65, -1, -1), 1)
        is None
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_support_of_sobel_magnitude(channels):
    sobel = Pipeline({"sobel": Gradients("sobel"), "magnitude": Magnitude()})
    assert support(sobel, channels) == (-1, 1, -1, 1)


def test_support_of_edges_and_blur():
    assert impulse_response(EDGES_BLUR, 1) is None
    assert support(EDGES_BLUR, 1) == (-10, 11, -10, 11)


def test_support_of_order_statistics():
    assert support(median, 1) == (-2, 2, -2, 2)
    assert support(lambda image: functional.max_pool2d(image, (3, 6), stride=1), 1, side=43) == (-1, 1, -2, 3)
    assert support(lambda image: -functional.max_pool2d(-image, (9, 11), stride=1), 1, side=43) == (-4, 4, -5, 5)


def test_support_of_thresholds_and_products():
    assert support(lambda image: image > 0.5, 1) == (0, 0, 0, 0)
    assert support(lambda image: (255 * image).to(torch.uint8), 1) == (0, 0, 0, 0)
    assert support(lambda image: image[..., 3:, :-5] * image[..., :-3, 5:], 1) == (-1, 2, -2, 3)
    assert support(lambda image: (image[..., 3:, :-5] > 0.5) & (image[..., :-3, 5:] > 0.5), 1) == (-1, 2, -2, 3)


def test_support_holds_the_dependence_on_any_channel():
    def mixed(image):  # the last channel alone is shifted, and only differences of channels count
        return (image[:, :1] - torch.roll(image[:, 2:], (3, -2), dims=(2, 3))).abs()

    assert support(mixed, 3) == (-3, 0, 0, 2)
    assert support(lambda image: -functional.max_pool2d(-image[:, 2:], (9, 11), stride=1), 3) == (-4, 4, -5, 5)


def test_support_of_blocks_is_the_union_over_their_pixels():
    def blocks(image):
        means = functional.avg_pool2d(image, (8, 2), ceil_mode=True)
        return means.repeat_interleave(8, dim=2).repeat_interleave(2, dim=3)[..., : image.shape[2], : image.shape[3]]

    assert support(blocks, 1) == (-7, 7, -1, 1)


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("column", [0, 1])
def test_support_holds_what_one_pixel_in_four_depends_on(row, column):
    def mosaic(image):
        output = image.clone()
        output[..., 2 + row : -2 : 2, 4 + column : -4 : 2] = image[..., row : image.shape[2] - 4 : 2, 8 + column :: 2]
        return output

    assert support(mosaic, 1) == (-2, 0, 0, 4)


@pytest.mark.parametrize(
    "operator",
    [
        lambda image: image.mT,
        lambda image: image[..., ::2, ::2],
        lambda image: image[..., ::2, :],
        lambda image: image[..., ::2],
        lambda image: functional.interpolate(image, scale_factor=2.0),
    ],
)
def test_what_scales_has_no_support(operator):
    assert support(operator, 1) is None


@pytest.mark.parametrize("experiment", [impulse_response, support])
def test_an_operator_gets_images_and_leaves_nothing_behind(experiment):
    conv = torch.nn.Conv2d(2, 1, 3)
    seen = []

    def operator(image):
        assert image.dtype == torch.float32
        assert image.shape[:2] == (1, 2)
        assert image.min() >= 0
        assert image.max() <= 1
        assert not torch.is_grad_enabled()
        seen.append(image.clone())
        output = conv(image)
        image.zero_()  # whoever works in place changes no later image
        torch.rand(1)
        return output

    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = experiment(operator, 2)
    assert torch.equal(torch.get_rng_state(), state)
    images, seen[:] = list(seen), []
    torch.rand(1)
    second = experiment(operator, 2)
    assert all(torch.equal(*pair) for pair in zip(images, seen, strict=True))
    assert conv.weight.grad is None
    if experiment is support:
        assert first == second == (-1, 1, -1, 1)
    else:
        assert torch.equal(first.kernel, second.kernel)
        assert not first.kernel.requires_grad
        close(first.kernel, conv.weight.detach())


@pytest.mark.parametrize("experiment", [impulse_response, support])
def test_wrong_arguments_are_named(experiment):
    with pytest.raises(ConvexpError, match=r"^in_channels=0 must be positive"):
        experiment(torch.square, 0)
    with pytest.raises(ConvexpError, match=r"^side=16 must be at least 17 pixels, and twice the size of the kernel$"):
        experiment(torch.square, 1, side=16)
    assert experiment(lambda image: image, 1, side=17) is not None
