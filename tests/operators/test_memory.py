from functools import partial

import torch
from torch import nn

from convexp.operators import memory
from convexp.operators.memory import remembered


def counted():
    calls = []

    @remembered
    def find(operator, number, *, side=1):
        calls.append(operator)
        return object()

    return find, calls


def test_alike_operators_are_looked_at_once():
    find, calls = counted()
    first = find(nn.Threshold(0.5, 0.0), 3, side=9)
    assert find(nn.Threshold(0.5, 0.0), 3, side=9) is first
    assert find(torch.square, 3) is find(torch.square, 3)
    assert len(calls) == 2


def test_what_differs_is_looked_at_again():
    find, calls = counted()
    conv, other = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)
    found = [
        find(nn.Threshold(0.5, 0.0), 3),
        find(nn.Threshold(0.4, 0.0), 3),
        find(nn.Threshold(0.5, 0.0), 1),
        find(nn.Threshold(0.5, 0.0), 3, side=2),
        find(torch.square, 3),
        find(torch.sqrt, 3),
        find(conv, 3),
        find(other, 3),
    ]
    assert len(set(map(id, found))) == len(calls) == len(found)


def test_equal_tensors_are_alike():
    find, calls = counted()
    first, second = (nn.Conv2d(1, 1, 1, bias=False) for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert find(first, 1) is find(second, 1)
    assert len(calls) == 1


class Mine(nn.Threshold):
    pass


def test_a_users_own_is_looked_at_every_time():
    find, calls = counted()
    for operator in (Mine(0.5, 0.0), counted, nn.Sequential(Mine(0.5, 0.0)), partial(counted, 1)):
        assert find(operator, 1) is not find(operator, 1)
    assert len(calls) == 8


def test_what_cannot_be_pickled_is_looked_at_every_time():
    find, calls = counted()
    operator = lambda image: image  # noqa: E731
    assert find(operator, 1) is not find(operator, 1)
    assert len(calls) == 2


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(memory, "MOST", 3)
    find, calls = counted()
    for number in (1, 2, 3, 4, 4, 1):
        find(torch.square, number)
    assert len(calls) == 5  # the fourth emptied it


def test_an_error_is_not_remembered():
    calls = []

    @remembered
    def find(operator):
        calls.append(operator)
        raise ValueError

    for _ in range(2):
        try:
            find(torch.square)
        except ValueError:
            continue
    assert len(calls) == 2
