import pytest
import torch
import yaml
from torch import nn

from convexp.errors import ConvexpError
from convexp.operators import Template
from convexp.runs.finished import FinishedRun
from convexp.runs.folder import RunFolder
from convexp.training import Photo, Photos

CONV = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 3, "bias": False}


def conv():
    return nn.Conv2d(1, 1, 3, bias=False)


def test_a_run_comes_back_with_model_operator_and_images(make_run):
    model, template = conv(), torch.rand(1, 5, 7)
    run = make_run(model, CONV, "data=photos", "target=template")
    RunFolder(run).write_template(template)
    finished = FinishedRun.read(run)
    assert not finished.model.training
    assert finished.model.weight.equal(model.weight)
    data = finished.data()
    assert isinstance(data, Photos)
    assert isinstance(data.operator, Template)
    assert data.operator.template.equal(template)


def test_other_images_take_the_place_of_its_own(make_run):
    finished = FinishedRun.read(make_run(conv(), CONV, "target=sobel"))
    data = finished.data(data={"_target_": "convexp.training.Photo", "_partial_": True, "name": "coffee"})
    assert isinstance(data, Photo)
    assert data.name == "coffee"
    assert data.operator is not None


@pytest.mark.parametrize("part", ["model", "target", "data"])
def test_no_part_of_it_is_built_of_a_stranger_s_class(make_run, part):
    run = make_run(conv(), CONV)
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config[part] = {"_target_": "subprocess.run", "args": ["true"]}
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConvexpError, match=r"subprocess\.run"):
        FinishedRun.read(run)


def test_nothing_of_a_stranger_s_configuration_is_resolved(make_run, monkeypatch):
    """Lines that double each other would be resolved for ever, and one may ask for a secret."""
    monkeypatch.setenv("SECRET", "told")
    run = make_run(conv(), CONV)
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    doubling = {f"l{number}": f"${{choices.l{number - 1}}}" * 2 for number in range(1, 60)}
    config |= {"outputs": "${oc.env:SECRET}", "choices": {"l0": "x" * 9, **doubling}}
    path.write_text(yaml.safe_dump(config))
    assert FinishedRun.read(run).config["outputs"] == "${oc.env:SECRET}"
    config["data"]["text"] = "${oc.env:SECRET}"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(ConvexpError, match="is an interpolation, which no run writes"):
        FinishedRun.read(run)
