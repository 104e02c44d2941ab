import os
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from convexp.errors import ConvexpError
from convexp.images.decoding import decode, format_of, probe, scaled
from convexp.images.files import read_image

H, W = 17, 23
RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (H, W), np.uint8)
COLOUR = RANDOM.integers(0, 256, (H, W, 3), np.uint8)
DEEP = RANDOM.integers(0, 2**16, (H, W), np.uint16)
DEEP_COLOUR = RANDOM.integers(0, 2**16, (H, W, 3), np.uint16)


def write(folder, content, name="image.png"):
    (folder / name).write_bytes(content)
    return folder / name


def saved(folder, picture, name="image.png", **options):
    picture.save(folder / name, **options)
    return folder / name


def test_of_several_pages_the_first_is_read(tmp_path, require):
    require(
        saved(tmp_path, Image.fromarray(COLOUR), "a.tif", save_all=True, append_images=[Image.new("L", (3, 2))]), COLOUR
    )
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        for samples in (DEEP_COLOUR / 65535, DEEP_COLOUR[:5] / 65535):
            writer.write(samples.astype(np.float32), photometric="rgb")
    require(tmp_path / "b.tif", (DEEP_COLOUR / 65535).astype(np.float32))
    first, second = Image.fromarray(COLOUR), Image.fromarray(COLOUR[::-1])
    require(saved(tmp_path, first, "a.webp", save_all=True, append_images=[second], lossless=True), COLOUR)


def test_a_photograph_of_two_pictures_is_a_jpeg(tmp_path):
    smooth = Image.fromarray(np.broadcast_to(GRAY[:1, :, None] // 4 + 90, (H, W, 3)).copy())
    path = saved(tmp_path, smooth, "a.jpg", format="MPO", save_all=True, append_images=[smooth])
    decoded = decode(path)
    assert (decoded.format, format_of(path)) == ("JPEG", "JPEG")
    assert np.abs(decoded.pixels.astype(int) - np.asarray(smooth)).max() < 16


def test_npy_is_without_both(tmp_path, require):
    np.save(tmp_path / "a.npy", DEEP_COLOUR)
    decoded = require(tmp_path / "a.npy", DEEP_COLOUR)
    assert (decoded.exif, decoded.profile, decoded.format) == (None, None, "NPY")
    np.save(tmp_path / "a.npy", DEEP[..., None].astype(">u2"))
    require(tmp_path / "a.npy", DEEP)


def test_pixels_are_scaled_by_the_largest_of_their_type():
    for pixels in (GRAY, DEEP):
        assert scaled(pixels).dtype == np.float32
        np.testing.assert_allclose(scaled(pixels), pixels / np.iinfo(pixels.dtype).max, rtol=1e-7)
    floats = np.float32([[0, 0.25, 1]])
    assert (scaled(floats) == floats).all()


@pytest.mark.parametrize("kind", ["png", "bmp"])
def test_an_image_that_promises_too_much_is_refused_before_there_is_room_for_it(tmp_path, kind, png):
    content = {
        "png": png(COLOUR).replace(struct.pack(">II", W, H), struct.pack(">II", 20_000, 20_000), 1),
        "bmp": b"BM" + struct.pack("<IIIIiiHHIIIIII", 0, 0, 54, 40, 20_000, 20_000, 1, 24, 0, 0, 0, 0, 0, 0),
    }[kind]
    if kind == "png":  # the header's checksum belongs to its numbers
        content = content[:29] + struct.pack(">I", zlib.crc32(content[12:29])) + content[33:]
    path = write(tmp_path, content)
    for call in (decode, probe):
        with pytest.raises(ConvexpError, match=r"it promises 400000000 pixels, too many for a file of \d+ bytes"):
            call(path)


def test_to_probe_an_image_is_to_read_its_start(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise = Image.fromarray(RANDOM.integers(0, 256, (97, 89, 3), np.uint8))
    for name in ("a.png", "a.jpg"):  # of a WebP, Pillow looks at all
        path = saved(tmp_path, noise, name, exif=exif)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
        with pytest.raises(ConvexpError, match="cannot be decoded"):
            decode(path)
        assert probe(path) == (89, 97, 3)


@pytest.mark.parametrize("keyword", [b"iCCP", b"zTXt", b"iTXt"])
def test_a_png_whose_words_unpack_to_too_much_is_refused(tmp_path, keyword, png):
    name = b"a\0\1\0\0\0" if keyword == b"iTXt" else b"a\0\0"
    words = (keyword, name + zlib.compress(b"\0" * 10_000_000))
    for place in ("before", "after"):
        path = write(tmp_path, png(COLOUR, **{place: [words]}))
        with pytest.raises(ConvexpError, match=r"image\.png cannot be decoded: Decompressed data too large"):
            decode(path)


def test_a_jpeg_of_a_thousand_passes_is_refused(tmp_path):
    path = saved(tmp_path, Image.fromarray(COLOUR), "a.jpg", progressive=True)
    content = path.read_bytes()
    start = content.rindex(b"\xff\xda")
    last = content[start:-2]
    path.write_bytes(content[:-2] + last * 50 + content[-2:])
    assert decode(path).pixels.shape == (H, W, 3)
    path.write_bytes(content[:-2] + last * 1000 + content[-2:])
    with pytest.raises(
        ConvexpError, match=r"its pixels come in 10[0-9]{2} passes, more than 100, which would take hours"
    ):
        decode(path)
    path.write_bytes(content + last * 1000)  # a film behind the picture, in which anything may stand
    assert decode(path).pixels.shape == (H, W, 3)


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "zero.npy").symlink_to("/dev/zero")
    for name in ("pipe.png", "pipe.npy", "link.png", "zero.png", "zero.npy"):
        for call in (decode, probe, read_image):
            with pytest.raises(
                ConvexpError, match=rf"{name} is a folder, a pipe or a device; an image is read from a file$"
            ):
                call(tmp_path / name)
