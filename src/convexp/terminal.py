"""What is printed for a user, or a program, that may stop reading."""

import os
import sys


def say(text: str) -> None:
    """Prints a text; that its reader has enough, as `head`, is no error.

    After https://docs.python.org/3/library/signal.html#note-on-sigpipe.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
