"""Where the time of many calls goes."""

import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any
from unittest.mock import patch


class Stopwatch:
    """Adds up the seconds spent in functions, less those in others that it watches."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner: list[float] = []

    @contextmanager
    def watching(self, functions: Mapping[str, Sequence[tuple[Any, str]]]) -> Generator[None, None, None]:
        """Watches functions.

        Args:
            functions: Name of a sum → the modules or classes, and the functions' names there, that count for it.
        """
        with ExitStack() as stack:
            for name, places in functions.items():
                for place, function in places:
                    stack.enter_context(patch.object(place, function, self._timed(name, getattr(place, function))))
            yield

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                whole = time.perf_counter() - start
                self.seconds[name] += whole - self._inner.pop()
                if self._inner:
                    self._inner[-1] += whole

        return timed
