"""Many pictures, filtered one after the other."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from tqdm import tqdm

from convexp.deploy.destinations import Destinations
from convexp.deploy.filtering import Filtered
from convexp.errors import ConvexpError
from convexp.images.sink import CannotWriteError

MOST_LINES = 20  # of more pictures, no line each
MOST_NAMED = 5

_BAR = "{percentage:3.0f}% {bar} {n:.1f} of {total} pictures [{elapsed} < {remaining}]"

Work = Callable[[Path, Path, Callable[[float], None]], Filtered]
"""Filters a picture into a file, and tells how much of it was done since it told last."""


class _Stopped(KeyboardInterrupt):
    """A signal ends the work.

    Args:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def filter_all(places: Destinations, work: Work) -> None:
    """Filters pictures, prints what became of them, and goes on behind one that cannot be filtered.

    Args:
        places: The pictures and where they go.
        work: Filters one.

    Raises:
        ConvexpError: If files cannot be written, or the only picture cannot be filtered.
        SystemExit: If one of several cannot be filtered, or a signal ended the work; files that are there are whole.
    """
    where = places.folder
    made: list[Filtered] = []
    failed: list[Path] = []
    # None: only in a terminal.
    bar = tqdm(total=len(places.todo), bar_format=_BAR, dynamic_ncols=True, miniters=0, disable=None)
    try:
        with _signals(), bar:
            for source, destination in places.todo:
                try:
                    made.append(work(source, destination, lambda fraction: _advance(bar, fraction)))
                except CannotWriteError:
                    raise
                except ConvexpError as error:
                    if where is None or places.there + len(places.todo) == 1:
                        raise
                    failed.append(source)
                    tqdm.write(f"convexp: {error}; skipped", file=sys.stderr)
                else:
                    if len(places.todo) <= MOST_LINES:
                        _say(made[-1].line)
                bar.n = len(made) + len(failed)  # the parts of a picture add up to nearly 1, of a damaged one to less
                bar.refresh()
    except KeyboardInterrupt as interruption:
        done = places.there + len(made)
        there = "" if where is None else f" with {done} of {places.there + len(places.todo)} pictures in {where}"
        again = "the same command without --force" if places.overwrite and where is not None else "the same command"
        print(f"convexp: stopped{there}; {again} goes on", file=sys.stderr)
        sys.exit(128 + getattr(interruption, "number", signal.SIGINT))
    for sentence in _dropped(made):
        _say(sentence)
    if where is not None:
        _say(summary(made, places))
    if failed:
        names = ", ".join(map(str, failed[:MOST_NAMED])) + (", …" if len(failed) > MOST_NAMED else "")
        sys.exit(f"convexp: {len(failed)} of {len(places.todo)} pictures could not be filtered: {names}")


def _say(text: str) -> None:
    try:
        tqdm.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader, as `head`, has enough: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _advance(bar: "tqdm[Any]", fraction: float) -> None:
    if not bar.disable:
        bar.update(fraction)


def summary(made: Sequence[Filtered], places: Destinations) -> str:
    """What became of pictures, in one line or some."""
    sentences: list[str] = []
    if made or not places.there:
        sentences.append(f"{_pictures(len(made))} in {places.folder}")
    if places.there:
        sentences.append(f"{places.there} there already in {places.folder}, skipped; --force makes them anew")
    clipped = [picture.clipped for picture in made if picture.clipped]
    if clipped and len(places.todo) > MOST_LINES:
        most = f"{100 * max(clipped):.1f} %"
        sentences.append(f"values outside [0, 1] were clipped in {len(clipped)}, up to {most}; --to npy keeps them")
    return "\n".join(sentences)


def _dropped(made: Sequence[Filtered]) -> list[str]:
    """What results do not keep of their pictures, a sentence each."""
    transparent, pages = sum(picture.transparent for picture in made), sum(picture.pages for picture in made)
    sentences: list[str] = []
    if transparent:
        sentences.append(f"{_pictures(transparent)} had an alpha channel, which was composited over white")
    if pages:
        sentences.append(f"{_pictures(pages)} had several pages, of which the first was filtered")
    return sentences


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"


@contextmanager
def _signals() -> Generator[None, None, None]:
    """Makes SIGTERM, as SIGINT, raise where the work is, so that no unfinished file stays."""
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be handled
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)  # a second one would strike while the first ends the work
        raise _Stopped(number)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
