import csv
import json
import sys

import pytest
from torch import nn

from convexp import cli
from convexp.images import photograph, write_image


@pytest.fixture
def run(make_run):
    layer = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(layer.weight)
    node = {"_target_": "torch.nn.Conv2d", "_partial_": True, "kernel_size": 1, "bias": False}
    return make_run(layer, {**node, "in_channels": 1, "out_channels": 1}, "target=highpass", "data.gray=true")


@pytest.fixture
def evaluate(monkeypatch, capfd, tmp_path):
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["convexp", "evaluate", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code
        return code, *capfd.readouterr()

    return run


def test_a_table_for_people_and_one_for_programs(run, evaluate, tmp_path):
    (tmp_path / "photos").mkdir()
    for number in range(7):
        write_image(photograph("coins")[:, 30 * number : 30 * number + 60, :60], tmp_path / f"photos/{number}.png")
    code, out, _ = evaluate(run, "--data", "photos", "--csv", "photos.csv")
    assert code == 0
    assert "7 images" in out
    assert "… and 2 better ones" in out
    with (tmp_path / "photos.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    psnr = [float(row["psnr"]) for row in rows]
    assert psnr == sorted(psnr)
    assert f"{psnr[0]:.2f}" in out
    code, out, _ = evaluate(run, "--data", "photos", "--json")
    found = json.loads(out)
    assert list(found["images"]) == [row["image"] for row in rows]
    assert found["overall"]["mse"] > 0


def test_what_there_is_to_know_of_the_images(run, evaluate, tmp_path):
    scene = photograph("coins")[:, :90, :120]
    for folder, image in {"before": scene[:, 3:], "after": scene[:, :-3]}.items():
        (tmp_path / folder).mkdir()
        write_image(image, tmp_path / folder / "coins.png")
    write_image(scene[:, :1, :1], tmp_path / "before/tiny.png")
    code, out, err = evaluate(run, "--data", "before")
    assert (code, out.splitlines()[-2]) == (0, "  could not be measured, left out (1): tiny")
    assert "convexp: tiny: image is 1x1" in err
    (tmp_path / "before/tiny.png").unlink()
    code, out, _ = evaluate(run, "--data", "before", "--targets", "after")
    note = "the targets lie 3 pixels lower than their inputs (median of 1 pair), which all numbers include"
    assert (code, out.splitlines()[-2]) == (0, f"  {note}")
    assert json.loads(evaluate(run, "--data", "before", "--targets", "after", "--json")[1])["notes"] == [note]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "convexp: nowhere does not exist"),
        (["--targets", "photos"], "convexp: --targets belong to images"),
    ],
)
def test_mistakes_are_one_line(run, evaluate, words, message):
    code, out, _ = evaluate(run, *words)
    assert str(code).startswith(message)
    assert "\n" not in str(code)
    assert out == ""


def test_what_was_measured_is_not_lost_with_its_table(run, evaluate):
    code, out, _ = evaluate(run, "--data", "coins", "--csv", "no/where.csv")
    assert str(code).startswith("convexp: no/where.csv cannot be written")
    assert "1 image" in out


def test_what_is_no_run(evaluate, tmp_path):
    code, _, _ = evaluate(tmp_path)
    assert code == f"convexp: {tmp_path} is not the folder of a run: it has no config.yaml"
