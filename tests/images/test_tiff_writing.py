"""Strips and directories, read by tifffile and Pillow."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from convexp.images.tiff_writing import TiffWriting

HEIGHT, WIDTH = 601, 1201  # more than a strip of 1 MiB, but for one channel of 8 bits
KINDS = [("uint8", 1), ("uint8", 3), ("uint16", 1), ("uint16", 3), ("float32", 1), ("float32", 3)]
SMALL = np.random.default_rng(0).integers(0, 256, (17, 23, 3), np.uint8)


def random(depth, channels, height=HEIGHT):
    """Of bytes of any value; of every eight rows one is random, so that they pack fast."""
    size = (-(-height // 8), WIDTH, channels)
    generator = np.random.default_rng(1)
    if depth == "float32":
        rows = generator.normal(0, 1e6, size).astype(depth)
    else:
        rows = generator.integers(0, np.iinfo(depth).max, size, depth, endpoint=True)
    return np.repeat(rows, 8, axis=0)[:height] + np.arange(height)[:, None, None].astype(depth)


def written(content, parts=None, *, height=None, exif=None, profile=None):
    """The file, of rows that come in such parts."""
    file = io.BytesIO()
    channels = () if content.shape[2] == 1 else (content.shape[2],)
    shape = (height or len(content), content.shape[1], *channels)
    picture = TiffWriting(file, shape, str(content.dtype), exif=exif, profile=profile)
    start = 0
    for count in parts or [len(content)]:
        picture.write(content[start : start + count])
        start += count
    assert start == len(content)
    picture.close()
    return file.getvalue()


def tags(data):
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        (page,) = file.pages
        return {tag.name: tag.value for tag in page.tags}


def camera(order="II"):
    """A phone's words, in the order of bytes of either kind of processor."""
    exif = Image.Exif()
    exif.endian = "<" if order == "II" else ">"
    exif[0x010F], exif[0x0110], exif[0x0112], exif[0x8298] = "Makers", "X", 6, "me"
    exif.get_ifd(0x8769).update({0x829A: 0.125, 0x8827: 400, 0x927C: b"odd"})
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 15.5)})
    data = exif.tobytes()
    assert data[6:8] == order.encode()
    return data


@pytest.mark.parametrize(("depth", "channels"), KINDS)
def test_every_kind_comes_back(depth, channels):
    content = random(depth, channels)
    data = written(content, [1, 299, 301])
    found = tags(data)
    bits, kind = 8 * content.itemsize, 3 if depth == "float32" else 1
    assert (found["ImageLength"], found["ImageWidth"], found.get("SamplesPerPixel")) == (HEIGHT, WIDTH, channels)
    assert np.atleast_1d(found["BitsPerSample"]).tolist() == [bits] * channels
    assert np.atleast_1d(found["SampleFormat"]).tolist() == [kind] * channels
    assert found["PhotometricInterpretation"] == (1 if channels == 1 else 2)
    rows = 2**20 // (WIDTH * channels * content.itemsize)
    assert found["RowsPerStrip"] == rows
    assert len(found["StripOffsets"]) == len(found["StripByteCounts"]) == -(-HEIGHT // rows)
    np.testing.assert_array_equal(np.atleast_3d(tifffile.imread(io.BytesIO(data))), content)
    if (depth, channels) == ("float32", 3):  # which Pillow cannot read
        return
    with Image.open(io.BytesIO(data)) as image:
        read = np.atleast_3d(np.asarray(image))
    # Of 16-bit colours Pillow takes the upper byte.
    np.testing.assert_array_equal(read, content >> 8 if (depth, channels) == ("uint16", 3) else content)


def test_a_row_larger_than_a_strip_is_one():
    content = np.random.default_rng(2).integers(0, 2, (3, 350_003, 3), np.uint8)
    data = written(content)
    assert (tags(data)["RowsPerStrip"], len(tags(data)["StripOffsets"])) == (1, 3)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), content)


@pytest.mark.parametrize("parts", [[HEIGHT - 1, 1], [291, 291, 19], [1] * HEIGHT, [0, 300, 0, 301]])
def test_the_file_does_not_depend_on_how_the_rows_come(parts):
    content = random("uint8", 3)
    assert 2**20 // (3 * WIDTH) == 291  # rows of a strip
    assert written(content, parts) == written(content)


def test_rows_that_were_handed_over_stay_as_they_are():
    content = SMALL.copy()
    written(content)
    np.testing.assert_array_equal(content, SMALL)


@pytest.mark.parametrize("height", [18, HEIGHT])
def test_too_few_rows_are_no_picture(height):
    content = random("uint8", 1, height=17)
    data = written(content, height=height)
    assert tags(data)["ImageLength"] == height
    with pytest.raises(tifffile.TiffFileError):
        tifffile.imread(io.BytesIO(data))
    with Image.open(io.BytesIO(data)) as image, pytest.raises(OSError, match="decoder error"):
        image.load()


@pytest.mark.parametrize("order", ["II", "MM"])
def test_what_is_said_of_the_camera(order):
    data = written(SMALL, exif=camera(order))
    found = tags(data)
    assert found["Make"] == "Makers"
    assert (found["Model"], found["Copyright"]) == ("X", "me")  # so short that they stand in the entry itself
    assert found["ExifTag"] == {"ExposureTime": 0.125, "ISOSpeedRatings": 400, "MakerNote": b"odd"}
    assert found["GPSTag"] == {"GPSLatitudeRef": "N", "GPSLatitude": (48, 1, 8, 1, 31, 2)}
    assert "Orientation" not in found  # the pixels are upright
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(data)), SMALL)


def test_texts_of_any_letters_are_kept_byte_by_byte():
    exif, text = Image.Exif(), "© Jürgen – 2026"
    letters = "x" * len(text.encode())
    exif[0x8298] = letters
    exif.get_ifd(0x8769)[0xA433] = letters  # of the lens
    data = written(SMALL, exif=exif.tobytes().replace(letters.encode(), text.encode()))
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif()
        assert found[0x8298].encode("latin-1").decode() == text
        assert found.get_ifd(0x8769)[0xA433].encode("latin-1").decode() == text


def test_a_directory_within_a_directory_is_found():
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0x829A] = 0.125
    exif.get_ifd(0x8769)[0xA005] = {1: "R98", 2: b"0100"}  # interoperability
    data = written(SMALL, exif=exif.tobytes())
    with Image.open(io.BytesIO(data)) as image:
        found = image.getexif()
        assert float(found.get_ifd(0x8769)[0x829A]) == 0.125
        assert found.get_ifd(0xA005) == {1: "R98", 2: b"0100"}


def test_directories_and_values_begin_at_even_places():
    for width in range(1, 24):  # so that the pixels end at even places and at odd ones
        content = np.ascontiguousarray(SMALL[:, :width])
        data = written(content, exif=camera())
        with Image.open(io.BytesIO(data)) as image:
            exif = image.getexif()
            starts = [int.from_bytes(data[4:8], "little"), exif[0x8769], exif[0x8825]]
            assert exif.get_ifd(0x8825)[1] == "N"
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            starts += [tag.valueoffset for tag in file.pages[0].tags if tag.code not in (273, 0x8769, 0x8825)]
        assert not any(start % 2 for start in starts)


def test_where_nothing_is_said_of_the_camera():
    nothing = written(SMALL)
    assert not tags(nothing).keys() & {"Make", "ExifTag", "GPSTag", "InterColorProfile"}
    for damaged in (b"", b"Exif\0\0", camera()[:9], b"Exif\0\0XX*\0\x08\0\0\0"):
        assert written(SMALL, exif=damaged) == nothing
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    assert not tags(written(SMALL, exif=exif.tobytes())).keys() & {"ExifTag", "GPSTag"}  # no empty ones


@pytest.mark.parametrize("profile", [b"odd", b"even", b"a longer one", b"a longer, odd"])
def test_the_colour_profile_is_kept_byte_by_byte(profile):
    data = written(SMALL, profile=profile, exif=camera())
    with Image.open(io.BytesIO(data)) as image:
        assert image.info["icc_profile"] == profile
        np.testing.assert_array_equal(np.asarray(image), SMALL)
    assert tags(data)["InterColorProfile"] == profile
    assert tags(data)["Make"] == "Makers"
