"""Silence around exporters, which say much that a user need not hear."""

import contextlib
import io
import logging
import warnings
from collections.abc import Generator


@contextlib.contextmanager
def silenced() -> Generator[None, None, None]:
    """Keeps warnings, log records and what Python prints from the terminal; errors are raised as ever."""
    before = logging.root.manager.disable
    logging.disable(max(before, logging.CRITICAL))
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
