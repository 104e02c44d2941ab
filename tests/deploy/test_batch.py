"""Many pictures one after the other: what is said, what is left, and how it ends."""

import os
import pty
import signal
import sys
import termios
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convexp.deploy.batch import MOST_LINES, MOST_NAMED, filter_all, summary
from convexp.deploy.destinations import Destinations
from convexp.deploy.filtering import Filtered
from convexp.errors import ConvexpError
from convexp.images.sink import CannotWriteError, Layout, sink

LAYOUT = Layout(17, 23, 1, "uint8")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()


@pytest.fixture(autouse=True)
def handlers():
    """Those of the signals, which a test may not change."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    yield
    after = [signal.getsignal(number) for number in numbers]
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    assert after == before


def places(*names, there=0, **more):
    """Pictures that are to be filtered into a folder, besides some whose results are there."""
    todo = [(Path(f"{name}.png"), Path(f"out/{name}.png")) for name in names]
    kept = [(Path(f"kept{number}.png"), Path(f"out/kept{number}.png")) for number in range(there)]
    return Destinations(todo, kept, Path("out"), **more)


def named(name):
    """A picture whose result has a name of its own."""
    return Destinations([(Path(f"{name}.png"), Path(f"out/{name}.png"))], [], None)


def work(source, destination, advance, *, half=lambda name: None, **more):
    """Writes a picture; one whose name begins with "bad" cannot be filtered, and in the middle something may happen."""
    if source.stem.startswith("bad"):
        raise ConvexpError(f"{source} is damaged")
    with sink(destination, LAYOUT) as picture:
        picture.write(np.ones((9, 23, 1), np.uint8))
        advance(9 / 17)
        half(source.stem)
        picture.write(np.ones((8, 23, 1), np.uint8))
        advance(8 / 17)
    return Filtered(destination, (17, 23), LAYOUT, **{"clipped": 0.0, **more})


def outcome(capsys, places, work=work):
    """(exit status or message, lines of standard output, standard error)."""
    code = 0
    try:
        filter_all(places, work)
    except SystemExit as end:
        code = end.code
    out, err = capsys.readouterr()
    return code, out.splitlines(), err


def files():
    """What is there, whole: a picture that is not is no picture."""
    found = sorted(Path("out").iterdir())
    for path in found:
        with Image.open(path) as image:
            image.load()
    return [path.stem for path in found]


def test_all_goes_well(capsys):
    assert outcome(capsys, places("a", "b")) == (
        0,
        ["out/a.png  17×23, 1 channel, 8 bits", "out/b.png  17×23, 1 channel, 8 bits", "2 pictures in out"],
        "",  # and no bar where there is no terminal
    )
    assert files() == ["a", "b"]


def test_it_goes_on_behind_pictures_that_fail(capsys):
    code, out, err = outcome(capsys, places("bad1", "a", "bad2", "b", there=3))
    assert code == "convexp: 2 of 4 pictures could not be filtered: bad1.png, bad2.png"
    assert err == "convexp: bad1.png is damaged; skipped\nconvexp: bad2.png is damaged; skipped\n"
    assert out[2:] == ["2 pictures in out", "3 there already in out, skipped; --force makes them anew"]
    assert files() == ["a", "b"]


def test_of_many_that_fail_some_are_named(capsys):
    names = [f"bad{number}" for number in range(MOST_NAMED + 1)]
    listed = ", ".join(f"{name}.png" for name in names[:MOST_NAMED])
    code, out, _ = outcome(capsys, places(*names[:MOST_NAMED]))
    assert code == f"convexp: 5 of 5 pictures could not be filtered: {listed}"
    assert out == ["0 pictures in out"]
    assert outcome(capsys, places(*names))[0] == f"convexp: 6 of 6 pictures could not be filtered: {listed}, …"


def test_the_only_picture_that_fails_is_an_error(capsys):
    for only in (places("bad"), named("bad")):
        with pytest.raises(ConvexpError, match=r"^bad\.png is damaged$"):
            filter_all(only, work)
        assert capsys.readouterr() == ("", "")
    code, _, err = outcome(capsys, places("bad", there=1))  # one of two is not the only one
    assert code == "convexp: 1 of 1 pictures could not be filtered: bad.png"
    assert err == "convexp: bad.png is damaged; skipped\n"


def test_where_nothing_can_be_written_nothing_is_tried_again(capsys):
    tried = []

    def full(source, destination, advance):
        tried.append(source.stem)
        return work(source, Path("nowhere", source) if source.stem == "b" else destination, advance)

    with pytest.raises(CannotWriteError, match=r"cannot write nowhere/b\.png: No such file or directory"):
        filter_all(places("a", "b", "c"), full)
    assert tried == ["a", "b"]
    assert files() == ["a"]
    assert capsys.readouterr().err == ""


def test_an_error_of_the_program_is_none_of_a_picture():
    def wrong(source, destination, advance):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        filter_all(places("a", "b"), wrong)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it(capsys, number, status):
    def stopped(name):
        if name == "b":
            os.kill(os.getpid(), number)

    code, out, err = outcome(capsys, places("a", "b", "c", there=2), lambda *each: work(*each, half=stopped))
    assert code == status
    assert out == ["out/a.png  17×23, 1 channel, 8 bits"]
    assert err == "convexp: stopped with 3 of 5 pictures in out; the same command goes on\n"
    assert files() == ["a"]


def test_a_second_signal_does_not_strike_while_the_first_ends_it(capsys):
    struck = []

    def stopped(name):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                os.kill(os.getpid(), number)
            struck.append(name)

    code, _, err = outcome(capsys, places("a", "b"), lambda *each: work(*each, half=stopped))
    assert (code, struck, files()) == (143, ["a"], [])
    assert err == "convexp: stopped with 0 of 2 pictures in out; the same command goes on\n"


def test_what_goes_on_depends_on_what_was_asked(capsys):
    def interrupted(source, destination, advance):
        raise KeyboardInterrupt  # as from a handler of somebody else's

    code, _, err = outcome(capsys, places("a", "b", overwrite=True), interrupted)
    assert code == 130
    assert err.endswith("stopped with 0 of 2 pictures in out; the same command without --force goes on\n")
    assert outcome(capsys, named("a"), interrupted)[2] == "convexp: stopped; the same command goes on\n"


def test_in_a_thread_where_signals_cannot_be_handled(capsys):
    ended = []
    thread = threading.Thread(target=lambda: ended.append(outcome(capsys, places("a", "bad"))))
    thread.start()
    thread.join()
    assert [code for code, *_ in ended] == ["convexp: 1 of 2 pictures could not be filtered: bad.png"]
    assert files() == ["a"]


def test_a_reader_that_has_enough_stops_nothing(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed, monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", closed)
        filter_all(places("a", "b", "c"), work)
    assert files() == ["a", "b", "c"]


@pytest.mark.parametrize("count", [MOST_LINES, MOST_LINES + 1])
def test_of_more_pictures_there_is_no_line_each(capsys, count):
    names = [f"{number:02}" for number in range(count)]

    def clipping(source, *more):
        return work(source, *more, clipped=0.25 if source.stem == "07" else 0.5 if source.stem == "03" else 0.0)

    code, out, err = outcome(capsys, places(*names), clipping)
    assert (code, err, files()) == (0, "", names)
    if count == 20:
        assert out[3] == "out/03.png  17×23, 1 channel, 8 bits; " + (
            "50.0 % of the values lay outside [0, 1] and were clipped; --to npy keeps them"
        )
        assert out[20:] == ["20 pictures in out"]
    else:
        line = "values outside [0, 1] were clipped in 2, up to 50.0 %; --to npy keeps them"
        assert out == ["21 pictures in out", line]


def test_what_is_dropped(capsys):
    more = {"a": {"transparent": True}, "b": {"pages": True}, "c": {"transparent": True, "pages": True}, "d": {}}
    alpha = "had an alpha channel, which was composited over white"
    pages = "had several pages, of which the first was filtered"

    def dropping(source, *others):
        return work(source, *others, **more[source.stem])

    assert outcome(capsys, places(*"abcd"), dropping)[1][4:] == [
        f"2 pictures {alpha}",
        f"2 pictures {pages}",
        "4 pictures in out",
    ]
    Path("out/b.png").unlink()
    assert outcome(capsys, named("b"), dropping)[1] == ["out/b.png  17×23, 1 channel, 8 bits", f"1 picture {pages}"]


def made(count, clipped=0.0):
    return [Filtered(Path("out/x.png"), (17, 23), LAYOUT, clipped) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "there", "said"),
    [
        (0, 0, "0 pictures in out"),
        (1, 0, "1 picture in out"),
        (2, 0, "2 pictures in out"),
        (0, 2, "2 there already in out, skipped; --force makes them anew"),
        (1, 1, "1 picture in out\n1 there already in out, skipped; --force makes them anew"),
    ],
)
def test_the_summary(count, there, said):
    assert summary(made(count), places(*"abc"[:count], there=there)) == said


def test_the_summary_of_many_says_what_their_lines_would():
    many = [f"{number:02}" for number in range(21)]
    assert summary(made(19) + made(1, 0.0004) + made(1, 0.1234), places(*many)).splitlines()[1:] == [
        "values outside [0, 1] were clipped in 2, up to 12.3 %; --to npy keeps them"
    ]
    assert summary(made(21), places(*many)) == "21 pictures in out"
    assert summary(made(20, 0.5), places(*many[:20], there=9)).splitlines()[0] == "20 pictures in out"
    assert "clipped" not in summary(made(20, 0.5), places(*many[:20], there=9))  # their lines have said so


def test_in_a_terminal_a_bar_ends_at_the_last_picture(monkeypatch):
    reader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    with os.fdopen(terminal, "w") as stream, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        with pytest.raises(SystemExit):
            filter_all(places("a", "bad", "b"), work)
    shown = ""
    with suppress(OSError):  # at the end, of a terminal that nobody writes to
        while True:
            shown += os.read(reader, 10_000).decode()
    os.close(reader)
    steps = [
        " 0.0 of 3",
        " 1.0 of 3",
        "convexp: bad.png is damaged; skipped",
        " 2.0 of 3",
        "100% ",
        " 3.0 of 3 pictures",
    ]
    assert [step for step in steps if step not in shown] == []
    assert [shown.index(step) for step in steps] == sorted(shown.index(step) for step in steps)
