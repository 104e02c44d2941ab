from itertools import islice

import pytest
import torch
from torch.utils.data import DataLoader

from convexp.errors import ConvexpError
from convexp.operators import Highpass
from convexp.training.batches import CROPS, LANES, Batches, Failure
from convexp.training.library import Library
from convexp.training.pairs import Pair, make_pair


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


SIDE = 12


class Numbered:
    """Twenty images of 12×12 whose pixels say which one they are of and where; counts how often each is read."""

    def __init__(self, room=0.0):
        self.reads = []
        self.library = Library(
            [str(number) for number in range(20)],
            self.read,
            lambda _name, image: Pair(image, image),
            nbytes=10**9,
            room=room,
        )

    def read(self, name):
        self.reads.append(int(name))
        return 1000 * int(name) + torch.arange(SIDE**2, dtype=torch.float32).reshape(1, 1, SIDE, SIDE)


def streamed(numbered, **arguments):
    room, numbered.library.room = numbered.library.room, 1e6  # for crops, as there would be if images were large
    made = batches(numbered.library, **{"crop_size": 5, **arguments})
    numbered.library.room = room
    return made


def images_in(batch):
    return [int(crop[0, 0, 0]) // 1000 for crop in batch[0].input]


def test_an_image_that_is_read_gives_crops_to_many_steps():
    numbered = Numbered()
    numbered.reads.clear()
    steps = LANES * CROPS
    seen = [number for step in islice(streamed(numbered), steps) for number in images_in(step)]
    assert len(seen) == 4 * steps
    # Each slot of each lane looks at one image or, since slots change at different steps, at two.
    assert len(numbered.reads) == (1 + 2 + 2 + 2) * LANES
    assert set(seen) == set(range(20))


def test_all_images_are_used_before_one_is_used_again():
    numbered = Numbered()
    everything = streamed(numbered, batch_size=5)
    numbered.reads.clear()
    for lane in range(LANES):
        everything.batch(lane)
    assert sorted(numbered.reads) == sorted([*range(20), *range(20)])
    assert sorted(numbered.reads[:20]) == list(range(20))
    assert numbered.reads[:20] != numbered.reads[20:]


def test_streamed_batches_depend_on_seed_and_step_alone():
    sequence = list(islice(streamed(Numbered()), 200))
    for step in (0, 7, 8, 130, 199):
        assert_same(sequence[step], streamed(Numbered()).batch(step))
    assert_same(sequence[150], next(iter(streamed(Numbered(), start=150))))
    assert not sequence[0][0].input.equal(streamed(Numbered(), seed=6).batch(0)[0].input)
    corners = {int(crop[0, 0, 0]) % 1000 for batch in sequence for crop in batch[0].input}
    assert corners == {SIDE * top + left for top in range(8) for left in range(8)}


def test_processes_share_out_streamed_batches():
    whole = streamed(Numbered(), batch_size=8).batch(77)[0].input
    shares = [streamed(Numbered(), rank=rank, world_size=2).batch(77)[0].input for rank in (0, 1)]
    assert torch.stack(shares, 1).flatten(0, 1).equal(whole)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than this machine has cores
@pytest.mark.parametrize("make", [streamed, lambda numbered: batches(dict(numbered.library.items()), crop_size=5)])
def test_workers_make_the_same_batches(make):
    expected = list(islice(make(Numbered()), 20))
    loader = DataLoader(make(Numbered()), batch_size=None, num_workers=3)
    for batch, other in zip(islice(loader, 20), expected, strict=True):
        assert_same(batch, other)


def test_fresh_images_never_come_twice():
    drawn = []

    def fresh(number):
        drawn.append(number)
        image = torch.full((1, 1, SIDE, SIDE), float(number))
        return Pair(image, image)

    endless = batches(Numbered(room=1e12).library, crop_size=5, fresh=fresh)
    list(islice(endless, 2 * LANES * CROPS))
    assert len(drawn) == len(set(drawn)) > 4 * LANES
    assert (
        batches(Numbered(room=1e12).library, crop_size=5, fresh=fresh)
        .batch(100)[0]
        .input.equal(endless.batch(100)[0].input)
    )


def test_whole_images_that_do_not_fit_are_no_batch():
    every = batches(Numbered(room=2e8).library, crop_size=None, batch_size=None)
    with pytest.raises(
        ConvexpError, match=r"^data.batch_size=null takes all 20 images at once.* data.cache_gb=0.2; use"
    ):
        every.batch(0)


def test_an_image_is_kept_itself_where_its_crops_take_more_memory():
    numbered = Numbered()
    small, large = streamed(numbered), streamed(numbered, crop_size=11)
    for which in (small, large):
        which.batch(0)
    sizes = [
        {crop.input.untyped_storage().nbytes() for _, crops in which._cut.values() for crop in map(crops, range(CROPS))}
        for which in (small, large)
    ]
    assert sizes == [{4 * 144}, {4 * 144}]  # 16 crops of 25 pixels are more than an image of 144, too
    (tiny,) = [streamed(numbered, crop_size=2)]
    tiny.batch(0)
    assert {crops(0).input.untyped_storage().nbytes() for _, crops in tiny._cut.values()} == {4 * 4}


@pytest.mark.parametrize(("room", "crops"), [(0.9e9, CROPS), (32 * 5 * 25 * 8, 5), (1, 1)])
def test_an_image_gives_as_many_crops_as_there_is_room_for(room, crops):
    numbered = Numbered(room=room)
    every = batches(numbered.library, crop_size=5)
    numbered.library.room = 0
    numbered.reads.clear()
    for step in range(0, LANES * CROPS, LANES):  # of one lane, whose four slots change their images one by one
        every.batch(step)
    changes = sum(turn + slot * crops // 4 in range(crops, 99, crops) for turn in range(CROPS) for slot in range(4))
    assert 4 + changes - 3 <= len(numbered.reads) <= 4 + changes  # two slots may look at one image
    kept = sum(part.numel() * 4 for _, cut in every._cut.values() for crop in map(cut, range(crops)) for part in crop)
    assert kept * LANES <= max(room, 32 * 25 * 8)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_a_worker_sends_an_error_as_it_is():
    def read(name):
        if name == "7":
            raise ConvexpError("7.png is damaged")
        return torch.zeros(1, 1, SIDE, SIDE)

    names = [str(number) for number in range(20)]
    library = Library(names, read, lambda _name, image: Pair(image, image), nbytes=10**9, room=1)
    sent = list(islice(DataLoader(batches(library), batch_size=None, num_workers=2), 20))
    assert Failure("7.png is damaged") in sent
    assert all(isinstance(batch, list | Failure) for batch in sent)
