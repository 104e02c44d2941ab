import hashlib

import pytest
import torch

from convexp.errors import ConvexpError
from convexp.images.generated import shapes


def test_default_is_the_size_of_the_notebook():
    image = shapes(seed=0)
    assert image.shape == (1, 300, 400)
    assert image.dtype == torch.float32
    assert image.unique().tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(8))
def test_black_and_white_are_both_well_represented(seed):
    assert 0.2 < shapes(seed=seed).mean() < 0.5


def test_the_same_seed_is_the_same_image_on_every_machine():
    assert torch.equal(shapes(17, 23, seed=3), shapes(17, 23, seed=3))
    assert not torch.equal(shapes(17, 23, seed=3), shapes(17, 23, seed=4))
    digest = hashlib.sha256(shapes(seed=0).numpy().astype("u1").tobytes()).hexdigest()
    assert digest == "2185a9712bd8ff59edf300a76ba410c829572b54031dae5df6e58cea88a5863d"


def test_more_shapes_only_add_white():
    few, many = shapes(17, 23, count=3, seed=0), shapes(17, 23, count=4, seed=0)
    assert (many >= few).all()
    assert many.sum() > few.sum()


def test_the_first_shape_is_a_circle_and_the_second_a_rectangle():
    circle = shapes(count=1, seed=0)[0]
    rows, columns = circle.nonzero().T
    radius = (rows.max() - rows.min()) // 2
    assert columns.max() - columns.min() == 2 * radius
    y, x = torch.arange(300)[:, None] - rows.min() - radius, torch.arange(400) - columns.min() - radius
    assert torch.equal(circle, (torch.hypot(y.double(), x.double()) <= radius).float())
    rows, columns = (shapes(count=2, seed=0)[0] - circle).nonzero().T  # apart from the circle, as it happens
    assert len(rows) == (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)


def test_one_pixel_is_enough():
    assert shapes(1, 1, count=1, seed=0).shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0}, "height=0 is too small for shapes: it must be at least 1"),
        ({"width": -4}, "width=-4 is too small"),
        ({"count": 0}, "count=0 is too small"),
        ({"seed": -1}, "seed=-1 is too small for shapes: it must be at least 0"),
    ],
)
def test_impossible_arguments(arguments, message):
    with pytest.raises(ConvexpError, match=message):
        shapes(**{"seed": 0, **arguments})


def test_a_snowman_stands_in_the_foreground():
    plain, with_him = shapes(60, 70, seed=3), shapes(60, 70, seed=3, snowman=(11, 23))
    him = with_him[0, 11:44, 23:59].clone()
    assert him.equal(shapes(33, 36, seed=0, count=1, snowman=(0, 0))[0])  # and hides what is behind him
    with_him[0, 11:44, 23:59] = plain[0, 11:44, 23:59]
    assert with_him.equal(plain)
    assert him[:, 18].tolist() == [0, 0] + [1] * 30 + [0]  # head and body, on the middle column
    assert him[17].tolist() == [0, 0, 0] + [1] * 31 + [0, 0]  # arms
    assert not him[[0, -1]].any()
    assert not him[:, [0, -1]].any()


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (28, 0), (0, 35)])
def test_a_snowman_outside_the_image(place):
    with pytest.raises(
        ConvexpError,
        match=rf"^snowman=\[{place[0]},{place[1]}\] is not inside the image: top can be 0 to 27 and left 0 to 34, as "
        "he is 33x36 and the image 60x70$",
    ):
        shapes(60, 70, seed=3, snowman=place)
