import pytest
import torch

from convexp.analysis.identify.identification import identify
from convexp.analysis.identify.sentences import name, sentences
from convexp.images import photograph
from convexp.operators import Equalize, Filter, Gamma, GaussianBlur, Median, local_maximum

GRAY = photograph("camera")[:, 91:208, 183:306]
COLOUR = photograph("coffee")[:, 91:208, 203:326]


def identified(target, before=GRAY):
    return identify(before, (target(before[None])[0].clamp(0, 1) * 255).round() / 255)


def said(found):
    return "\n".join(sentences(found, "before.png", "after.png"))


def test_a_blur():
    found = identified(GaussianBlur(7, 1.5, border="reflect"))
    text = said(found)
    assert text.startswith("after.png is before.png through Gaussian blur, σ = 1.50")
    assert " ± 0.0" in text.splitlines()[0]
    assert "it leaves 0.29 levels of 255; rounding to 8 bits alone 0.29; " in text
    assert "(1×1), " in text
    assert "the kernel sums to 1.0000, separable, symmetric under left–right, up–down, a half turn" in text
    assert "border reflect: mirrored about the outer pixel" in text
    assert found.kernel.sum() == pytest.approx(1)


def test_added_channels_are_shown_as_one_kernel():
    found = identified(Filter("sobel_x", channels="sum"), COLOUR)
    assert found.kernel.tolist() == [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    text = said(found)
    assert "the channels are added up" in text
    assert "changes its sign under left–right, a half turn" in text
    assert "% of the values are clipped, and were left out; a model that learns" in text


def test_a_kernel_without_a_name_is_printed():
    text = said(identified(Filter([[0.1, 0.2, 0.0], [0.0, 0.4, 0.1], [0.1, 0.0, 0.1]])))
    assert text.startswith("after.png is before.png through an unnamed 3×3 kernel")
    assert "the best kernel, 3×3:\n" in text


def test_what_is_not_linear():
    assert said(identified(Gamma(2.2))).startswith("after.png is before.png through gamma, exponent = 2.2000")
    text = said(identified(Median(3)))
    assert "through the median over 3×3: local, not linear" in text
    assert "not linear: the best kernel's R² is 0.9" in text
    text = said(identified(Equalize()))
    assert text.endswith(
        "histogram equalization (equalize): global, every pixel depends on all, no convolution can imitate it"
    )


def test_a_curve_that_falls_a_little_at_each_step_does_not_increase():
    solarised = identified(lambda image: torch.where(image > 0.5, 1 - image, image))
    assert name(solarised) == "a curve without a name, one for all channels"
    lighter = identified(lambda image: image.sqrt() * 0.6 + 0.3 * image)
    assert name(lighter) == "an increasing curve without a name, one for all channels"


def test_what_has_no_name():
    found = identified(lambda image: image.flip(3))
    assert name(found) is None
    assert said(found).startswith("after.png: no filter of before.png that convexp knows: ")
    found = identified(lambda image: 0.5 * local_maximum(image, 5) - 0.4 * local_maximum(-image, 5))
    assert found.kind == "local"
    assert found.window in (5, 9)
    first, second, *_ = sentences(found, "before.png", "after.png")
    assert first.endswith("through a local filter that is not linear and has no name here")
    assert second.startswith(f"it sees about {found.window}×{found.window} pixels: of what the best kernel leaves")


def test_a_stretch_may_be_autocontrast():
    dull = ((0.2 + 0.5 * GRAY) * 255).round() / 255
    found = identified(lambda image: 2.1 * image - 0.45, dull)
    assert "autocontrast, which is global: one pair of pictures cannot tell" in said(found)


def test_noise_is_no_nothing():
    noise = 0.012 * torch.randn(GRAY.shape, generator=torch.Generator().manual_seed(0))
    assert said(identified(lambda image: image)).startswith("after.png is before.png through the identity: nothing cha")
    assert said(identified(lambda image: image + noise)).startswith(
        "after.png is before.png through the identity, and noise\n"
    )
