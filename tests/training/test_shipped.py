"""Which photographs are trained on, and which validate."""

import numpy as np
import pytest
import skimage
import torch

from convexp.images.samples import TRAINING
from convexp.training.shipped import Photo, Photos


def same(batch):
    return batch


def of_skimage(name):
    """(C, H, W) in [0, 1]."""
    image = np.atleast_3d(getattr(skimage.data, name)())
    return torch.from_numpy(image.copy()).permute(2, 0, 1) / 255


def test_every_photograph_has_its_own_name():
    images = Photos(operator=same, seed=0).training_images()
    assert len(images) == 11
    for name in ("rocket", "camera", "coins", "text"):  # three sizes, gray and in colour
        assert images[name].equal(of_skimage(name))
    sizes = {(image.shape, float(image.mean())) for image in images.values()}
    assert len(sizes) == 11


def test_what_validates_is_not_trained_on():
    data = Photos(operator=same, seed=0)
    validating = data.validation_images()
    assert list(validating) == ["coffee", "astronaut"]
    assert not validating.keys() & data.training_images().keys()
    assert validating["astronaut"].equal(of_skimage("astronaut"))


@pytest.mark.parametrize("name", ["coins", "rocket", "astronaut"])
def test_one_photograph_is_the_one_that_is_named(name):
    data = Photo(operator=same, seed=0, name=name)
    ((found, image),) = data.training_images().items()
    assert found == name
    assert image.equal(of_skimage(name))
    expected = {"coffee", "astronaut"} - {name}
    assert data.validation_images().keys() == expected


def test_each_of_them_trains_alone_and_none_takes_both_validations():
    for name in (*TRAINING, "coffee", "astronaut"):
        data = Photo(operator=same, seed=0, name=name)
        assert list(data.training_images()) == [name]
        assert len(data.validation_images()) == (1 if name in ("coffee", "astronaut") else 2)


def test_a_picture_that_is_changed_is_whole_in_the_next_run():
    for data in (Photos(operator=same, seed=0), Photo(operator=same, seed=0)):
        data.training_images()["chelsea"].zero_()
        data.validation_images()["coffee"].zero_()
        assert data.training_images()["chelsea"].equal(of_skimage("chelsea"))
        assert data.validation_images()["coffee"].equal(of_skimage("coffee"))


def test_gray_and_in_size_as_any_other_data():
    data = Photo(operator=same, seed=0, name="coins", size=37, crop_size=31)
    data.setup()
    image = data.train_pairs["coins"].input  # of a gray photograph of 303×384
    assert image.shape == (1, 3, 37, 47)
    assert image[:, 0].equal(image[:, 1])
    assert all(min(pair.input.shape[-2:]) == 37 for pair in data.val_pairs.values())
    gray = Photo(operator=same, seed=0, name="coins", gray=True, size=37, crop_size=31)
    gray.setup()
    torch.testing.assert_close(gray.train_pairs["coins"].input, image[:, :1], rtol=0, atol=1e-6)
