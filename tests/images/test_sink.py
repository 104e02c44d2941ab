"""Read back by other libraries than the one that writes."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
import torchvision
from PIL import Image, ImageCms

from convexp.errors import ConvexpError
from convexp.images.decoding import decode
from convexp.images.sink import CannotWriteError, Layout, depth_for, sink, suffixes

HEIGHT, WIDTH = 17, 23
RGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY = RGB[:16] + b"GRAY" + RGB[20:]


def values(channels, depth, seed=0):
    random = np.random.default_rng(seed)
    if depth == "float32":
        return random.normal(size=(HEIGHT, WIDTH, channels)).astype(depth)
    return random.integers(0, np.iinfo(depth).max, (HEIGHT, WIDTH, channels), depth, endpoint=True)


def written(path, content, parts=(1, 5, 11), **more):
    height, width, channels = content.shape
    with sink(path, Layout(height, width, channels, str(content.dtype), **more)) as picture:
        start = 0
        for count in parts:
            picture.write(content[start : start + count])
            start += count
    return path


def camera():
    exif = Image.Exif()
    exif[0x010F], exif[0x0132], exif[0x0112] = "Maker", "2026:11:22 09:30:00", 1
    exif.get_ifd(0x8769)[0x829A] = 0.125  # the exposure
    exif.get_ifd(0x8825)[0x0001] = "N"
    return exif.tobytes()


@pytest.mark.filterwarnings("ignore:The image decoding and encoding")  # libpng, the only reader of 16-bit colour here
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", ["uint8", "uint16"])
def test_png(tmp_path, channels, depth):
    content = values(channels, depth)
    path = written(tmp_path / "a.png", content)
    unchanged = torchvision.io.ImageReadMode.UNCHANGED
    read = torchvision.io.decode_png(torchvision.io.read_file(str(path)), unchanged).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(read, content)


def test_a_png_has_the_chunks_that_it_promises(tmp_path):
    data = written(tmp_path / "a.png", values(3, "uint8"), exif=camera(), profile=RGB).read_bytes()
    kinds, position = [], 8
    while position < len(data):
        (length,), kind = struct.unpack(">I", data[position : position + 4]), data[position + 4 : position + 8]
        content = data[position + 8 : position + 8 + length]
        (crc,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert crc == zlib.crc32(kind + content)
        kinds.append(kind)
        position += 12 + length
    assert list(dict.fromkeys(kinds)) == [b"IHDR", b"iCCP", b"eXIf", b"IDAT", b"IEND"]


@pytest.mark.parametrize("suffix", [".tif", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("depth", ["uint8", "uint16", "float32"])
def test_tiff(tmp_path, suffix, channels, depth):
    content = values(channels, depth)
    read = tifffile.imread(written(tmp_path / f"a{suffix}", content, exif=camera(), profile=RGB))
    np.testing.assert_array_equal(np.atleast_3d(read), content)


def test_a_tiff_of_many_strips(tmp_path, monkeypatch):
    monkeypatch.setattr("convexp.images.tiff_writing._STRIP", 300)
    content = values(3, "uint8")
    path = written(tmp_path / "a.tif", content)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages[0].dataoffsets) == 5
        np.testing.assert_array_equal(file.asarray(), content)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), content)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_npy(tmp_path, channels):
    content = values(channels, "float32")
    read = np.load(written(tmp_path / "a.npy", content))
    np.testing.assert_array_equal(read, content[..., 0] if channels == 1 else content)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".jpg", ".jpeg"])
def test_formats_that_are_packed_as_a_whole(tmp_path, suffix, channels):
    content = np.broadcast_to(np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1) // 2, (HEIGHT, WIDTH, channels))
    content = content.astype(np.uint8)
    with Image.open(written(tmp_path / f"a{suffix}", content)) as image:
        read = np.asarray(image).reshape(HEIGHT, WIDTH, -1)[..., :channels]
    assert np.abs(read.astype(int) - content).max() <= (2 if suffix.startswith(".j") else 0)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_the_camera_and_the_colours_are_kept(tmp_path, suffix):
    path = written(tmp_path / f"a{suffix}", values(3, "uint8"), exif=camera(), profile=RGB)
    with Image.open(path) as image:
        assert image.info["icc_profile"] == RGB
        exif = image.getexif()
        assert (exif[0x010F], exif[0x0132]) == ("Maker", "2026:11:22 09:30:00")
        assert exif.get_ifd(0x8769)[0x829A] == 0.125
        assert exif.get_ifd(0x8825)[0x0001] == "N"
    decoded = decode(path)
    assert decoded.profile == RGB
    np.testing.assert_array_equal(decoded.pixels.shape, (HEIGHT, WIDTH, 3))


def test_damaged_exif_is_no_reason_to_fail(tmp_path):
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        path = written(tmp_path / f"a{suffix}", values(1, "uint8"), exif=b"Exif\0\0II*\0nonsense")
        assert decode(path).pixels.shape[:2] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize(("channels", "profile", "kept"), [(1, RGB, False), (1, GRAY, True), (3, GRAY, False)])
def test_a_profile_of_other_colours_goes(tmp_path, suffix, channels, profile, kept):
    path = written(tmp_path / f"a{suffix}", values(channels, "uint8"), profile=profile)
    with Image.open(path) as image:
        assert image.info.get("icc_profile") == (profile if kept else None)


@pytest.mark.parametrize("suffix", suffixes())
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_half_a_picture_does_not_stay(tmp_path, suffix, error):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"before")
    depth = depth_for(suffix, "uint8")

    def begin():
        with sink(path, Layout(HEIGHT, WIDTH, 1, depth), overwrite=True) as picture:
            picture.write(values(1, depth)[:3])
            assert len(list(tmp_path.iterdir())) == 2
            raise error

    with pytest.raises(error):
        begin()
    assert [(there.name, there.read_bytes()) for there in tmp_path.iterdir()] == [(path.name, b"before")]


def test_nothing_is_written_over_unless_asked(tmp_path):
    path = written(tmp_path / "a.png", values(1, "uint8"))
    before = path.read_bytes()
    with pytest.raises(ConvexpError, match=r"a\.png is there already; --force writes over it"):
        written(path, values(1, "uint8", seed=1))
    assert path.read_bytes() == before
    with sink(path, Layout(1, 1, 1, "uint8"), overwrite=True) as picture:
        picture.write(np.zeros((1, 1, 1), np.uint8))
    assert path.read_bytes() != before
    assert [there.name for there in tmp_path.iterdir()] == ["a.png"]


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def link(*paths):
        raise PermissionError

    monkeypatch.setattr("os.link", link)
    path = written(tmp_path / "a.png", values(1, "uint8"))
    with pytest.raises(ConvexpError, match="is there already"):
        written(path, values(1, "uint8", seed=1))
    assert [there.name for there in tmp_path.iterdir()] == ["a.png"]


def test_no_such_folder(tmp_path):
    with pytest.raises(CannotWriteError, match=r"cannot write .*no/a\.png: No such file or directory"):
        written(tmp_path / "no/a.png", values(1, "uint8"))


@pytest.mark.parametrize(
    ("name", "layout", "line"),
    [
        ("a.gif", Layout(1, 1, 1, "uint8"), r"a\.gif: the suffix must be one of \.png, \.tif"),
        ("a.png", Layout(1, 1, 2, "uint8"), r"a\.png: a picture has 1 or 3 channels, not 2; \.npy takes any"),
        ("a.webp", Layout(20_000, 1, 1, "uint8"), r"\.webp holds sides of 16383 pixels at most, not 20000×1; take "),
        ("a.jpg", Layout(1, 70_000, 1, "uint8"), r"\.jpg holds sides of 65535 pixels at most, not 1×70000; take "),
        ("a.jpg", Layout(1, 1, 1, "uint16"), r"\.jpg holds uint8, not uint16"),
    ],
)
def test_what_a_format_does_not_hold(tmp_path, name, layout, line):
    with pytest.raises(ConvexpError, match=line), sink(tmp_path / name, layout):
        pass
    assert not list(tmp_path.iterdir())


def test_the_depth_that_keeps_most():
    kept = {suffix: depth_for(suffix, "uint16") for suffix in suffixes()}
    assert {suffix for suffix, depth in kept.items() if depth == "uint16"} == {".png", ".tif", ".tiff"}
    assert (kept[".npy"], kept[".jpg"], depth_for(".PNG", "uint8")) == ("float32", "uint8", "uint8")


def test_a_tiff_of_more_than_4_gb_is_refused(tmp_path):
    def write():
        with sink(tmp_path / "a.tif", Layout(1, 1, 1, "uint8")) as picture:
            picture.file.seek(2**32)
            picture.write(np.zeros((1, 1, 1), np.uint8))

    with pytest.raises(ConvexpError, match=r"a TIFF holds 4 GB at most, not 4\.0; --to npy takes any size"):
        write()
    assert not list(tmp_path.iterdir())
