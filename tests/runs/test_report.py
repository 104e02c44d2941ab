import pytest
import torch
from PIL import Image
from torch import nn

from convexp.runs import report
from convexp.runs.folder import RunFolder
from convexp.training.pairs import Pair

CONFIG = {
    "standardise": True,
    "initialisation": "lsuv",
    "seed": 0,
    "choices": {"scheduler": "one_cycle", "model": "deep"},
}
VALUES = {"step": 9, "train/mse": 1e-4, "val/mse": 2e-4, "val/r2": 0.5, "val/psnr": 37.0, "val/ssim": float("nan")}
METRICS = {
    "best": VALUES,
    "final": {**VALUES, "step": 10, "val/mse": 3e-4},
    "steps": 10,
    "seconds": 2.5,
    "steps_per_second": 4.0,
    "device": "cpu",
    "parameters": 9,
}


def metrics(r2):
    return {"best": {"val/r2": r2, "step": 10}, "final": {"val/r2": r2}, "steps": 10}


def test_pictures_of_every_kind(tmp_path):
    pairs = {"a": Pair(torch.rand(1, 3, 17, 23), torch.rand(1, 1, 15, 21))}
    report.save_pictures(RunFolder(tmp_path), nn.Conv2d(3, 1, 3), pairs, [0, 1], [1.0, 0.5], 0.25)
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.png", "kernels.png", "loss.png"}
    for path in tmp_path.iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 20


def test_a_model_without_kernels_has_no_picture_of_them(tmp_path):
    pairs = {"a": Pair(torch.rand(1, 1, 17, 23), torch.rand(1, 1, 17, 23))}
    report.save_pictures(RunFolder(tmp_path), nn.ELU(), pairs, [0], [1.0], None)
    assert {path.name for path in tmp_path.iterdir()} == {"comparison.png", "loss.png"}


def test_facts():
    facts = report.facts(nn.Conv2d(1, 2, 3), CONFIG, steps=10, seconds=4.0, device="cpu")
    assert facts["parameters"] == 20
    assert facts["steps_per_second"] == 2.5
    assert facts["seed"] == 0
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert report.facts(nn.ELU(), CONFIG, steps=0, seconds=0.0, device="cpu")["steps_per_second"] is None


def test_the_table_names_numbers_pictures_and_the_command(tmp_path):
    table = report.table(METRICS, RunFolder("outputs/edges-deep/now"), "outputs").splitlines()
    assert "  val/mse         2.0000e-04  3.0000e-04" in table
    assert "  val/ssim               nan         nan" in table
    assert "  step                     9          10" in table
    assert any(line.endswith("outputs/edges-deep/now/comparison.png, kernels.png, loss.png") for line in table)
    assert any(line.endswith("tensorboard --logdir outputs --samples_per_plugin images=1000") for line in table)


@pytest.mark.parametrize("r2", [0.1, 0.9])
def test_a_good_run_is_not_warned_of(r2):
    assert report.warning(metrics(r2), CONFIG) is None


@pytest.mark.parametrize("r2", [0.0999, 0.0, -0.5, float("nan")])
def test_a_run_that_learned_nothing_is_told_so(r2):
    warning = report.warning(metrics(r2), CONFIG)
    assert warning.startswith("WARNING: the output explains ")
    assert "trainer.max_steps=40" in warning
    assert "nan %" not in warning
    assert "-" not in warning.partition("%")[0]


@pytest.mark.parametrize(("best", "final"), [(0.34, -0.2), (0.9, 0.05), (-3.0, -8e12)])
def test_a_run_that_collapsed_is_told_to_slow_down(best, final):
    told = report.warning({"best": {"val/r2": best, "step": 0}, "final": {"val/r2": final}, "steps": 15}, CONFIG)
    assert told.startswith(f"WARNING: the run has collapsed: R² on validation images was {best:.4g} at step 0 and is")
    assert "Try a smaller optimizer.lr" in told


def test_only_what_was_not_tried_is_advised():
    assert report.warning(metrics(0.0), CONFIG).endswith("Try trainer.max_steps=40.")
    poor = {"standardise": False, "initialisation": None, "choices": {"scheduler": "constant", "model": "single"}}
    for advice in ("standardise=true", "initialisation=lsuv", "scheduler=one_cycle", "model=deep"):
        assert advice in report.warning(metrics(0.0), poor)


def test_pictures_that_were_left_out_are_counted():
    assert report.left_out([]) == {}
    missing = report.left_out([f"photo_{number}" for number in range(1000)])
    assert missing["left_out"]["count"] == 1000
    assert len(missing["left_out"]["names"]) == 100
    table = report.table({**METRICS, **missing}, RunFolder("outputs/edges-deep/now"), "outputs")
    assert "  could not be read, left out (1000): photo_0, photo_1, photo_2, photo_3, photo_4 and 995 more" in table
