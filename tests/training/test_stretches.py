import itertools

import pytest

from convexp.training.stretches import Stretches


def stretches(**arguments):
    return Stretches(**{"validation": [], "moments": [], "every": [25], "validate_every": 500, **arguments})


def ends(made):
    return [end for number in range(-(-made.max_steps // made.validate_every)) for end in made.interval(number)]


@pytest.mark.parametrize(
    ("max_steps", "validate_every", "every", "moments"),
    [
        (2000, 500, [25, 500], [0, 1, 2, 6, 13, 32, 83, 207, 526, 1320, 2000]),
        (150, 150, [25, 500], [0, 1, 2, 4, 150]),
        (103, 20, [7, 3], [1, 2, 50]),
        (20, 5, [2, 3], []),
        (1, 1, [25, 500], [0, 1]),
        (9, 1, [1, 1], [3]),
        (1700, 450, [400], [17]),
    ],
)
def test_something_is_looked_at_where_it_is_due(max_steps, validate_every, every, moments):
    made = stretches(max_steps=max_steps, validate_every=validate_every, every=every, moments=moments)
    found = ends(made)
    assert found == sorted(set(found))
    due = {step for period in [*every, validate_every] for step in range(period, max_steps + 1, period)}
    assert due | set(moments) | {max_steps} <= {0, *found}
    assert max(later - earlier for earlier, later in itertools.pairwise([0, *found])) <= 100
    # Lightning validates after so many batches, whatever their lengths are.
    whole = max_steps // made.validate_every
    assert {len(made.interval(number)) for number in range(whole)} == {made.per_validation}
    assert all(made.interval(number)[-1] == (number + 1) * made.validate_every for number in range(whole))
    assert len(found) - whole * made.per_validation <= made.per_validation


def test_the_loader_goes_on_from_any_end():
    made = stretches(max_steps=53, validate_every=20, every=[7, 3], moments=[1])
    lengths = list(itertools.islice(made.train_dataloader(), len(ends(made)) + 1))
    assert list(itertools.accumulate(lengths))[:-1] == ends(made)
    for index, end in enumerate(ends(made)):
        made.trainer = type("Trainer", (), {"global_step": end})()
        rest = list(itertools.islice(made.train_dataloader(), len(lengths) - index - 1))
        assert rest == lengths[index + 1 :]


def test_a_long_run_is_not_laid_out_beforehand():
    made = stretches(max_steps=10**12, every=[500])
    assert list(itertools.islice(made.train_dataloader(), 3)) == [100, 100, 100]
