"""A run's files, truncated, flipped and spliced: one line that says what is wrong, or a right answer."""

import faulthandler
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import nn

import convexp
from convexp.errors import ConvexpError
from convexp.runs.filter import read_checkpoint
from convexp.runs.folder import RunFolder
from convexp.runs.record import STATUSES, read_record
from convexp.runs.runs_command import list_runs

CASES = 150  # of each file
HANG = 120  # seconds of all cases of a file, which take two

METRICS = {
    "best": {"step": 40, "train/mse": 0.25, "val/mse": 0.25, "val/psnr": 6.0, "val/ssim": None},
    "final": {"step": 50, "train/mse": 0.5, "val/mse": 0.5, "val/psnr": 3.0, "val/ssim": None},
    "optimum": {"gap": 0.125, "perfect": False},
    "seconds": 2.5,
}
STACK = {
    "_target_": "convexp.models.Stack",
    "_partial_": True,
    "in_channels": 1,
    "out_channels": 1,
    "blocks": {"edges": ["2@2x2", "3@1x1"], "blur": ["out@3x3"]},
    "activation": {"_target_": "torch.nn.ELU"},
}
CONFIG = {
    "model": STACK,
    "choices": {"model": "deep", "target": "sobel"},
    "overrides": ["model=deep", "target=sobel"],
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001, "betas": [0.9, 0.99]},
    "standardise": True,
    "seed": 0,
}
IMAGE = torch.rand(1, 1, 11, 13, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.checkpoints.mkdir(parents=True)
    run.write_config(CONFIG)
    run.write_metrics(METRICS)
    stack = convexp.models.Stack(1, 1, blocks=STACK["blocks"], activation=nn.ELU())
    model = convexp.models.Standardised(stack, mean=0.4, std=0.2)
    state = {f"model.{name}": weight for name, weight in model.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 3, "epoch": 0}, run.checkpoint("best"))
    np.save(run.template, np.linspace(0, 1, 12).reshape(3, 4))
    return run


@st.composite
def damaged(draw, content, words):
    """A content cut off, with bits flipped, bytes or words written over, or parts left out, repeated or exchanged."""

    def place():
        return draw(st.integers(0, len(content) - 1))

    kind = draw(st.sampled_from(["cut", "flip", "flip", "word", "word", "splice", "leave", "repeat"]))
    start, end = sorted((place(), place()))
    if kind == "cut":
        return content[:start]
    if kind == "splice":
        return content[:start] + content[place() :]
    if kind in ("leave", "repeat"):
        return content[:start] + content[end:] if kind == "leave" else content[:end] + content[start:]
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 3))):
        at = place()
        if kind == "flip":
            changed[at] ^= 1 << draw(st.integers(0, 7))
        else:
            word = draw(st.sampled_from(words))
            changed[at : at + draw(st.sampled_from([0, len(word)]))] = word
    return bytes(changed)


@pytest.fixture(autouse=True)
def watchdog():
    faulthandler.dump_traceback_later(HANG, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


def outcome(call, *arguments):
    """What a call returns, or its error's line."""
    try:
        return call(*arguments)
    except ConvexpError as error:
        line = str(error)
        assert "\n" not in line
        assert len(line) < 1000
        return line


def each_damage(path, words, check):
    """Calls the check after every damage of the file."""
    whole = path.read_bytes()

    @seed(zlib.crc32(path.name.encode()))
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=damaged(whole, words))
    def every(content):
        path.write_bytes(content)
        check()

    every()


NUMBERS = [b"1000000000", b"1e400", b"-1", b"0", b"nan", b"99999999999999999999999"]
YAML = [b"\n", b"  ", b": ", b"- ", b"[", b"{", b"]", b"&a ", b"*a", b"!!omap ", b"${seed}", b"\t", b"#", b"'", b"null"]
CLASSES = [b"os.system", b"torch.nn.LSTM", b"torch.optim.SGD", b"torch.nn.Module", b"convexp.models.Standardised"]
KEYS = [b"_target_", b"_args_", b"_recursive_", b"_convert_", b"_partial_", b"true", b"false", b"1000000@1x1"]


@pytest.mark.slow
def test_a_damaged_configuration(folder, capfd):
    weights = read_checkpoint(folder.checkpoint("best"))["state_dict"]

    def check():
        config, model = outcome(folder.read_config), outcome(convexp.load_run, folder.path)
        if isinstance(config, str):
            assert model == config
        if isinstance(model, str):
            return
        loaded = {f"model.{name}": weight for name, weight in model.state_dict().items()}
        assert loaded.keys() == weights.keys()
        assert all(weight.equal(weights[name]) for name, weight in loaded.items())

    each_damage(folder.config, [*NUMBERS, *YAML, *CLASSES, *KEYS], check)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_damaged_checkpoint(folder, capfd):
    expected = convexp.load_run(folder.path)(IMAGE)

    def check():
        model = outcome(convexp.load_run, folder.path)
        if not isinstance(model, str):
            assert model(IMAGE).equal(expected)  # the damage is where nothing is read

    words = [
        b"\0" * 4,
        b"\xff" * 4,
        b"PK\3\4",
        b"PK\1\2",
        b"PK\5\6",
        b"ctorch\n_utils\n",
        b"cos\nsystem\n",
        b"R.",
        b"\x8a",
    ]
    each_damage(folder.checkpoint("best"), words, check)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_damaged_metrics(folder, capfd):
    def check():
        record = read_record(folder.path)
        assert record.status in STATUSES
        assert (record.status == "unreadable") == (record.reason is not None)
        for more in ([], ["--json"], ["--csv", "-"], ["--sort", "val/psnr"]):
            with suppress(SystemExit):  # a message of one line, which test_runs_command looks at
                list_runs([str(folder.path.parent), *more])

    each_damage(
        folder.metrics, [*NUMBERS, b"{", b"}", b"[", b'"', b"\\u0000", b"null", b"NaN", b"Infinity", b"["], check
    )
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_a_damaged_template(folder, capfd):
    def check():
        template = outcome(folder.read_template)
        if not isinstance(template, str):
            assert template.dim() == 3
            assert template.min() >= 0
            assert template.max() <= 1

    each_damage(folder.template, [*NUMBERS, b"(", b")", b"'<f4'", b"'|O'", b"True", b"\0", b"\n"], check)
    assert capfd.readouterr() == ("", "")


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(more=PLAIN)
def test_what_a_run_writes_is_read_back(tmp_path, more):
    folder = RunFolder(tmp_path)
    config = {"model": {"_target_": "torch.nn.ELU"}, "choices": {}, "more": more}
    folder.write_config(config)
    assert folder.read_config() == config
