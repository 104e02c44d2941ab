"""What a card says; `test_export_command.py` runs its lines."""

from pathlib import Path

import pytest
from torch import nn

from convexp.deploy.card import card
from convexp.deploy.export import FORMATS, Comparison, Export
from convexp.deploy.learned import Learned

COMPARISON = Comparison(
    by="a test 1.0",
    error=0.00123,
    where="coffee (400×600), row 1, column 2, channel 0",
    images=("coffee (400×600)", "5×7"),
    least=(5, 7),
    margin=(0, 0),
)


@pytest.fixture
def make():
    def make(name, comparison, layer=None, size=1234):
        layer = nn.Conv2d(1, 1, (3, 5), bias=False) if layer is None else layer
        nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
        learned = Learned.of_model(layer.eval().requires_grad_(False), "blur-single")
        return card(Export(FORMATS[name], Path("blur"), size, learned, comparison))

    return make


def test_floats(make):
    shown = make("npy", COMPARISON)
    assert shown.startswith(
        "blur  1.23 kB, the kernel as a NumPy array\n"
        "  checked    run by a test 1.0 on coffee (400×600), 5×7\n"
        "  max error  0.0012, on coffee (400×600), row 1, column 2, channel 0\n"
        "  input      float32 (N, 1, H, W) in [0, 1], at least 5×7\n"
        "  output     float32 (N, 1, H − 2, W − 4), in the target's units: 0."
    )
    assert "\n  border     valid: none is invented, 2 rows and 4 columns are lost\n" in shown
    assert "\n  sees       3×5 pixels (receptive field)\n  use\n    import numpy as np\n" in shown


def test_8_bits(make):
    shown = make("svg", Comparison(**{**vars(COMPARISON), "margin": (1, 2)}), size=999)
    assert shown.startswith("blur  999 bytes, an SVG filter for web pages\n")
    assert (
        "\n  checked    run by a test 1.0 on coffee (400×600), 5×7, but for 1 row and 2 columns at each side\n" in shown
    )
    assert "\n  max error  0.0012 (0.31 of 255 levels), on " in shown
    assert "\n  input      pictures of 8 bits, gray, at least 5×7\n" in shown
    assert "\n  note       at the edge, edge pixels are repeated; the run has no output there\n" in shown
    assert "clipped" not in shown
    layer = nn.Conv2d(3, 3, 3, padding=1, groups=3, padding_mode="reflect")
    nn.init.constant_(layer.bias, 0.5)
    shown = make("ffmpeg", COMPARISON, layer)
    assert "\n  input      pictures of 8 bits, in colour, at least 5×7\n" in shown
    assert "% of that is clipped to [0, 1]\n  border     reflect\n" in shown


def test_what_could_not_be_run(make):
    shown = make("c", "no C compiler is installed (cc)", size=1_234_567)
    assert shown.startswith(
        "blur  1.23 MB, a header of C99\n"
        "  checked    NOT VERIFIED: no C compiler is installed (cc)\n"
        "  input      float32 (N, 1, H, W) in [0, 1], at least 3×5\n"
    )


def test_what_a_filter_sees_beyond_its_field(make):
    shown = make("pt2", COMPARISON, nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"))
    assert "\n  sees       3×3 pixels (receptive field); it goes on at the opposite side of the image" in shown
