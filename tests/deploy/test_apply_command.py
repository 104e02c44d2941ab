"""What `convexp apply` writes and says."""

import os
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image
from torch import nn

import convexp
from convexp.deploy import filtering
from convexp.deploy.apply_command import apply_run
from convexp.deploy.provenance import NOTE
from convexp.images import photograph, read_image, write_image
from convexp.images.decoding import decode
from convexp.images.unfinished import unfinished
from convexp.models import Standardised
from convexp.operators.border import padded

STACK = {
    "_target_": "convexp.models.Stack",
    "blocks": {"edges": ["4@2x2"], "blur": ["out@3x3"]},
    "activation": {"_target_": "torch.nn.ELU", "inplace": True},
}


def write_run(folder, target, channels=(3, 1), **arguments):
    """What a run leaves, as far as the filter needs it."""
    node = {**arguments, "in_channels": channels[0], "out_channels": channels[1]}
    node |= STACK if target == "stack" else {"_target_": f"torch.nn.{target}", "kernel_size": 3}
    torch.manual_seed(0)
    if target == "stack":
        model = convexp.models.Stack(*channels, blocks=STACK["blocks"], activation=nn.ELU())
    else:
        model = nn.Conv2d(*channels, 3, **arguments)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(
        yaml.safe_dump({"model": node, "choices": {}, "standardise": True}, sort_keys=False)
    )
    for name, scale in (("best", 0.2), ("last", 0.1)):
        whole = Standardised(model, mean=0.4, std=0.3, offset=0.4, scale=scale)
        state = {f"model.{key}": weight for key, weight in whole.state_dict().items()}
        torch.save({"state_dict": state, "global_step": 3}, folder / f"checkpoints/{name}.ckpt")
    return str(folder)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    write_image(photograph("chelsea")[:, :53, :67], "photos/cat.png")
    write_image(photograph("coins")[:, :41, :61], "photos/coins.png")
    write_image(photograph("coffee")[:, :47, :59], "photos/coffee.jpg")
    write_run(tmp_path / "run", "stack")
    return tmp_path


def outcome(capsys, *arguments):
    """(exit status or message, standard output, standard error)."""
    code = 0
    try:
        apply_run(arguments)
    except SystemExit as end:
        code = end.code
    return code, *capsys.readouterr()


def files(folder):
    """All but the note of what made them."""
    found = {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}
    return {name for name in found if not name.endswith(NOTE)}


def test_a_folder_of_another_run_is_not_gone_on_with(here, capsys):
    assert outcome(capsys, "run", "photos")[0] == 0
    code, *_ = outcome(capsys, "run", "photos", "--border", "reflect")
    assert str(code).startswith("convexp: filtered holds what another run, or another border, has made")
    assert outcome(capsys, "run", "photos", "--border", "reflect", "--force")[0] == 0


def test_one_picture(here, capsys):
    code, out, err = outcome(capsys, "run", "photos/cat.png", "-o", "edges.png")
    smaller = "the model invents no border: a result is 3 rows and 3 columns smaller than the picture; "
    assert (code, err) == (0, "")
    assert re.fullmatch(
        f"{smaller}--border reflect keeps the size\nedges\\.png  50×64 of 53×67, 1 channel, 8 bits.*\n", out
    )
    expected = convexp.load_run("run")(read_image("photos/cat.png")[None])[0, 0].clamp(0, 1).detach()
    assert np.abs(decode(Path("edges.png")).pixels / 255 - expected.numpy()).max() <= 0.51 / 255


def test_a_folder_in_its_own_size(here, capsys):
    code, out, _ = outcome(capsys, "run", "photos", "--border", "reflect", "--to", "npy", "--tile", "7")
    lines = out.splitlines()
    assert code == 0
    assert files("filtered") == {"cat.npy", "coffee.npy", "coins.npy"}
    assert lines[0] == "filtered/cat.npy  53×67, 1 channel, floats"
    assert lines[-1] == "3 pictures in filtered"
    expected = convexp.load_run("run")(padded(read_image("photos/cat.png")[None], 4, 4, "reflect"))[0, 0]
    np.testing.assert_allclose(np.load("filtered/cat.npy"), expected.detach().numpy(), atol=1e-6)


def test_the_last_weights(here, capsys):
    for name in ("best", "last"):
        outcome(capsys, "run", "photos/cat.png", "-o", f"{name}.npy", "--checkpoint", name)
    best, last = np.load("best.npy"), np.load("last.npy")
    np.testing.assert_allclose(best - 0.4, 2 * (last - 0.4), atol=1e-5)


def test_what_is_there_is_skipped(here, capsys):
    Path("out").mkdir()
    Path("out/cat.png").write_text("kept")
    code, out, _ = outcome(capsys, "run", "photos", "-o", "out")
    assert code == 0
    assert out.endswith("2 pictures in out\n1 there already in out, skipped; --force makes them anew\n")
    assert Path("out/cat.png").read_text() == "kept"
    times = {name: Path("out", name).stat().st_mtime_ns for name in files("out")}
    assert outcome(capsys, "run", "photos", "-o", "out") == (
        0,
        "3 there already in out, skipped; --force makes them anew\n",
        "",
    )
    assert {name: Path("out", name).stat().st_mtime_ns for name in files("out")} == times
    assert outcome(capsys, "run", "photos", "-o", "out", "--force")[1].endswith("3 pictures in out\n")
    assert decode(Path("out/cat.png")).pixels.shape == (50, 64)


def test_a_damaged_picture_among_others(here, capsys):
    Path("photos/bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnonsense")
    Path("photos/tiny.png").write_bytes(Path("photos/cat.png").read_bytes())
    write_image(torch.zeros(3, 2, 2), "photos/tiny.png")
    code, out, err = outcome(capsys, "run", "photos")
    assert code == "convexp: 2 of 5 pictures could not be filtered: photos/bad.png, photos/tiny.png"
    assert out.endswith("3 pictures in filtered\n")
    assert re.search(r"^convexp: photos/bad\.png .*; skipped$", err, re.MULTILINE)
    assert "convexp: photos/tiny.png: an image of 2×2 is too small: the model reads 4×4 pixels for one" in err
    assert files("filtered") == {"cat.png", "coins.png", "coffee.jpg"}
    code, out, _ = outcome(capsys, "run", "photos")
    assert code == "convexp: 2 of 2 pictures could not be filtered: photos/bad.png, photos/tiny.png"
    assert "3 there already in filtered, skipped" in out


def test_subfolders(here, capsys):
    Path("photos/sub").mkdir()
    write_image(photograph("coins")[:, :41, :61], "photos/sub/cat.png")
    hint = "photos has subfolders with pictures, which are left out; 'photos/**/*' takes them, too\n"
    code, out, _ = outcome(capsys, "run", "photos")
    assert (code, out.startswith(hint), files("filtered")) == (0, True, {"cat.png", "coins.png", "coffee.jpg"})
    code, out, _ = outcome(capsys, "run", "photos/**/*")
    assert code == 0
    assert out.endswith("1 picture in filtered\n3 there already in filtered, skipped; --force makes them anew\n")
    assert decode(Path("filtered/sub/cat.png")).pixels.shape == (38, 58)
    assert "subfolders" not in out
    code, *_ = outcome(capsys, "run", "photos/**/*", "--border", "zeros")
    assert code.startswith("convexp: filtered")


def test_what_is_not_kept_is_said(here, capsys):
    cat = Image.open("photos/cat.png")
    alpha = "had an alpha channel, which was composited over white"
    pages = "had several pages, of which the first was filtered"
    cat.convert("RGBA").save("alpha.png")
    cat.convert("P").save("key.png", transparency=0)
    cat.save("pages.tif", save_all=True, append_images=[cat])
    floats = np.zeros((21, 23, 4), np.float32)
    tifffile.imwrite("both.tif", [floats, floats], photometric="rgb", extrasamples=["unassalpha"])
    tifffile.imwrite("neither.tif", floats[..., :3], photometric="rgb")
    cat.save("one.tif")
    cat.save("phone.jpg", format="MPO", save_all=True, append_images=[cat])
    said = outcome(capsys, "run", *map(str, here.glob("*.*")), "photos")[1].splitlines()
    assert said[-3:] == [f"3 pictures {alpha}", f"2 pictures {pages}", "10 pictures in filtered"]
    assert outcome(capsys, "run", "key.png", "-o", "x.png")[1].splitlines()[-1] == f"1 picture {alpha}"
    assert "had" not in outcome(capsys, "run", "one.tif", "neither.tif", "phone.jpg", "-o", "plain")[1]


def test_suffixes_of_others(here, capsys):
    Path("photos/coffee.jpg").rename("coffee.jfif")
    Path("photos/coins.png").rename("coins")
    Path("notes.txt").write_text("no picture")
    code, out, err = outcome(capsys, "run", "coffee.jfif", "coins", "notes.txt", "photos")
    assert code == "convexp: 1 of 4 pictures could not be filtered: notes.txt"
    assert err.startswith("convexp: notes.txt is no image, or damaged at its start")
    assert files("filtered") == {"cat.png", "coffee.jpg", "coins.png"}
    assert decode(Path("filtered/coffee.jpg")).format == "JPEG"
    assert out.endswith("3 pictures in filtered\n")


def test_a_model_that_is_not_local_says_so(here, capsys):
    write_run(here / "round", "Conv2d", padding=1, padding_mode="circular")
    code, out, _ = outcome(capsys, "round", "photos/cat.png", "-o", "a.npy")
    why = "it goes on at the opposite side of the image (Conv2d 'model')"
    assert code == 0
    assert out.startswith(f"this model is not local: {why}; tiles would differ, so each picture is filtered at once\n")
    expected = convexp.load_run("round")(read_image("photos/cat.png")[None])[0, 0].detach()
    np.testing.assert_allclose(np.load("a.npy"), expected, atol=1e-6)
    code, *_ = outcome(capsys, "round", "photos/cat.png", "-o", "b.npy", "--tile", "9")
    assert code == f"convexp: --tile 9: this model is not local: {why}; tiles would differ; leave --tile out"
    code, out, _ = outcome(capsys, "round", "photos/cat.png", "-o", "b.npy", "--whole")
    assert (code, out) == (0, "b.npy  53×67, 1 channel, floats\n")


def test_many_pictures_have_no_line_each(here, capsys, monkeypatch):
    monkeypatch.setattr("convexp.deploy.batch.MOST_LINES", 2)
    write_run(here / "bright", "Conv2d", bias=True)
    path = here / "bright/checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["state_dict"]["model.offset"] = torch.tensor(1.05)
    torch.save(checkpoint, path)
    _, out, _ = outcome(capsys, "bright", "photos", "--border", "zeros")
    first, second = out.splitlines()
    assert first == "3 pictures in filtered"
    assert re.fullmatch(r"values outside \[0, 1\] were clipped in 3, up to \d+\.\d %; --to npy keeps them", second)


def test_a_signal_leaves_whole_files_and_the_same_command_goes_on(here, capsys, monkeypatch):
    write = filtering._write
    begun = []

    def interrupted(values, picture, depth, source):
        begun.append(source.name)
        if begun[-1] == "coffee.jpg":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        return write(values, picture, depth, source)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(filtering, "_write", interrupted)
    code, _, err = outcome(capsys, "run", "photos")
    assert code == 128 + signal.SIGTERM
    assert err == "convexp: stopped with 1 of 3 pictures in filtered; the same command goes on\n"
    assert files("filtered") == {"cat.png"}
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    monkeypatch.setattr(filtering, "_write", write)
    code, out, _ = outcome(capsys, "run", "photos")
    assert (code, files("filtered")) == (0, {"cat.png", "coins.png", "coffee.jpg"})
    assert out.endswith("2 pictures in filtered\n1 there already in filtered, skipped; --force makes them anew\n")


def test_what_a_killed_one_has_left_is_removed(here, capsys):
    Path("filtered").mkdir()
    with unfinished(Path("filtered/cat.png")) as beside:
        pass
    beside.touch()  # as if it had been killed
    assert outcome(capsys, "run", "photos")[0] == 0
    assert files("filtered") == {"cat.png", "coins.png", "coffee.jpg"}


def test_an_interrupted_force_goes_on_without_it(here, capsys, monkeypatch):
    write = filtering._write

    def interrupted(values, picture, depth, source):
        if source.name == "coffee.jpg":
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        return write(values, picture, depth, source)

    assert outcome(capsys, "run", "photos", "--checkpoint", "last")[0] == 0
    before = {name: Path("filtered", name).read_bytes() for name in files("filtered")}
    monkeypatch.setattr(filtering, "_write", interrupted)
    _, _, err = outcome(capsys, "run", "photos", "--force")
    assert err == "convexp: stopped with 1 of 3 pictures in filtered; the same command without --force goes on\n"
    monkeypatch.setattr(filtering, "_write", write)
    code, out, _ = outcome(capsys, "run", "photos")
    assert code == 0
    assert out.endswith("2 pictures in filtered\n1 there already in filtered, skipped; --force makes them anew\n")
    for name, content in before.items():
        assert Path("filtered", name).read_bytes() != content


def test_a_full_disk_ends_all(here, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filtering, "_write", full)
    code, *_ = outcome(capsys, "run", "photos")
    assert code == "convexp: cannot write filtered/cat.png: No space left on device"
    assert not files("filtered")


def test_channels_that_no_picture_has(here, capsys):
    write_run(here / "two", "Conv2d", (1, 2))
    code, *_ = outcome(capsys, "two", "photos/coins.png", "-o", "a.png")
    assert code == "convexp: the model makes 2 channels, a picture has 1 or 3; --to npy keeps them all"
    assert outcome(capsys, "two", "photos/coins.png", "-o", "a.npy")[0] == 0
    assert np.load("a.npy").shape == (39, 59, 2)


def test_a_stranger_s_run_runs_nothing(here, capsys):
    (here / "evil.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    config = yaml.safe_load((here / "run/config.yaml").read_text())
    config["model"]["_target_"] = "evil.Model"
    (here / "run/config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    before = list(sys.path)
    code, *_ = outcome(capsys, "run", "photos")
    assert code.startswith("convexp: _target_: evil.Model is refused")
    assert sys.path == before
    assert not (here / "ran").exists()
    assert not (here / "filtered").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["nowhere", "photos"], "nowhere is not the folder of a run: it has no config.yaml"),
        (["run", "phots"], "phots does not exist; did you mean photos?"),
        (["run", "run/checkpoints"], "the folder run/checkpoints holds no image; looked for"),
        (["run", "photos/cat.png", "-o", "photos/cat.png", "--force"], "photos/cat.png is one of the pictures to be "),
        (
            ["run", "photos/cat.png", "-o", "photos/coins.png"],
            "photos/coins.png is there already; --force writes over it",
        ),
        (["run", "photos", "-o", "run/pictures"], "run/pictures/cat.png is in the run's folder, where only the run "),
        (["run", "photos", "-o", "x.png"], "x.png is the name of one file, for 3 pictures; give a folder"),
        (["run", "photos/cat.png", "-o", "x.gif"], "cannot write x.gif: a picture's suffix is .png, .tif, "),
        (
            ["run", "photos", "--tile", "3", "--whole"],
            "--whole and --tile contradict each other; leave one of them out",
        ),
    ],
)
def test_what_can_be_mended_is_one_line(here, capsys, arguments, line):
    before = files(here)
    code, _, err = outcome(capsys, *arguments)
    assert code.startswith(f"convexp: {line}")
    assert "\n" not in code + err
    assert files(here) == before


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "photos", "--tile", "0"], ["run", "photos", "--to", "gif"]])
def test_what_is_missing_is_said(arguments, capsys):
    code, _, err = outcome(capsys, *arguments)
    assert code == 2
    assert "usage: convexp apply" in err


@pytest.mark.skipif(torch.cuda.is_available(), reason="what is said where there is no GPU")
def test_no_gpu(here, capsys):
    code, *_ = outcome(capsys, "run", "photos", "--device", "cuda")
    assert code == "convexp: --device cuda: torch finds no GPU here; take --device cpu"
