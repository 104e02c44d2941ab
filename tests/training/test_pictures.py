from itertools import pairwise

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from convexp.models import Stack
from convexp.training.pairs import Pair
from convexp.training.pictures import Pictures, pictures


def events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
    accumulator.Reload()
    return accumulator


def stack():
    torch.manual_seed(0)
    return Stack(1, 1, blocks={"edges": ["2@2x2", "3@1x1"], "blur": ["out@3x3"]}, activation=nn.ELU())


def noise(height, width):
    image = torch.rand(1, 1, height, width, generator=torch.Generator().manual_seed(0))
    return Pair(image, 1 - image)


def test_pictures_of_a_model():
    shown = pictures(stack(), {"cat": noise(37, 43), "dog": noise(37, 43)})
    assert list(shown) == [
        "comparison/cat",
        "features/edges",
        "features/blur",
        "comparison/dog",
        "kernels/edges.0",
        "kernels/edges.2",
        "kernels/blur.0",
    ]
    for picture in shown.values():
        assert picture.dtype == torch.uint8
        assert picture.shape[0] == 3
        assert min(picture.shape[1:]) >= 60


def test_a_picture_shows_the_model_as_it_is_used():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Dropout(0.9))
    model.train()
    torch.manual_seed(0)
    (first, *_), (second, *_) = (list(pictures(model, {"cat": noise(17, 23)}).values()) for _ in range(2))
    assert first.equal(second)
    assert model.training


def test_moments_are_few_and_have_both_ends():
    for steps in (1, 2, 7, 150, 2500, 100_000):
        moments = sorted(Pictures({}, max_steps=steps).moments)
        assert moments[0] == 0
        assert moments[-1] == steps
        assert len(moments) <= 10
    assert moments[1] == 1
    ratios = [later / earlier for earlier, later in pairwise(moments[2:])]
    assert max(ratios) < 1.3 * min(ratios)  # evenly over the logarithm


@pytest.mark.parametrize(("count", "moments"), [(0, []), (1, [400]), (2, [0, 400]), (3, [0, 20, 400])])
def test_few_moments_have_the_end_first(count, moments):
    assert sorted(Pictures({}, max_steps=400, moments=count).moments) == moments


def test_pictures_come_at_their_moments_with_one_size(task_of, train, logger, tmp_path):
    shown = Pictures({"cat": noise(37, 43)}, max_steps=11, moments=4, side=31)
    train(task_of(stack()), 11, callbacks=[shown], logger=logger)
    found = events(tmp_path)
    assert set(found.Tags()["images"]) == {
        "comparison/cat",
        "features/edges",
        "features/blur",
        "kernels/edges.0",
        "kernels/edges.2",
        "kernels/blur.0",
    }
    for tag in found.Tags()["images"]:
        images = found.Images(tag)
        assert [image.step for image in images] == [0, 1, 3, 11]
        assert len({(image.width, image.height) for image in images}) == 1
    assert (
        found.Images("comparison/cat")[0].encoded_image_string != found.Images("comparison/cat")[3].encoded_image_string
    )


def test_pictures_show_the_centre():
    (shown,) = Pictures({"cat": noise(37, 43)}, max_steps=1, side=17).pairs.values()
    assert shown.input.equal(noise(37, 43).input[..., 10:27, 13:30])
    (small,) = Pictures({"cat": noise(17, 43)}, max_steps=1).pairs.values()
    assert small.input.shape == (1, 1, 17, 43)


def test_a_constant_target_has_a_scale():
    black = torch.zeros(1, 1, 17, 23)
    assert pictures(stack(), {"night": Pair(black, black)})["comparison/night"].shape[0] == 3
