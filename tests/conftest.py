import multiprocessing
import os
import runpy
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


PROGRAM = """
import os, sys
os.setsid()
os.chdir({place!r})
for descriptor, name in ((1, "out"), (2, "err")):
    os.dup2(os.open({name!r} + "." + name, os.O_WRONLY | os.O_CREAT, 0o600), descriptor)
sys.argv = {words!r}
{code}
"""


@pytest.fixture
def forked(tmp_path):
    """Begins a process where torch is there already, which takes seconds to import.

    `process = forked(code, words)` runs in `tmp_path`, with a group and a `sys.argv[1:]` of its own. It ends with
    `process.exitcode`; what it printed is in the file `process.name + ".out"`, its errors in ".err".
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["convexp.runs.experiment", "convexp.runs.search"])
    begun = []

    def begin(code, words):
        name = str(tmp_path / f".process-{len(begun)}")
        program = Path(f"{name}.py")
        program.write_text(PROGRAM.format(place=str(tmp_path), name=name, words=[str(program), *words], code=code))
        process = context.Process(target=runpy.run_path, args=(program,), kwargs={"run_name": "__main__"}, name=name)
        process.start()
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.join()


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
