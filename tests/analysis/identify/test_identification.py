"""Which filter it was: every linear operator of the catalogue, as a PNG and as a JPEG; and what must have no name."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy import ndimage

from convexp.analysis.identify.identification import identify
from convexp.analysis.identify.recipe import operator
from convexp.analysis.identify.recording import compression_of
from convexp.analysis.identify.sentences import name
from convexp.errors import ConvexpError
from convexp.images import photograph, read_image
from convexp.operators import (
    Autocontrast,
    Bilateral,
    Blur,
    BoxBlur,
    Closing,
    ColourMatrix,
    DifferenceOfGaussians,
    Dilation,
    Equalize,
    Erosion,
    Filter,
    Gabor,
    Gamma,
    GaussianBlur,
    Gradients,
    Highpass,
    LaplacianOfGaussian,
    Magnitude,
    Median,
    MotionBlur,
    Opening,
    Pipeline,
    Sharpen,
    Shift,
)

GRAY = photograph("camera")[:, 91:228, 183:326]
COLOUR = photograph("coffee")[:, 91:218, 203:334]


def through_file(values, kind, folder):
    """A picture as a file of 8 bits has it: rounded, clipped, and compressed if it is a JPEG."""
    pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    path = folder / f"after.{kind}"
    picture.save(path, quality=90) if kind == "jpg" else picture.save(path)
    return read_image(path), compression_of(path)


def identified(before, values, kind, folder):
    after, compression = through_file(values, kind, folder)
    return identify(before, after, compression=compression)


def words(found):
    own = operator(found)
    return None if own is None else " ".join(own.words).replace("target.", "").removeprefix("target=")


LINEAR = [
    (Filter("identity"), "identity"),
    (Shift(2, 1), "shift right=2 down=1"),
    (Shift(-5, 0), "shift right=-5 down=0"),
    (BoxBlur(3), "box_blur kernel_size=3"),
    (BoxBlur(7), "box_blur kernel_size=7"),
    (GaussianBlur(3, 0.6), "gaussian_blur kernel_size=3 sigma=0.6"),
    (GaussianBlur(9, 1.5), "gaussian_blur kernel_size=9 sigma=1.5"),
    (Blur(1), "blur times=1"),
    (Blur(2), "blur times=2"),
    (MotionBlur(9, 30), "motion_blur kernel_size=9 angle=30.0"),
    (MotionBlur(11, 120), "motion_blur kernel_size=11 angle=120.0"),
    (Highpass(7, 4.0), "highpass kernel_size=7 sigma=4.0"),
    (Highpass(9, 1.5), "highpass kernel_size=9 sigma=1.5"),
    (Sharpen(5, 1.0, amount=1.0), "sharpen kernel_size=5 sigma=1.0 amount=1.0"),
    (Sharpen(9, 2.0, amount=0.5), "sharpen kernel_size=9 sigma=2.0 amount=0.5"),
    (Filter("laplacian"), "laplacian"),
    (Filter("laplacian_8"), "kernel kernel=laplacian_8"),
    (LaplacianOfGaussian(9, 1.0), "laplacian_of_gaussian kernel_size=9 sigma=1.0"),
    (DifferenceOfGaussians(9, 1.0), "difference_of_gaussians kernel_size=9 sigma=1.0 ratio=1.6"),
    (Filter("sobel_x"), "sobel_x"),
    (Filter("sobel_y"), "sobel_y"),
    (Filter("scharr_x"), "scharr_x"),
    (Filter("scharr_y"), "scharr_y"),
    (Filter("prewitt_x"), "prewitt_x"),
    (Filter("prewitt_y"), "prewitt_y"),
    (Filter("vertical_edge"), "vertical_edge"),
    (Filter("horizontal_edge"), "horizontal_edge"),
    (Filter("emboss"), "emboss"),
]


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize(("target", "expected"), LINEAR, ids=[expected for _, expected in LINEAR])
def test_a_linear_operator_of_a_gray_picture(target, expected, kind, tmp_path):
    found = identified(GRAY, target(GRAY[None])[0], kind, tmp_path)
    assert found.kind == "linear"
    assert words(found) == expected


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_gabor(kind, tmp_path):
    target = Gabor(9, 5.0, angle=30, sigma=2.0)
    fit = identified(GRAY, target(GRAY[None])[0], kind, tmp_path).match.fit
    assert (fit.family.target, fit.size) == ("gabor", 9)
    wavelength, angle, sigma, phase, aspect = fit.values
    assert (wavelength, sigma, aspect) == pytest.approx((5, 2, 1), rel=0.02)
    assert (angle, phase) == pytest.approx((30, -90), abs=1)


IN_COLOUR = [
    (GaussianBlur(7, 1.5), "gaussian_blur kernel_size=7 sigma=1.5"),
    (Sharpen(5, 1.0, amount=1.0), "sharpen kernel_size=5 sigma=1.0 amount=1.0"),
    (Highpass(7, 4.0), "highpass kernel_size=7 sigma=4.0"),
    (Filter("sobel_x", channels="sum"), "sobel_x channels=sum"),
    (Filter("laplacian", channels="mean"), "laplacian channels=mean"),
    (Filter("emboss"), "emboss channels=each"),
    (ColourMatrix("grayscale"), "grayscale"),
    (ColourMatrix("sepia"), "sepia"),
]


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize(("target", "expected"), IN_COLOUR, ids=[expected for _, expected in IN_COLOUR])
def test_a_linear_operator_in_colour(target, expected, kind, tmp_path):
    """A JPEG halves the columns and rows of the colours."""
    assert words(identified(COLOUR, target(COLOUR[None])[0], kind, tmp_path)) == expected


def test_a_matrix_of_colours(tmp_path):
    rows = [[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]]
    found = identified(COLOUR, ColourMatrix(rows)(COLOUR[None])[0], "png", tmp_path)
    assert operator(found).overrides == {"matrix": rows}


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_both_pictures_may_be_jpegs(kind, tmp_path):
    before, _ = through_file(GRAY, "jpg", tmp_path)
    assert words(identified(before, GaussianBlur(7, 1.5)(before[None])[0], kind, tmp_path)) == LINEAR[6][1].replace(
        "9", "7"
    )


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_what_is_signed_may_be_shown_around_mid_gray(kind, tmp_path):
    found = identified(GRAY, 0.5 + Filter("sobel_x")(GRAY[None])[0] / 8, kind, tmp_path)
    assert found.match.fit.family.target == "sobel_x"
    assert found.match.fit.gain == pytest.approx(1 / 8, rel=0.01)
    assert found.match.constant.tolist() == pytest.approx([0.5], abs=1e-3)
    assert operator(found) is None  # the catalogue adds nothing


def test_a_kernel_that_scipy_applied(tmp_path):
    """SciPy's Gaussian ends at 4σ, 2·⌊4σ + ½⌋ + 1 pixels; its "mirror" is our reflect."""
    after = ndimage.gaussian_filter(GRAY[0].double().numpy(), 1.5, mode="mirror")
    found = identified(GRAY, torch.from_numpy(after)[None], "png", tmp_path)
    assert words(found) == "gaussian_blur kernel_size=13 sigma=1.5"
    assert found.border.convention == "reflect"


def test_a_kernel_without_a_name(tmp_path):
    kernel = [[0.1, 0.2, 0.0], [0.0, 0.4, 0.1], [0.1, 0.0, 0.1]]
    found = identified(GRAY, Filter(kernel)(GRAY[None])[0], "png", tmp_path)
    assert found.kind == "linear"
    assert name(found) is None
    fit = found.linear.fit
    np.testing.assert_allclose(fit.kernel.numpy(), kernel, atol=5 * float(fit.errors.max()))
    assert 0 < float(fit.errors.max()) < 1e-3


def test_a_blur_and_noise(tmp_path):
    noise = 4 / 255 * torch.randn(GRAY.shape, generator=torch.Generator().manual_seed(3))
    found = identified(GRAY, GaussianBlur(9, 2.0, border="reflect")(GRAY[None])[0] + noise, "png", tmp_path)
    assert found.match.fit.family.target == "gaussian_blur"
    assert found.noise == pytest.approx(4, rel=0.1)
    (sigma,), (error,) = found.match.fit.values, found.match.fit.errors
    assert abs(sigma - 2) < 0.1
    assert 1e-3 < error < 0.1


def test_a_picture_that_moved_far(tmp_path):
    found = identified(GRAY, GRAY.roll((21, -30), (1, 2)), "png", tmp_path)
    assert words(found) == "shift right=-30 down=21"


NOT_LINEAR = [
    (Gamma(0.5), "gamma exponent=0.5"),
    (Gamma(2.2), "gamma exponent=2.2"),
    (Median(3), "median kernel_size=3"),
    (Median(5), "median kernel_size=5"),
    (Dilation(5), "dilation kernel_size=5"),
    (Erosion(3), "erosion kernel_size=3"),
    (Opening(5), "opening kernel_size=5"),
    (Closing(3), "closing kernel_size=3"),
    (Pipeline({"gradients": Gradients("sobel"), "magnitude": Magnitude()}), "sobel"),
    (Bilateral(7, 0.1, 2.0), "bilateral kernel_size=7 sigma_color=0.1 sigma_space=2.0"),
    (Equalize(), "equalize"),
]
AS_JPEG = ("gamma exponent=0.5", "median kernel_size=5", "sobel", "equalize")


@pytest.mark.parametrize(
    ("target", "expected", "kind"),
    [
        pytest.param(target, expected, kind, id=f"{expected}-{kind}")
        for target, expected in NOT_LINEAR
        for kind in ("png", *(["jpg"] if expected in AS_JPEG else []))
    ],
)
def test_what_is_not_linear(target, expected, kind, tmp_path):
    found = identified(GRAY, target(GRAY[None])[0], kind, tmp_path)
    assert found.kind != "linear"
    assert words(found) == expected


def nothing_in_common():
    noise = torch.rand(2, 1, 97, 113, generator=torch.Generator().manual_seed(0))
    other = photograph("moon")[:, 91:228, 183:326]
    shuffled = GRAY.flatten()[torch.randperm(GRAY.numel(), generator=torch.Generator().manual_seed(1))].view_as(GRAY)
    rows, columns = torch.linspace(-1, 1, GRAY.shape[1])[:, None], torch.linspace(-1, 1, GRAY.shape[2])
    return {
        "another photograph": (GRAY, other),
        "noise and noise": (noise[0], noise[1]),
        "its own pixels in another order": (GRAY, shuffled),
        "mirrored": (GRAY, GRAY.flip(2)),
        "darker towards the corners": (GRAY, GRAY * (1 - 0.3 * (rows**2 + columns**2))),
        "flat before": (torch.full_like(GRAY, 0.4), GRAY),
        "flat after": (GRAY, torch.full_like(GRAY, 0.4)),
        "flat both": (torch.full_like(GRAY, 0.4), torch.full_like(GRAY, 0.4)),
    }


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("case", list(nothing_in_common()))
def test_what_is_no_filter_has_no_name(case, kind, tmp_path):
    found = identified(*nothing_in_common()[case], kind, tmp_path)
    assert found.kind == "unknown"
    assert (name(found), operator(found)) == (None, None)


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_what_looks_at_the_whole_picture_is_no_local_operator(kind, tmp_path):
    before = ((0.2 + 0.5 * GRAY) * 255).round() / 255
    found = identified(before, Autocontrast()(before[None])[0], kind, tmp_path)
    assert (found.kind, words(found)) == ("global", "autocontrast")
    # 1 % of the pixels are clipped at each end: not the catalogue's, but it stretches to the whole range.
    low, high = before.quantile(0.01), before.quantile(0.99)
    found = identified(before, ((before - low) / (high - low)).clamp(0, 1), kind, tmp_path)
    assert found.kind in ("point", "unknown")
    assert operator(found) is None


def test_a_smaller_picture_is_valid_and_tells_the_size(tmp_path):
    found = identified(GRAY, GaussianBlur(15, 1.0)(GRAY[None])[0], "png", tmp_path)
    assert words(found) == "gaussian_blur kernel_size=15 sigma=1.0"  # 9 pixels would look the same
    assert found.border.convention == "valid"


def test_sizes_that_no_filter_has():
    with pytest.raises(ConvexpError, match="larger than the first"):
        identify(GRAY[:, :90], GRAY)
    with pytest.raises(ConvexpError, match="less than half"):
        identify(GRAY, GRAY[:, :50, :50])
    with pytest.raises(ConvexpError, match="both sides must be at least 24"):
        identify(GRAY[:, :23, :23], GRAY[:, :23, :23])
    with pytest.raises(ConvexpError, match="C = 1 or 3"):
        identify(torch.rand(2, 30, 30), GRAY)


@pytest.mark.parametrize("name", ["coffee", "astronaut"])  # whose range is nearly the whole one: no autocontrast
@pytest.mark.parametrize("quality", [90, 75, 50, 20])
def test_a_picture_and_its_own_jpeg_is_no_operator(name, quality, tmp_path):
    before = photograph(name)
    pixels = (before * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "after.jpg", quality=quality)
    found = identify(before, read_image(tmp_path / "after.jpg"), compression=compression_of(tmp_path / "after.jpg"))
    assert (found.kind, found.match.fit.family.target, found.match.fit.natural) == ("linear", "identity", True)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image[:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2),
        lambda image: torch.stack([row.roll(n % 2, 1) for n, row in enumerate(image.unbind(1))], 1),
    ],
    ids=["halved and enlarged", "every second row moved"],
)
def test_what_depends_on_the_place_is_no_kernel_and_noise(change, tmp_path):
    before = COLOUR[:, :126, :130]
    assert identified(before, change(before), "png", tmp_path).kind in ("unknown", "local")


def test_the_other_way_round_a_blur_is_no_kernel_and_noise(tmp_path):
    before = COLOUR
    blurred, _ = through_file(GaussianBlur(13, 3.0, border="reflect")(before[None])[0], "png", tmp_path)
    assert identified(blurred, before, "png", tmp_path).kind == "unknown"


JPEGS = {
    "identity": lambda image: image,
    "gaussian_blur kernel_size=7 sigma=1.0": GaussianBlur(7, 1.0, border="reflect"),
    "box_blur kernel_size=5": BoxBlur(5, border="reflect"),
    "contrast": lambda image: 1.2 * image - 0.1,
}


@pytest.mark.parametrize(
    ("name", "qualities"), [*((name, (90, 90)) for name in JPEGS if name != "identity"), ("identity", (90, 75))]
)
def test_both_pictures_may_have_been_compressed_after_the_filter(name, qualities, tmp_path):
    """The filter never saw what the first JPEG holds."""
    made = JPEGS[name](COLOUR[None])[0]
    for title, values, quality in zip(("before", "after"), (COLOUR, made), qualities, strict=True):
        pixels = (values.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(tmp_path / f"{title}.jpg", quality=quality)
    pictures = [tmp_path / f"{title}.jpg" for title in ("before", "after")]
    first, second = map(compression_of, pictures)
    found = identify(*map(read_image, pictures), compression=second, first_compression=first)
    if name == "contrast":
        assert found.match.fit.family.target == "identity"
        assert found.match.fit.gain == pytest.approx(1.2, abs=0.02)
        return
    target, *values = name.split()
    assert found.match.fit.family.target == target
    if target == "gaussian_blur":  # its tail is lost, and so its size
        assert found.match.fit.values == (pytest.approx(1, abs=0.06),)
    elif values:
        assert words(found) == name


@pytest.mark.parametrize("kind", ["png", "jpg"])
@pytest.mark.parametrize("exponent", [0.9, 1.05])
def test_a_gamma_near_1_is_no_line(exponent, kind, tmp_path):
    found = identified(COLOUR, COLOUR**exponent, kind, tmp_path)
    assert (found.kind, found.curve.kind, found.curve.exponent) == ("point", "gamma", exponent)


@pytest.mark.parametrize("constant", [0.1, -0.1])
def test_half_a_level_is_rounded_up_and_down_in_turn(constant, tmp_path):
    found = identified(COLOUR, COLOUR + constant, "png", tmp_path)
    assert (found.match.fit.family.target, found.match.fit.gain) == ("identity", 1)
    assert found.match.constant.tolist() == pytest.approx([constant] * 3)


@pytest.mark.parametrize("name", ["SHARPEN", "DETAIL", "EDGE_ENHANCE"])
def test_a_kernel_that_says_nothing_of_a_parameter_has_no_name(name, tmp_path):
    """A sharpening of 3×3 equal weights is one by a Gaussian of any wide σ."""
    pixels = (COLOUR * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    after = Image.fromarray(pixels).filter(getattr(ImageFilter, name))
    found = identify(COLOUR, torch.from_numpy(np.array(after)).permute(2, 0, 1) / 255)
    assert (found.kind, found.match) == ("linear", None)
    assert found.linear.fit.kernel.shape == (3, 3)


def test_a_frame_that_was_left_as_it_was_hides_no_kernel():
    """Pillow's emboss lies to one side, and is applied to neither margin."""
    pixels = (COLOUR * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    after = Image.fromarray(pixels).filter(ImageFilter.EMBOSS)
    found = identify(COLOUR, torch.from_numpy(np.array(after)).permute(2, 0, 1) / 255)
    assert (found.kind, found.border.convention) == ("linear", "unfiltered")
    kernel = torch.tensor([[0.0, 1], [-1, 0]], dtype=torch.float64)
    torch.testing.assert_close(found.linear.fit.kernel, kernel, atol=1e-2, rtol=0)


def test_a_picture_of_one_colour_is_flat():
    found = identify(COLOUR, COLOUR.mean(dim=(1, 2), keepdim=True).expand_as(COLOUR))
    assert (found.kind, found.reason) == ("unknown", "the second picture is flat, so that nothing can be told")


@pytest.mark.parametrize(("down", "right"), [(2, -1), (12, -9)])
def test_a_filtered_picture_may_have_been_moved(down, right):
    """Of a large picture a part is looked at, which does not lie in the middle of what surrounds it."""
    before = photograph("coffee")
    after = torch.roll(GaussianBlur(7, 1.3, border="reflect")(before[None])[0], (down, right), (1, 2))
    found = identify(before, (after * 255).round() / 255)
    assert (found.match.fit.family.target, found.moved) == ("gaussian_blur", (down, right))
    assert found.match.fit.values == (pytest.approx(1.3, abs=1e-3),)
