"""SVG filters, by the specification's formula, and in Chromium."""

import re
import shutil
import xml.etree.ElementTree as ElementTree

import pytest
import torch
from torch import nn

from convexp.deploy.formats.chromium import NAMES
from convexp.deploy.formats.svg import SVG, source
from convexp.deploy.learned import Learned
from convexp.errors import ConvexpError

SPACE = "{http://www.w3.org/2000/svg}"
CASES = {
    "valid": {"size": (5, 3), "bias": True},
    "replicate": {"size": (2, 5), "padding": "same", "padding_mode": "replicate"},
    "circular": {"size": (3, 7), "padding": "same", "padding_mode": "circular"},
    "zeros": {"inputs": 3, "outputs": 3, "groups": 3, "padding": "same"},
}


def convolved(primitive, image):
    """RESULT(x, y) = Σᵢⱼ SOURCE(x − targetX + j, y − targetY + i) · matrix(orderX − j − 1, orderY − i − 1) + bias."""
    columns, rows = map(int, primitive.get("order").split())
    weights = list(map(float, primitive.get("kernelMatrix").split()))
    target_x, target_y = int(primitive.get("targetX")), int(primitive.get("targetY"))
    assert (primitive.get("divisor"), primitive.get("preserveAlpha")) == ("1", "true")
    height, width = image.shape[-2:]
    output = torch.full_like(image, float(primitive.get("bias")))
    for i in range(rows):
        for j in range(columns):
            y, x = torch.arange(height) - target_y + i, torch.arange(width) - target_x + j
            shifted = image[..., y.clamp(0, height - 1), :][..., x.clamp(0, width - 1)]
            if primitive.get("edgeMode") == "wrap":
                shifted = image[..., y % height, :][..., x % width]
            if primitive.get("edgeMode") == "none":
                inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))
                shifted = shifted * inside
            output += shifted * weights[(rows - i - 1) * columns + columns - j - 1]
    return output


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_by_the_specification_it_is_what_the_model_does(case, make, reference):
    learned = make(**CASES[case])
    filter_element = ElementTree.fromstring(source(learned)).find(f"{SPACE}filter")
    assert filter_element.get("color-interpolation-filters") == "sRGB"
    image = learned.photo(most=(17, 23))
    primitives = filter_element.findall(f"{SPACE}feConvolveMatrix")
    output = torch.cat([convolved(step, image[0, i : i + 1].double()) for i, step in enumerate(primitives)])
    expected = reference(learned, image[0])
    top, left = ((side - 1) // 2 for side in learned.kernel.size) if case == "valid" else (0, 0)
    inner = output[:, top : top + expected.shape[1], left : left + expected.shape[2]]
    torch.testing.assert_close(inner, expected, rtol=0, atol=1e-5)


def test_channels_alike_share_one_primitive_and_others_are_joined(make):
    layer = nn.Conv2d(3, 3, 3, groups=3, bias=False)
    layer.weight.data[:] = torch.rand(3, 3)
    text = source(Learned.of_model(layer.eval().requires_grad_(False), "x"))
    assert text.count("<feConvolveMatrix") == 1
    text = source(make(inputs=3, outputs=3, groups=3))
    assert re.findall(r'values="([\d ]+)"', text) == [
        "1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 0",
        "0 0 0 0 0 0 1 0 0 0 0 0 0 0 0 0 0 0 1 0",
        "0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0 0 0 1 0",
    ]
    assert re.findall(r'in="(\S+)" in2="(\S+)" mode="lighten"', text) == [("red", "green"), ("both", "blue")]


def test_what_it_cannot_hold(make):
    assert SVG.refusal(make(inputs=3, outputs=3)) == "its kernel mixes channels (3 in, 3 out)"
    large = make(size=(17, 17)).model
    large.weight.data /= 289
    reason = "its kernel of 17×17 has more than 256 weights, the most that Chromium draws"
    assert SVG.refusal(Learned.of_model(large, "x")) == reason
    assert SVG.refusal(make(size=(3, 3))) is None


def test_where_it_differs_is_left_out_and_said(make):
    mirrored = make(padding=1, padding_mode="reflect")
    assert (SVG.margin(mirrored), SVG.margin(make()), SVG.margin(make(padding=1))) == ((1, 1), (0, 0), (0, 0))
    assert SVG.notes(mirrored) == ["SVG knows no mirrored border: at the edge, edge pixels are repeated"]
    standardised = make(padding=1, scales=True)
    assert SVG.margin(standardised) == (1, 1)
    assert SVG.notes(standardised) == ["SVG has 0 outside the image; the run has 0.4"]
    assert SVG.notes(make())[-1] == "at the edge, edge pixels are repeated; the run has no output there"


def test_large_kernels_may_differ_by_what_8_bits_for_each_weight_make(make):
    assert SVG.slack(make(size=(5, 5)), torch.ones(1, 1, 17, 23)) == 0
    learned = make(size=(5, 7))
    slack = SVG.slack(learned, learned.photo(most=(17, 23)))
    assert 0 < slack < 35 * float(learned.kernel.kernel.max() - learned.kernel.kernel.min()) / 255 / 2
    assert SVG.notes(learned)[0] == "of kernels with more than 25 weights Chromium keeps 8 bits of each"


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, NAMES)), reason="Chromium is not installed")
def test_chromium_does_what_the_model_does(make, write, compared):
    learned = make(inputs=3, outputs=3, groups=3, size=(3, 5), padding="same", padding_mode="replicate")
    learned.model.weight.data /= 2
    learned = Learned.of_model(learned.model, "sharpen-single")
    path = write("svg", learned)
    assert compared("svg", learned, path).error * 255 < 0.52
    swapped = re.sub(r'kernelMatrix="(\S+) (\S+) (.*?)"', r'kernelMatrix="\2 \1 \3"', path.read_text())
    path.write_text(swapped.replace('targetX="2"', 'targetX="1"'))
    with pytest.raises(ConvexpError, match=r"svg: run by Chromium \S+, it differs from the run by "):
        compared("svg", learned, path)
