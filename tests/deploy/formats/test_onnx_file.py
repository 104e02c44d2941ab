"""ONNX and `.pt2`: the same models, exported once."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convexp.deploy.export import FORMATS, compare
from convexp.deploy.formats.onnx_file import ONNX, PACKAGES
from convexp.deploy.learned import Learned
from convexp.errors import ConvexpError
from convexp.images import write_image
from convexp.models import Stack, Standardised
from convexp.models.context_aggregation import ContextAggregation

SIZES = ((1, 37, 41), (2, 101, 53), (3, 59, 97))


def models():
    torch.manual_seed(3)
    blocks = {"edges": ["2@2x2", "5@1x1"], "blur": ["4@3x3", "out@3x3"]}
    stack = Stack(3, 1, blocks=blocks, activation=nn.ELU(inplace=True))
    deep = Standardised(stack, mean=0.4, std=0.2, offset=-1.0, scale=3.0)
    context = ContextAggregation(3, 3, width=4, dilations=(1, 2, 8, 1), border="reflect")
    for weight in context.parameters():
        nn.init.uniform_(weight, -0.2, 0.25)
    return {"deep": deep, "context": context}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("exported")
    made = {}
    for name, model in models().items():
        learned = Learned.of_model(model.eval().requires_grad_(False), name)
        for fmt in (FORMATS["onnx"], FORMATS["pt2"]):
            made[fmt.name, name] = learned, folder / f"{name}{fmt.suffix}"
            fmt.write(*made[fmt.name, name])
    return made


CASES = [(fmt, name) for fmt in ("onnx", "pt2") for name in ("deep", "context")]


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_the_model_does_at_any_size(exported, case):
    learned, path = exported[case]
    with FORMATS[case[0]].opened(learned, path) as opened:
        for count, height, width in SIZES:
            image = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(1))
            torch.testing.assert_close(opened.run(image), learned.model(image), rtol=0, atol=1e-5)
        comparison = compare(FORMATS[case[0]], learned, opened)
    assert comparison.error < 1e-5
    assert comparison.least in (learned.least, tuple(side + 1 for side in learned.least))
    assert comparison.images[1:] == ("2 images of 101×97", "×".join(map(str, comparison.least)))


@pytest.mark.parametrize("case", CASES)
def test_the_printed_lines_run(exported, case, tmp_path, monkeypatch):
    learned, path = exported[case]
    monkeypatch.chdir(tmp_path)
    image = learned.photo(most=(37, 41))
    write_image(image[0], "photo.png")
    lines = FORMATS[case[0]].example(learned, path)
    assert len(lines) <= 6
    names = {}
    exec("\n".join(lines), names)
    torch.testing.assert_close(torch.as_tensor(names["output"]), learned.model(image), rtol=0, atol=1e-5)


def test_gray_pictures_are_the_mean_of_their_colours(tmp_path):
    learned = Learned.of_model(nn.Conv2d(1, 1, 3), "gray")
    for name in ("onnx", "pt2", "npy"):
        assert any(".mean(axis=2)" in line for line in FORMATS[name].example(learned, tmp_path / "gray"))


def test_the_file_says_what_it_needs(exported):
    import onnx

    learned, path = exported["onnx", "deep"]
    model = onnx.load(path)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["receptive_field"]) == list(learned.field) == [6, 6]
    assert json.loads(facts["input_range"]) == [0, 1]
    assert (facts["name"], facts["border"], model.producer_name) == ("deep", "valid", "convexp")

    assert not any(part.metadata_props for part in (*model.graph.node, *model.graph.initializer))  # of the exporter

    def axes(value):
        return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]

    (image,), (output,) = model.graph.input, model.graph.output
    assert (image.name, axes(image)) == ("image", ["batch", 3, "height", "width"])
    assert (output.name, axes(output)) == ("output", ["batch", 1, "height - 5", "width - 5"])


def test_neither_names_folders_of_this_machine(exported):
    _, path = exported["onnx", "context"]
    assert str(Path(torch.__file__).parents[1]).encode() not in path.read_bytes()
    _, path = exported["pt2", "context"]
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            assert str(Path(torch.__file__).parents[1]).encode() not in archive.read(name)
            assert str(Path(__file__).parents[3]).encode() not in archive.read(name)
            assert "sample_inputs/model" not in name or len(archive.read(name)) < 4000  # no image


def test_another_weight_is_found_out(exported, tmp_path):
    import onnx

    learned, path = exported["onnx", "deep"]
    model = onnx.load(path)
    weight = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [1, 4, 3, 3])
    turned = onnx.numpy_helper.to_array(weight)[..., ::-1]
    weight.CopyFrom(onnx.numpy_helper.from_array(np.ascontiguousarray(turned), weight.name))
    onnx.save(model, tmp_path / "other.onnx")
    with (
        pytest.raises(ConvexpError, match=r"onnx: run by ONNX Runtime \S+, it differs from the run by "),
        ONNX.opened(learned, tmp_path / "other.onnx") as opened,
    ):
        compare(ONNX, learned, opened)


def test_without_its_packages_it_says_what_to_install(monkeypatch):
    learned = Learned.of_model(nn.Conv2d(1, 1, 3), "x")
    for package in PACKAGES[1:]:
        monkeypatch.setitem(sys.modules, package, None)
    assert ONNX.refusal(learned) == "it needs onnxscript and onnxruntime: pip install 'convexp[export]'"


class Deciding(nn.Module):
    def forward(self, image):
        return image if image.mean() > 0.5 else 1 - image


def test_what_cannot_be_followed_is_one_line(tmp_path):
    learned = Learned.of_model(Deciding(), "deciding", channels=1)
    with pytest.raises(ConvexpError, match=r"deciding: torch\.export cannot follow this model: [^\n]*$"):
        FORMATS["pt2"].write(learned, tmp_path / "x.pt2")


def test_nothing_is_said_meanwhile(tmp_path, capfd):
    learned = Learned.of_model(nn.Conv2d(1, 1, 3).eval().requires_grad_(False), "x")
    FORMATS["pt2"].write(learned, tmp_path / "x.pt2")
    assert capfd.readouterr() == ("", "")
