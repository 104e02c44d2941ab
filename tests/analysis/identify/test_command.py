"""What `convexp identify` prints, writes and refuses."""

import json

import numpy as np
import pytest

from convexp.analysis.identify.command import identify_pair
from convexp.images import photograph, read_image, write_image
from convexp.operators import gaussian_blur, median


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = photograph("camera")[:, 91:208, 183:306]
    write_image(before, "before.png")
    write_image(gaussian_blur(before[None], 7, 1.5, border="reflect")[0], "after.png")
    write_image(gaussian_blur(before[None], 7, 1.5, border="reflect")[0], "after.jpg")
    write_image(median(before[None], 3)[0], "median.png")
    return tmp_path


def refusal(*arguments):
    with pytest.raises(SystemExit) as stopped:
        identify_pair(arguments)
    return stopped.value.code


@pytest.mark.parametrize("after", ["after.png", "after.jpg"])
def test_the_answer_comes_first_and_the_command_last(here, after, capsys):
    identify_pair(["before.png", after])
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert lines[0].startswith(f"  {after} is before.png through Gaussian blur, σ = 1.5")
    assert "  - border reflect: mirrored about the outer pixel" in lines
    assert lines[-3:] == [
        "  learn it:",
        f"    python train.py data=pairs data.inputs=before.png data.targets={after} model=single model.kernel_size=7 "
        "optimizer=exact",
        "    python train.py target=gaussian_blur target.kernel_size=7 target.sigma=1.5 target.border=reflect "
        "model=single model.kernel_size=7",
    ]


def test_the_kernel_as_numbers_and_as_a_picture(here, capsys):
    identify_pair(["before.png", "after.png", "--kernel", "kernel.npy", "--plot", "kernel.png"])
    kernel = np.load("kernel.npy")
    assert (kernel.shape, kernel.sum()) == ((7, 7), pytest.approx(1))
    assert read_image("kernel.png").shape == (3, 252, 252)
    capsys.readouterr()
    identify_pair(["before.png", "median.png", "--kernel", "none.npy"])
    assert not (here / "none.npy").exists()
    assert "--kernel: there is no kernel to write, since it is not linear" in capsys.readouterr().err


def test_json(here, capsys):
    identify_pair(["before.png", "after.png", "--json"])
    read = json.loads(capsys.readouterr().out)
    assert read["target"] == {"name": "gaussian_blur", "kernel_size": 7, "sigma": 1.5}
    assert read["border"]["convention"] == "reflect"
    assert 0 < read["catalogue"]["parameters"]["sigma"]["standard_error"] < 0.01
    assert len(read["commands"]) == 2


def test_refusals(here, capsys):
    assert refusal("before.png", "missing.png").startswith("convexp: missing.png does not exist")
    assert refusal("median.png", "before.png").startswith(
        "convexp: the second picture, 117×123, is larger than the first"
    )
    (here / "text.png").write_text("no picture")
    assert refusal("before.png", "text.png").startswith("convexp: text.png is no image")
    assert refusal("before.png", "after.png", "--kernel", "kernel.txt") == 2
    assert "the name must end in .npy" in capsys.readouterr().err
    assert refusal("before.png") == 2
    assert refusal("before.png", "after.png", "--plot", "kernel.gif").startswith("convexp: cannot write kernel.gif")
