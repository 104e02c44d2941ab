"""Programs of `torch.export`: what they take, and what they need to run."""

import importlib
import re
import sys

import pytest
import torch
from torch import nn

from convexp.deploy.formats.pt2 import PT2, program_of
from convexp.deploy.learned import Learned
from convexp.errors import ConvexpError
from convexp.models import Stack


def learned_of(model, name="x", **more):
    return Learned.of_model(model.eval().requires_grad_(False), name, **more)


@pytest.fixture(scope="module")
def stack():
    """Convolutions of convexp's own, which are no kernel."""
    torch.manual_seed(3)
    model = Stack(1, 2, blocks={"one": ["3@5x2"], "two": ["out@1x3"]}, activation=nn.ELU())
    for weights in model.parameters():
        nn.init.uniform_(weights, -0.3, 0.2)
    return learned_of(model)


@pytest.fixture(scope="module")
def path(stack, tmp_path_factory):
    path = tmp_path_factory.mktemp("pt2") / "x.pt2"
    PT2.write(stack, path)
    return path


def test_it_runs_where_there_is_no_convexp(stack, path, monkeypatch):
    image = torch.arange(2 * 17 * 23.0).view(2, 1, 17, 23) / 782
    expected = stack.model(image)
    for name in list(sys.modules):
        if name.partition(".")[0] == "convexp":
            monkeypatch.setitem(sys.modules, name, None)  # no import finds it
    with pytest.raises(ImportError):
        importlib.import_module("convexp.models")
    torch.testing.assert_close(torch.export.load(path).module()(image), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 5, 4), (3, 5, 4), (1, 19, 19), (2, 13, 17), (1, 17, 13), (8, 4 + 37, 4 + 41)])
def test_no_size_is_special(stack, path, size):
    """Nor is the smallest image, a square, or the one that was traced."""
    assert stack.least == (5, 4)
    image = torch.rand(size[0], 1, *size[1:], generator=torch.Generator().manual_seed(0))
    with PT2.opened(stack, path) as opened:
        torch.testing.assert_close(opened.run(image), stack.model(image), rtol=0, atol=1e-6)


def test_the_image_has_its_name_and_its_channels(path):
    program = torch.export.load(path)
    assert program.graph_signature.user_inputs == ("image",)
    (image,) = (node for node in program.graph.nodes if node.name == "image")
    symbolic = [isinstance(side, torch.SymInt) for side in image.meta["val"].shape]
    assert symbolic == [True, False, True, True]
    model = program.module()
    assert model(torch.zeros(1, 1, 17, 23)).shape == (1, 2, 13, 20)
    with pytest.raises(RuntimeError, match=r"shape\[1\] to be equal to 1, but got 3"):
        model(torch.zeros(1, 3, 17, 23))


def test_the_model_and_the_random_numbers_stay_as_they_are(stack):
    weights = {name: weight.clone() for name, weight in stack.model.state_dict().items()}
    before = torch.get_rng_state()
    program = program_of(stack)
    assert torch.get_rng_state().equal(before)
    assert not stack.model.training
    assert weights.keys() == stack.model.state_dict().keys()
    assert all(weight.equal(weights[name]) for name, weight in stack.model.state_dict().items())
    assert not any("stack_trace" in node.meta for node in program.graph.nodes)


def test_another_model_s_program_is_found_out(make, write, compared):
    learned = make(size=(3, 5))
    path = write("pt2", learned)
    assert compared("pt2", learned, path).error < 1e-5
    assert compared("pt2", learned, path).by == f"torch.export of PyTorch {torch.__version__}"
    other = make(size=(3, 5))
    other.model.weight.data = other.model.weight.flip(-1)
    with pytest.raises(ConvexpError, match=r"pt2: run by torch\.export of PyTorch \S+, it differs from the run by 0\."):
        compared("pt2", other, path)


def test_every_filter_is_taken(stack, make):
    assert stack.kernel is None
    assert PT2.refusal(stack) is None
    assert PT2.refusal(make(inputs=5, outputs=7)) is None
    assert PT2.margin(stack) == (0, 0)


class Refusing(nn.Module):
    """Fails in nothing but an export, and says much of it."""

    def forward(self, image):
        if torch.compiler.is_exporting():
            raise RuntimeError(f"no\n  way: {'long ' * 100}")
        return image


def test_a_reason_of_many_lines_is_a_short_one():
    learned = learned_of(Refusing(), "refusing", channels=1)
    with pytest.raises(ConvexpError) as caught:
        program_of(learned)
    reason = re.fullmatch(r"refusing: torch\.export cannot follow this model: (.*)", str(caught.value))[1]
    assert "no way: long long" in reason
    assert len(reason) == 200
    assert caught.value.__cause__ is not None
