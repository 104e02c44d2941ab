import numpy as np
import pytest
import skimage
import torch
from PIL import Image

from convexp.errors import ConvexpError
from convexp.images import samples
from convexp.training import Files, ImageData, Photo, Photos, Shapes


def negative(batch):
    return 1 - batch


def assert_equal(pairs, others):
    assert pairs.keys() == others.keys()
    assert all(pairs[name].input.equal(others[name].input) for name in pairs)


def test_photographs_for_training_and_others_for_validation():
    data = Photos(operator=negative, seed=0, size=37, crop_size=31)
    data.setup()
    assert list(data.train_pairs) == list(samples.TRAINING)
    assert list(data.val_pairs) == ["coffee", "astronaut"]
    assert {min(pair.input.shape[-2:]) for pair in (*data.train_pairs.values(), *data.val_pairs.values())} == {37}
    assert {pair.input.shape[1] for pair in data.train_pairs.values()} == {3}
    for pair in (*data.train_pairs.values(), *data.val_pairs.values()):
        assert pair.target.equal(1 - pair.input)


def test_one_photograph():
    data = Photo(operator=negative, seed=0, gray=True)
    data.setup()
    expected = skimage.data.chelsea().mean(axis=-1) / 255
    np.testing.assert_allclose(data.train_pairs["chelsea"].input[0, 0], expected, atol=1e-6)
    assert list(data.val_pairs) == ["coffee", "astronaut"]


def test_a_validation_photograph_that_is_trained_on_validates_nothing():
    data = Photo(operator=negative, seed=0, name="coffee", size=37, crop_size=31)
    data.setup()
    assert list(data.train_pairs) == ["coffee"]
    assert list(data.val_pairs) == ["astronaut"]


def test_an_unknown_photograph():
    with pytest.raises(ConvexpError, match="lena"):
        Photo(operator=negative, seed=0, name="lena").setup()


def test_shapes_depend_on_the_seed():
    data, same, other = (Shapes(operator=negative, seed=seed, height=37, width=41, crop_size=17) for seed in (1, 1, 2))
    for each in (data, same, other):
        each.setup()
    assert list(data.train_pairs) == ["shapes"]
    assert list(data.val_pairs) == ["shapes_a", "shapes_b"]
    assert data.train_pairs["shapes"].input.shape == (1, 1, 37, 41)
    assert_equal(data.train_pairs, same.train_pairs)
    assert_equal(data.val_pairs, same.val_pairs)
    pictures = [pair.input for each in (data, other) for pair in (*each.train_pairs.values(), *each.val_pairs.values())]
    assert all(not a.equal(b) for i, a in enumerate(pictures) for b in pictures[:i])


@pytest.fixture
def folder(tmp_path):
    for name, shape in {"a": (17, 23), "b": (19, 29)}.items():
        Image.fromarray(np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)).save(
            tmp_path / f"{name}.png"
        )
    return tmp_path


def test_files(folder):
    data = Files(operator=negative, seed=0, train=str(folder), val=str(folder / "b.png"), gray=True, crop_size=17)
    data.setup()
    assert list(data.train_pairs) == ["a", "b"]
    assert list(data.val_pairs) == ["b"]
    expected = np.asarray(Image.open(folder / "b.png")) / 255
    np.testing.assert_allclose(data.val_pairs["b"].input[0, 0], expected, atol=1e-6)


def test_files_of_one_name_stay_apart(folder):
    (folder / "more").mkdir()
    Image.open(folder / "b.png").save(folder / "more" / "a.png")
    data = Files(operator=negative, seed=0, train=f"{folder}/**/a.png", gray=True, crop_size=17)
    assert len(data.training_images()) == 2


def test_files_validate_on_photographs_unless_told_otherwise(folder):
    assert list(Files(operator=negative, seed=0, train=str(folder)).validation_images()) == ["coffee", "astronaut"]


def test_gray_images_become_colour_ones(folder):
    data = Files(operator=negative, seed=0, train=str(folder), val=str(folder), crop_size=17)
    data.setup()
    image = data.train_pairs["a"].input
    assert image.shape == (1, 3, 17, 23)
    assert image[:, 0].equal(image[:, 2])


def test_the_operator_is_applied_once():
    calls = []
    data = Shapes(operator=lambda batch: calls.append(1) or batch, seed=0, height=37, width=41, crop_size=17)
    data.setup("fit")
    data.setup("validate")
    assert len(calls) == 3


def test_an_image_that_is_too_small_is_named_before_the_first_step(folder):
    data = Files(operator=negative, seed=0, train=str(folder), val=str(folder), crop_size=18)
    with pytest.raises(ConvexpError, match=r"a is 17×23, smaller than data.crop_size=18"):
        data.setup()


def test_an_operator_larger_than_an_image_names_the_image(folder):
    operator = torch.nn.Conv2d(3, 1, 19)
    data = Files(operator=operator, seed=0, train=str(folder), val=str(folder), crop_size=None, batch_size=None)
    with pytest.raises(ConvexpError, match=r"the target fails on a \(3, 17, 23\): RuntimeError: .*"):
        data.setup()


def test_validation_takes_whole_images_one_by_one():
    data = Shapes(operator=negative, seed=0, height=37, width=41, crop_size=17)
    data.setup()
    batches = list(data.val_dataloader())
    assert [batch.input.shape for batch in batches] == [(1, 1, 37, 41)] * 2
    assert batches[0].target.equal(data.val_pairs["shapes_a"].target)


def test_training_batches_begin_where_asked():
    data = Shapes(operator=negative, seed=0, height=37, width=41, crop_size=17)
    data.setup()
    first = next(iter(data.train_dataloader()))
    assert first[0].input.equal(data.batches(start=0).batch(0)[0].input)
    assert next(iter(data.batches(start=9)))[0].input.equal(data.batches(start=0).batch(9)[0].input)


def test_a_data_class_says_which_images():
    with pytest.raises(NotImplementedError):
        ImageData(operator=negative, seed=0).training_images()
    assert torch.is_tensor(ImageData(operator=negative, seed=0).validation_images()["coffee"])
