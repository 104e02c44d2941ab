import json
import re
import sys

import pytest
import torch
import yaml
from scipy import signal
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import convexp
from convexp.analysis.command import inspect
from convexp.analysis.inspection import inspect_run
from convexp.errors import ConvexpError
from convexp.images import read_image, shapes, write_image
from convexp.models import Stack
from convexp.operators import Magnitude, Template
from convexp.operators.kernels import horizontal_edge, integer_gaussian, vertical_edge
from convexp.runs.folder import RunFolder

CONV = {"_target_": "torch.nn.Conv2d", "bias": False}
EDGES_BLUR = {
    "_target_": "torch.nn.Sequential",
    "_args_": [
        {**CONV, "in_channels": 1, "out_channels": 2, "kernel_size": 2},
        {"_target_": "convexp.operators.Magnitude"},
        *({**CONV, "in_channels": 1, "out_channels": 1, "kernel_size": 5} for _ in range(5)),
    ],
}
TWO_LINEAR = {
    "_target_": "torch.nn.Sequential",
    "_args_": [
        {**CONV, "in_channels": 1, "out_channels": 1, "kernel_size": 3},
        {**CONV, "in_channels": 1, "out_channels": 1, "kernel_size": [2, 4]},
    ],
}


def edges_blur():
    model = nn.Sequential(nn.Conv2d(1, 2, 2, bias=False), Magnitude(), *[nn.Conv2d(1, 1, 5, bias=False)] * 5)
    model.requires_grad_(False)
    model[0].weight[:, 0] = torch.stack([vertical_edge(), horizontal_edge()])
    model[2].weight[0, 0] = integer_gaussian()
    return model


def two_linear():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 1, 3, bias=False), nn.Conv2d(1, 1, (2, 4), bias=False))


@pytest.fixture
def perfect(make_run):
    return make_run(edges_blur(), EDGES_BLUR, "target=edges_blur")


def written(run):
    return json.loads((run / "inspect/inspect.json").read_text())


def tags(run):
    events = EventAccumulator(str(run))
    events.Reload()
    return events


def test_a_perfect_stack_holds_each_stage_where_it_is_made(perfect):
    inspect_run(perfect)
    found = written(perfect)
    probes = found["probes"]
    assert probes["stages"] == ["vertical_edge", "horizontal_edge", "magnitude", *(f"blur_{i}" for i in range(1, 6))]
    assert probes["layers"] == ["input", "0", "1", "2", "3", "4", "5", "6"]
    for layer, stage in [(1, 0), (1, 1), *((i, i) for i in range(2, 8))]:
        assert probes["r2"][layer][stage] == pytest.approx(1, abs=1e-6)
    for stage in range(2, 8):  # no stage is there before it is made
        assert all(probes["r2"][layer][stage] < 0.999 for layer in range(stage))
    assert probes["summary"].startswith(
        "vertical_edge and horizontal_edge are in 0 (R² 1.00, 1.00); magnitude appears in 1"
    )
    assert [(kernel["name"], kernel["angle"]) for kernel in found["first_layer"]["kernels"]] == [
        ("vertical_edge", 0),
        ("horizontal_edge", 90),
    ]
    assert found["verdict"] == {"kind": "pointwise", "size": [22, 22], "mixes": False}
    assert found["receptive_field"]["theoretical"] == [22, 22]
    assert found["linear"] is False
    assert found["local_kernels"]["edge"]["cosine_to_true"] == pytest.approx(1, abs=1e-6)
    assert all(error["mse"] < 1e-12 for error in found["errors"].values())
    assert found["step"] == 7


def test_what_is_written_is_in_tensorboard_too(perfect):
    found = inspect_run(perfect)
    files = {path.relative_to(perfect / "inspect").with_suffix("").as_posix() for path in perfect.rglob("*.png")}
    assert files == set(found.pictures)
    assert {"probes", "first_layer", "error", "local_kernel_edge", "layers/01-0", "layers/07-6"} <= files
    for name, picture in found.pictures.items():
        assert read_image(perfect / f"inspect/{name}.png").shape == picture.shape
    events = tags(perfect)
    assert {tag.removeprefix("inspect/") for tag in events.Tags()["images"]} == files
    assert all(image.step == 7 for image in events.Images("inspect/probes"))
    (text,) = events.Tensors("inspect/text_summary")
    assert b"magnitude appears in 1" in text.tensor_proto.string_val[0]


def test_a_second_look_replaces_the_first(perfect, tmp_path):
    inspect_run(perfect)
    (perfect / "inspect/layers/99-old.png").touch()
    write_image(shapes(79, 83, seed=5), tmp_path / "other.png")
    inspect_run(perfect, str(tmp_path / "other.png"))
    assert written(perfect)["images"] == {"other": [79, 83]}
    assert not (perfect / "inspect/layers/99-old.png").exists()
    assert len(list(perfect.glob("*.inspect"))) == 1
    assert len(tags(perfect).Images("inspect/probes")) == 1


def test_a_linear_stack_is_one_kernel(make_run):
    model = two_linear()
    run = make_run(model, TWO_LINEAR, "target=sharpen")
    found = inspect_run(run)
    facts = written(run)
    first, second = (layer.weight.detach()[0, 0].double().numpy() for layer in model)
    # Cross-correlation by one after the other is cross-correlation by their full convolution.
    expected = torch.from_numpy(signal.convolve2d(first, second, mode="full"))
    torch.testing.assert_close(
        torch.tensor(facts["effective_kernel"]["kernel"])[0, 0].double(), expected, rtol=0, atol=1e-6
    )
    assert facts["linear"] is True
    assert {"effective_kernel", "frequency_response"} <= set(found.pictures)
    (described,) = facts["effective_kernel"]["described"]
    assert described["dc_gain"] == pytest.approx(expected.sum().item(), abs=1e-6)
    assert facts["effective_kernel"]["distance_to_true"] > 0.1
    assert any(line.startswith("linear: one 4×6 kernel equals it; DC gain") for line in found.lines)


def test_a_kernel_of_another_parity_is_laid_over_the_true_one(make_run):
    # A 3×3 kernel that is the 2×2 edges, where the loss compares the two: in its upper left corner.
    model = nn.Conv2d(1, 2, 3, bias=False).requires_grad_(False)
    model.weight.zero_()
    model.weight[:, 0, :2, :2] = torch.stack([vertical_edge(), horizontal_edge()])
    config = {**CONV, "in_channels": 1, "out_channels": 2, "kernel_size": 3}
    run = make_run(model, config, "target=gradients", "target.kernels=edges")
    inspect_run(run)
    facts = written(run)
    assert facts["effective_kernel"]["distance_to_true"] == pytest.approx(0, abs=1e-6)
    assert facts["errors"]["shapes_a"]["mse"] == pytest.approx(0, abs=1e-12)


def test_a_run_from_before_there_were_sweeps(perfect):
    config = yaml.safe_load((perfect / "config.yaml").read_text())
    del config["sweep"]
    (perfect / "config.yaml").write_text(yaml.safe_dump(config))
    assert inspect_run(perfect).facts["step"] == 7


def test_constant_channels_are_named(make_run):
    model = edges_blur()
    model[0].weight[1] = 0
    run = make_run(model, EDGES_BLUR, "target=edges_blur")
    found = inspect_run(run)
    assert "0: 1 of 2 channels are constant: 1 (dead, 0)" in found.lines
    assert written(run)["layers"]["0"]["constant_channels"] == {"1": 0}


USERS = """
from torch import Tensor, nn
from torch.nn import functional

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3)
        self.second = nn.Conv2d(3, 1, 3)

    def forward(self, image: Tensor) -> Tensor:
        return functional.relu(self.second(functional.relu(self.first(image))) + 0.1)
"""


def test_a_model_of_the_user(make_run, tmp_path, monkeypatch):
    (tmp_path / "theirs.py").write_text(USERS)
    monkeypatch.syspath_prepend(tmp_path)
    from theirs import Net

    run = make_run(Net(), {"_target_": "theirs.Net"}, "target=median", "target.kernel_size=3")
    with pytest.raises(ConvexpError, match=r"^_target_: theirs\.Net is refused: .*allow=\[mypackage\]$"):
        inspect_run(run)
    found = inspect_run(run, allow=["theirs"])
    assert list(found.facts["layers"]) == ["first", "second", "output"]
    assert found.facts["probes"]["stages"] == ["median"]


def test_an_operator_without_gradients_has_no_true_kernel(make_run):
    model = nn.Sequential(nn.Conv2d(1, 1, 3), nn.ELU())
    config = {
        "_target_": "torch.nn.Sequential",
        "_args_": [
            {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": 3},
            {"_target_": "torch.nn.ELU"},
        ],
    }
    run = make_run(model, config, "target=canny")
    found = inspect_run(run)
    assert "local_kernel_edge" in found.pictures
    assert "cosine_to_true" not in found.facts["local_kernels"]["edge"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("nope.png", r"^.*nope\.png does not exist"),
        ("tiny.png", r"^tiny is 17×23, smaller than the model's receptive field of 22×22; inspect a larger image$"),
    ],
)
def test_an_image_that_cannot_be_inspected(perfect, tmp_path, image, message):
    write_image(shapes(17, 23, seed=0), tmp_path / "tiny.png")
    with pytest.raises(ConvexpError, match=message):
        inspect_run(perfect, str(tmp_path / image))
    assert not (perfect / "inspect").exists()


def test_nothing_is_written_through_a_link(perfect, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/precious").touch()
    (perfect / "inspect").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConvexpError, match=r"inspect is a link: nothing is written through it$"):
        inspect_run(perfect)
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["precious"]


def test_the_command_says_what_was_found(perfect, capsys):
    inspect([str(perfect), "--checkpoint", "best"])
    shown = capsys.readouterr().out
    assert f"{perfect}, best weights, step 7; on shapes_a 97×103, shapes_b 97×103" in shown
    assert "\n  - vertical_edge and horizontal_edge are in 0 (R² 1.00, 1.00); " in shown
    assert re.search(rf"\n  \d+ pictures and inspect\.json in {perfect}/inspect, and in TensorBoard\n$", shown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "convexp: nowhere is not the folder of a run: it has no config.yaml"),
        (["RUN", "--checkpoint", "last"], "convexp: there is no RUN/checkpoints/last.ckpt: the run stopped before it "),
    ],
)
def test_what_can_be_mended_is_one_line(perfect, arguments, message):
    with pytest.raises(SystemExit) as stopped:
        inspect([word.replace("RUN", str(perfect)) for word in arguments])
    assert stopped.value.code.startswith(message.replace("RUN", str(perfect)))


def test_a_layer_s_name_leads_nowhere_else(make_run, tmp_path):
    config = {
        "_target_": "convexp.models.Stack",
        "in_channels": 1,
        "out_channels": 1,
        "blocks": {"/escaped": ["1@3x3"]},
        "activation": {"_target_": "torch.nn.ELU"},
    }
    model = Stack(1, 1, blocks=config["blocks"], activation=nn.ELU())
    run = make_run(model, config, "target=laplacian")
    inspect_run(run)
    assert [path.name for path in run.glob("inspect/layers/*")] == ["01--escaped.0.png"]
    assert not list(tmp_path.rglob("escaped*"))


def test_nothing_of_the_place_is_imported_unless_it_is_allowed(perfect, monkeypatch):
    monkeypatch.chdir(perfect)
    before = list(sys.path)
    inspect(["."])
    assert sys.path == before
    inspect([".", "--allow", "mine"])
    assert sys.path == [*before, str(perfect)]
    monkeypatch.setattr(sys, "path", before)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        (
            "data",
            {"_target_": "convexp.training.Shapes", "_partial_": True, "height": "a"},
            r"data\.height=a: must be a w",
        ),
        (
            "data",
            {"_target_": "convexp.training.Shapes", "_partial_": True, "snowman": [1, 1, 1]},
            r"data\.snowman=\[1",
        ),
        (
            "data",
            {"_target_": "convexp.training.Files", "_partial_": True, "train": "gone.png", "val": "gone.png"},
            "gone",
        ),
        ("data", 3, r"data=3: must be one of the group's choices"),
        ("target", None, r"target=null: must be one of the group's choices"),
        ("seed", "abc", r"seed=abc: must be a whole number"),
    ],
)
def test_a_tampered_configuration_is_one_line(perfect, part, value, message):
    config = yaml.safe_load((perfect / "config.yaml").read_text())
    (perfect / "config.yaml").write_text(yaml.safe_dump({**config, part: value}))
    with pytest.raises(ConvexpError, match=message) as refused:
        inspect_run(perfect)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("step", ["abc", [1], 10**30, None, -1])
def test_a_checkpoint_s_step_may_be_anything(make_run, step):
    run = make_run(two_linear(), TWO_LINEAR, "target=sharpen", step=step)
    inspect_run(run)
    assert written(run)["step"] == 0


def test_a_layer_of_another_scale_is_named_and_not_probed(make_run):
    args = [*EDGES_BLUR["_args_"][:1], {"_target_": "torch.nn.MaxPool2d", "kernel_size": 2}]
    up = {"_target_": "torch.nn.Upsample", "scale_factor": 2}
    last = {**CONV, "in_channels": 2, "out_channels": 1, "kernel_size": 1}
    config = {"_target_": "torch.nn.Sequential", "_args_": [*args, up, last]}
    model = nn.Sequential(
        nn.Conv2d(1, 2, 2, bias=False), nn.MaxPool2d(2), nn.Upsample(scale_factor=2), nn.Conv2d(2, 1, 1, bias=False)
    )
    model[0].requires_grad_(False).weight[:, 0] = torch.stack([vertical_edge(), horizontal_edge()])
    run = make_run(model, config, "target=edges")
    found = inspect_run(run)
    probes = written(run)["probes"]
    assert probes["layers"] == ["input", "0", "2", "3"]
    assert probes["r2"][probes["layers"].index("0")][0] == pytest.approx(1, abs=1e-6)
    assert "of another scale, and not probed: 1" in found.lines


def test_a_template_is_the_run_s_own(make_run):
    config = {**CONV, "in_channels": 1, "out_channels": 1, "kernel_size": [5, 7]}
    run = make_run(nn.Conv2d(1, 1, (5, 7), bias=False), config, "target=template", "target.patch=[3,8,4,11]")
    with pytest.raises(ConvexpError, match=r"template\.npy does not exist"):
        inspect_run(run)
    template = torch.rand(1, 5, 7)
    RunFolder(run).write_template(template)
    inspect_run(run)
    assert written(run)["verdict"] == {"kind": "linear", "size": [5, 7], "mixes": False}
    true = Template([0, 5, 0, 7], method="zero_mean")
    true.cut(template[0][None])
    image = shapes(97, 103, seed=2**32)[None]
    error = nn.functional.mse_loss(convexp.load_run(run)(image), true(image)).item()
    assert written(run)["errors"]["shapes_a"]["mse"] == pytest.approx(error, rel=1e-4)


def test_a_filter_without_modules_is_linear_all_the_same(make_run, tmp_path, monkeypatch):
    (tmp_path / "functional_model.py").write_text(FUNCTIONAL)
    monkeypatch.syspath_prepend(tmp_path)
    from functional_model import Wide

    run = make_run(Wide(), {"_target_": "functional_model.Wide"}, "target=highpass")
    found = inspect_run(run, allow=["functional_model"])
    assert found.facts["linear"] is True
    assert found.facts["receptive_field"]["theoretical"] == [15, 15]


FUNCTIONAL = """
import torch
from torch import Tensor, nn
from torch.nn import functional

class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1, 15, 15) / 225)

    def forward(self, image: Tensor) -> Tensor:
        return functional.conv2d(image, self.weight)
"""


def test_the_kernel_at_a_chosen_pixel(perfect, capsys):
    inspect([str(perfect), "--at", "40,50"])
    chosen = written(perfect)["local_kernels"]["chosen"]
    assert chosen["place"] == [40, 50]
    assert (perfect / "inspect/local_kernel_chosen.png").exists()
    with pytest.raises(SystemExit) as stopped:
        inspect([str(perfect), "--at", "97,0"])
    assert stopped.value.code == "convexp: --at 97,0 is not inside shapes_a, which is 97×103"
    with pytest.raises(SystemExit):
        inspect([str(perfect), "--at", "a"])
    assert "a: must be two whole numbers, as 120,80" in capsys.readouterr().err


def test_a_run_on_pictures_before_and_after_has_no_operator_to_ask(make_run, tmp_path):
    for folder in ("before", "after"):
        (tmp_path / folder).mkdir()
        for number in range(3):
            write_image(shapes(97, 103, seed=number), tmp_path / f"{folder}/{number}.png")
    pairs = ["data=pairs", f"data.inputs={tmp_path / 'before'}", f"data.targets={tmp_path / 'after'}", "data.gray=true"]
    found = inspect_run(make_run(edges_blur(), EDGES_BLUR, *pairs))
    assert found.facts["verdict"] is None
    assert found.facts["local_kernels"]
    assert "cosine_to_true" not in found.facts["local_kernels"].get("edge", {})
