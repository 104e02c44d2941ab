"""What `convexp filter` writes and says."""

import re
import sys

import numpy as np
import pytest
import torch

from convexp.images import photograph, read_image, shapes, write_image
from convexp.operators import Gradients, highpass, magnitude, match_template
from convexp.runs.filter_command import filter_image


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # and taken away again
    write_image(photograph("chelsea")[:, :53, :67], "cat.png")
    write_image(shapes(60, 70, seed=3, snowman=(11, 23)), "gray.png")
    return tmp_path


def refusal(*arguments):
    with pytest.raises(SystemExit) as stopped:
        filter_image(arguments)
    return stopped.value.code


def test_an_image_is_filtered(here, capsys):
    filter_image(["gaussian_blur", "cat.png", "out.png", "sigma=2", "target.border=reflect"])
    written, image = read_image("out.png"), read_image("cat.png")
    assert written.shape == image.shape
    assert written.std() < image.std()
    assert re.fullmatch(r"out\.png  53×67, 3 channels, values from \S+ to \S+\n", capsys.readouterr().out)
    assert {path.name for path in here.iterdir()} == {"cat.png", "gray.png", "out.png"}


def test_the_values_themselves(here, capsys):
    filter_image(["highpass", "cat.png", "out.npy"])
    torch.testing.assert_close(torch.from_numpy(np.load("out.npy")), highpass(read_image("cat.png")[None])[0, 0])
    assert capsys.readouterr().out == "out.npy  47×61, 1 channel, float32 values\n"


def test_a_picture_for_each_stage(here, capsys):
    filter_image(["sobel", "gray.png", "out.npy", "--stages"])
    first, second = np.load("out-1-gradients.npy"), np.load("out-2-magnitude.npy")
    expected = Gradients("sobel")(read_image("gray.png")[None])
    torch.testing.assert_close(torch.from_numpy(first).permute(2, 0, 1)[None], expected)
    torch.testing.assert_close(torch.from_numpy(second)[None, None], magnitude(expected))
    assert len(capsys.readouterr().out.splitlines()) == 2
    filter_image(["sobel_x", "gray.png", "one.png", "--stages"])
    assert (here / "one-1-sobel_x.png").exists()


def test_kernels_are_printed(capsys):
    filter_image(["sobel_x", "channels=each", "--kernel"])
    assert capsys.readouterr().out == ("sobel_x: 3×3, each channel on its own:\n  -1  0  1\n  -2  0  2\n  -1  0  1\n")
    filter_image(["edges_blur", "--kernel"])
    shown = capsys.readouterr().out
    assert shown.startswith("edges_blur: not linear, sees 22×22 pixels: kernels with a small non-linearity ")
    assert "edges_blur, gradients: 2×2, output 0, each of 3 channels alike:\n  -1  1\n  -1  1\n2×2, output 1" in shown
    assert "\nedges_blur, magnitude: not linear\nedges_blur, blur_1: 5×5:\n  0.003663" in shown
    assert shown.endswith("\nedges_blur, blur_4: as blur_1\nedges_blur, blur_5: as blur_1\n")
    filter_image(["equalize", "--kernel"])
    assert capsys.readouterr().out.startswith("equalize: global, a far pixel changes the output here: no convolution")


def test_a_typed_kernel(here, capsys):
    filter_image(["kernel", "gray.png", "out.npy", "kernel=[[0,1,0],[1,-4,1],[0,1,0]]", "--kernel"])
    assert capsys.readouterr().out.endswith("kernel: 3×3:\n  0   1  0\n  1  -4  1\n  0   1  0\n")


def test_a_template_marks_its_best_place(here, capsys):
    filter_image(["template", "gray.png", "out.png", "patch=[11,44,23,59]", "method=normalised", "--kernel"])
    shown = capsys.readouterr().out
    assert "; best at rows 11 to 44, columns 23 to 59 of the image\n" in shown
    marked = read_image("out.png")
    assert marked.shape == (3, 60, 70 + 8 + 35)
    yellow = torch.tensor([255, 222, 0]) / 255
    row, column = ((marked[..., :70] - yellow.view(3, 1, 1)).abs().sum(0) < 0.01).nonzero().amin(dim=0).tolist()
    assert (row, column) == (10, 22)
    filter_image(["template", "gray.png", "padded.npy", "patch=[11,44,23,59]", "border=zeros"])
    image = read_image("gray.png")[None]
    expected = match_template(image, image[0, :, 11:44, 23:59], method="zero_mean", border="zeros")
    torch.testing.assert_close(torch.from_numpy(np.load("padded.npy"))[None, None], expected)


def test_a_padded_template_is_found_at_the_same_place(here, capsys):
    filter_image(["template", "gray.png", "out.png", "patch=[11,44,23,59]", "method=normalised", "border=zeros"])
    assert "; best at rows 11 to 44, columns 23 to 59 of the image\n" in capsys.readouterr().out


def test_a_photograph_by_name_and_a_target_of_ones_own(here, capsys):
    (here / "darkening.py").write_text("def darker(image):\n    return image / 2\n")
    (here / "my/target").mkdir(parents=True)
    (here / "my/target/darker.yaml").write_text("_target_: darkening.darker\n_partial_: true\n")
    filter_image(["darker", "coins", "out.npy", "--config-dir", "my"])
    torch.testing.assert_close(torch.from_numpy(np.load("out.npy"))[None], photograph("coins") / 2)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["sobell", "cat.png", "o.png"],
            "target=sobell: no such choice; did you mean sobel?; there are autocontrast, b",
        ),
        (["dog", "cat.png", "o.png"], "target=dog: no such choice; did you mean difference_of_gaussians?; there are "),
        (
            ["median", "cat.png", "o.png", "kernel_size=4"],
            "kernel_size=4 must be odd and positive (it needs a centre), ",
        ),
        (["kernel", "cat.png", "o.png"], "target.kernel has no value: give one, as target.kernel=…"),
        (
            ["kernel", "cat.png", "o.png", "kernel=[[1,2],[3]]"],
            "target.kernel=[[1, 2], [3]]: must be rows of equally many numbers, as [[0,1],[1,0]], or text",
        ),
        (
            ["kernel", "cat.png", "o.png", "kernel=sobelx"],
            "kernel=sobelx: no such kernel; did you mean sobel_x?; there",
        ),
        (["gabor", "cat.png", "o.png", "sigm=1"], "target.sigm=1: there is no such key; did you mean target.sigma?; "),
        (["gabor", "cat.png", "o.png", "sigma=-1"], "target.sigma=-1: must be a number > 0"),
        (["gabor", "act.png", "o.png"], "act.png does not exist; did you mean cat.png?"),
        (["gabor", "cat.png", "o.gif"], "cannot write o.gif: the suffix must be .png, .jpg or .jpeg"),
        (["gabor", "cat.png", "no/o.png"], "cannot write no/o.png: "),
        (["blur", "cat.png", "o.png", "times=0"], "target.times=0: must be a whole number ≥ 1"),
        (["sepia", "gray.png", "o.png"], "gray.png: the image has channels: 1, the matrix has columns: 3; must be "),
        (
            ["template", "cat.png", "o.png", "patch=[50,60,0,9]"],
            "patch=[50, 60, 0, 9] (top, bottom, left, right) is not ",
        ),
        (
            ["box_blur", "cat.png", "o.png", "kernel_size=99"],
            "cat.png: image is 53x67 (HxW), kernel is 99x99: with border=None ",
        ),
    ],
)
def test_what_can_be_mended_is_one_line(here, arguments, line):
    refused = refusal(*arguments)
    assert refused.startswith(f"convexp: {line}")
    assert "\n" not in refused
    assert {path.name for path in here.iterdir()} == {"cat.png", "gray.png"}


@pytest.mark.parametrize("arguments", [[], ["sobel"], ["sobel", "cat.png"], ["sobel", "a", "b", "c"]])
def test_what_is_missing_is_said(arguments, capsys):
    assert refusal(*arguments) == 2
    assert "usage: convexp filter TARGET [IMAGE OUT] [KEY=VALUE …]" in capsys.readouterr().err


def test_a_stage_s_name_leads_nowhere_else(here):
    (here / "my/target").mkdir(parents=True)
    stage = "_target_: convexp.operators.Blur"
    (here / "my/target/odd.yaml").write_text(f"_target_: convexp.operators.Pipeline\nstages:\n  ../../x: {{{stage}}}\n")
    filter_image(["odd", "cat.png", "out.png", "--stages", "--config-dir", "my"])
    assert (here / "out-1--..-x.png").exists()


def test_a_stage_s_name_may_be_a_number(here):
    (here / "my/target").mkdir(parents=True)
    stages = "stages:\n  1: {_target_: convexp.operators.Blur}\n"
    (here / "my/target/odd.yaml").write_text(f"_target_: convexp.operators.Pipeline\n{stages}")
    filter_image(["odd", "cat.png", "out.png", "--stages", "--config-dir", "my"])
    assert (here / "out-1-1.png").exists()


def test_a_template_alone_has_no_kernel(here):
    assert refusal("template", "--kernel") == "convexp: a template is cut from an image: give an IMAGE and an OUT, too"


def test_a_missing_folder_of_targets(here):
    line = "convexp: --config-dir nowhere: there is no such folder"
    assert refusal("sobel", "cat.png", "o.png", "--config-dir", "nowhere") == line


def test_nothing_of_the_place_is_imported_unless_it_is_named(here, monkeypatch):
    before = list(sys.path)
    filter_image(["sobel", "cat.png", "out.png"])
    assert sys.path == before
