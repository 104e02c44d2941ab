"""Every choice under configs/ is composed, built and run; every example of --help composes."""

import itertools
import json
import re
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from convexp.images.files import write_image
from convexp.images.generated import shapes
from convexp.runs import construction
from convexp.runs.config import checked
from convexp.runs.experiment import run

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = sorted(
    path.relative_to(CONFIGS).with_suffix("").as_posix()
    for path in CONFIGS.rglob("*.yaml")
    if path.parent.name != "search"
)
HELP = yaml.safe_load((CONFIGS / "hydra/help/convexp.yaml").read_text())["template"]
MISSING = {
    "target/kernel": ["target.kernel=[[0,1,0],[1,-4,1],[0,1,0]]"],
    "target/template": ["target.patch=[10,20,5,17]"],
}
EXAMPLES = re.findall(r"^ *python train.py (.*?)(?:  |$)", HELP, flags=re.MULTILINE)


def composed(overrides):
    """What `python train.py` gives to `run`."""
    with initialize_config_module("convexp.configs", version_base="1.3"):
        config = compose("train", overrides, return_hydra_config=True)
    own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return checked(own) | {"choices": dict(config.hydra.runtime.choices)}


def overrides_of(name, tmp_path):
    group, _, choice = name.rpartition("/")
    overrides = [f"{group}={choice}"] if group else []
    if name in ("data/files", "data/pairs"):
        write_image(shapes(101, 67, seed=1), tmp_path / "shapes.png")
        keys = ["train"] if name == "data/files" else ["inputs", "targets"]
        overrides += [f"data.{key}={tmp_path}" for key in keys]
    return [*overrides, *MISSING.get(name, [])]


def test_the_choices_are_found():
    assert {"train", "data/photos", "model/deep", "target/edges_blur", "hydra/help/convexp"} <= set(NAMES)


# Launchers are tested in tests/runs/test_launchers.py, several processes in tests/training/test_processes.py.
@pytest.mark.parametrize(
    "name", [name for name in NAMES if not name.startswith(("trainer/ddp", "hydra/launcher/", "target/examples"))]
)
def test_every_choice_trains(name, tmp_path):
    if name == "trainer/gpu" and not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    small = ["data.size=64", "trainer.max_steps=2", *(["data=photo"] if name.startswith("target/") else [])]
    metrics = run(composed([*overrides_of(name, tmp_path), *small]), tmp_path / "run")
    assert metrics["steps"] == 2
    assert json.loads((tmp_path / "run/metrics.json").read_text()) == metrics
    for picture in ("comparison.png", "kernels.png", "loss.png"):
        assert (tmp_path / "run" / picture).stat().st_size > 1000


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_several_processes_are_composed(strategy):
    trainer = composed([f"trainer={strategy}"])["trainer"]
    assert (trainer["strategy"], trainer["devices"]) == (strategy, "auto")


def test_pairs_bring_their_target():
    pairs = composed(["data=pairs", "data.inputs=before", "data.targets=after"])
    assert pairs["target"] == {"_target_": "convexp.operators.Examples"}


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("experiment/")])
def test_an_experiment_decides_against_every_default(name):
    # _self_ and model come before it in train.yaml; behind it, they would undo what it says.
    recorded = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    config = composed([f"experiment={Path(name).name}"])
    for override in recorded.pop("defaults"):
        for group, choice in override.items():
            assert config["choices"][group.removeprefix("override /")] == choice
    for key, value in recorded.items():
        assert config[key] == ({**config[key], **value} if isinstance(value, dict) else value)


def test_the_command_line_decides_against_an_experiment():
    config = composed(["experiment=notebook_highpass", "optimizer=adam", "trainer.max_steps=7"])
    assert config["optimizer"]["_target_"] == "torch.optim.Adam"
    assert config["trainer"]["max_steps"] == 7


def test_the_default_choices_may_be_rebuilt_from_a_strangers_folder():
    for model in ("single", "deep"):
        construction.require_trust(composed([f"model={model}"]))


def test_the_help_has_six_examples():
    assert len(EXAMPLES) == 6


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_of_the_help_composes(example):
    words = [word for word in example.split() if word != "-m"]
    values = [[f"{key}={value}" for value in values.split(",")] for key, values in (word.split("=") for word in words)]
    for overrides in itertools.product(*values):
        config = composed(list(overrides))
        for key, value in (override.split("=") for override in overrides):
            node = config["choices"] if key in config["choices"] else config
            for part in key.split("."):
                node = node[part]
            assert node == yaml.safe_load(value) or float(node) == float(value)


def test_the_help_names_the_defaults():
    named = re.search(r"without any: (.*)", HELP)[1].split()
    choices = composed([])["choices"]
    assert {word: choices[word.partition("=")[0]] for word in named} == {word: word.partition("=")[2] for word in named}


def test_the_help_can_be_read_in_one_screen():
    lines = HELP.splitlines()
    assert len(lines) <= 32  # the groups' line becomes eight
    assert max(len(line) for line in lines) <= 100
