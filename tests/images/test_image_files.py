import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convexp.errors import ConvexpError
from convexp.images.image_files import ImageFiles, held_out, some_of


def save(path, height=5, width=7):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((height, width, 3), np.uint8)).save(path)


def test_images_are_called_by_their_names_without_suffix(tmp_path):
    save(tmp_path / "b.png")
    save(tmp_path / "a.jpg")
    files = ImageFiles(str(tmp_path))
    assert list(files) == ["a", "b"]
    assert files["b"].shape == (3, 5, 7)


def test_names_that_are_not_unique_get_their_folders(tmp_path):
    save(tmp_path / "one" / "a.png")
    save(tmp_path / "two" / "a.png")
    assert list(ImageFiles(f"{tmp_path}/**/*.png")) == ["one/a", "two/a"]


def test_names_that_differ_in_their_suffix_keep_it(tmp_path):
    save(tmp_path / "a.jpg")
    save(tmp_path / "a.png")
    assert list(ImageFiles(str(tmp_path))) == [str(tmp_path / "a.jpg"), str(tmp_path / "a.png")]


def test_those_that_nothing_but_their_suffixes_tells_apart(tmp_path):
    for name in ("a.jpg", "a.png", "b.png", "sub/b.jpg", "sub/a.v2.png", "sub/a.v3.png"):
        save(tmp_path / name)
    assert ImageFiles(f"{tmp_path}/**/*.*").twins() == [f"{tmp_path}/a.jpg and {tmp_path}/a.png"]


def test_shapes_are_those_of_the_headers_and_what_has_none_is_left_out(tmp_path):
    save(tmp_path / "a.png", 17, 23)
    save(tmp_path / "cut.png", 97, 101)
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:60])  # the header is whole, the pixels are not
    (tmp_path / "no.png").write_bytes(b"no image")
    assert ImageFiles(str(tmp_path)).shapes() == {"a": (17, 23, 3), "cut": (97, 101, 3)}


def test_some_files_of_many(tmp_path):
    for name in "abc":
        save(tmp_path / f"{name}.png")
    some = ImageFiles(str(tmp_path)).only(["c", "a"])
    assert list(some) == ["c", "a"]
    assert some["c"].shape == (3, 5, 7)


@pytest.mark.parametrize(("fraction", "count"), [(0.2, 2), (0.01, 1), (0.99, 9), (0.5, 5)])
def test_a_fraction_is_held_out_but_never_none_or_all(fraction, count):
    assert len(held_out({str(number): Path(f"{number}.png") for number in range(10)}, fraction)) == count


def test_the_same_files_are_held_out_whatever_their_order_and_nearly_so_when_files_are_added():
    files = {f"photo_{number}": Path(f"photo_{number}.png") for number in range(1000)}
    more = dict(reversed([*files.items(), ("another", Path("another.png"))]))
    before, after = held_out(files, 0.2), held_out(more, 0.2)
    assert len(before & after) >= 199


def test_the_same_files_are_held_out_whatever_they_are_called_and_wherever_they_lie(tmp_path):
    """A name is the shortest that no other picture has: one more picture can make all longer."""
    for number in range(10):
        save(tmp_path / f"{number}.png")
    before = ImageFiles(str(tmp_path)).paths
    save(tmp_path / "3.bmp")
    after = ImageFiles(str(tmp_path)).paths
    assert before.keys() & after.keys() == set()
    out = {before[name].name for name in held_out(before, 0.3)}
    longer = {after[name].name for name in held_out(after, 0.3)}
    assert len(out) == 3
    assert longer - {"3.bmp"} in (out, out - {"3.png"})
    elsewhere = {name: Path("/elsewhere") / path.name for name, path in before.items()}
    assert held_out(elsewhere, 0.3) == held_out(before, 0.3)


def test_names_in_messages():
    assert some_of(["a", "b"]) == "a, b"
    assert some_of(str(number) for number in range(1000)) == "0, 1, 2, 3, 4 and 995 more"


@pytest.mark.parametrize(
    ("file", "name"),
    [(b"caf\xe9.png", "caf\\xe9"), (b"red\x1b[31m.png", "red\\x1b[31m"), (b"two\nlines.png", "two\\nlines")],
)
def test_names_are_text_that_steers_no_terminal(tmp_path, file, name):
    save(tmp_path / "plain.png")
    try:
        os.rename(  # noqa: PTH104  # a name of bytes
            tmp_path / "plain.png", os.fsencode(tmp_path) + b"/" + file
        )
    except OSError:
        pytest.skip("this file system takes no such names")
    files = ImageFiles(str(tmp_path))
    assert list(files) == [name]
    assert files[name].shape == (3, 5, 7)
    assert held_out({**files.paths, "other": Path("other.png")}, 0.5)


def test_a_pattern_that_finds_a_file_twice(tmp_path):
    save(tmp_path / "one" / "a.png")
    assert list(ImageFiles(f"{tmp_path}/**/**/*.png")) == ["a"]


def test_a_missing_folder(tmp_path):
    with pytest.raises(ConvexpError, match="does not exist"):
        ImageFiles(str(tmp_path / "there"))
