from itertools import islice

import numpy as np
import pytest
import torch
from scipy import ndimage

from convexp.errors import ConvexpError
from convexp.operators import GaussianBlur, Gradients, Highpass, Magnitude, Pipeline
from convexp.training.pairs import Batches, Pair, crop, join_sizes, make_pair


@pytest.fixture
def image():
    return torch.rand(3, 37, 43, generator=torch.Generator().manual_seed(0))


def pair_of(height, width, seed=0):
    image = torch.rand(1, height, width, generator=torch.Generator().manual_seed(seed))
    return make_pair("noise", image, Highpass(7, 4.0))


def batches(pairs, **arguments):
    settings = {"crop_size": 11, "batch_size": 4, "seed": 5} | arguments
    return Batches(pairs, **settings)


def assert_same(batch, other):
    assert len(batch) == len(other)
    for pair, expected in zip(batch, other, strict=True):
        assert pair.input.equal(expected.input)
        assert pair.target.equal(expected.target)


def test_the_operator_sees_the_whole_image_once(image):
    seen = []
    pair = make_pair("noise", image, lambda batch: seen.append(batch.shape) or 2 * batch)
    assert seen == [(1, 3, 37, 43)]
    assert pair.input.equal(image[None])
    assert pair.target.equal(2 * image[None])


def test_pairs_lie_channels_last_and_are_single(image):
    pair = make_pair("noise", image, lambda batch: batch.double())
    assert pair.target.dtype == torch.float32
    for part in pair:
        assert part.is_contiguous(memory_format=torch.channels_last)


def test_no_graph_is_kept(image):
    conv = torch.nn.Conv2d(3, 1, 3)
    assert not make_pair("noise", image, conv).target.requires_grad


@pytest.mark.parametrize(
    "operator",
    [
        Highpass(7, 4.0),
        GaussianBlur(5, 1.0),
        Pipeline({"gradients": Gradients("edges"), "magnitude": Magnitude()}),  # an even kernel
    ],
)
@pytest.mark.parametrize(("top", "left"), [(0, 0), (20, 26), (7, 13)])
def test_a_valid_operator_makes_the_cropped_target_of_the_cropped_image(image, operator, top, left):
    cropped = crop(make_pair("noise", image, operator), top, left, 17)
    assert cropped.input.equal(image[None, :, top : top + 17, left : left + 17])
    torch.testing.assert_close(cropped.target, operator(cropped.input))


def test_a_padded_target_is_that_of_the_whole_image_at_the_crop(image):
    cropped = crop(make_pair("noise", image[:1], GaussianBlur(5, 1.0, border="reflect")), 3, 8, 17)
    blurred = ndimage.gaussian_filter(image[0].numpy(), 1.0, radius=2, mode="mirror")
    assert cropped.target.shape == (1, 1, 17, 17)
    np.testing.assert_allclose(cropped.target[0, 0], blurred[3:20, 8:25], atol=1e-6)


def test_rows_and_columns_may_shrink_differently():
    image = torch.arange(5 * 7, dtype=torch.float32).reshape(1, 5, 7) / 35
    pair = make_pair("ramp", image, lambda batch: batch[..., 1:-1, :])
    cropped = crop(pair, 0, 2, 4)
    assert cropped.input[0, 0].equal(image[0, 0:4, 2:6])
    assert cropped.target[0, 0].equal(image[0, 1:3, 2:6])


def test_sizes_are_stacked_in_the_order_in_which_they_come():
    a, b, c = pair_of(17, 23, 0), pair_of(19, 23, 1), pair_of(17, 23, 2)
    tall, wide = join_sizes([a, b, c])
    assert tall.input.equal(torch.cat([a.input, c.input]))
    assert tall.target.equal(torch.cat([a.target, c.target]))
    assert wide.input.equal(b.input)
    assert tall.input.is_contiguous(memory_format=torch.channels_last)


def test_a_batch_depends_on_seed_and_step_alone():
    pairs = {"a": pair_of(37, 43, 0), "b": pair_of(23, 17, 1)}
    sequence = list(islice(batches(pairs), 6))
    assert_same(sequence[4], batches(pairs).batch(4))
    assert_same(sequence[4], next(iter(batches(pairs, start=4))))
    assert not sequence[4][0].input.equal(sequence[5][0].input)
    assert not sequence[4][0].input.equal(batches(pairs, seed=6).batch(4)[0].input)


def test_crops_come_from_every_image_and_reach_its_corners():
    place = torch.arange(13 * 17, dtype=torch.float32).reshape(1, 1, 13, 17)
    pairs = {"a": Pair(place, place), "b": Pair(place + 1000, place + 1000)}
    corners = {int(crop[0, 0, 0]) for step in range(300) for crop in batches(pairs).batch(step)[0].input}
    possible = {17 * top + left for top in range(3) for left in range(7)}
    assert corners == possible | {1000 + corner for corner in possible}


def test_input_and_target_are_cropped_at_one_place():
    (batch,) = batches({"a": pair_of(37, 43)}).batch(0)
    assert batch.input.shape == (4, 1, 11, 11)
    torch.testing.assert_close(batch.target, Highpass(7, 4.0)(batch.input))


def test_processes_share_out_one_larger_batch():
    pairs = {"a": pair_of(37, 43, 0), "b": pair_of(23, 17, 1)}
    (whole,) = batches(pairs, batch_size=8).batch(3)
    (first,) = batches(pairs, rank=0, world_size=2).batch(3)
    (second,) = batches(pairs, rank=1, world_size=2).batch(3)
    assert torch.stack([first.input, second.input], 1).flatten(0, 1).equal(whole.input)
    assert len(whole.input.flatten(1).unique(dim=0)) == 8


def test_whole_images_are_all_or_a_few_of_them():
    pairs = {name: pair_of(17, 23, seed) for seed, name in enumerate("abc")}
    (everything,) = batches(pairs, crop_size=None, batch_size=None).batch(7)
    assert everything.input.equal(torch.cat([pair.input for pair in pairs.values()]))
    few = [batches(pairs, crop_size=None, batch_size=2).batch(step)[0].input for step in range(20)]
    assert {image.shape for image in few} == {(2, 1, 17, 23)}
    assert all(not image[0].equal(image[1]) for image in few)  # none twice in a batch
    assert len({float(image.sum()) for image in torch.cat(few)}) == 3


def test_whole_images_are_shared_out_too():
    pairs = {name: pair_of(17, 23, seed) for seed, name in enumerate("abc")}
    shares = [batches(pairs, crop_size=None, batch_size=None, rank=rank, world_size=2).batch(0)[0] for rank in (0, 1)]
    assert shares[0].input.equal(torch.cat([pairs["a"].input, pairs["c"].input]))
    assert shares[1].input.equal(pairs["b"].input)


def fails(batch):
    raise ValueError("no red today")


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (fails, r"the target fails on cat \(3, 37, 43\): ValueError: no red today$"),
        (
            lambda batch: batch[0],
            r"the target made \(3, 37, 43\) of cat \(1, 3, 37, 43\); it must return \(1, C, H, W\)",
        ),
        (lambda batch: batch.numpy(), r"the target made ndarray of cat .*; it must return"),
        (lambda batch: batch.repeat(2, 1, 1, 1), r"the target made \(2, 3, 37, 43\) of cat"),
        (
            lambda batch: torch.cat([batch, batch], -1),
            r"the target made 37×86 of cat, 37×43; it may not enlarge or empty an image$",
        ),
        (lambda batch: batch[..., :0], r"the target made 37×0 of cat, 37×43; it may not enlarge or empty"),
        (
            lambda batch: batch / 0,
            r"the target of cat has NaN or infinite values; mend the operator or leave the image",
        ),
        (lambda batch: batch * torch.nan, r"the target of cat has NaN or infinite values"),
    ],
)
def test_operators_that_cannot_be_imitated(image, operator, message):
    with pytest.raises(ConvexpError, match=message):
        make_pair("cat", image, operator)


def test_an_operators_own_clear_message_stays(image):
    def refuse(batch):
        raise ConvexpError("kernel of 47 is too large")

    with pytest.raises(ConvexpError, match=r"^kernel of 47 is too large$"):
        make_pair("cat", image, refuse)


@pytest.mark.parametrize(
    ("pair", "arguments", "message"),
    [
        (
            pair_of(17, 23),
            {"crop_size": 19},
            r"^cat is 17×23, smaller than data.crop_size=19; use smaller crops, or null",
        ),
        (pair_of(17, 23), {"crop_size": 6}, r"^data.crop_size=6 leaves no pixel of the target, which is 6×6 smaller"),
        (
            pair_of(17, 23),
            {"batch_size": None},
            r"^data.batch_size=null means all whole images; with data.crop_size give",
        ),
        (
            pair_of(17, 23),
            {"crop_size": None, "batch_size": None, "world_size": 2},
            r"^data.batch_size=null leaves 1 of 2 processes without an image; use trainer.devices=1, or crops, as data",
        ),
    ],
)
def test_sizes_that_do_not_fit(pair, arguments, message):
    with pytest.raises(ConvexpError, match=message):
        batches({"cat": pair}, **arguments)


def test_the_smallest_crops_leave_one_pixel():
    (batch,) = batches({"a": pair_of(17, 23)}, crop_size=7).batch(0)
    assert batch.target.shape == (4, 1, 1, 1)
    (batch,) = batches({"a": pair_of(17, 23)}, crop_size=17).batch(0)
    assert batch.input.shape == (4, 1, 17, 17)
