import subprocess
import sys

import pytest

from convexp.images.unfinished import remove_unfinished, unfinished


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_what_is_renamed_stays_and_the_rest_goes(tmp_path):
    with unfinished(tmp_path / "a.png") as beside:
        assert (beside.parent, beside.name[0]) == (tmp_path, ".")
        beside.write_bytes(b"a")
        beside.replace(tmp_path / "a.png")
    with pytest.raises(ZeroDivisionError), unfinished(tmp_path / "b.png") as beside:
        beside.write_bytes(bytes(1 // 0))
    assert names(tmp_path) == {"a.png"}


def test_what_a_killed_process_has_left_is_removed_and_nothing_else(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from convexp.images.unfinished import unfinished\n"
        "with unfinished(Path(sys.argv[1], 'a.png')):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], timeout=120).returncode == -9
    (left,) = names(tmp_path)
    others = {".a.png", ".0123.tmp", left[1:], ".x" + left[2:], left + "~"}
    for name in others:
        (tmp_path / name).touch()
    link = f".{'0' * 32}{left[33:]}"
    (tmp_path / link).symlink_to(".a.png")
    folder = f".{'1' * 32}{left[33:]}"
    (tmp_path / folder).mkdir()
    with unfinished(tmp_path / "b.png") as written:
        remove_unfinished(tmp_path)
        assert names(tmp_path) == {*others, link, folder, written.name}
    remove_unfinished(tmp_path / "nowhere")
