"""What an exporter says is not heard, and afterwards all is as it was."""

import logging
import sys
import warnings

import pytest

from convexp.deploy.silence import silenced


class Kept(logging.Handler):
    """Of a logger that somebody listens to, whatever stands for the terminal."""

    def __init__(self):
        super().__init__()
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage())


@pytest.fixture
def heard():
    """A logger and what was heard of it."""
    logger, handler = logging.getLogger("an exporter"), Kept()
    logger.addHandler(handler)
    yield logger, handler.said
    logger.removeHandler(handler)


def speak(logger):
    print("printed")
    print("printed as an error", file=sys.stderr)
    warnings.warn("a warning", UserWarning, stacklevel=1)
    for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
        logger.log(level, "logged")


def test_nothing_is_heard(capfd, heard):
    logger, said = heard
    with silenced():
        speak(logger)
    assert capfd.readouterr() == ("", "")
    assert said == []


def test_a_warning_is_no_error_meanwhile():
    with silenced():
        warnings.warn("one that a filter would raise", DeprecationWarning, stacklevel=1)
    with pytest.raises(DeprecationWarning, match="again"):
        warnings.warn("again", DeprecationWarning, stacklevel=1)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, None])
def test_afterwards_all_is_as_it_was(capsys, heard, error):
    logger, said = heard
    before = sys.stdout, sys.stderr, logging.root.manager.disable, list(warnings.filters)

    def work():
        with silenced():
            print("unheard")
            if error is not None:
                raise error("as ever")

    if error is None:
        work()
    else:
        with pytest.raises(error, match="as ever"):
            work()
    assert (sys.stdout, sys.stderr, logging.root.manager.disable, list(warnings.filters)) == before
    print("heard")
    logger.warning("heard, too")
    assert capsys.readouterr() == ("heard\n", "")
    assert said == ["heard, too"]


def test_one_in_another_does_not_end_it(capsys, heard):
    logger, said = heard
    with silenced():
        with silenced():
            speak(logger)
        speak(logger)
    assert capsys.readouterr() == ("", "")
    assert said == []


def test_what_is_kept_back_more_strictly_stays_so(heard):
    logger, said = heard
    logging.disable(logging.CRITICAL)
    try:
        with silenced():
            logger.critical("kept back")
    finally:
        logging.disable(logging.NOTSET)
    assert said == []


def test_records_that_were_kept_back_before_stay_so(heard):
    logger, said = heard
    logging.disable(logging.INFO)
    try:
        with silenced():
            pass
        logger.info("kept back")
        logger.warning("heard")
    finally:
        logging.disable(logging.NOTSET)
    assert said == ["heard"]
