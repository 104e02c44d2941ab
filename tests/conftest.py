import os
import socket
import sys
from pathlib import Path

import pytest

# Tests run side by side: several threads each would wait for each other. Before torch is imported, also by commands.
os.environ["OMP_NUM_THREADS"] = "1"

from convexp.runs.command import train  # which imports no torch

TRAIN = Path(__file__).parents[1] / "train.py"
LOCAL = {"127.0.0.1", "::1", "localhost", ""}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that needs another machine fails here, and says which."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise AssertionError(f"a test went to the network: {address}")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """Runs the training command in this process, where torch is there already: (exit status or message, out, err)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # and back again: the command sets it

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", [str(TRAIN), *arguments])
        code = 0
        try:
            train()
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    return run


@pytest.fixture
def make_run(tmp_path):
    """Writes a run's folder by hand: a configuration with a model in it, and the model's weights."""
    import torch
    from hydra import compose, initialize_config_module

    from convexp.runs.config import checked
    from convexp.runs.folder import RunFolder

    def make(model, config, *overrides, step=7):
        with initialize_config_module("convexp.configs", version_base="1.3"):
            own = any(word.startswith("data=") for word in overrides)
            data = [] if own else ["data=shapes", "data.height=97", "data.width=103"]
            plain = checked(compose("train", [*data, *overrides]))
        folder = RunFolder.create(tmp_path / "run")
        chosen = {key: value for word in overrides for key, value in [word.split("=")] if key == "target"}
        folder.write_config({**plain, "standardise": False, "model": config, "choices": chosen})
        weights = {f"model.{name}": weight for name, weight in model.state_dict().items()}
        torch.save({"state_dict": weights, "global_step": step}, folder.checkpoint("best"))
        return folder.path

    return make
