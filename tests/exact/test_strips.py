import numpy as np
import pytest
import torch
from torch import nn

from convexp.exact.strips import source, strips, taken


@pytest.mark.parametrize(
    ("mode", "numpys"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap"), ("zeros", "constant")]
)
def test_an_image_goes_on_as_numpy_pads_it(mode, numpys):
    index = source(-4, 7 + 3, side=7, mode=mode)
    values = torch.arange(10.0, 17.0)
    np.testing.assert_array_equal(taken(values, index, dim=0), np.pad(values.numpy(), (4, 3), mode=numpys))


def test_inside_an_image_nothing_is_copied():
    values = torch.rand(5, 7)
    assert taken(values, source(2, 5, side=7, mode="zeros"), dim=1).data_ptr() == values[:, 2:].data_ptr()


def test_strips_are_what_the_convolution_reads_for_their_targets(monkeypatch):
    monkeypatch.setattr("convexp.exact.strips.MOST_VALUES", 4 * 19 * 9)  # four rows at a time
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect", bias=False).double()
    image = torch.rand(1, 1, 17, 19, dtype=torch.float64)
    target = layer(image).detach()
    cut = list(strips(layer, image, target))
    assert [strip.target.shape[1] for strip in cut] == [4, 4, 4, 4, 1]
    for region, wanted in cut:
        torch.testing.assert_close(nn.functional.conv2d(region[None], layer.weight)[0], wanted)
