import re

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import structural_similarity
from torch import nn

from convexp.deploy.evaluation import evaluate
from convexp.errors import ConvexpError
from convexp.images import photograph, read_image, write_image

SETTINGS = ["data.gray=true", "target=gaussian_blur", "target.kernel_size=5", "target.sigma=1.0"]


@pytest.fixture
def run(make_run):
    """A box of 3×3 that imitates a Gaussian blur of 5×5."""
    box = nn.Conv2d(1, 1, 3, bias=False)
    nn.init.constant_(box.weight, 1 / 9)
    layer = {"_target_": "torch.nn.Conv2d", "_partial_": True, "kernel_size": 3, "bias": False}
    return make_run(box, {**layer, "in_channels": 1, "out_channels": 1}, *SETTINGS)


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    write_image(photograph("coins")[:, :97, :101], tmp_path / "photos/coins.png")
    write_image(photograph("text")[:, :89, :103], tmp_path / "photos/text.png")
    return tmp_path / "photos"


def expected(path, target=None):
    """Error of a box against a Gaussian blur, by SciPy, where the valid Gaussian is."""
    image = read_image(path)[0].double().numpy()
    output = ndimage.uniform_filter(image, 3)[2:-2, 2:-2]
    wanted = ndimage.gaussian_filter(image, 1.0, radius=2)[2:-2, 2:-2] if target is None else target
    mse = np.mean((output - wanted) ** 2)
    return mse, 1 - mse / wanted.var(), -10 * np.log10(mse), (output, wanted)


def test_other_images_against_the_operator(run, photos):
    found = evaluate(run, str(photos))
    errors = []
    for name in ("coins", "text"):
        mse, r2, psnr, (output, wanted) = expected(photos / f"{name}.png")
        *of_it, ssim = found.images[name]
        assert of_it == pytest.approx([mse, r2, psnr], rel=1e-3)
        similarity = structural_similarity(
            output, wanted, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        assert ssim == pytest.approx(similarity, abs=2e-3)
        errors.append((output - wanted).ravel())
    assert found.overall[0] == pytest.approx(np.mean(np.concatenate(errors) ** 2), rel=1e-3)
    assert list(found.images) == sorted(found.images, key=lambda name: found.images[name][2])


def test_other_images_against_pictures(run, photos, tmp_path):
    (tmp_path / "after").mkdir()
    for name in ("coins", "text"):
        write_image(1 - read_image(photos / f"{name}.png"), tmp_path / f"after/{name}.jpg")
    found = evaluate(run, str(photos), str(tmp_path / "after"))
    negative = read_image(tmp_path / "after/coins.jpg")[0].double().numpy()[1:-1, 1:-1]
    output = ndimage.uniform_filter(read_image(photos / "coins.png")[0].double().numpy(), 3)[1:-1, 1:-1]
    assert found.images["coins"][0] == pytest.approx(np.mean((output - negative) ** 2), rel=1e-4)


def test_targets_that_lie_beside_their_inputs_are_noted(run, photos, tmp_path):
    (tmp_path / "after").mkdir()
    for name in ("coins", "text"):
        moved = read_image(photos / f"{name}.png").roll((3, -5), (1, 2))
        write_image(moved, tmp_path / f"after/{name}.png")
    assert evaluate(run, str(photos), str(photos)).notes == []
    (note,) = evaluate(run, str(photos), str(tmp_path / "after")).notes
    shift = r"3 pixels lower and (4\.95|5) pixels further left"
    said = rf"the targets lie {shift} than their inputs \(median of 2 pairs\), which all numbers include"
    assert re.fullmatch(said, note)


def test_without_images_it_is_the_run_s_own_validation(run):
    found = evaluate(run)
    assert list(found.images) in (["shapes_a", "shapes_b"], ["shapes_b", "shapes_a"])
    assert 0.9 < found.overall[1] < 1


def test_a_photograph_by_its_name(run):
    assert list(evaluate(run, "moon").images) == ["moon"]


def test_images_do_not_pile_up_and_damaged_ones_are_left_out(run, photos, capsys):
    (photos / "bad.png").write_bytes((photos / "text.png").read_bytes()[:500])
    told = []
    found = evaluate(run, str(photos), advance=lambda done, all_: told.append(done))
    assert (found.left_out, told) == (["bad"], [1, 2])
    assert "bad.png cannot be decoded" in capsys.readouterr().err


def test_too_small_ones_are_left_out(run, photos, capsys):
    for name, side in {"a_tiny": 1, "small": 4, "fits": 5}.items():  # the first one is read first of all
        write_image(torch.zeros(1, side, side), photos / f"{name}.png")
    found = evaluate(run, str(photos))
    assert (set(found.images), found.left_out) == ({"coins", "text", "fits"}, ["a_tiny", "small"])
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" (HxW)")[0] for line in lines] == [
        "convexp: a_tiny: image is 1x1",
        "convexp: small: image is 4x4",
    ]
    found = evaluate(run, str(photos), str(photos))  # for the model alone
    assert (len(found.images), found.left_out) == (4, ["a_tiny"])
    assert capsys.readouterr().err.startswith("convexp: a_tiny: an image of 1×1 is too small: the model reads 3×3")
    for name in ("coins", "text", "fits", "small"):
        (photos / f"{name}.png").write_bytes((photos / "a_tiny.png").read_bytes())
    for targets in (None, str(photos)):
        with pytest.raises(ConvexpError, match=r"(none of the 5 pictures|there is no picture).*; above stands"):
            evaluate(run, str(photos), targets)


def test_a_run_on_pictures_needs_targets(make_run, photos):
    layer = nn.Conv2d(1, 1, 3, bias=False)
    node = {"_target_": "torch.nn.Conv2d", "_partial_": True, "kernel_size": 3, "bias": False}
    pairs = ["data=pairs", f"data.inputs={photos}", f"data.targets={photos}", "data.gray=true"]
    own = make_run(layer, {**node, "in_channels": 1, "out_channels": 1}, *pairs)
    with pytest.raises(ConvexpError, match=r"^the run has learned from pictures; name their targets, too"):
        evaluate(own, str(photos))
    assert len(evaluate(own, str(photos), str(photos)).images) == 2
    assert len(evaluate(own).images) == 1


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (None, "after", r"--targets belong to images"),
        ("nowhere", None, r"nowhere does not exist"),
        ("small.png", None, r"^small: image is 3x3"),
    ],
)
def test_what_cannot_be_measured(run, images, targets, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_image(torch.zeros(1, 3, 3), tmp_path / "small.png")
    with pytest.raises(ConvexpError, match=message):
        evaluate(run, images, targets)


def test_a_strangers_target_is_refused(run):
    config = run / "config.yaml"
    text = config.read_text(encoding="utf-8").replace("convexp.operators.GaussianBlur", "os.system")
    assert "os.system" in text
    config.write_text(text, encoding="utf-8")
    with pytest.raises(ConvexpError, match=r"os\.system is refused"):
        evaluate(run)
