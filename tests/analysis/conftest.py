"""Runs that were made by hand, with known weights."""

import pytest
import torch
from hydra import compose, initialize_config_module

from convexp.runs.config import checked
from convexp.runs.folder import RunFolder


@pytest.fixture
def make_run(tmp_path):
    """Writes a run's folder: a configuration with a model in it, and the model's weights."""

    def make(model, config, *overrides, step=7):
        with initialize_config_module("convexp.configs", version_base="1.3"):
            plain = checked(compose("train", ["data=shapes", "data.height=97", "data.width=103", *overrides]))
        folder = RunFolder.create(tmp_path / "run")
        chosen = {key: value for word in overrides for key, value in [word.split("=")] if key == "target"}
        folder.write_config({**plain, "standardise": False, "model": config, "choices": chosen})
        weights = {f"model.{name}": weight for name, weight in model.state_dict().items()}
        torch.save({"state_dict": weights, "global_step": step}, folder.checkpoint("best"))
        return folder.path

    return make
