import time

import pytest
import torch
from torch import nn

from convexp.errors import ConvexpError
from convexp.operators import (
    Blur,
    BoxBlur,
    Filter,
    GaussianBlur,
    Gradients,
    Highpass,
    Magnitude,
    Pipeline,
    Shift,
    autocontrast,
    match_template,
)
from convexp.operators.verdict import Verdict, verdict

CHECKERS = (torch.arange(33 * 36) % 7).float().view(1, 33, 36)


def edges_blur(times):
    stages = {"gradients": Gradients("edges"), "magnitude": Magnitude()}
    return Pipeline({**stages, **{f"blur_{i}": Blur() for i in range(times)}})


def median(image):
    return nn.functional.unfold(image, 5).median(dim=1).values.unflatten(1, (image.shape[2] - 4, -1))[:, None]


def luma(image):
    return (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(1, keepdim=True)


@pytest.mark.parametrize(
    ("operator", "channels", "expected"),
    [
        (Filter("identity"), 3, Verdict("linear", (1, 1))),
        (Highpass(7, 4.0), 3, Verdict("linear", (7, 7))),
        (Highpass(7, 4.0, border="zeros"), 1, Verdict("linear", (7, 7))),
        (Gradients("edges"), 3, Verdict("linear", (2, 2))),
        (Filter([[1, 2, 3, 4, 5]]), 1, Verdict("linear", (1, 5))),
        (Shift(2, -1, border="circular"), 1, Verdict("linear", (2, 5))),
        (Shift(-2, 0, border="circular"), 1, Verdict("linear", (1, 4))),
        (GaussianBlur(43, 9.0), 1, Verdict("linear", (43, 43))),  # larger than half of the first image
        (lambda image: match_template(image, CHECKERS), 1, Verdict("linear", (33, 36))),
        (luma, 3, Verdict("linear", (1, 1), mixes=True)),
        (lambda image: image.flip(1), 3, Verdict("linear", (1, 1), mixes=True)),
        (torch.sqrt, 1, Verdict("pointwise", (1, 1))),
        (edges_blur(0), 3, Verdict("pointwise", (2, 2))),
        (edges_blur(5), 3, Verdict("pointwise", (22, 22))),
        (median, 1, Verdict("local", (5, 5))),
        (Pipeline({"median": median, "blur": Blur()}), 1, Verdict("local", (9, 9))),
        (lambda image: image - image.amin(), 1, Verdict("global")),
        (lambda image: image - image.mean(), 3, Verdict("global")),
        (autocontrast, 1, Verdict("global")),
        (lambda image: image - image.mean(3, keepdim=True), 1, Verdict("global")),
        (lambda image: image - image.mean(2, keepdim=True), 1, Verdict("global")),
        (lambda image: image.cumsum(3), 1, Verdict("global")),
        (lambda image: image * torch.linspace(0, 1, image.shape[3]), 1, Verdict("placed")),
        (lambda image: image * (1 + torch.arange(image.shape[2])[:, None] % 2), 1, Verdict("placed")),
        (lambda image: image + 0.1 * torch.randn_like(image), 1, Verdict("random")),
        (BoxBlur(41), 1, Verdict("linear", (41, 41))),
        (BoxBlur(31), 3, Verdict("linear", (31, 31))),
        (GaussianBlur(61, 10.0), 1, Verdict("linear", (61, 61))),
        (lambda image: image[..., ::2, ::2], 1, None),
        (lambda image: image[..., 200:, :], 1, None),
    ],
)
def test_verdicts(operator, channels, expected):
    assert verdict(operator, channels) == expected


def test_a_kernel_of_the_size_holds_it():
    image = torch.rand(1, 1, 17, 23)
    target = Shift(2, -1, border="circular")(image)
    # The smallest centred kernel that holds a shift: 2×5, its centre at row 0 and column 2.
    kernel = torch.zeros(1, 1, 2, 5)
    kernel[..., 1, 0] = 1
    assert nn.functional.conv2d(image, kernel).equal(target[..., :-1, 2:-2])


def test_what_only_a_small_image_cannot_hold_is_not_global():
    def wide(image):
        rows = nn.functional.max_pool2d(image, (1, 201), stride=1, padding=(0, 100))
        return nn.functional.max_pool2d(rows, (201, 1), stride=1, padding=(100, 0))

    assert verdict(wide, 1) is None


def test_the_random_state_is_left_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    verdict(lambda image: image * torch.rand(1), 1)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Verdict("linear", (7, 5)), "linear, one 7×5 kernel holds it exactly"),
        (Verdict("linear", (1, 1), mixes=True), "linear, one 1×1 kernel holds it exactly and mixes the colours"),
        (Verdict("pointwise", (2, 2)), "not linear, sees 2×2 pixels: kernels with a small non-linearity between "),
        (Verdict("local", (5, 5)), "not linear, sees at least 5×5 pixels: no kernel holds it, a stack that sees "),
        (Verdict("global"), "global, a far pixel changes the output here: no convolution can imitate it"),
    ],
)
def test_in_words(found, words):
    assert str(found).startswith(words)


def test_channels_must_be_positive():
    with pytest.raises(ConvexpError, match=r"^in_channels=0 must be positive"):
        verdict(torch.sqrt, 0)


def test_nobody_waits_for_a_slow_operator():
    calls = []

    def slow(image):
        calls.append(image)
        time.sleep(0.2)
        return image

    assert verdict(slow, 1) is None
    assert len(calls) == 2
