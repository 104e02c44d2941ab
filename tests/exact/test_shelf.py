import os
import pickle
from dataclasses import fields

import pytest
import torch
from torch import nn

from convexp.exact import Shelf, gather, least_squares, shelf
from convexp.exact.floor import floor


def photograph(seed=0, channels=3, side=24):
    image = torch.rand(1, channels, side, side, generator=torch.Generator().manual_seed(seed))
    return [(image, image.mean(dim=1, keepdim=True) ** 2)]


def never(*_, **__):
    raise AssertionError("the pixels were gone through again")


def assert_same(ours, theirs):
    for field in fields(theirs):
        mine, other = getattr(ours, field.name), getattr(theirs, field.name)
        assert torch.equal(mine, other) if isinstance(other, torch.Tensor) else mine == other, field.name


def test_the_second_time_the_same_is_read(tmp_path, monkeypatch):
    layer, pairs = nn.Conv2d(3, 1, 5, padding=1), photograph()
    first = Shelf(tmp_path / "deep" / "shelf").solved(layer, pairs)
    statistics = gather(layer, pairs)
    assert_same(first[0], statistics)
    assert_same(first[1], least_squares(layer, pairs, statistics=statistics))
    monkeypatch.setattr(shelf, "gather", never)
    # Of a convolution with other weights, and images at other places in memory and in another order there.
    other = [tuple(tensor.contiguous(memory_format=torch.channels_last).clone() for tensor in pair) for pair in pairs]
    for ours, theirs in zip(
        Shelf(tmp_path / "deep" / "shelf").solved(nn.Conv2d(3, 1, 5, padding=1), other), first, strict=True
    ):
        assert_same(ours, theirs)
    assert len(list(tmp_path.rglob("*"))) == 3  # the folders and one file


@pytest.mark.parametrize(
    ("layer", "pairs"),
    [
        (nn.Conv2d(3, 1, 3), photograph(seed=1)),
        (nn.Conv2d(3, 1, 3), [(photograph()[0][0], photograph()[0][1] + 1e-7)]),
        (nn.Conv2d(3, 1, 3), photograph() * 2),
        (nn.Conv2d(3, 1, (3, 1)), photograph()),
        (nn.Conv2d(3, 1, 3, bias=False), photograph()),
        (nn.Conv2d(3, 1, 3, padding=1), photograph()),
        (nn.Conv2d(3, 1, 3, padding=1, padding_mode="reflect"), photograph()),
        (nn.Conv2d(3, 1, 3, dilation=2), photograph()),
        (nn.Conv2d(3, 1, 3, stride=2), photograph()),
    ],
    ids=["image", "target", "count", "size", "bias", "padding", "mode", "dilation", "stride"],
)
def test_nothing_else_is_taken_for_it(tmp_path, layer, pairs):
    kept = Shelf(tmp_path)
    kept.solved(nn.Conv2d(3, 1, 3), photograph())
    try:
        expected = gather(layer, pairs)
    except Exception as error:
        with pytest.raises(type(error)):
            kept.solved(layer, pairs)
        return
    assert_same(kept.solved(layer, pairs)[0], expected)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_invented_beyond_the_border_counts(tmp_path):
    pairs = photograph()
    zeros, mirrored = (nn.Conv2d(3, 1, 3, padding=1, padding_mode=mode) for mode in ("zeros", "reflect"))
    Shelf(tmp_path).solved(zeros, pairs)
    assert_same(Shelf(tmp_path).solved(mirrored, pairs)[0], gather(mirrored, pairs))


def test_other_code_sums_again(tmp_path, monkeypatch):
    layer, pairs = nn.Conv2d(3, 1, 3), photograph()
    Shelf(tmp_path).solved(layer, pairs)
    monkeypatch.setattr(shelf, "_code", lambda: "other")
    Shelf(tmp_path).solved(layer, pairs)
    assert len(list(tmp_path.iterdir())) == 2


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("damage", [b"", b"no archive", pickle.dumps(Bomb())], ids=["empty", "text", "pickle"])
def test_what_cannot_be_read_is_found_again(tmp_path, monkeypatch, damage):
    monkeypatch.chdir(tmp_path)
    layer, pairs = nn.Conv2d(3, 1, 3), photograph()
    first, _ = Shelf(tmp_path / "shelf").solved(layer, pairs)
    (file,) = (tmp_path / "shelf").iterdir()
    whole = file.read_bytes()
    for content in (damage, whole[: len(whole) // 2]):
        file.write_bytes(content)
        again, _ = Shelf(tmp_path / "shelf").solved(layer, pairs)
        assert_same(again, first)
        assert list((tmp_path / "shelf").iterdir()) == [file]
        assert len(file.read_bytes()) == len(whole)
    assert not (tmp_path / "executed").exists()


def test_of_another_shape_is_found_again(tmp_path):
    layer, pairs = nn.Conv2d(3, 1, 3), photograph()
    first, _ = Shelf(tmp_path).solved(layer, pairs)
    (file,) = tmp_path.iterdir()
    torch.save({"uu": torch.zeros(1)}, file)
    again, _ = Shelf(tmp_path).solved(layer, pairs)
    assert_same(again, first)


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path):
    (tmp_path / "shelf").write_text("a file")
    layer, pairs = nn.Conv2d(3, 1, 3), photograph()
    statistics, _ = Shelf(tmp_path / "shelf").solved(layer, pairs)
    assert_same(statistics, gather(layer, pairs))
    assert (tmp_path / "shelf").read_text() == "a file"


def test_the_floor_is_kept_for_each_reach(tmp_path, monkeypatch):
    layer, pairs, kept = nn.Conv2d(3, 1, 3, padding=1), photograph(), Shelf(tmp_path)
    loss = kept.solved(layer, pairs)[1].loss
    reaches = [None, (-1, 1, -1, 1), (-3, 3, -3, 3)]
    expected = [floor(layer, pairs, loss=loss, reach=reach) for reach in reaches]
    assert [kept.floor(layer, pairs, loss=loss, reach=reach) for reach in reaches] == expected
    monkeypatch.setattr(shelf, "floor", never)
    assert [kept.floor(layer, pairs, loss=loss, reach=reach) for reach in reaches] == expected


def test_that_there_is_no_floor_is_kept_too(tmp_path, monkeypatch):
    layer, pairs = nn.Conv2d(3, 1, 3, stride=2), photograph(side=25)
    assert Shelf(tmp_path).floor(layer, pairs, loss=1.0, reach=None) is None
    monkeypatch.setattr(shelf, "floor", never)
    assert Shelf(tmp_path).floor(layer, pairs, loss=1.0, reach=None) is None
