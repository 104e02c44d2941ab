import inspect
import math
from functools import partial
from typing import get_args

import numpy as np
import pytest
import torch
from scipy import ndimage

from convexp.errors import ConvexpError
from convexp.images.samples import photograph
from convexp.operators import classic, histogram, morphology
from convexp.operators.border import Border
from convexp.operators.classic import Bilateral, Canny, Guided, Median, applied, bilateral, canny, guided, median
from convexp.operators.response import support

NUMPY_MODES = {"reflect": "reflect", "replicate": "edge", "zeros": "constant", "circular": "wrap"}


def scipy_median(image, kernel_size):
    return ndimage.median_filter(image, size=(1, 1, kernel_size, kernel_size))


def naive_bilateral(image, kernel_size, sigma_color, sigma_space):
    """Pixel by pixel; the border is not computed."""
    radius, output = kernel_size // 2, np.zeros_like(image)
    for number, channels in enumerate(image):
        for y in range(radius, image.shape[2] - radius):
            for x in range(radius, image.shape[3] - radius):
                total = weights = 0
                for dy in range(-radius, radius + 1):
                    for dx in range(-radius, radius + 1):
                        difference = np.abs(channels[:, y + dy, x + dx] - channels[:, y, x]).sum()
                        exponent = (dy**2 + dx**2) / sigma_space**2 + difference**2 / sigma_color**2
                        weights += math.exp(-exponent / 2)
                        total += math.exp(-exponent / 2) * channels[:, y + dy, x + dx]
                output[number, :, y, x] = total / weights
    return output


def numpy_guided(image, kernel_size, eps):
    def mean(planes_YX):
        return ndimage.uniform_filter(planes_YX, kernel_size, axes=(-2, -1))

    means = mean(image)
    covariance = mean(image[:, :, None] * image[:, None]) - means[:, :, None] * means[:, None]
    covariance = covariance.transpose(0, 3, 4, 1, 2)
    a = np.linalg.solve(covariance + eps * np.eye(image.shape[1]), covariance)
    b = means - np.einsum("nyxij,niyx->njyx", a, means)
    return np.einsum("nijyx,niyx->njyx", mean(a.transpose(0, 3, 4, 1, 2)), image) + mean(b)


def numpy_canny(image, low, high, sigma, hysteresis):
    """With a Gaussian of radius 2."""
    gray = np.tensordot([0.299, 0.587, 0.114], image, (0, 1))[:, None] if image.shape[1] == 3 else image
    blurred = ndimage.gaussian_filter(gray, sigma, truncate=2 / sigma, axes=(2, 3))
    # Not ndimage.sobel, which smooths along B and C, too.
    gx, gy = (
        ndimage.correlate1d(ndimage.correlate1d(blurred, [-1, 0, 1], axis=along), [1, 2, 1], axis=across)
        for along, across in ((3, 2), (2, 3))
    )
    length, edges = np.sqrt(gx**2 + gy**2 + 1e-6), np.zeros_like(gx, dtype=bool)
    eighths = np.rint(np.arctan2(gy, gx) / (np.pi / 4)).astype(int)
    for n, _, y, x in np.argwhere(edges[..., 2:, 2:] == 0):
        y, x = y + 1, x + 1
        dx, dy = (int(np.rint(direction(eighths[n, 0, y, x] * np.pi / 4))) for direction in (np.cos, np.sin))
        neighbours = length[n, 0, y + dy, x + dx], length[n, 0, y - dy, x - dx]
        edges[n, 0, y, x] = length[n, 0, y, x] > max(neighbours)
    weak, strong = (edges & (length > threshold) for threshold in (low, high))
    weak, strong = weak[..., 4:-4, 4:-4], strong[..., 4:-4, 4:-4]
    square = np.ones((1, 1, 3, 3))
    if hysteresis == 0:
        return strong
    return ndimage.binary_dilation(strong, square, hysteresis or 0, mask=weak)  # 0 times: until nothing changes


# Function, module, their arguments, reference, how far they reach.
OPERATORS = {
    "median 3": (median, Median, (3,), scipy_median, 1),
    "median 7": (median, Median, (7,), scipy_median, 3),
    "bilateral": (bilateral, Bilateral, (5, 0.4, 1.5), naive_bilateral, 2),
    "guided": (guided, Guided, (5, 0.01), numpy_guided, 4),
}
EDGES = partial(canny, low=0.5, high=1.0)
by_name = pytest.mark.parametrize("name", OPERATORS)


@pytest.fixture
def image():
    return torch.rand(2, 3, 17, 23, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def apply(name, image, border=None):
    function, _, arguments, _, _ = OPERATORS[name]
    return function(image, *arguments, border=border)


def padded(image, reach, border):
    if border is None:
        return image.numpy()
    return np.pad(image, [(0, 0), (0, 0), (reach, reach), (reach, reach)], NUMPY_MODES[border])


@by_name
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", [None, *get_args(Border)])
def test_like_the_reference(image, name, channels, border):
    _, module, arguments, reference, reach = OPERATORS[name]
    image = image[:, :channels]
    expected = reference(padded(image, reach, border), *arguments)[..., reach:-reach, reach:-reach]
    found = apply(name, image, border)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert module(*arguments, border=border)(image).equal(found)


@pytest.mark.parametrize("hysteresis", [0, 1, 3, None])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("border", [None, *get_args(Border)])
def test_canny_like_the_reference(image, hysteresis, channels, border):
    image, rounds = image[:, :channels], hysteresis or 0
    low, high, sigma = (0.4, 0.9, 1.0) if channels == 1 else (0.3, 0.7, 0.8)
    expected = numpy_canny(padded(image, 4 + rounds, border), low, high, sigma, hysteresis)
    expected = expected[..., rounds : expected.shape[2] - rounds, rounds : expected.shape[3] - rounds]
    found = canny(image, low, high, sigma=sigma, hysteresis=hysteresis, border=border)
    assert found.numpy().tolist() == expected.astype(float).tolist()
    assert 0.01 < found.mean() < 0.4
    assert Canny(low, high, sigma=sigma, hysteresis=hysteresis, border=border)(image).equal(found)


@pytest.mark.parametrize(
    ("function", "reach"),
    [
        *((partial(apply, name), operator[-1]) for name, operator in OPERATORS.items()),
        (EDGES, 5),
        (partial(EDGES, hysteresis=3), 7),
    ],
)
def test_valid_is_the_interior_of_any_border(image, function, reach):
    valid = function(image=image)
    assert valid.shape[-2:] == (17 - 2 * reach, 23 - 2 * reach)
    for border in get_args(Border):
        same = function(image=image, border=border)
        assert same.shape[-2:] == (17, 23)
        torch.testing.assert_close(valid, same[..., reach:-reach, reach:-reach], rtol=0, atol=1e-14)


@by_name
@pytest.mark.parametrize("border", [None, "reflect"])
def test_support_is_the_reach(name, border):
    _, module, arguments, _, reach = OPERATORS[name]
    assert support(module(*arguments, border=border), 1) == (-reach, reach, -reach, reach)


@pytest.mark.parametrize(("kernel_size", "hysteresis", "reach"), [(5, 0, 4), (3, 1, 4), (1, 0, 2)])
def test_canny_reaches_as_far_as_it_says(kernel_size, hysteresis, reach):
    # One pixel moves an edge now and then: more images than `support` looks at.
    before = torch.rand(3000, 1, 13, 15, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    after[..., 6, 7] = 1 - after[..., 6, 7].round()
    edges = partial(canny, low=0.1, high=0.6, kernel_size=kernel_size, hysteresis=hysteresis, border="zeros")
    _, _, rows, columns = (edges(before) != edges(after)).nonzero().T
    assert (rows.min() - 6, rows.max() - 6) == (-reach, reach)
    assert (columns.min() - 7, columns.max() - 7) == (-reach, reach)


def test_canny_marks_the_contour_of_a_rectangle():
    image, contour = torch.zeros(1, 1, 33, 41), torch.zeros(1, 1, 33, 41)
    image[..., 10:22, 12:30] = 1
    contour[..., 9:23, 11:31] = 1
    contour[..., 11:21, 13:29] = 0  # one pixel to both sides of it
    edges = canny(image, 0.5, 1.0, border="replicate")
    assert edges.unique().tolist() == [0, 1]
    assert not (edges > contour).any()
    assert (edges[0, 0, 11:21, 9:33].sum(1) == 2).all()
    assert (edges[0, 0, 7:25, 13:29].sum(0) == 2).all()


def step(contrasts):
    """A vertical edge of an image, whose contrast changes from row to row."""
    image = torch.zeros(1, 1, len(contrasts), 30)
    image[..., 15:] = torch.tensor(contrasts)[:, None]
    return image


FADING = step([1.0] * 20 + [0.9 - 0.02 * row for row in range(31)] + [0.3] * 20)  # 1.0 has a length of 2.6


def test_hysteresis_follows_a_weak_edge_from_a_strong_one():
    fading = partial(canny, FADING, 0.4, 1.5, border="replicate")
    lengths = {hysteresis: int(fading(hysteresis=hysteresis).sum()) for hysteresis in (0, 1, 10, None)}
    assert lengths[1] - lengths[0] == 1
    assert lengths[10] - lengths[0] == 10
    assert lengths[None] == 71
    assert not canny(step([0.3] * 71), 0.4, 1.5, hysteresis=None).any()


def test_a_valid_result_follows_no_edge_from_outside_of_it():
    strong = canny(FADING, 0.4, 1.5, hysteresis=0, border="replicate")
    last = int(strong.nonzero()[:, 2].max())
    assert canny(FADING[..., last - 4 :, :], 0.4, 1.5, hysteresis=None).sum() == 71 - last - 4
    assert not canny(FADING[..., last - 3 :, :], 0.4, 1.5, hysteresis=None).any()


@by_name
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_type_stays_and_gradients_flow(image, name, dtype):
    expected, image = apply(name, image), image.to(dtype).requires_grad_()
    output = apply(name, image)
    assert output.dtype == dtype
    torch.testing.assert_close(output.double(), expected, rtol=0, atol=1e-5)
    output.sum().backward()
    assert image.grad.isfinite().all()
    assert image.grad.any()
    assert canny(image, 0.5, 1.0).dtype == dtype
    assert not canny(image, 0.5, 1.0).requires_grad


@by_name
def test_a_batch_is_its_images(image, name):
    large = image.repeat(1, 1, 7, 9)  # kornia takes another way for large ones
    for one, found in zip(large, apply(name, large), strict=True):
        torch.testing.assert_close(apply(name, one[None])[0], found)


@by_name
def test_a_constant_image_stays(name):
    constant = torch.full((1, 3, 17, 23), 0.7, dtype=torch.float64)
    for border in (None, "reflect", "replicate", "circular"):
        output = apply(name, constant, border)
        torch.testing.assert_close(output, torch.full_like(output, 0.7), rtol=0, atol=1e-14)
        assert not canny(constant, 1e-9, 1e-9, border=border).any()


def test_guided_rounds_little():
    image = photograph("camera")[None, :, :200, :211]
    exact = guided(image.double(), 15, 0.001)
    torch.testing.assert_close(guided(image, 15, 0.001).double(), exact, rtol=0, atol=5e-6)


def test_applied_cuts_on_all_sides():
    image = torch.arange(35.0).reshape(1, 1, 5, 7)
    assert applied(lambda image: image, image, 2, None).tolist() == [[[[16, 17, 18]]]]
    assert applied(lambda image: image, image, 2, "circular").equal(image)
    assert applied(lambda image: image, image, 0, None).equal(image)


def test_modules_show_their_arguments():
    assert repr(Bilateral(5, 0.1, 1.5)) == "Bilateral(border=None, kernel_size=5, sigma_color=0.1, sigma_space=1.5)"
    assert repr(Canny(1, 2)) == "Canny(border=None, low=1, high=2, kernel_size=5, sigma=1.0, hysteresis=1)"


def test_kornia_waits_until_it_is_needed():
    lines = [line for module in (classic, morphology, histogram) for line in inspect.getsource(module).splitlines()]
    assert not [line for line in lines if line.startswith(("import kornia", "from kornia"))]


THRESHOLDS = r"must be 0 < low ≤ high, e\.g\. low=0\.5 and high=1\.0$"


@pytest.mark.parametrize(
    ("module", "function", "arguments", "message"),
    [
        (Median, median, {"kernel_size": 4}, r"^kernel_size=4 must be odd "),
        (Bilateral, bilateral, {"kernel_size": 0, "sigma_color": 1, "sigma_space": 1}, r"^kernel_size=0 must be odd "),
        (Bilateral, bilateral, {"kernel_size": 3, "sigma_color": 0, "sigma_space": 1}, r"^sigma_color=0 must be a pos"),
        (Bilateral, bilateral, {"kernel_size": 3, "sigma_color": 1, "sigma_space": -1}, r"^sigma_space=-1 must be a "),
        (Guided, guided, {"kernel_size": 2, "eps": 0.01}, r"^kernel_size=2 must be odd "),
        (Guided, guided, {"kernel_size": 3, "eps": 0}, r"^eps=0 must be a positive variance, e\.g\. eps=0\.01$"),
        (Canny, canny, {"low": 1.0, "high": 0.5}, rf"^low=1\.0 and high=0\.5 {THRESHOLDS}"),
        (Canny, canny, {"low": 0, "high": 0.5}, rf"^low=0 and high=0\.5 {THRESHOLDS}"),
        (Canny, canny, {"low": 0.1, "high": "0.5"}, rf"^low=0\.1 and high='0\.5' {THRESHOLDS}"),
        (Canny, canny, {"low": 0.1, "high": 0.2, "kernel_size": 4}, r"^kernel_size=4 must be odd "),
        (Canny, canny, {"low": 0.1, "high": 0.2, "sigma": 0}, r"^sigma=0 must be a positive number of pixels"),
        (
            Canny,
            canny,
            {"low": 0.1, "high": 0.2, "hysteresis": True},
            r"^hysteresis=True must be how often .*\(null\)",
        ),
        (Canny, canny, {"low": 0.1, "high": 0.2, "hysteresis": -1}, r"^hysteresis=-1 must be how often edges go on "),
        (Canny, canny, {"low": 0.1, "high": 0.2, "hysteresis": 1.5}, r"^hysteresis=1.5 must be how often edges go on "),
    ],
)
def test_bad_arguments_are_named(image, module, function, arguments, message):
    with pytest.raises(ConvexpError, match=message):
        module(**arguments)
    with pytest.raises(ConvexpError, match=message):
        function(image, **arguments)


def test_bad_images_and_borders_are_named(image):
    with pytest.raises(ConvexpError, match=r"^border='mirror' must be one of "):
        Median(3, border="mirror")
    with pytest.raises(ConvexpError, match=r"^image is a torch.float64 tensor of shape \(3, 17, 23\); "):
        median(image[0], 3)
    with pytest.raises(ConvexpError, match=r"^image is 8x23 \(HxW\), kernel is 9x9: with border=None .* 9x9; "):
        guided(image[..., :8, :], 5, 0.01)
    with pytest.raises(ConvexpError, match=r"^image has 2 channels; canny takes 1 \(gray\) or 3 \(red, green, blue\)$"):
        canny(image[:, :2], 0.5, 1.0)
