"""What `convexp export` prints and says."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from convexp.deploy import export
from convexp.deploy.export_command import export_run
from convexp.images import photograph, to_gray, write_image


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A place with the folder of a run: one convolution that mirrors its border."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    node = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": [3, 5]}
    node |= {"padding": [1, 2], "padding_mode": "reflect"}
    layer = nn.Conv2d(1, 1, (3, 5), padding=(1, 2), padding_mode="reflect")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    config = {"model": node, "choices": {"target": "sharpen", "model": "single"}, "standardise": False}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(config))
    state = {f"model.{name}": weight for name, weight in layer.state_dict().items()}
    torch.save({"state_dict": state, "global_step": 3}, tmp_path / "run/checkpoints/best.ckpt")
    return layer.requires_grad_(False)


def refusal(*arguments):
    with pytest.raises(SystemExit) as end:
        export_run(list(arguments))
    return end.value.code


def test_the_card(here, capsys):
    export_run(["run", "--to", "npy"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "run/export/sharpen-single.npy  320 bytes, the kernel as a NumPy array"
    facts = dict(line.split(maxsplit=1) for line in lines[1:7] if not line.startswith("  max"))
    assert facts["checked"] == f"run by NumPy {np.__version__} on coffee (400×600), 2 images of 101×97, 2×3"
    assert lines[2].startswith("  max error  ")
    assert float(lines[2].split()[2].rstrip(",")) < 1e-5
    assert facts["input"] == "float32 (N, 1, H, W) in [0, 1], at least 2×3"
    assert facts["output"].startswith("float32 (N, 1, H, W), in the target's units: ")
    assert facts["border"] == "reflect"
    assert facts["sees"] == "3×5 pixels (receptive field)"


def test_the_six_lines_of_the_card_run(here, capsys):
    export_run(["run", "--to", "npy"])
    _, example = capsys.readouterr().out.split("  use\n")
    picture = to_gray(photograph("coffee")[:, :17, :23])
    write_image(picture, "photo.png")
    lines = [line.removeprefix("    ") for line in example.rstrip().splitlines()]
    assert len(lines) == 6
    names = {}
    exec("\n".join(lines), names)
    expected = here((picture[None] * 255).round() / 255)[0]
    torch.testing.assert_close(torch.from_numpy(names["output"]), expected, rtol=0, atol=1e-5)


def test_several_formats_and_a_place(here, tmp_path, capsys):
    export_run(["run", "--to", "npy,opencv", "--to", "npy", "-o", "exported"])
    assert sorted(path.name for path in (tmp_path / "exported").iterdir()) == [
        "sharpen-single-constant.npy",
        "sharpen-single.npy",
        "sharpen-single.py",
    ]
    shown = capsys.readouterr().out
    assert shown.count("  use\n") == 2
    if "NOT VERIFIED" in shown:
        assert "  checked    NOT VERIFIED: OpenCV is not installed (pip install opencv-python-headless)\n" in shown


def test_all_says_why_not(here, capsys, monkeypatch):
    chosen = {name: export.FORMATS[name] for name in ("npy", "ffmpeg")}
    monkeypatch.setattr(export, "FORMATS", chosen)
    here.bias.data[:] = -9
    state = {f"model.{name}": weight for name, weight in here.state_dict().items()}
    torch.save({"state_dict": state}, "run/checkpoints/best.ckpt")
    export_run(["run", "--to", "all"])
    shown = capsys.readouterr().out
    assert "ffmpeg: not written, as 100 % of its output on coffee lies outside [0, 1], where 8 bits end\n" in shown
    assert shown.startswith("run/export/sharpen-single.npy  ")


def test_what_can_be_mended_is_one_line(here):
    lines = {
        ("nowhere", "--to", "npy"): "nowhere is not the folder of a run: it has no config.yaml",
        ("run", "--to", "npi"): "--to npi: no such format; did you mean npy?; there are onnx, pt2, npy, c, opencv, ff",
        ("run", "--to", "npy", "--checkpoint", "last"): "there is no run/checkpoints/last.ckpt: ",
        ("run", "--to", "npy", "-o", "x.bin"): "-o x.bin: a file of npy ends in .npy; or name a folder that is there",
    }
    for arguments, line in lines.items():
        refused = refusal(*arguments)
        assert refused.startswith(f"convexp: {line}")
        assert "\n" not in refused


def test_a_file_that_is_there_stays(here, capsys):
    export_run(["run", "--to", "npy"])
    assert refusal("run", "--to", "npy").startswith("convexp: run/export/sharpen-single.npy is there already: --force")
    export_run(["run", "--to", "npy", "--force"])


def test_one_that_is_wrong_ends_in_status_1(here, capsys, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", 0.0)
    monkeypatch.setattr(export, "ROUNDING", 0.0)
    refused = refusal("run", "--to", "npy,opencv")
    assert refused.startswith("convexp: npy: run by NumPy ")
    assert "\n" not in refused


def test_what_is_missing_is_said(here, capsys):
    assert refusal("run") == 2
    assert "the following arguments are required: --to" in capsys.readouterr().err
    assert refusal("run", "--to", ",") == 2
    assert "--to needs a format: onnx, pt2, npy, c, " in capsys.readouterr().err


def test_interrupted(here, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "export", interrupted)
    assert refusal("run", "--to", "npy") == 130
    assert capsys.readouterr().err == "convexp: interrupted; nothing unfinished is left\n"


def test_a_stranger_s_class_is_not_built(here, tmp_path):
    (tmp_path / "ownmodel.py").write_text(
        "from pathlib import Path\nfrom torch import nn\nPath('ran').touch()\ndef make(): return nn.Conv2d(1, 1, 3)\n"
    )
    config = {"model": {"_target_": "ownmodel.make"}, "choices": {}, "standardise": False}
    (tmp_path / "run/config.yaml").write_text(yaml.safe_dump(config))
    assert "_target_: ownmodel.make is refused" in refusal("run", "--to", "npy")
    assert not (tmp_path / "ran").exists()
    before = list(sys.path)
    weights = {f"model.{name}": weight for name, weight in nn.Conv2d(1, 1, 3).state_dict().items()}
    torch.save({"state_dict": weights}, tmp_path / "run/checkpoints/best.ckpt")
    try:
        export_run(["run", "--to", "npy", "--allow", "ownmodel"])
    finally:
        sys.path[:] = before
        sys.modules.pop("ownmodel", None)
    assert (tmp_path / "run/export/target-model.npy").exists()


def test_a_wrong_word_is_answered_without_torch():
    script = "import sys; from convexp.deploy.export_command import export_run\ntry: export_run(['run'])\n"
    script += "except SystemExit: print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=dict(os.environ))
    assert done.stdout == "False\n"
