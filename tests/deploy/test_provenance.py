import json
from pathlib import Path

import pytest

from convexp.deploy.destinations import Destinations
from convexp.deploy.provenance import NOTE, going_on, noted, provenance
from convexp.errors import ConvexpError

CONFIG = {"model": {"_target_": "torch.nn.Conv2d", "kernel_size": 3}, "standardise": True}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.png", "b.png", "c.png"):
        Path("photos").mkdir(exist_ok=True)
        Path("photos", name).touch()
    return tmp_path


def of(weights="one", config=CONFIG, *, border="reflect", gray=False):
    path = Path(f"{weights}.ckpt")
    path.write_text(weights)
    return provenance(path, config, border=border, gray=gray)


def apply(made_by, *sources, output="out", force=False, until=None):
    """Makes results, as they are named in what is told, and returns which."""
    places = going_on(Destinations.of(sources or ["photos"], output, overwrite=force), made_by)
    done = []
    with noted(places, made_by) as made:
        for _, path in places.todo:
            if path.name == until:
                break
            path.write_text(made_by["weights"])
            made(path)
            done.append(path.name)
    return done


def test_the_same_goes_on(here):
    assert apply(of(), until="b.png") == ["a.png"]
    assert apply(of()) == ["b.png", "c.png"]
    assert apply(of()) == []


@pytest.mark.parametrize(
    "other",
    [
        {"border": None},
        {"gray": True},
        {"weights": "two"},
        {"config": CONFIG | {"standardise": False}},
        {"config": CONFIG | {"model": {"_target_": "torch.nn.Conv2d", "kernel_size": 3, "padding": 1}}},
    ],
)
def test_others_do_not(here, other):
    apply(of())
    with pytest.raises(
        ConvexpError, match=r"^out holds what another run, or another border, has made; name another folder"
    ):
        apply(of(**other))
    assert apply(of(**other), force=True) == ["a.png", "b.png", "c.png"]
    assert apply(of(**other)) == []
    with pytest.raises(ConvexpError, match="out holds what another run"):
        apply(of())


def test_what_belongs_to_the_run_and_makes_no_result_does_not_matter(here):
    apply(of())
    assert apply(of(config=CONFIG | {"trainer": {"max_steps": 7}})) == []


def test_an_interrupted_force_is_gone_on_with(here):
    apply(of())
    assert apply(of("two"), force=True, until="b.png") == ["a.png"]
    with pytest.raises(ConvexpError, match="out holds what another run"):
        apply(of())
    assert apply(of("two")) == ["b.png", "c.png"]
    assert apply(of("two")) == []
    assert len({path.read_text() for path in Path("out").glob("*.png")}) == 1


def test_a_force_that_was_killed_takes_nothing_for_its_own(here):
    apply(of())
    places, made_by = Destinations.of(["photos"], "out", overwrite=True), of("two")
    with noted(places, made_by):
        Path("out/a.png").write_text("two")
        note = Path("out", NOTE).read_bytes()
    Path("out", NOTE).write_bytes(note)  # as if it had not ended
    assert apply(made_by) == ["a.png", "b.png", "c.png"]


def test_a_force_on_some_leaves_the_others_as_those_of_another(here):
    apply(of())
    assert apply(of("two"), "photos/b.png", output="out/", force=True) == ["b.png"]
    for sources in (["photos"], ["photos/a.png"]):
        with pytest.raises(
            ConvexpError, match=r"out holds what another run, or another border, has made: a\.png.*with --force$"
        ):
            apply(of("two"), *sources, output="out/")
    assert apply(of("two"), "photos/b.png", output="out/") == []
    assert apply(of("two"), force=True) == ["a.png", "b.png", "c.png"]
    assert apply(of("two")) == []


def test_a_result_that_was_named_is_an_exception_of_a_folder_of_another(here):
    apply(of(), "photos/a.png", output="out/")
    apply(of("two"), "photos/b.png", output="out/b.png")
    with pytest.raises(ConvexpError, match=r"has made: b\.png; name"):
        apply(of())
    apply(of(), "photos/b.png", output="out/b.png", force=True)
    assert apply(of()) == ["c.png"]
    Path("elsewhere").mkdir()
    apply(of(), "photos/b.png", output="elsewhere/b.png")
    assert not Path("elsewhere", NOTE).exists()


def test_without_a_note_results_are_taken_as_they_are_and_as_nobody_s(here):
    Path("out").mkdir()
    Path("out/a.png").touch()
    for _ in range(2):
        assert "a.png" not in apply(of())
    assert json.loads(Path("out", NOTE).read_text())["exceptions"] == {"a.png": "unknown"}
    assert apply(of(), force=True) == ["a.png", "b.png", "c.png"]
    assert json.loads(Path("out", NOTE).read_text())["exceptions"] == {}


def test_a_note_of_before_there_was_more_to_say(here):
    apply(of())
    old = {key: value for key, value in of().items() if key != "model"}
    Path("out", NOTE).write_text(json.dumps(old))
    assert apply(of()) == []
    with pytest.raises(ConvexpError, match="out holds what another run"):
        apply(of(border="zeros"))


@pytest.mark.parametrize("content", [b"\xff{", b"[]", b"{}", b"null", b"[" * 100_000])
def test_a_damaged_note_is_none(here, content):
    apply(of(), "photos/a.png", output="out/")
    Path("out", NOTE).write_bytes(content)
    assert apply(of("two")) == ["b.png", "c.png"]
    assert json.loads(Path("out", NOTE).read_text())["exceptions"] == {"a.png": "unknown"}


def test_a_link_leads_no_note_elsewhere(here):
    Path("out").mkdir()
    Path("out", NOTE).symlink_to("../elsewhere.json")
    apply(of())
    assert not Path("elsewhere.json").exists()


def test_a_folder_that_cannot_be(here):
    Path("out.d").touch()
    with pytest.raises(ConvexpError, match=r"cannot be written into \(Not a directory\)"):
        apply(of(), output="out.d/out")
