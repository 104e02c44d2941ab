import pytest
import torch

from convexp.images.colours import BLUE, RED, Scale
from convexp.images.layout import (
    FRAME,
    below,
    beside,
    enlarged,
    framed,
    grid,
    line,
    numbered,
    scale_bar,
    shrunk,
    with_margin,
)


def block(value, height, width):
    return torch.full((3, height, width), value, dtype=torch.uint8)


@pytest.mark.parametrize("size", [13, 18, 45])
def test_a_line_is_written_whole(size):
    picture = line("jgÅ|±0.12 target", size=size)
    ink = picture[0] < 128
    assert ink.any()
    # Nothing is cut off.
    assert not ink[0].any()
    assert not ink[-1].any()
    assert not ink[:, -1].any()
    assert picture.shape[1] == line("x", size=size).shape[1]


def test_an_empty_line_keeps_its_height():
    assert line("", size=20).shape[1] == line("x", size=20).shape[1]
    assert (line("", size=20) == 255).all()


def test_beside_and_below_place_pictures_on_white():
    row = beside([block(1, 2, 3), block(2, 4, 5)], gap=6)
    assert row.shape == (3, 4, 3 + 6 + 5)
    assert row[0, :, 0].tolist() == [1, 1, 255, 255]
    assert row[0, 0].tolist() == [1] * 3 + [255] * 6 + [2] * 5
    column = below([block(1, 2, 3), block(2, 4, 5)], gap=6)
    assert column.shape == (3, 2 + 6 + 4, 5)
    assert column[0, 0].tolist() == [1, 1, 1, 255, 255]
    assert column[0, :, 0].tolist() == [1] * 2 + [255] * 6 + [2] * 4


def test_grid_aligns_its_columns():
    table = grid([block(1, 2, 3), block(2, 2, 5), block(3, 1, 1)], columns=2, gap=1)
    assert table.shape == (3, 2 + 1 + 1, 5 + 1 + 5)
    assert table[0, 0].tolist() == [1, 1, 1, 255, 255, 255, 2, 2, 2, 2, 2]
    assert table[0, 3].tolist() == [3] + [255] * 10


def test_frame_and_margin_surround():
    picture = framed(block(7, 1, 2))
    assert picture.shape == (3, 3, 4)
    assert picture[:, 1, 1].tolist() == [7, 7, 7]
    assert tuple(picture[:, 0, 0].tolist()) == tuple(picture[:, 2, 3].tolist()) == FRAME
    assert with_margin(block(7, 1, 1), 2)[0].tolist() == [[255] * 5] * 2 + [[255, 255, 7, 255, 255]] + [[255] * 5] * 2


def test_a_frame_goes_around_every_part():
    picture = framed(torch.arange(4, dtype=torch.uint8).view(1, 2, 2).expand(3, 2, 2), rows=1, columns=2, gap=3)
    grey, white = FRAME[0], [255] * 3
    assert picture[0].tolist() == [
        [grey] * 3 + white + [grey] * 3,
        [grey, 0, grey, *white, grey, 1, grey],
        [grey, 2, grey, *white, grey, 3, grey],
        [grey] * 3 + white + [grey] * 3,
    ]


def test_a_grid_may_have_a_margin():
    blocks = [block(1, 2, 3), block(2, 2, 5), block(3, 1, 1)]
    assert torch.equal(grid(blocks, columns=2, gap=1, margin=4), with_margin(grid(blocks, columns=2, gap=1), 4))


def test_pixels_lie_in_memory_as_files_hold_them():
    word = line("target", size=20)
    for picture in (word, enlarged(word, 3), framed(word), grid([word, word], columns=2, gap=1), below([word], gap=0)):
        assert picture.permute(1, 2, 0).is_contiguous()


def test_enlarged_repeats_pixels():
    picture = torch.tensor([[1, 2]], dtype=torch.uint8).expand(3, 1, 2)
    assert enlarged(picture, 2)[0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2]]


def test_shrunk_keeps_the_aspect_and_the_mean():
    values = torch.randn(2, 170, 230, dtype=torch.float64)
    small = shrunk(values, 23)
    assert small.shape == (2, 17, 23)
    assert small.mean().item() == pytest.approx(values.mean().item(), abs=0.01)
    assert small.std() < 0.3 * values.std()
    assert shrunk(values, 230) is values
    assert shrunk(torch.rand(1, 1, 1000), 10).shape == (1, 1, 10)


def test_a_checkerboard_shrinks_to_zero():
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    values = (1.0 - 2.0 * ((rows + columns) % 2))[None]
    assert shrunk(values, 16)[:, 2:-2, 2:-2].abs().max() < 1e-6


def test_a_scale_bar_is_as_wide_as_asked_and_ends_in_its_colours():
    bar = scale_bar(Scale.around_zero(0.5), width=301, size=20)
    assert bar.shape[2] == 301
    assert tuple(bar[:, 5, 1].tolist()) == BLUE
    assert tuple(bar[:, 5, 150].tolist()) == (255, 255, 255)
    assert tuple(bar[:, 5, 299].tolist()) == RED


def test_a_scale_bar_widens_for_its_numbers():
    assert scale_bar(Scale.around_zero(1.23e-5), width=20, size=20).shape[2] > 150


def test_numbers_are_written_into_their_own_cells():
    picture = numbered(block(120, 40, 80), [["", "1"]], light=torch.tensor([[False, True]]), size=20)
    assert (picture[:, :, :40] == 120).all()
    assert picture[:, :, 40:].max() == 255
    assert numbered(block(120, 40, 40), [["1"]], light=torch.tensor([[False]]), size=20).min() < 60
