import os
import subprocess
import sys

from convexp.terminal import say


def test_a_reader_that_has_enough_is_no_error():
    code = "from convexp.terminal import say; say('one'); say('two'); say('three')"
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_what_is_said_is_printed(capsys):
    say("σ = 1.5")
    assert capsys.readouterr().out == "σ = 1.5\n"
