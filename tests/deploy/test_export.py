"""What is written, where, and what is not: with formats that take no time."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
import yaml
from torch import nn

from convexp.deploy import export as module
from convexp.deploy.export import FORMATS, Refusal, compare, export
from convexp.deploy.formats.format import Opened
from convexp.deploy.learned import Learned
from convexp.deploy.programs import UnverifiedError
from convexp.errors import ConvexpError

NODE = {"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": 1, "kernel_size": [3, 5], "bias": False}


@pytest.fixture
def run(tmp_path):
    """The folder of a run of one convolution."""
    torch.manual_seed(3)
    layer = nn.Conv2d(1, 1, (3, 5), bias=False)
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    config = {"model": NODE, "choices": {"target": "sharpen", "model": "single"}, "standardise": False}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    for name, factor in (("best", 1), ("last", 2)):
        weights = {"model.weight": factor * layer.weight.detach()}
        torch.save({"state_dict": weights, "global_step": 3}, folder / f"checkpoints/{name}.ckpt")
    return folder


@pytest.fixture
def broken(monkeypatch):
    """Makes a format's files do something else."""

    def broken(name, change):
        fmt = FORMATS[name]

        @contextmanager
        def opened(learned, path):
            with fmt.opened(learned, path) as right:
                yield Opened("a test", lambda image: change(right.run(image)))

        monkeypatch.setitem(FORMATS, name, replace(fmt, opened=opened))

    return broken


def written(folder):
    return sorted(path.name for path in folder.iterdir())


def test_into_the_run_s_folder(run):
    (exported,) = export(run, ["npy"])
    assert exported.path == run / "export/sharpen-single.npy"
    assert exported.size == sum(path.stat().st_size for path in (run / "export").iterdir())
    assert exported.comparison.error < 1e-5
    assert written(run / "export") == ["sharpen-single-constant.npy", "sharpen-single.npy"]


def test_the_weights_that_are_asked_for(run, tmp_path):
    import numpy as np

    (best,), (last,) = (export(run, ["npy"], output=tmp_path / f"{n}.npy", checkpoint=n) for n in ("best", "last"))
    np.testing.assert_allclose(np.load(last.path), 2 * np.load(best.path))


def test_into_a_folder_or_a_file(run, tmp_path):
    (tmp_path / "there").mkdir()
    (exported,) = export(run, ["c"], output=tmp_path / "there")
    assert exported.path == tmp_path / "there/sharpen-single.h"
    (exported,) = export(run, ["npy"], output=str(tmp_path / "new/filter.npy"))
    assert exported.path.exists()
    two = list(export(run, ["npy", "opencv", "npy"], output=tmp_path / "two"))
    assert [one.format.name for one in two] == ["npy", "opencv"]
    assert written(tmp_path / "two") == ["sharpen-single-constant.npy", "sharpen-single.npy", "sharpen-single.py"]


def test_nothing_is_replaced_unless_it_is_said(run):
    list(export(run, ["npy"]))
    before = (run / "export/sharpen-single.npy").read_bytes()
    with pytest.raises(
        ConvexpError, match=r"sharpen-single\.npy is there already: --force replaces it, -o names anoth"
    ):
        list(export(run, ["opencv", "npy"], checkpoint="last"))
    assert written(run / "export") == ["sharpen-single-constant.npy", "sharpen-single.npy"]
    assert (run / "export/sharpen-single.npy").read_bytes() == before
    list(export(run, ["npy"], checkpoint="last", force=True))
    assert (run / "export/sharpen-single.npy").read_bytes() != before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda output: output + 1e-3,
            r"npy: run by a test, it differs from the run by 0\.001 on coffee \(400×600\), ro",
        ),
        (lambda output: output * torch.nan, r"npy: run by a test, it differs from the run by inf on coffee"),
        (
            lambda output: output[..., 1:],
            r"npy: a test makes \(1, 1, 398, 595\) of coffee \(400×600\), the run \(1, 1, 3",
        ),
    ],
)
def test_a_file_that_does_something_else_is_not_left(run, broken, change, message):
    broken("npy", change)
    (failed,) = export(run, ["npy"])
    assert isinstance(failed, Refusal)
    assert failed.failed
    with pytest.raises(ConvexpError, match=message):
        raise ConvexpError(failed.reason)
    assert written(run / "export") == []


def test_where_it_is_wrong_is_said(run, broken):
    def one_pixel(output):
        output[..., 7, 11] += 0.5
        return output

    broken("npy", one_pixel)
    (failed,) = export(run, ["npy"])
    assert "by 0.5 on coffee (400×600), row 7, column 11, channel 0; " in failed.reason
    assert failed.reason.endswith(" would be rounding; the file was removed")


def test_the_others_are_written_all_the_same(run, broken):
    broken("npy", lambda output: output + 1)
    results = list(export(run, ["npy", "opencv"], force=True))
    assert [isinstance(result, Refusal) for result in results] == [True, False]
    assert written(run / "export") == ["sharpen-single.py"]


def test_an_old_file_outlives_a_wrong_one(run, broken):
    list(export(run, ["npy"]))
    before = (run / "export/sharpen-single.npy").read_bytes()
    broken("npy", lambda output: output + 1)
    list(export(run, ["npy"], checkpoint="last", force=True))
    assert (run / "export/sharpen-single.npy").read_bytes() == before


def test_what_cannot_be_run_is_written_and_said(run, monkeypatch):
    @contextmanager
    def opened(learned, path):
        raise UnverifiedError("there is no such program")
        yield

    monkeypatch.setitem(FORMATS, "npy", replace(FORMATS["npy"], opened=opened))
    (exported,) = export(run, ["npy"])
    assert exported.comparison == "there is no such program"
    assert exported.path.exists()


def test_nothing_is_left_of_an_interrupted_one(run, monkeypatch):
    def write(learned, path):
        path.write_text("half")
        raise KeyboardInterrupt

    monkeypatch.setitem(FORMATS, "npy", replace(FORMATS["npy"], write=write))
    with pytest.raises(KeyboardInterrupt):
        list(export(run, ["npy"]))
    assert written(run / "export") == []


def test_a_format_that_cannot_hold_it_names_those_that_can(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["model"] = {**NODE, "in_channels": 3}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    weights = {"model.weight": torch.rand(1, 3, 3, 5) / 99}
    torch.save({"state_dict": weights}, run / "checkpoints/best.ckpt")
    line = (
        r"sharpen-single cannot become svg: its kernel mixes channels \(3 in, 1 out\); these can: onnx, pt2, npy, c, "
        "opencv, glsl"
    )
    with pytest.raises(ConvexpError, match=line):
        list(export(run, ["npy", "svg"]))
    assert not (run / "export").exists()


def test_of_all_those_that_can_are_written(run, monkeypatch):
    for name in ("onnx", "pt2", "glsl", "svg", "ffmpeg", "c"):
        monkeypatch.setitem(FORMATS, name, replace(FORMATS[name], refusal=lambda learned: "of a test"))
    results = list(export(run, ["all"]))
    assert [result.format.name for result in results] == list(FORMATS)
    refused = [result for result in results if isinstance(result, Refusal)]
    assert {result.reason for result in refused} == {"of a test"}
    assert not any(result.failed for result in refused)
    assert written(run / "export") == ["sharpen-single-constant.npy", "sharpen-single.npy", "sharpen-single.py"]


@pytest.mark.parametrize(
    ("names", "output", "line"),
    [
        (
            ["onxx"],
            None,
            "--to onxx: no such format; did you mean onnx?; there are onnx, pt2, npy, c, opencv, ffmpeg, ",
        ),
        (["npy"], "filter.txt", "-o {}/filter.txt: a file of npy ends in .npy; or name a folder that is there"),
        (["npy"], "run/config.yaml/x.npy", "{}/run/config.yaml/x.npy cannot be written: Not a directory; name another"),
        (["npy"], "folder.npy", "{}/folder.npy/sharpen-single.npy is a folder: name a file"),
    ],
)
def test_what_can_be_mended_is_one_line(run, tmp_path, names, output, line):
    (tmp_path / "folder.npy/sharpen-single.npy").mkdir(parents=True)
    results = []
    with pytest.raises(ConvexpError) as caught:  # noqa: PT012
        results += export(run, names, output=None if output is None else tmp_path / output)
        raise ConvexpError(results[0].reason)
    assert str(caught.value).startswith(line.format(tmp_path))
    assert "\n" not in str(caught.value)


def test_nothing_is_written_through_a_link(run, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (run / "export").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConvexpError, match="export is a link: nothing is written through it"):
        list(export(run, ["npy"]))
    (run / "export").unlink()
    (run / "export").mkdir()
    (run / "export/sharpen-single.npy").symlink_to(tmp_path / "elsewhere/new.npy")
    with pytest.raises(ConvexpError, match="is there already"):
        list(export(run, ["npy"]))
    list(export(run, ["npy"], force=True))
    assert not (run / "export/sharpen-single.npy").is_symlink()
    assert written(tmp_path / "elsewhere") == []


def test_names_in_a_stranger_s_folder_lead_nowhere_else(run):
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["choices"] = {"target": "../../x", "model": ["a", "/b"]}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (exported,) = export(run, ["npy"])
    assert exported.path.parent == run / "export"


def test_pictures_of_8_bits_are_compared_with_what_8_bits_hold():
    layer = nn.Conv2d(1, 1, 1)
    nn.init.constant_(layer.weight, 2.0)
    nn.init.constant_(layer.bias, -0.5)
    learned = Learned.of_model(layer.eval().requires_grad_(False), "x")
    fmt = replace(FORMATS["svg"], slack=lambda learned, image: 0.0)

    def rounded(image):
        return (learned.model(image).clamp(0, 1) * 255).round() / 255

    assert compare(fmt, learned, Opened("a test", rounded)).error <= 0.5 / 255 + 1e-6
    assert compare(fmt, learned, Opened("a test", lambda image: rounded(image) + 0.4 / 255)).error < 1 / 255
    with pytest.raises(ConvexpError, match="svg: run by a test, it differs"):
        compare(fmt, learned, Opened("a test", lambda image: rounded(image) + 0.9 / 255))
    with pytest.raises(ConvexpError, match="svg: run by a test, it differs"):
        compare(fmt, learned, Opened("a test", learned.model))  # not clipped


def test_what_cancels_is_rounded_as_what_it_cancels_from():
    layer = nn.Conv2d(1, 1, 3, bias=False)
    layer.weight.data[:] = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]])
    learned = Learned.of_model(layer.eval().requires_grad_(False), "x")
    learned.__dict__["span"] = (0.0, 0.0)  # as of a photograph that is flat
    assert compare(FORMATS["npy"], learned, Opened("a test", lambda image: layer(image) + 1e-5)).error < 2e-5
    with pytest.raises(ConvexpError, match=r"1\.6e-05 would be rounding"):
        compare(FORMATS["npy"], learned, Opened("a test", lambda image: layer(image) + 2e-5))


def test_the_smallest_image_may_be_one_larger():
    learned = Learned.of_model(nn.Conv2d(1, 1, 3).eval().requires_grad_(False), "x")

    def picky(image):
        assert image.shape[-1] > 3
        return learned.model(image)

    assert compare(FORMATS["npy"], learned, Opened("a test", picky)).least == (4, 4)
    assert compare(FORMATS["npy"], learned, Opened("a test", learned.model)).least == (3, 3)


def test_where_no_kernel_has_the_run_s_border_the_inside_is_compared(tmp_path):
    layers = [nn.Conv2d(1, 1, 3, padding=1, padding_mode="replicate") for _ in range(2)]
    learned = Learned.of_model(nn.Sequential(*layers).eval().requires_grad_(False), "x")
    exported = module._exported(FORMATS["npy"], learned, tmp_path / "x.npy", force=False)
    assert exported.comparison.margin == (2, 2)
    assert exported.comparison.least == (5, 5)
