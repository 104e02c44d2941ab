import errno
import json
import os
from pathlib import Path

import pytest

from convexp.errors import ConvexpError
from convexp.runs.folder import RunFolder

CONFIG = {"model": {"_target_": "torch.nn.ELU"}, "choices": {"model": None}, "seed": 0, "note": "größer"}


def folder_with(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    return RunFolder(tmp_path)


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    place = tmp_path / "outputs/highpass-single/2026-01-31_12-00-00"
    assert [RunFolder.create(place).path.name for _ in range(3)] == [
        "2026-01-31_12-00-00",
        "2026-01-31_12-00-00-2",
        "2026-01-31_12-00-00-3",
    ]
    assert all((path / "checkpoints").is_dir() for path in place.parent.iterdir())


@pytest.mark.parametrize("blocked", ["outputs", "outputs/sobel-deep"])
def test_a_file_in_the_way_is_named(tmp_path, blocked):
    (tmp_path / blocked).parent.mkdir(exist_ok=True)
    (tmp_path / blocked).write_text("I am a file")
    place = tmp_path / "outputs/sobel-deep/now"
    with pytest.raises(ConvexpError, match=r"now cannot be made \((Not a directory|File exists)\); name another place"):
        RunFolder.create(place)


def test_the_configuration_comes_back(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_config(CONFIG)
    assert folder.read_config() == CONFIG
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_metrics_are_json_and_mark_the_end(tmp_path):
    folder = RunFolder(tmp_path)
    folder.require_unfinished()
    folder.write_metrics({"steps": 3, "best": {"val/ssim": float("nan"), "val/psnr": float("inf"), "val/mse": 0.5}})
    assert json.loads(folder.metrics.read_text()) == {
        "steps": 3,
        "best": {"val/ssim": None, "val/psnr": None, "val/mse": 0.5},
    }
    with pytest.raises(
        ConvexpError, match=r"is finished: there is nothing to resume; its result is in .*metrics\.json$"
    ):
        folder.require_unfinished()


@pytest.mark.parametrize(
    ("write", "name", "advice"),
    [(RunFolder.write_config, "config.yaml", "start again$"), (RunFolder.write_metrics, "metrics.json", "resume=/")],
)
def test_a_full_disk_destroys_nothing(tmp_path, monkeypatch, write, name, advice):
    folder = RunFolder(tmp_path)
    write(folder, {"old": 1})
    before = (tmp_path / name).read_text()

    def full(self, text, encoding):
        with self.open("w", encoding=encoding) as file:
            file.write(text[:3])
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ConvexpError, match=rf"{name} cannot be written \(No space left on device\); free .* {advice}"):
        write(folder, {"new": 2})
    assert (tmp_path / name).read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_link_in_a_strangers_folder_leads_nowhere(tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("precious")
    run = tmp_path / "run"
    run.mkdir()
    for name in ("metrics.json", "metrics.json.partial"):
        (run / name).symlink_to(mine)
    RunFolder(run).write_metrics({"steps": 1})
    assert mine.read_text() == "precious"
    assert json.loads((run / "metrics.json").read_text()) == {"steps": 1}


def test_a_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert RunFolder("~/run").path == tmp_path / "run"


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(ConvexpError, match=r"^/.* is not the folder of a run: it has no config\.yaml$"):
        RunFolder(tmp_path).read_config()
    with pytest.raises(ConvexpError, match="is not the folder of a run"):
        RunFolder(tmp_path / "nowhere").read_config()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("model: [1,\nb: }", "expected .*line 2"),
        ("model: !!python/object/apply:os.system ['true']", "it has a tag"),
        ("model: !!python/name:os.system ''", "it has a tag"),
        ("model: {_target_: torch.nn.ELU, x: !!omap [a: 1]}", "it has a tag"),  # a list of tuples
        ("model: !ours {_target_: torch.nn.ELU}", "it has a tag"),
        ("model: [" + "1," * 200_001 + "1]", "more than 200000 entries"),
        ("# " + "-" * 2**24, "larger than 16777216 bytes"),
        ("a: &a [1]\nmodel: {_target_: torch.nn.ELU, x: [*a, *a]}", "it has an alias"),
        ("model: &a {_target_: torch.nn.ELU, inner: *a}", "it has an alias"),
        ("model: " + "[" * 60 + "]" * 60, "nested more than 50 times"),
    ],
    ids=["malformed", "call", "name", "pairs", "own", "entries", "bytes", "bomb", "cycle", "depth"],
)
def test_a_configuration_that_cannot_be_read(tmp_path, text, reason):
    with pytest.raises(ConvexpError, match=f"(?i)config.yaml cannot be read: .*{reason}") as caught:
        folder_with(tmp_path, text).read_config()
    assert "\n" not in str(caught.value)


def test_a_configuration_that_is_no_text(tmp_path):
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe\x00model")
    with pytest.raises(ConvexpError, match=r"config\.yaml cannot be read: "):
        RunFolder(tmp_path).read_config()


@pytest.mark.parametrize(
    "text", ["", "3", "[model]", "seed: 0", "model: single", "model: {bias: true}", "model: {_target_: torch.nn.ELU}"]
)
def test_a_configuration_of_something_else(tmp_path, text):
    with pytest.raises(ConvexpError, match=r"config\.yaml is not the configuration of a run"):
        folder_with(tmp_path, text).read_config()


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_configuration_that_would_be_read_without_an_end(tmp_path, kind):
    if kind == "pipe":
        os.mkfifo(tmp_path / "config.yaml")
    elif kind == "device":
        (tmp_path / "config.yaml").symlink_to("/dev/zero")
    else:
        (tmp_path / "config.yaml").mkdir()
    with pytest.raises(ConvexpError, match=r"config\.yaml cannot be read: it is a folder, a pipe or a device$"):
        RunFolder(tmp_path).read_config()


def test_a_lock_is_no_link_to_a_file_of_mine_and_no_pipe(tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("all my thoughts")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/run.lock").symlink_to(mine)
    (tmp_path / "piped").mkdir()
    os.mkfifo(tmp_path / "piped/run.lock")
    for name in ("linked", "piped"):
        with (
            pytest.raises(ConvexpError, match=rf"{name}/run\.lock cannot be opened"),
            RunFolder(tmp_path / name).held(),
        ):
            pass
    assert mine.read_text() == "all my thoughts"
