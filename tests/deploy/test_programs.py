"""Programs of others, which may be missing, fail or hang."""

import sys
import time

import pytest

from convexp.deploy import programs
from convexp.deploy.programs import UnverifiedError, execute, find_program


def test_what_it_prints(tmp_path):
    assert execute([sys.executable, "-c", "print('here')"], tmp_path).strip() == b"here"


def test_what_is_not_installed():
    assert find_program("no-such-program", "sh", what="shell").endswith("/sh")
    with pytest.raises(UnverifiedError, match=r"no C compiler is installed \(no-such-cc, nor-this\)"):
        find_program("no-such-cc", "nor-this", what="C compiler")


def test_the_last_line_says_why(tmp_path):
    script = "import sys; print('first', file=sys.stderr); print('the reason\\n', file=sys.stderr); sys.exit(3)"
    with pytest.raises(UnverifiedError, match=r"python\S* failed: the reason$"):
        execute([sys.executable, "-c", script], tmp_path)
    with pytest.raises(UnverifiedError, match=r"python\S* failed: status 3$"):
        execute([sys.executable, "-c", "import sys; sys.exit(3)"], tmp_path)
    with pytest.raises(UnverifiedError, match=r"nothing cannot be started \(No such file or directory\)"):
        execute([str(tmp_path / "nothing")], tmp_path)


def test_none_runs_for_ever_nor_do_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "SECONDS", 1)
    started = time.monotonic()
    with pytest.raises(UnverifiedError, match="sh took longer than 1 s"):
        execute(["sh", "-c", f"(sleep 2; touch {tmp_path}/late) & sleep 30"], tmp_path)
    assert time.monotonic() - started < 20
    time.sleep(1.5)
    assert not (tmp_path / "late").exists()
