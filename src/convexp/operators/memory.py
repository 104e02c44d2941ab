"""What was found out about an operator, remembered while the process lives: a sweep's runs share their operator."""

import hashlib
import io
import pickle
from collections.abc import Callable
from functools import wraps
from types import FunctionType
from typing import Any, TypeVar, cast

import torch

MOST = 256  # findings of one kind
_KNOWN = ("convexp", "torch", "kornia", "builtins", "collections", "functools")  # defined once in a process

F = TypeVar("F", bound=Callable[..., Any])


def remembered(find: F) -> F:
    """Decorate a function of an operator, so that it looks once at operators that are alike.

    Alike are those of one class and state, or the same function, if all of it is convexp's, torch's or kornia's. A
    user's own is looked at every time: it may be defined anew under its name. What the function returns must not be
    changed.
    """
    known: dict[bytes, Any] = {}

    @wraps(find)
    def look(*arguments: Any, **named: Any) -> Any:
        try:
            key = _key((arguments, named))
        except Exception:  # a user's operator may raise anything
            return find(*arguments, **named)
        if key not in known:
            if len(known) >= MOST:
                known.clear()
            known[key] = find(*arguments, **named)
        return known[key]

    return cast("F", look)


def _key(what: object) -> bytes:
    content = io.BytesIO()
    _Pickler(content).dump(what)
    return hashlib.sha256(content.getvalue()).digest()


class _Pickler(pickle.Pickler):
    """Writes equal bytes of equal operators, and none of a user's own."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, torch.Tensor):  # whose storages pickle to other bytes every time
            values = obj.detach().cpu().contiguous()
            return tuple, ((str(obj.dtype), tuple(obj.shape), values.numpy().tobytes()),)
        if isinstance(obj, type | FunctionType) and str(obj.__module__).partition(".")[0] not in _KNOWN:
            raise pickle.PicklingError
        return NotImplemented
