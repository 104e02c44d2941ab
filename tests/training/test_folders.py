import numpy as np
import pytest
import torch
from PIL import Image

from convexp.errors import ConvexpError
from convexp.images import photograph, write_image
from convexp.operators import Examples, gaussian_blur
from convexp.training import Files, Pairs

COINS = photograph("coins")


def negative(image):
    return 1 - image


def save(image, *paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(image, path)


def noise(seed, height=37, width=41, channels=1):
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def before_after(tmp_path):
    """Ten pairs, each the negative of the other, in two folders with other suffixes."""
    for number in range(10):
        image = noise(number)
        save(image, tmp_path / f"before/{number}.png")
        save(1 - image, tmp_path / f"after/{number}.png")
    return tmp_path


def pairs_of(folder, **arguments):
    settings = {"inputs": str(folder / "before"), "targets": str(folder / "after"), "crop_size": 11, "gray": True}
    return Pairs(operator=Examples(), seed=0, **(settings | arguments))


def ready(data):
    data.setup()
    return data


def test_files_hold_a_fraction_out(before_after):
    data = ready(Files(operator=negative, seed=0, train=str(before_after / "before"), val_fraction=0.3, crop_size=11))
    assert len(data.train_pairs) == 7
    assert set(data.train_pairs) | set(data.val_pairs) == {str(number) for number in range(10)}
    again = ready(Files(operator=negative, seed=5, train=str(before_after / "before"), val_fraction=0.3, crop_size=11))
    assert list(data.val_pairs) == list(again.val_pairs)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val": "photos", "val_fraction": 0.2}, "data.val and data.val_fraction both say what is validated on"),
        ({"val_fraction": 0.2}, r"data.val_fraction=0.2: .*1.png is one file, of which none can be held out"),
    ],
)
def test_what_is_validated_on_is_clear(before_after, arguments, message):
    train = before_after / "before/1.png"
    with pytest.raises(ConvexpError, match=message):
        Files(operator=negative, seed=0, train=str(train), **arguments).setup()


def test_a_folder_that_does_not_fit_gives_the_same_whole_images(before_after):
    folder = str(before_after / "before")
    fits = ready(Files(operator=negative, seed=0, train=folder, val=folder, crop_size=11))
    streams = ready(Files(operator=negative, seed=0, train=folder, val=folder, crop_size=11, cache_gb=1e-4))
    assert (fits.train_pairs.held, streams.train_pairs.held) == (True, False)
    for pair, other in zip(fits.train_pairs.values(), streams.train_pairs.values(), strict=True):
        assert pair.input.equal(other.input)
        assert pair.target.equal(other.target)
    assert len(list(streams.val_dataloader())) == 10


def test_workers_change_nothing(before_after):
    batches = []
    for workers in (0, 2):
        data = Files(
            operator=negative,
            seed=0,
            train=str(before_after / "before"),
            val_fraction=0.2,
            crop_size=11,
            cache_gb=1e-4,
            workers=workers,
        )
        loader = iter(ready(data).train_dataloader())
        batches.append([next(loader) for _ in range(20)])
    for batch, other in zip(*batches, strict=True):
        assert all(part.equal(same) for part, same in zip(batch[0], other[0], strict=True))


def test_a_damaged_file_is_left_out_or_stops(before_after, capsys):
    damaged = before_after / "before/5.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    data = ready(Files(operator=negative, seed=0, train=str(before_after / "before"), crop_size=11))
    assert (len(data.train_pairs), data.train_pairs.damaged) == (9, ["5"])
    assert "before/5.png cannot be decoded" in capsys.readouterr().err
    with pytest.raises(ConvexpError, match=r"before/5.png cannot be decoded"):
        Files(operator=negative, seed=0, train=str(before_after / "before"), on_error="raise", crop_size=11).setup()


def test_what_a_worker_finds_damaged_is_known(before_after):
    damaged = before_after / "before/5.png"
    damaged.write_bytes(damaged.read_bytes()[:200])
    folder = str(before_after / "before")
    data = ready(Files(operator=negative, seed=0, train=folder, crop_size=11, cache_gb=1e-4, workers=1))
    assert data.train_pairs.damaged == []
    loader = iter(data.train_dataloader())
    for _ in range(8):
        next(loader)
    assert data.train_pairs.damaged == ["5"]


def test_pairs_are_pictures_before_and_after(before_after):
    data = ready(pairs_of(before_after))
    assert (len(data.train_pairs), len(data.val_pairs)) == (8, 2)
    for name, pair in [*data.train_pairs.items(), *data.val_pairs.items()]:
        expected = np.asarray(Image.open(before_after / f"before/{name}.png")) / 255
        np.testing.assert_allclose(pair.input[0, 0], expected, atol=1e-6)
        np.testing.assert_allclose(pair.target, 1 - pair.input, atol=1e-6)
    assert data.notes == []


def test_suffixes_do_not_matter(before_after):
    (before_after / "after/3.png").unlink()
    write_image(1 - noise(3), before_after / "after/3.jpg")
    assert len(ready(pairs_of(before_after)).train_pairs) == 8


def test_gray_targets_of_colour_inputs_are_gray(tmp_path):
    for number in range(3):
        image = noise(number, channels=3)
        save(image, tmp_path / f"before/{number}.png")
        save(image.mean(0, keepdim=True), tmp_path / f"after/{number}.png")
    data = ready(pairs_of(tmp_path, gray=False, size=29))
    for pair in data.train_pairs.values():
        assert (pair.input.shape, pair.target.shape) == ((1, 3, 29, 32), (1, 1, 29, 32))


def test_colour_targets_are_in_colour(tmp_path):
    for number in range(3):
        save(noise(number), tmp_path / f"before/{number}.png")
        save(noise(number + 9, channels=3), tmp_path / f"after/{number}.png")
    data = ready(pairs_of(tmp_path, gray=False))
    for pair in data.train_pairs.values():
        assert (pair.input.shape[1], pair.target.shape[1]) == (3, 3)
        assert not pair.target[:, 0].equal(pair.target[:, 2])


def test_of_a_single_pair_the_lowest_rows_are_validated_on(tmp_path):
    image = noise(0, 40, 23)
    save(image, tmp_path / "photo.png")
    save(1 - image, tmp_path / "edited.png")
    data = ready(pairs_of(tmp_path, inputs=str(tmp_path / "photo.png"), targets=str(tmp_path / "edited.png")))
    (upper,), (lower,) = data.train_pairs.values(), data.val_pairs.values()
    assert (list(data.train_pairs), list(data.val_pairs)) == (["photo"], ["photo"])
    assert (upper.input.shape, lower.input.shape) == ((1, 1, 32, 23), (1, 1, 8, 23))
    whole = torch.cat([upper.input, lower.input], dim=2)
    np.testing.assert_allclose(whole[0, 0], np.asarray(Image.open(tmp_path / "photo.png")) / 255, atol=1e-6)
    np.testing.assert_allclose(torch.cat([upper.target, lower.target], dim=2), 1 - whole, atol=1e-6)


def test_smaller_targets_lie_on_the_centre_if_asked_to(tmp_path):
    for number in range(2):
        image = noise(number)
        save(image, tmp_path / f"before/{number}.png")
        save(gaussian_blur(image[None], 7, 1.5)[0], tmp_path / f"after/{number}.png")
    with pytest.raises(ConvexpError, match=r"^2 of 2 targets are of another size than their inputs: 0 37×41 and 31×35"):
        pairs_of(tmp_path).setup()
    data = ready(pairs_of(tmp_path, centred=True))
    for pair in data.train_pairs.values():
        torch.testing.assert_close(pair.target, gaussian_blur(pair.input, 7, 1.5), atol=0.003, rtol=0)


@pytest.mark.parametrize("fits", [True, False])
def test_a_shift_is_noted_and_corrected(tmp_path, fits):
    for number in range(3):
        scene = COINS[:, 20 * number : 20 * number + 200]
        save(scene[:, 5:-5, 5:-5], tmp_path / f"before/{number}.png")
        save(1 - scene[:, 3:-7, 8:-2], tmp_path / f"after/{number}.png")
    room = {} if fits else {"cache_gb": 1e-4}
    (note,) = ready(pairs_of(tmp_path, **room)).notes
    assert note == (
        "the targets lie 2 pixels lower and 3 pixels further left than their inputs (median of 2 pairs); "
        "data.register=true corrects whole pixels"
    )
    data = ready(pairs_of(tmp_path, register=True, **room))
    assert data.notes == [
        "the targets lay 2 pixels lower and 3 pixels further left than their inputs (median of 2 pairs), and were "
        "moved by whole pixels"
    ]
    for pair in data.train_pairs.values():
        assert pair.input.shape == (1, 1, 188, 371)
        torch.testing.assert_close(pair.target, 1 - pair.input, atol=0.003, rtol=0)


@pytest.mark.parametrize(("down", "right"), [(2, -3), (-2, 3)])
def test_a_shift_of_smaller_targets_is_corrected(tmp_path, down, right):
    for number in range(3):
        scene = COINS[:, 20 * number : 20 * number + 200]
        save(scene[:, 9:-9, 9:-9], tmp_path / f"before/{number}.png")
        seen = scene[:, 9 - down : 191 - down, 9 - right : scene.shape[2] - 9 - right]
        save(gaussian_blur(seen[None], 5, 1.0)[0], tmp_path / f"after/{number}.png")
    data = ready(pairs_of(tmp_path, register=True, centred=True))
    for pair in data.train_pairs.values():
        assert pair.target.shape[2:] == (182 - 4 - abs(down), COINS.shape[2] - 18 - 4 - abs(right))
        torch.testing.assert_close(pair.target, gaussian_blur(pair.input, 5, 1.0), atol=0.004, rtol=0)


def test_what_registration_leaves_is_too_small_for_a_crop(tmp_path):
    for number in range(3):
        scene = COINS[:, 20 * number : 20 * number + 80, :90]
        save(scene[:, 5:-5, 5:-5], tmp_path / f"before/{number}.png")
        save(scene[:, 3:-7, 5:-5], tmp_path / f"after/{number}.png")
    with pytest.raises(
        ConvexpError, match=r"^\d, cut to what lies over its target, is 68×80, smaller than data.crop_size=70"
    ):
        pairs_of(tmp_path, register=True, crop_size=70).setup()


def test_an_error_of_a_worker_is_one_line(before_after):
    folder = str(before_after / "before")
    data = ready(
        Files(operator=negative, seed=0, train=folder, crop_size=11, cache_gb=1e-4, workers=1, on_error="raise")
    )
    for number in range(2, 10):  # since
        (before_after / f"before/{number}.png").write_bytes(b"no image")
    with pytest.raises(ConvexpError, match=r"^\S+/before/\d.png is no image") as caught:
        list(data.train_dataloader())
    assert "\n" not in str(caught.value)


def test_partners_that_are_missing_are_listed(before_after):
    for number in range(7):
        (before_after / f"after/{number}.png").unlink()
    (before_after / "before/9.png").unlink()
    with pytest.raises(ConvexpError) as caught:
        pairs_of(before_after).setup()
    assert str(caught.value).endswith(
        "are matched by name; 7 inputs have no target: 0, 1, 2, 3, 4 and 2 more; 1 targets have no input: 9"
    )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("folder", ["before", "after"])
def test_a_name_that_two_pictures_have_is_said(before_after, folder):
    write_image(noise(3), before_after / folder / "3.jpg")
    with pytest.raises(ConvexpError, match=rf"^\S+/{folder}/3.jpg and \S+/{folder}/3.png have one name; keep one of "):
        pairs_of(before_after).setup()


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        (noise(0, 37, 43), {}, r"^1 of 10 targets are of another size than their inputs: 4 37×41 and 37×43; data.cent"),
        (noise(0, 37, 43), {"centred": True}, r"^1 of 10 targets are larger than their inputs: 4 37×41 and 37×43$"),
        (noise(0, 35, 41), {"centred": True, "size": 20}, "data.size=20 would scale targets otherwise"),
        (noise(0, channels=3), {"gray": False}, r"^1 of 10 targets are in colour, the others are not: 4; make them"),
    ],
)
def test_targets_that_do_not_fit(before_after, target, arguments, message):
    write_image(target, before_after / "after/4.png")
    with pytest.raises(ConvexpError, match=message):
        pairs_of(before_after, **arguments).setup()


def test_pairs_have_their_target_in_the_pictures(before_after):
    with pytest.raises(ConvexpError, match=r"^data=pairs has its target in the pictures; leave target=… out$"):
        Pairs(operator=negative, seed=0, inputs="a", targets="b")
    with pytest.raises(ConvexpError, match="target=examples is known by its pictures alone"):
        Files(operator=Examples(), seed=0, train=str(before_after / "before"), crop_size=11).setup()


def test_a_single_pair_of_a_row(tmp_path):
    save(noise(0, 6, 23), tmp_path / "photo.png")
    save(noise(1, 2, 23), tmp_path / "edited.png")
    both = {"inputs": str(tmp_path / "photo.png"), "targets": str(tmp_path / "edited.png"), "centred": True}
    with pytest.raises(ConvexpError, match="photo is 6×23: too few rows to learn from some and validate on others"):
        pairs_of(tmp_path, **both).setup()


def test_what_is_measured_on_some_of_many_is_said(tmp_path):
    for number in range(70):
        save(noise(number, 12, 13), tmp_path / f"before/{number}.png")
    many = {"operator": negative, "seed": 0, "train": str(tmp_path / "before"), "crop_size": 11}
    assert ready(Files(**many)).notes == []
    (note,) = ready(Files(**many, cache_gb=1e-5)).notes
    assert note == "70 images do not fit into data.cache_gb; what is measured on them, as train/mse, is of 64"
