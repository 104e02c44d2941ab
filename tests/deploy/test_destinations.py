import os
from pathlib import Path

import pytest
from PIL import Image

from convexp.deploy.destinations import Destinations
from convexp.errors import ConvexpError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        "photos/a.png",
        "photos/b.JPG",
        "more/a.png",
        "photos/notes.txt",
        "one.tif",
        "run/checkpoints/best.ckpt",
    ):
        Path(name).parent.mkdir(exist_ok=True, parents=True)
        Path(name).touch()
    return tmp_path


def pairs(*sources, **more):
    return [(str(source), str(place)) for source, place in Destinations.of(sources, **more).todo]


def test_a_folder(here):
    assert pairs("photos") == [("photos/a.png", "filtered/a.png"), ("photos/b.JPG", "filtered/b.JPG")]
    assert pairs("photos", output="out") == [("photos/a.png", "out/a.png"), ("photos/b.JPG", "out/b.JPG")]
    assert pairs("photos/*.png", output="out/", to="npy") == [("photos/a.png", "out/a.npy")]
    assert not Path("out").exists()


def test_a_file(here):
    assert pairs("one.tif") == [("one.tif", "filtered/one.tif")]
    assert pairs("one.tif", output="x.png") == [("one.tif", "x.png")]
    assert pairs("one.tif", output="more") == [("one.tif", "more/one.tif")]
    assert pairs("one.tif", output="new") == [("one.tif", "new/one.tif")]
    assert pairs("one.tif", output="new.png/") == [("one.tif", "new.png/one.tif")]
    assert pairs("one.tif", output="x.npy", to="npy") == [("one.tif", "x.npy")]
    assert pairs("one.tif", output="~/x.png") == [("one.tif", os.path.expanduser("~/x.png"))]  # noqa: PTH111
    assert Destinations.of(["one.tif"], "x.png").folder is None


@pytest.mark.parametrize(
    ("name", "kind", "result"),
    [("p.jfif", "JPEG", "p.jpg"), ("p", "PNG", "p.png"), ("p.v2", "TIFF", "p.tif"), ("p.x", "WEBP", "p.webp")],
)
def test_a_suffix_that_no_picture_has_is_that_of_the_contents(here, name, kind, result):
    Image.new("RGB", (7, 5)).save(name, kind)
    assert pairs(name) == [(name, f"filtered/{result}")]
    assert pairs(name, to="npy") == [(name, "filtered/p.npy")]
    assert pairs("photos/notes.txt") == [("photos/notes.txt", "filtered/notes.txt")]  # reading it will say so


def test_a_picture_that_is_named_twice_is_one(here):
    assert pairs("photos", "photos/a.png") == pairs("photos")


def test_what_is_there_already_stays(here):
    Path("filtered").mkdir()
    Path("filtered/a.png").touch()
    places = Destinations.of(["photos"])
    assert (places.there, [str(place) for _, place in places.todo]) == (1, ["filtered/b.JPG"])
    places = Destinations.of(["photos"], overwrite=True)
    assert (places.there, len(places.todo)) == (0, 2)
    assert Destinations.of(["photos"], run="other").there == 1


@pytest.mark.parametrize(
    ("sources", "more", "line"),
    [
        (["nowhere"], {}, "nowhere does not exist"),
        (["photos", "more"], {}, "photos/a.png and more/a.png would both become filtered/a.png; filter them into two"),
        (
            ["photos/a.png", "one.tif"],
            {"output": "x.png"},
            "x.png is the name of one file, for 2 pictures; give a folder",
        ),
        (["photos"], {"output": "one.tif"}, "one.tif is a file; 2 pictures need a folder: -o filtered"),
        (["one.tif"], {"output": "one.tif", "overwrite": True}, "one.tif is one of the pictures to be filtered; name "),
        (["photos"], {"output": "photos"}, "photos/a.png is one of the pictures to be filtered; name another folder"),
        (["photos"], {"output": "./more/../photos", "overwrite": True}, "is one of the pictures to be filtered"),
        (["one.tif"], {"output": "photos/a.png"}, "photos/a.png is there already; --force writes over it"),
        (["one.tif"], {"output": "x.png", "to": "npy"}, "--to npy and -o x.png are two formats; leave one of them out"),
        (
            ["one.tif"],
            {"output": "run/x.png", "run": "run"},
            "run/x.png is in the run's folder, where only the run writes",
        ),
        (["photos"], {"output": "run/new/folder", "run": "./run"}, "run/new/folder/a.png is in the run's folder"),
    ],
)
def test_what_is_refused(here, sources, more, line):
    before = sorted(here.rglob("*"))
    with pytest.raises(ConvexpError) as refused:
        Destinations.of(sources, **more)
    assert line in str(refused.value)
    assert sorted(here.rglob("*")) == before


def test_subfolders_of_a_pattern_are_kept(here):
    for name in ("in/a.png", "in/sub/a.png", "in/sub/deeper/b.jpg"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    expected = [("in/a.png", "out/a.png"), ("in/sub/a.png", "out/sub/a.png")]
    assert pairs("in/**/*.png", output="out") == expected
    assert pairs(f"{here}/in/**/*.png", output="out") == [(f"{here}/{source}", result) for source, result in expected]
    assert pairs("in/**/*.jpg", output="out", to="png") == [("in/sub/deeper/b.jpg", "out/sub/deeper/b.png")]
    assert pairs("**/b.jpg", output="out") == [("in/sub/deeper/b.jpg", "out/in/sub/deeper/b.jpg")]
    with pytest.raises(ConvexpError, match=r"in/a\.png and more/a\.png would both become out/a\.png"):
        pairs("in/**/*.png", "more", output="out")
    with pytest.raises(ConvexpError, match=r"in/sub/a\.png and more/a\.png would both become out/a\.png"):
        pairs("in/*/*.png", "more", output="out")


def test_results_stay_in_their_folder(here):
    Path("in/sub").mkdir(parents=True)
    Path("in/sub/a.png").touch()
    with pytest.raises(ConvexpError, match=r"^out/sub/\.\./\.\./in/sub/a\.png is not inside out; name another folder"):
        pairs("in/*/../../**/a.png", output="out")
    Path("out").mkdir()
    Path("out/sub").symlink_to(here / "more")
    with pytest.raises(ConvexpError, match=r"^out/sub/a\.png is not inside out; name another folder, as -o filtered$"):
        pairs("in/**/*.png", output="out")


def test_a_folder_whose_subfolders_have_pictures(here):
    def shallow(*sources, output=None):
        return [str(path) for path in Destinations.of(sources, output).shallow]

    assert shallow("photos") == []
    Path("photos/2024/05").mkdir(parents=True)
    assert shallow("photos") == []
    Path("photos/2024/05/a.png").touch()
    assert shallow("photos", "one.tif") == ["photos"]
    assert shallow("photos/*") == []
    assert shallow("photos/**/*", "photos") == []
    assert shallow("photos", output="photos/2024/05") == []
    with pytest.raises(
        ConvexpError, match=r"photos/2024 holds no image; .*; 'photos/2024/\*\*/\*' takes its subfolders"
    ):
        shallow("photos/2024")


def test_two_formats_of_one_name(here):
    Path("photos/a.tif").touch()
    assert len(pairs("photos")) == 3
    with pytest.raises(ConvexpError, match=r"photos/a\.png and photos/a\.tif would both become filtered/a\.npy"):
        pairs("photos", to="npy")


def test_a_link_leads_where_it_leads(here):
    Path("elsewhere").symlink_to("photos")
    with pytest.raises(ConvexpError, match="is one of the pictures"):
        pairs("photos", output="elsewhere")
