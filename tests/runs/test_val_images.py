import csv
import math

import pytest
import torch
from torch import nn

from convexp.images import read_image
from convexp.runs.folder import RunFolder
from convexp.runs.val_images import write_val_images
from convexp.training.library import Library
from convexp.training.metrics import COLUMNS, of_one_image, ssim
from convexp.training.pairs import Pair


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path / "run")


def pairs_of(count, side=40):
    images = torch.rand(count, 1, 1, side, side + 2, generator=torch.Generator().manual_seed(0))
    return Library.of({f"photo {index}": Pair(image, (1 - image) / (1 + index)) for index, image in enumerate(images)})


def measured(model, pairs):
    outputs = {name: (model(pair.input), pair.target) for name, pair in pairs.items()}
    return {name: of_one_image(*both, similarity=float(ssim(*both))) for name, both in outputs.items()}


def test_numbers_of_one_image():
    output, target = torch.tensor([0.0, 0.5, 1.0, 0.5]), torch.tensor([0.0, 0.5, 0.5, 1.0])
    mse, r2, psnr, similarity = of_one_image(output, target, similarity=0.25)
    assert (mse, psnr, similarity) == (0.125, pytest.approx(10 * math.log10(8)), 0.25)
    assert r2 == pytest.approx(1 - 0.5 / 0.5)
    assert of_one_image(target, target, similarity=1)[2] == math.inf


def table_of(folder):
    with folder.val_images.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_the_worst_image_first(folder):
    pairs = pairs_of(3)
    write_val_images(folder, nn.Identity(), pairs, measured(nn.Identity(), pairs))
    rows = table_of(folder)
    mse = {name: float((pair.input - pair.target).square().mean()) for name, pair in pairs.items()}
    assert [row["image"] for row in rows] == sorted(pairs, key=mse.__getitem__, reverse=True)
    assert list(rows[0]) == ["image", *COLUMNS]
    for row in rows:
        assert float(row["mse"]) == pytest.approx(mse[row["image"]], rel=1e-4)
        assert float(row["psnr"]) == pytest.approx(-10 * math.log10(mse[row["image"]]), rel=1e-4)


def test_the_three_worst_are_shown_where_there_are_more(folder):
    pairs = pairs_of(5)
    shown = write_val_images(folder, nn.Identity(), pairs, measured(nn.Identity(), pairs))
    assert list(shown) == ["worst/1", "worst/2", "worst/3"]
    width = max(picture.shape[2] for picture in shown.values())
    assert read_image(folder.path / "worst.png").shape[2] == width
    assert len({picture.float().mean().item() for picture in shown.values()}) == 3


def test_no_other_pair_is_made_to_show_the_worst(folder):
    pairs, made = pairs_of(9), []
    measures = measured(nn.Identity(), pairs)
    apart = Library(list(pairs), pairs.__getitem__, lambda name, pair: made.append(name) or pair, nbytes=9, room=0)
    made.clear()
    write_val_images(folder, nn.Identity(), apart, measures)
    assert len(made) <= 3


def test_a_few_are_shown_anyway(folder):
    pairs = pairs_of(3)
    assert write_val_images(folder, nn.Identity(), pairs, measured(nn.Identity(), pairs)) == {}
    assert not (folder.path / "worst.png").exists()
