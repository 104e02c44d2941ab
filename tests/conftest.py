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
