"""ffmpeg's filter `convolution`."""

import re
import shutil

import pytest
import torch
from torch import nn

from convexp.deploy.formats import ffmpeg
from convexp.deploy.formats.ffmpeg import FFMPEG, integers, source
from convexp.deploy.learned import Learned
from convexp.deploy.programs import UnverifiedError
from convexp.errors import ConvexpError

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")

BLUR = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16


@pytest.fixture
def single():
    """One kernel, for each channel."""

    def single(kernel, channels=1, **arguments):
        layer = nn.Conv2d(channels, channels, kernel.shape[-2:], groups=channels, **arguments)
        layer.weight.data[:] = kernel
        if layer.bias is not None:
            nn.init.constant_(layer.bias, 0.125)
        return Learned.of_model(layer.eval().requires_grad_(False), "blur-single")

    return single


def matrices(text):
    return {plane: list(map(int, weights.split())) for plane, weights in re.findall(r"(\d)m='([-\d ]+)'", text)}


def test_the_smallest_integers_that_are_exact():
    for kernel, weights, rdiv in (
        (BLUR, [1, 2, 1, 2, 4, 2, 1, 2, 1], 1 / 16),
        (torch.full((3, 3), 1 / 9), [1] * 9, 1 / 9),
        (torch.tensor([[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]]), [0, -1, 0, -1, 5, -1, 0, -1, 0], 1),
        (0.25 * BLUR, [1, 2, 1, 2, 4, 2, 1, 2, 1], 1 / 64),
        (torch.zeros(3, 3), [0] * 9, 1),
    ):
        found = integers(kernel)
        assert found.weights.flatten().tolist() == weights
        assert found.rdiv == pytest.approx(rdiv)
        assert found.error < 1e-6


def test_any_kernel_is_rounded_to_less_than_a_hundredth_of_a_level():
    generator = torch.Generator().manual_seed(5)
    for side in (3, 5, 7):
        kernel = torch.randn(side, side, generator=generator)
        for factor in (1e-3, 1.0, 50.0, float(1 / kernel.sum())):
            found = integers(factor * kernel)
            change = (factor * kernel).double() - found.weights * found.rdiv
            assert found.error == pytest.approx(float(change.abs().sum()))
            assert found.error <= max(0.01 / 255, 1e-5 * factor * float(kernel.abs().sum()))
            assert 255 * found.weights.abs().sum() < 2**31  # sums of 8-bit pixels stay below 32 bits
            assert found.weights.equal(found.weights.round())
    assert found.of_unit_sum  # the last one adds up to 1
    assert not integers(0.4 * BLUR).of_unit_sum


def test_planes_are_green_blue_red_and_small_kernels_are_filled_up(single):
    kernels = torch.stack([BLUR, torch.eye(3) / 4, torch.ones(3, 3) / 9])[:, None]
    text = source(single(kernels, 3, padding=1, padding_mode="reflect"))
    planes = matrices(text)
    assert text.startswith("format=gbrp,convolution=0m='0 0 0 0 0 0 1 0 0 0 0 0 1 0 0 0 0 0 1 0 0 0 0 0 0':0rdiv=0.25:")
    assert text.endswith(",format=rgb24\n")
    assert planes["1"][6:9] == [1, 1, 1]
    assert planes["2"][6:9] == [1, 2, 1]
    assert re.findall(r"\dbias=([\d.]+)", text) == ["31.875"] * 3
    assert len(matrices(source(single(BLUR)))["0"]) == 9
    # Of even kernels the weight before the centre lies over the output.
    assert matrices(source(single(torch.tensor([[0.25, 0.75]]))))["0"] == [0, 0, 0, 0, 1, 3, 0, 0, 0]


@pytest.mark.parametrize(
    ("kernel", "channels", "arguments", "margin"),
    [
        (BLUR, 1, {"padding": 1, "padding_mode": "reflect"}, (0, 0)),
        (BLUR, 3, {"padding": 1, "padding_mode": "replicate"}, (1, 1)),
        (torch.tensor([[0.1, -0.2, 0.35, 0.75]]), 1, {}, (0, 0)),
        (torch.arange(-20.0, 29.0).view(7, 7) / 196, 3, {"bias": False}, (0, 0)),
    ],
)
@needs_ffmpeg
def test_ffmpeg_does_what_the_model_does(single, write, compared, kernel, channels, arguments, margin):
    learned = single(kernel, channels, **arguments)
    comparison = compared("ffmpeg", learned, write("ffmpeg", learned))
    assert comparison.error * 255 < 0.52  # rounding to 8 bits is half a level
    assert comparison.margin == margin
    assert comparison.by.startswith("ffmpeg ")


@needs_ffmpeg
def test_other_weights_are_found_out(single, write, compared):
    learned = single(torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 0.0]]))
    path = write("ffmpeg", learned)
    assert "0 0 0 0 1 1 0 0 0" in path.read_text()
    path.write_text(path.read_text().replace("0 0 0 0 1 1 0 0 0", "0 0 0 1 1 0 0 0 0"))
    with pytest.raises(ConvexpError, match=r"ffmpeg: run by ffmpeg \S+, it differs from the run by "):
        compared("ffmpeg", learned, path)


@needs_ffmpeg
def test_where_rdiv_is_ignored_only_what_needs_none_is_verified(single, write, compared, monkeypatch):
    monkeypatch.setattr(ffmpeg, "_scales", lambda program, folder: False)
    learned = single(0.4 * BLUR)
    with pytest.raises(UnverifiedError, match=r"ffmpeg \S+ ignores rdiv, which this kernel needs"):
        compared("ffmpeg", learned, write("ffmpeg", learned))
    learned = single(BLUR)
    assert compared("ffmpeg", learned, write("ffmpeg", learned)).error < 0.01


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (nn.Conv2d(3, 3, 3), "its kernel mixes channels (3 in, 3 out)"),
        (nn.Conv2d(3, 1, 3), "its kernel mixes channels (3 in, 1 out)"),
        (nn.Conv2d(1, 1, 9), "its kernel of 9×9 does not fit into 7×7"),
        (nn.Conv2d(1, 1, 3, padding=4), "its output is larger than the image"),
        (nn.Sequential(nn.Conv2d(1, 1, 3), nn.ELU()), "the filter is not linear, so that no one kernel equals it"),
    ],
)
def test_what_it_cannot_hold(model, reason):
    for weight in model.parameters():
        nn.init.constant_(weight, 0.01 if weight.dim() > 1 else -0.1)
    assert FFMPEG.refusal(Learned.of_model(model.eval().requires_grad_(False), "x")) == reason


def test_constants_below_zero_are_refused(single):
    learned = single(BLUR)
    learned.model.bias.data[:] = -0.25
    reason = "its constant -0.25 is negative, and ffmpeg's bias may not be"
    assert FFMPEG.refusal(Learned.of_model(learned.model, "x")) == reason
    learned.model.bias.data[:] = -2.0
    reason = "100 % of its output on coffee lies outside [0, 1], where 8 bits end"
    assert FFMPEG.refusal(Learned.of_model(learned.model, "x")) == reason


def test_what_is_said_of_it(single, tmp_path):
    learned = single(BLUR)
    assert FFMPEG.notes(learned) == [
        "the weights are exact as integers",
        "at the edge ffmpeg mirrors the image; the run does not",
    ]
    assert FFMPEG.notes(single(BLUR.square(), padding=1, padding_mode="reflect"))[0].startswith("the weights")
    (line,) = FFMPEG.example(learned, tmp_path / "a b.txt")
    assert line == f"""ffmpeg -i photo.png -vf "$(cat '{tmp_path}/a b.txt')" -frames:v 1 output.png"""
