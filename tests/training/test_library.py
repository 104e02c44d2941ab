import itertools

import pytest
import torch

from convexp.errors import ConvexpError
from convexp.training.library import SAMPLE, Library
from convexp.training.pairs import Pair

NBYTES = 2 * 4 * 5 * 7  # of a pair


class Shelf:
    """Images of 5×7 by number, some of which cannot be read; notes which were read, in which order."""

    def __init__(self, damaged=()):
        self.damaged, self.read = damaged, []

    def __call__(self, name):
        self.read.append(name)
        if name in self.damaged:
            raise ConvexpError(f"{name}.png is damaged")
        return torch.full((1, 1, 5, 7), float(name))


def library_of(shelf, count=6, **arguments):
    return Library(
        [str(number) for number in range(count)], shelf, lambda _name, image: Pair(image, image), **arguments
    )


def values(pairs):
    return [int(pair.input[0, 0, 0, 0]) for pair in pairs]


def test_what_fits_is_read_once_and_at_once():
    shelf = Shelf()
    library = library_of(shelf, nbytes=6 * NBYTES, room=6 * NBYTES)
    assert library.held
    assert values(library.values()) == values(library.values()) == list(range(6))
    assert values([library["3"], library.at(4)]) == [3, 4]
    assert shelf.read == list("012345")


def test_what_does_not_fit_is_read_again_and_the_last_ones_stay():
    shelf = Shelf()
    library = library_of(shelf, nbytes=6 * NBYTES, room=2 * NBYTES)
    assert not library.held
    assert shelf.read == ["0"]
    assert values(library.values()) == values(library.values()) == list(range(6))
    assert shelf.read == [*"012345", *"012345"]
    library.at(5), library.at(4), library.at(5)
    assert shelf.read[12:] == []
    library.at(3), library.at(5), library.at(4)
    assert shelf.read[12:] == ["3", "4"]


def test_what_is_larger_than_expected_is_not_held():
    shelf = Shelf()
    library = library_of(shelf, nbytes=2 * NBYTES, room=2 * NBYTES)
    assert not library.held
    assert library._bytes <= 2 * NBYTES
    assert values(library.values()) == list(range(6))
    assert library._bytes <= 2 * NBYTES


@pytest.mark.parametrize("room", [6 * NBYTES, NBYTES])
def test_what_cannot_be_read_is_said_once_and_left_out(room, capsys):
    library = library_of(Shelf(damaged="24"), nbytes=6 * NBYTES, room=room, tolerant=True)
    assert values(library.values()) == values(pair for _, pair in library.items()) == [0, 1, 3, 5]
    assert [name for name, _ in library.items()] == list(library) == list("0135")
    assert len(library) == 4
    assert library.damaged == ["2", "4"]
    assert values(library.at(index) for index in range(6)) == [0, 1, 3, 3, 5, 5]
    assert capsys.readouterr().err.splitlines() == [f"convexp: {name}.png is damaged; it is left out" for name in "24"]
    with pytest.raises(KeyError):
        library["2"]


@pytest.mark.parametrize("room", [6 * NBYTES, NBYTES])
def test_or_stops(room):
    with pytest.raises(ConvexpError, match=r"^2.png is damaged$"):
        list(library_of(Shelf(damaged="2"), nbytes=6 * NBYTES, room=room).values())


@pytest.mark.parametrize("room", [6 * NBYTES, NBYTES])
def test_if_none_can_be_read_there_is_nothing_to_learn_from(room):
    with pytest.raises(ConvexpError, match="none of the 6 pictures can be used"):
        library_of(Shelf(damaged="012345"), nbytes=6 * NBYTES, room=room, tolerant=True)


def test_the_only_one_is_an_error_of_its_own():
    with pytest.raises(ConvexpError, match=r"^0.png is damaged$"):
        library_of(Shelf(damaged="0"), 1, tolerant=True)


def test_errors_of_the_operator_are_no_damaged_pictures():
    def fail(_name, _image):
        raise ConvexpError("the target fails")

    with pytest.raises(ConvexpError, match="the target fails"):
        Library(["0"], Shelf(), fail, tolerant=True)


def test_a_sample_of_many_is_spread_over_all():
    library = library_of(Shelf(), count=1000, nbytes=1000 * NBYTES, room=NBYTES)
    sample = values(library.sample())
    assert len(sample) == len(library.sample()) == SAMPLE
    assert sample == sorted(sample)
    assert max(b - a for a, b in itertools.pairwise(sample)) <= 16
    held = library_of(Shelf(), count=100)
    assert values(held.sample()) == list(range(100))


def test_of_a_part_that_is_damaged_the_sample_has_the_next_that_is_not():
    damaged = {str(number) for number in range(1000) if number % 16 < 8 or 160 <= number < 320}
    library = library_of(Shelf(damaged), count=1000, nbytes=1000 * NBYTES, room=NBYTES, tolerant=True)
    sample = values(library.sample())
    assert len(sample) == len(set(sample)) >= 50
    assert not {str(number) for number in sample} & damaged


def test_processes_agree_on_what_is_damaged():
    library = library_of(Shelf("2"), nbytes=6 * NBYTES, room=1, tolerant=True)
    list(library.values())

    class Strategy:
        root_device = torch.device("cpu")

        def reduce(self, flags, reduce_op):
            assert reduce_op == "max"
            return torch.maximum(flags, torch.tensor([0, 0, 0, 0, 1, 0], dtype=torch.int32))

    library.agree(Strategy())
    assert library.damaged == ["2", "4"]


def test_the_smallest_that_can_be_read():
    sizes = {str(number): (5 + number, 7) for number in range(6)}
    library = library_of(Shelf("01"), nbytes=6 * NBYTES, room=1, tolerant=True, sizes=sizes)
    assert library.smallest()[0] == "2"


def test_sizes_are_known_without_reading():
    shelf = Shelf()
    library = Library(
        ["0", "1", "2"],
        shelf,
        lambda _name, image: Pair(image, image[..., 1:-1, 2:-2]),
        sizes={"0": (5, 7), "1": (50, 3), "2": (60, 80)},
        nbytes=10**6,
        room=1,
    )
    assert list(library.shapes()) == [
        ("0", (5, 7), (3, 3)),
        ("1", (50, 3), (48, -1)),
        ("2", (60, 80), (58, 76)),
    ]
    assert library.smallest()[0] == "1"
    assert shelf.read == ["0", "1"]


def test_pairs_that_are_there_are_a_library():
    pair = Pair(torch.zeros(1, 1, 5, 7), torch.zeros(1, 1, 3, 5))
    library = Library.of({"a": pair})
    assert library["a"] is pair
    assert list(library.shapes()) == [("a", (5, 7), (3, 5))]
    assert not Library.of({})
