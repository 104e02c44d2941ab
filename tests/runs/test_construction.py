import sys
from functools import partial

import pytest
import torch
from torch import nn

from convexp.errors import ConvexpError
from convexp.operators import Pipeline
from convexp.runs.construction import build, complete, require_trust, untrusted


@pytest.fixture
def mypackage(tmp_path, monkeypatch):
    """A user's own package, which imports `os` as many do."""
    package = tmp_path / "mypackage"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\n"
        "from os import system\n"
        "from torch import nn\n"
        "class Net(nn.Conv2d):\n"
        "    def __init__(self, width=1): super().__init__(1, width, 3)\n"
        "    @classmethod\n"
        "    def wide(cls): return cls(7)\n"
        "def make(width): return Net(width)\n"
        "def fail(): raise KeyError\n"
        "table = {}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("mypackage", None)


def test_a_mapping_becomes_an_object():
    conv = build({"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 2, "kernel_size": [3, 5]}, "model")
    assert isinstance(conv, nn.Conv2d)
    assert conv.weight.shape == (2, 1, 3, 5)


def test_nested_mappings_become_objects_in_plain_containers():
    stages = {"negate": {"_target_": "torch.neg", "_partial_": True}, "elu": {"_target_": "torch.nn.ELU"}}
    pipeline = build({"_target_": "convexp.operators.Pipeline", "stages": stages}, "target")
    assert isinstance(pipeline, Pipeline)
    assert pipeline(torch.full((1, 1, 1, 1), -2.0)).item() == 2.0


def test_what_is_left_open_is_completed():
    node = {"_target_": "torch.nn.Conv2d", "_partial_": True, "kernel_size": 3}
    assert complete(build(node, "model"), "model", in_channels=1, out_channels=4).weight.shape == (4, 1, 3, 3)
    whole = nn.ELU()
    assert complete(whole, "model", in_channels=1) is whole


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": "torch.nn.Conv3"}, r"model=torch\.nn\.Conv3: No module named 'torch\.nn\.Conv3'"),
        ({"_target_": "nowhere.Net"}, r"model=nowhere\.Net: No module named 'nowhere'"),
        ({"_target_": "torch.nn"}, r"model=torch\.nn: Expected a callable target"),
        ({"_target_": "torch.nn.ELU", "beta": 1}, r"model=torch\.nn\.ELU: .*unexpected keyword argument 'beta'"),
        ({"_target_": "torch.nn.ELU", "_partial_": 3}, r"model=torch\.nn\.ELU: .*_partial_ flag must be a bool"),
        ({"_target_": "torch.nn.ELU", "alpha": "???"}, r"model=torch\.nn\.ELU: Missing mandatory value: alpha"),
        ({"_target_": "torch.nn.ELU", None: 1}, r"model=torch\.nn\.ELU: Incompatible key type 'NoneType'"),
        ({"_target_": "convexp.operators.Pipeline", "stages": {}}, r"stages=\{\} must map at least one name"),
        ({"_target_": "builtins.eval", "_args_": ["1"]}, r"model=builtins\.eval: .* blocklisted"),
    ],
)
def test_what_cannot_be_built_is_one_line(node, message):
    with pytest.raises(ConvexpError, match=f"^{message}") as caught:
        build(node, "model")
    assert "\n" not in str(caught.value)


def test_an_error_without_words_has_at_least_a_name(mypackage):
    with pytest.raises(ConvexpError, match=r"^model=mypackage\.fail: KeyError$"):
        build({"_target_": "mypackage.fail"}, "model")


@pytest.mark.parametrize(
    ("built", "message"),
    [
        (
            partial(nn.Conv2d, kernel_size=3),
            r"model=torch\.nn\.modules\.conv\.Conv2d: .*unexpected .* argument 'sides'",
        ),
        (partial(nn.ELU()), r"model=torch\.nn\.modules\.activation\.ELU: .* argument 'sides'"),  # an object, no class
    ],
)
def test_what_cannot_be_completed_is_one_line(built, message):
    with pytest.raises(ConvexpError, match=f"^{message}"):
        complete(built, "model", sides=3)


def nested(inner):
    return {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "torch.nn.ELU"}, [inner]]}


@pytest.mark.parametrize(
    "path",
    [
        "torch.nn.Conv2d",
        "torch.optim.Adam",
        "torch.optim.lr_scheduler.OneCycleLR",
        "convexp.models.Stack",
        "convexp.operators.Pipeline",
        "convexp.training.Photos",
    ],
)
def test_classes_that_compute_are_trusted(path):
    require_trust({"_target_": path})
    require_trust({"model": {"blocks": nested({"_target_": path})}})


@pytest.mark.parametrize(
    "path",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.hub.load",
        "subprocess.Popen",
        "torch.nn.modules.module.os.system",  # reached through a trusted name
        "torch.nn.modules.module.warnings.warn",
        "torch.nn.modules.utils.collections.abc.Iterable",
        "torch.nn.Conv2d.__init__.__globals__",
        "torch.nn.Module.__subclasses__",
        "torch.nn.modules.Conv2d.__mro__",
        "torch.nn.modules.module.torch.nn.Conv2d",  # through a module that a module imports
        "torch.nn.modules.module.OrderedDict",
        "torch.nn.modules.conv.Conv2d.__class__",
        "convexp.runs.quiet.os.system",
        "convexp.runs.folder.RunFolder",
        "convexp.training.task.ImitationTask.load_from_checkpoint",
        "kornia.filters.dissolving.StableDiffusionDissolving",  # fetches its weights
        "kornia.filters.StableDiffusionDissolving",
        "kornia.filters.dissolving.diffusers.StableDiffusionPipeline",  # offers to install it
        "torch.nn.DataParallel",
        "torch.nn.parallel.DistributedDataParallel",
        "torch.nn.Module.apply",
        "torch.nn.functional.relu",
        "torch.nn.quantized.Conv2d",  # defined elsewhere
        "torch.nn",
        "torch.nn.",
        "torch.nn..Conv2d",
        "torch.nn.Conv2d ",
        "torch.nnothing.Conv2d",
        "convexp.images.files.write_image",
        "convexp.images.files.Path.unlink",
        "convexp.runs.construction.build",
        "convexp.runs.command.train",
        "convexp.runs.events.Events",
        "hydra.utils.instantiate",
        "hydra.utils.call",
        ["os.system"],
        b"os.system",
        None,
        3,
    ],
)
def test_all_else_is_refused(path, capfd, caplog):
    for node in ({"_target_": path}, {"model": {"blocks": nested({"_target_": path, "_partial_": True})}}):
        with pytest.raises(ConvexpError, match=r"^_target_: .* is refused: .*allow=\[mypackage\]$"):
            require_trust(node)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []


def test_pairs_hide_nothing():
    node = {"_target_": "torch.nn.Sequential", "_args_": [("a", {"_target_": "os.mkdir", "path": "trap"})]}
    with pytest.raises(ConvexpError, match=r"^_target_: os\.mkdir is refused"):
        require_trust(node)
    assert untrusted(node) == {"os"}


def test_a_name_is_looked_up_without_running_anything(monkeypatch):
    asked = []
    monkeypatch.setattr("torch.nn.modules.conv.__getattr__", lambda name: asked.append(name), raising=False)
    with pytest.raises(ConvexpError, match=r"^_target_: torch\.nn\.modules\.conv\.Trap is refused"):
        require_trust({"_target_": "torch.nn.modules.conv.Trap"})
    assert "Trap" not in asked


def test_a_target_within_a_target_is_refused():
    with pytest.raises(ConvexpError, match=r"^_target_: os\.system is refused"):
        require_trust({"_target_": {"_target_": "os.system"}})


@pytest.mark.parametrize(
    "value", ['${oc.create:"{_target_: os.system, command: id}"}', "\\${oc.env:HOME}", "a${b}", "${oc.decode:'3'}"]
)
def test_an_interpolation_is_refused(value):
    for node in ({"_target_": "torch.nn.Sequential", "_args_": [value]}, {"_target_": "torch.nn.ELU", "alpha": value}):
        with pytest.raises(
            ConvexpError, match=r"is an interpolation, which no run writes: the configuration is refused"
        ):
            require_trust(node)


def test_a_module_that_is_not_trusted_is_not_even_imported(tmp_path, monkeypatch):
    (tmp_path / "trap.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConvexpError, match=r"trap\.Net is refused"):
        require_trust({"_target_": "trap.Net"})


@pytest.mark.parametrize("name", ["Net", "make", "Net.wide"])
def test_an_allowed_package_is_trusted(mypackage, name):
    node = {"_target_": f"mypackage.{name}"}
    with pytest.raises(ConvexpError, match=rf"mypackage\.{name} is refused"):
        require_trust(node)
    require_trust(node, allow=["mypackage"])


@pytest.mark.parametrize("name", ["system", "os.system", "table", "os", "nothing", "Net.weight", "nn.functional.relu"])
def test_an_allowed_package_opens_no_other(mypackage, name):
    with pytest.raises(ConvexpError, match=rf"mypackage\.{name} is refused"):
        require_trust({"_target_": f"mypackage.{name}"}, allow=["mypackage"])


def test_a_package_of_a_longer_name_is_another():
    with pytest.raises(ConvexpError, match=r"mypackage_evil\.Net is refused"):
        require_trust({"_target_": "mypackage_evil.Net"}, allow=["mypackage"])


def test_untrusted_names_what_allow_has_to():
    config = {
        "target": {"_target_": "mine.posterise", "_partial_": True},
        "model": {"_target_": "convexp.models.Stack", "activation": {"_target_": "ours.nets.Wave"}},
        "stages": [{"_target_": "torch.nn.ELU"}, {"_target_": "mine.other"}],
        "seed": 0,
    }
    assert untrusted(config) == {"mine", "ours"}
    assert untrusted({"model": {"_target_": "torch.nn.Conv2d"}}) == set()
