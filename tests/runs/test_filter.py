import os
import resource
import shutil
import zipfile

import pytest
import torch
import yaml
from torch import nn

import convexp
from convexp.errors import ConvexpError
from convexp.models import Standardised
from convexp.runs.filter import steps_behind

STACK = {
    "_target_": "convexp.models.Stack",
    "_partial_": True,
    "in_channels": 1,
    "out_channels": 1,
    "blocks": {"blur": ["2@1x1", "out@3x3"]},
    "activation": {"_target_": "torch.nn.ELU"},
}


def write_run(folder, model, *, node=STACK, standardise=False, **more):
    """What a run leaves, as far as the filter needs it."""
    (folder / "checkpoints").mkdir(parents=True)
    config = {"model": node, "choices": {}, "standardise": standardise, **more}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name, factor in (("best", 1), ("last", 2)):
        state = {f"model.{key}": factor * weight for key, weight in model.state_dict().items()}
        state["metrics.mse.total"] = torch.zeros(())  # belongs to the task, not to its model
        torch.save({"state_dict": state, "global_step": 3}, folder / f"checkpoints/{name}.ckpt")
    return folder


def stack():
    return convexp.models.Stack(1, 1, blocks={"blur": ["2@1x1", "out@3x3"]}, activation=nn.ELU())


@pytest.fixture
def image():
    return torch.rand(2, 1, 17, 23, generator=torch.Generator().manual_seed(1))


def test_the_filter_comes_back(tmp_path, image):
    model = stack()
    loaded = convexp.load_run(write_run(tmp_path / "run", model))
    assert type(loaded) is type(model)
    assert not loaded.training
    assert loaded(image).equal(model(image))


def test_the_last_weights_on_demand(tmp_path, image):
    folder = write_run(tmp_path / "run", nn.Conv2d(1, 1, 3, bias=False), node=conv(kernel_size=3, bias=False))
    best, last = convexp.load_run(folder), convexp.load_run(str(folder), checkpoint="last")
    torch.testing.assert_close(last(image), 2 * best(image))


def test_scales_are_part_of_the_filter(tmp_path, image):
    model = Standardised(stack(), mean=0.4, std=0.2, offset=-1.0, scale=3.0)
    loaded = convexp.load_run(write_run(tmp_path / "run", model, standardise=True))
    assert loaded(image).equal(model(image))


def test_a_copied_folder_is_enough(tmp_path, image):
    first = write_run(tmp_path / "first", stack())
    expected = convexp.load_run(first)(image)
    second = shutil.copytree(first, tmp_path / "elsewhere/second")
    shutil.rmtree(first)
    assert convexp.load_run(second)(image).equal(expected)


def conv(**arguments):
    return {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, **arguments}


def test_a_users_own_package_is_allowed_by_its_name(tmp_path, monkeypatch, image):
    (tmp_path / "ownpackage.py").write_text("from torch import nn\ndef make(size): return nn.Conv2d(1, 1, size)\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = nn.Conv2d(1, 1, 5)
    folder = write_run(tmp_path / "run", model, node={"_target_": "ownpackage.make", "size": 5})
    with pytest.raises(ConvexpError, match=r"^_target_: ownpackage\.make is refused: .*allow=\[mypackage\]$"):
        convexp.load_run(folder)
    assert convexp.load_run(folder, allow=["ownpackage"])(image).equal(model(image))


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "os.mkdir", "path": "trap"},
        {**STACK, "activation": {"_target_": "os.mkdir", "path": "trap"}},
        {**STACK, "activation": '${oc.create:"{_target_: os.mkdir, path: trap}"}'},
        {**STACK, "blocks": {"blur": [{"_target_": "torch.nn.modules.module.os.mkdir", "path": "trap"}]}},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "os.mkdir", "_args_": ["trap"]}]},
        {"_target_": "torch.nn.Sequential", "_partial_": True, "x": {"_target_": "os.mkdir", "path": "trap"}},
        {
            "_target_": "hydra.utils.instantiate",
            "config": {"_target_": "os.mkdir", "path": "trap"},
            "_recursive_": False,
        },
        {"_target_": "convexp.runs.construction.build", "node": {"_target_": "os.mkdir", "path": "trap"}, "key": "x"},
    ],
)
def test_a_strangers_run_executes_nothing(tmp_path, monkeypatch, node):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConvexpError, match=r"is refused"):
        convexp.load_run(write_run(tmp_path / "run", stack(), node=node))
    assert not (tmp_path / "trap").exists()


class Trap:
    def __reduce__(self):
        return os.mkdir, ("trap",)


def test_a_pickle_executes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path / "run", stack())
    torch.save({"state_dict": Trap()}, folder / "checkpoints/best.ckpt")
    with pytest.raises(ConvexpError, match=r"best\.ckpt is damaged, or no checkpoint: ") as caught:
        convexp.load_run(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "trap").exists()


def test_pairs_execute_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_run(tmp_path / "run", stack())
    trap = "!!omap [a: {_target_: os.mkdir, _args_: [trap]}]"
    (folder / "config.yaml").write_text(f"choices: {{}}\nmodel: {{_target_: torch.nn.Sequential, _args_: {trap}}}\n")
    with pytest.raises(ConvexpError, match=r"config\.yaml cannot be read: it has a tag"):
        convexp.load_run(folder)
    assert not (tmp_path / "trap").exists()


GIANTS = {
    "kernel": conv(kernel_size=1_000_000),
    "channels": conv(kernel_size=1) | {"in_channels": 10**9, "out_channels": 10**9},
    "overflow": conv(kernel_size=10**9) | {"in_channels": 10**9},
    "too_long": conv(kernel_size=10**30),
    "device": conv(kernel_size=30_000, device="cpu"),
    "blocks": {**STACK, "blocks": {"blur": ["1000000@1x1", "1000000@1x1", "out@1x1"]}},
    "table": {"_target_": "kornia.filters.MedianBlur", "kernel_size": 10**4 + 1},  # no weights, but a table
}


@pytest.mark.parametrize("node", GIANTS.values(), ids=GIANTS)
def test_a_giant_is_refused_before_there_is_room_for_it(tmp_path, node):
    folder = write_run(tmp_path / "run", stack(), node=node)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ConvexpError) as caught:
        convexp.load_run(folder)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_a_giant_whose_checkpoint_claims_its_size_is_refused(tmp_path):
    folder = write_run(tmp_path / "run", stack(), node=conv(kernel_size=100_000, bias=False))
    weight = torch.zeros(1).expand(1, 1, 100_000, 100_000)  # of four bytes
    torch.save({"state_dict": {"model.weight": weight}}, folder / "checkpoints/best.ckpt")
    with pytest.raises(ConvexpError, match=r"takes 40000000000 bytes, more than its checkpoint of \d+ bytes"):
        convexp.load_run(folder)


def test_many_parts_are_together_no_larger_than_their_checkpoint(tmp_path):
    layers = [conv(kernel_size=4000) for _ in range(50)]
    folder = write_run(tmp_path / "run", stack(), node={"_target_": "torch.nn.Sequential", "_args_": layers})
    weight = torch.zeros(1)
    state = {f"model.{place}.weight": weight.expand(1, 1, 4000, 4000) for place in range(50)}
    state |= {f"model.{place}.bias": weight for place in range(50)}
    torch.save({"state_dict": state}, folder / "checkpoints/best.ckpt")
    with pytest.raises(ConvexpError, match=r"takes 3200000200 bytes, more than its checkpoint of \d+ bytes can hold"):
        convexp.load_run(folder)


def test_a_model_that_takes_hours_to_build_is_refused(tmp_path):
    node = {"_target_": "torch.nn.LSTM", "input_size": 1, "hidden_size": 1, "num_layers": 10**9}
    with pytest.raises(ConvexpError, match="takes more than 20000 steps to build"):
        convexp.load_run(write_run(tmp_path / "run", stack(), node=node))


@pytest.mark.parametrize("kind", ["deflated", "overlapping"])
def test_an_archive_that_unpacks_to_more_than_it_is_is_refused(tmp_path, kind):
    path = write_run(tmp_path / "run", stack()) / "checkpoints/best.ckpt"
    if kind == "deflated":
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in parts.items():
                archive.writestr(name, content)
            archive.writestr("archive/data/9", b"\0" * 10**7)
    else:
        with zipfile.ZipFile(path, "a") as archive:
            archive.filelist += [archive.infolist()[0]] * 100
            archive.writestr("archive/data/9", b"")
    with pytest.raises(
        ConvexpError, match=r"best\.ckpt is damaged, or no checkpoint: its parts unpack to more than it"
    ):
        convexp.load_run(tmp_path / "run")


def test_a_flipped_bit_of_a_weight_is_noticed(tmp_path):
    path = write_run(tmp_path / "run", nn.Conv2d(1, 1, 3), node=conv(kernel_size=3)) / "checkpoints/best.ckpt"
    content = bytearray(path.read_bytes())
    weights = torch.load(path, weights_only=True)["state_dict"]["model.weight"].numpy().tobytes()
    content[content.index(weights) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ConvexpError, match=r"best\.ckpt is damaged, or no checkpoint: its part .*data/\d is not what"):
        convexp.load_run(tmp_path / "run")


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_checkpoint_that_would_be_read_without_an_end(tmp_path, kind):
    path = write_run(tmp_path / "run", stack()) / "checkpoints/best.ckpt"
    path.unlink()
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    with pytest.raises(
        ConvexpError, match=r"best\.ckpt is damaged, or no checkpoint: it is a folder, a pipe or a device"
    ):
        convexp.load_run(tmp_path / "run")


@pytest.mark.parametrize(
    "weight",
    [
        torch.zeros(1, 1, 3, 3, device="meta"),
        torch.zeros(1, 1, 3, 3).to_sparse(),
        torch.zeros(1, 1, 3, 3, dtype=torch.complex64),
    ],
    ids=["meta", "sparse", "complex"],
)
def test_weights_of_a_strange_kind_are_refused(tmp_path, weight):
    folder = write_run(tmp_path / "run", stack(), node=conv(kernel_size=3, bias=False))
    torch.save({"state_dict": {"model.weight": weight}}, folder / "checkpoints/best.ckpt")
    with pytest.raises(
        ConvexpError, match=r"best\.ckpt has the weights of another model: model\.weight is no plain tensor$"
    ):
        convexp.load_run(folder)


def test_weights_that_are_not_finite_are_loaded(tmp_path, image):
    """A run that diverged is what it is: its output says so."""
    model = nn.Conv2d(1, 1, 3, bias=False)
    nn.init.constant_(model.weight, torch.nan)
    loaded = convexp.load_run(write_run(tmp_path / "run", model, node=conv(kernel_size=3, bias=False)))
    assert loaded(image).isnan().all()


def test_a_damaged_checkpoint_is_one_line(tmp_path):
    path = write_run(tmp_path / "run", stack()) / "checkpoints/best.ckpt"
    whole = path.read_bytes()
    for length in (0, 1, 4, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ConvexpError, match=r"best\.ckpt is damaged, or no checkpoint: ") as caught:
            convexp.load_run(tmp_path / "run")
        assert "\n" not in str(caught.value)
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ConvexpError, match=r"best\.ckpt is damaged, or no checkpoint: "):
        convexp.load_run(tmp_path / "run")


@pytest.mark.parametrize("content", [[1, 2], {"weights": {}}, {"state_dict": [1]}, torch.zeros(3)])
def test_another_file_of_torch_is_no_checkpoint(tmp_path, content):
    folder = write_run(tmp_path / "run", stack())
    torch.save(content, folder / "checkpoints/best.ckpt")
    with pytest.raises(ConvexpError, match=r"best\.ckpt is not the checkpoint of a run: it has no state_dict$"):
        convexp.load_run(folder)


def test_the_weights_of_another_model_are_refused(tmp_path):
    folder = write_run(tmp_path / "run", nn.Conv2d(1, 7, 3))
    with pytest.raises(ConvexpError, match=r"best\.ckpt has the weights of another model: .*Missing key") as caught:
        convexp.load_run(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_are_no_tensors_are_refused(tmp_path):
    folder = write_run(tmp_path / "run", nn.Conv2d(1, 1, 3), node=conv(kernel_size=3))
    torch.save({"state_dict": {"model.weight": 3, "model.bias": "x"}}, folder / "checkpoints/best.ckpt")
    with pytest.raises(ConvexpError, match=r"best\.ckpt has the weights of another model: "):
        convexp.load_run(folder)


def test_a_missing_checkpoint_is_named(tmp_path):
    folder = write_run(tmp_path / "run", stack())
    (folder / "checkpoints/best.ckpt").unlink()
    with pytest.raises(ConvexpError, match=r"^there is no .*best\.ckpt: the run stopped before it wrote one"):
        convexp.load_run(folder)


def test_there_are_two_checkpoints(tmp_path):
    with pytest.raises(ConvexpError, match=r"^checkpoint='middle' must be 'best' or 'last'$"):
        convexp.load_run(write_run(tmp_path / "run", stack()), checkpoint="middle")


def test_a_model_must_be_a_module(tmp_path):
    node = {"_target_": "torch.optim.SGD", "params": [{"params": []}]}
    with pytest.raises(ConvexpError, match=r"model=torch\.optim\.SGD is no torch\.nn\.Module$"):
        convexp.load_run(write_run(tmp_path / "run", stack(), node=node))


@pytest.mark.parametrize("depth", [20, 40, 60, 80, 100, 150, 400])
def test_a_deep_configuration_is_one_line(tmp_path, depth):
    (tmp_path / "run").mkdir()
    text = "{_target_: torch.nn.Sequential, _args_: [" * depth + "{_target_: torch.nn.ELU}" + "]}" * depth
    (tmp_path / "run/config.yaml").write_text(f"model: {text}\nchoices: {{}}\n")
    with pytest.raises(ConvexpError, match=r"recursion|nested more than|there is no .*best\.ckpt") as caught:
        convexp.load_run(tmp_path / "run")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("steps", [None, -1, 2.5, "many", 10**30])
def test_a_checkpoint_says_how_many_steps_it_is_behind(tmp_path, steps):
    path = write_run(tmp_path / "run", stack()) / "checkpoints/last.ckpt"
    assert steps_behind(path) == 3
    torch.save({"state_dict": {}, "global_step": steps}, path)
    with pytest.raises(ConvexpError, match=r"last.ckpt does not say how many steps it is behind"):
        steps_behind(path)
