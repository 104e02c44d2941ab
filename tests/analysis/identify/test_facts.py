import json

import pytest
import torch

from convexp.analysis.identify.facts import facts
from convexp.analysis.identify.identification import identify
from convexp.analysis.identify.sentences import name
from convexp.images import photograph
from convexp.operators import Equalize, Filter, Gamma, GaussianBlur, Median

GRAY = photograph("camera")[:, 91:208, 183:306]
COLOUR = photograph("coffee")[:, 91:208, 203:326]


def identified(target, before=GRAY):
    return identify(before, (target(before[None])[0].clamp(0, 1) * 255).round() / 255)


def test_added_channels_are_one_kernel():
    found = identified(Filter("sobel_x", channels="sum"), COLOUR)
    assert facts(found, "a", "b")["kernel"]["weights"][1][2] == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(
    "target", [GaussianBlur(5, 1.0), Gamma(0.5), Median(3), Equalize(), lambda image: image.flip(3), torch.zeros_like]
)
def test_facts_are_json(target):
    found = identified(target)
    read = json.loads(json.dumps(facts(found, "before.png", "after.png"), allow_nan=False))
    assert read["kind"] == found.kind
    assert read["name"] == name(found)
