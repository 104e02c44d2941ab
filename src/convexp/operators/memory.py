"""What was found out about an operator, remembered while the process lives: a sweep's runs share their operator."""

import hashlib
import pickle
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

MOST = 256  # findings of one kind

F = TypeVar("F", bound=Callable[..., Any])


def remembered(find: F) -> F:
    """Decorate a function of an operator, so that it looks once at operators that are alike.

    Alike are those that pickle to the same bytes: of one class and state, or the same function of a module. One that
    cannot be pickled, as a lambda, is looked at every time. What the function returns must not be changed.
    """
    known: dict[bytes, Any] = {}

    @wraps(find)
    def look(*arguments: Any, **named: Any) -> Any:
        try:
            key = hashlib.sha256(pickle.dumps((arguments, named))).digest()
        except Exception:  # a user's operator may raise anything
            return find(*arguments, **named)
        if key not in known:
            if len(known) >= MOST:
                known.clear()
            known[key] = find(*arguments, **named)
        return known[key]

    return cast("F", look)
