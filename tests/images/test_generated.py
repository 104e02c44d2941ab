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
