"""Files of every format, truncated, flipped and spliced: one line that says what is wrong, or an image."""

import faulthandler
import io
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from convexp.errors import ConvexpError
from convexp.images.decoding import probe
from convexp.images.files import read_image

CASES = 25  # of each file
HANG = 60  # seconds of all cases of a file, which take half a second

H, W = 5, 7
RANDOM = np.random.default_rng(0)
GRAY, COLOUR = RANDOM.integers(0, 256, (H, W), np.uint8), RANDOM.integers(0, 256, (H, W, 3), np.uint8)
DEEP, DEEP_COLOUR = RANDOM.integers(0, 2**16, (H, W), np.uint16), RANDOM.integers(0, 2**16, (H, W, 3), np.uint16)
EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010F] = 6, "a maker"
EXIF.get_ifd(0x8769)[0x927C] = b"a note" * 9
PROFILE = b"\0" * 16 + b"RGB XYZ " + b"\0" * 12 + b"acsp" + b"\0" * 90


def pillow(samples, kind, **options):
    content = io.BytesIO()
    Image.fromarray(samples).save(content, kind, **options)
    return content.getvalue()


def tiff(samples, **options):
    content = io.BytesIO()
    tifffile.imwrite(content, samples, **options)
    return content.getvalue()


def npy(samples):
    content = io.BytesIO()
    np.save(content, samples)
    return content.getvalue()


def png(samples, kind):
    """Of 16 bits, which Pillow does not write in colour."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", W, H, 16, kind, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows), b"eXIf": EXIF.tobytes()[6:], b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    )


def tiffs():
    for compression in (None, "zlib"):
        for tile in (None, (16, 16)):
            options = {"photometric": "rgb", "compression": compression, "tile": tile, "byteorder": ">"}
            kind = f"{compression}-{'tiles' if tile else 'strips'}.tif"
            yield f"deep-{kind}", tiff(DEEP_COLOUR, **options)
            yield f"planes-{kind}", tiff(DEEP_COLOUR.transpose(2, 0, 1), planarconfig="separate", **options)
            yield f"floats-{kind}", tiff((DEEP_COLOUR / 65535).astype(np.float32), **options)
            four = np.dstack([DEEP_COLOUR, DEEP])
            yield f"transparent-{kind}", tiff(four, extrasamples=["assocalpha"], **options)
    yield "doubles.tif", tiff(DEEP / 65535, photometric="miniswhite")
    yield "big.tif", tiff(DEEP_COLOUR, photometric="rgb", bigtiff=True)
    for compression in ("tiff_lzw", "packbits", "jpeg"):
        yield f"{compression}.tif", pillow(COLOUR, "TIFF", compression=compression, exif=EXIF)
    yield "fax.tif", pillow(GRAY > 127, "TIFF", compression="group4")


FILES = {
    "gray.png": pillow(GRAY, "PNG", transparency=7),
    "colour.png": pillow(COLOUR, "PNG", exif=EXIF, icc_profile=PROFILE),
    "palette.png": pillow(COLOUR, "PNG"),
    "animated.png": pillow(COLOUR, "PNG", save_all=True, append_images=[Image.fromarray(255 - COLOUR)]),
    "deep.png": png(DEEP_COLOUR, 2),
    "deep-opacity.png": png(np.dstack([DEEP, DEEP]), 4),
    "colour.jpg": pillow(COLOUR, "JPEG", exif=EXIF, icc_profile=PROFILE),
    "gray.jpg": pillow(GRAY, "JPEG"),
    "progressive.jpg": pillow(COLOUR, "JPEG", progressive=True),
    "several.jpg": pillow(COLOUR, "MPO", save_all=True, append_images=[Image.fromarray(COLOUR)]),
    "colour.webp": pillow(COLOUR, "WEBP", exif=EXIF, icc_profile=PROFILE),
    "lossless.webp": pillow(np.dstack([COLOUR, GRAY]), "WEBP", lossless=True),
    "animated.webp": pillow(COLOUR, "WEBP", save_all=True, append_images=[Image.fromarray(255 - COLOUR)]),
    "colour.bmp": pillow(COLOUR, "BMP"),
    "gray.bmp": pillow(GRAY, "BMP"),
    "opacity.bmp": pillow(np.dstack([COLOUR, GRAY]), "BMP"),
    "colour.npy": npy(COLOUR),
    "deep.npy": npy(DEEP),
    "floats.npy": npy(COLOUR / 255),
    "halves.npy": npy((GRAY / 255).astype(np.float16)),
    **dict(tiffs()),
}


@st.composite
def damaged(draw, content, others):
    """A content cut off, with bits flipped, bytes written over, or parts left out, repeated or from another file."""

    def place(within=content):
        # Most of what a file says of itself stands at its start.
        return draw(st.integers(0, len(within) - 1) | st.integers(0, min(len(within), 80) - 1))

    kind = draw(st.sampled_from(["cut", "flip", "flip", "write", "write", "splice", "leave", "repeat"]))
    start, end = sorted((place(), place()))
    if kind == "cut":
        return content[:start]
    if kind == "splice":
        other = draw(st.sampled_from(others))
        return content[:start] + other[place(other) :]
    if kind in ("leave", "repeat"):
        return content[:start] + content[end:] if kind == "leave" else content[:end] + content[start:]
    changed = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        if kind == "flip":
            changed[place()] ^= 1 << draw(st.integers(0, 7))
        else:
            at, written = (
                place(),
                draw(st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x80", b"\1", b"\x7f\xff"])),
            )
            changed[at : at + len(written)] = written
    return bytes(changed)


@pytest.fixture(autouse=True)
def watchdog():
    faulthandler.dump_traceback_later(HANG, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


def outcome(call, path):
    """What a call returns, or its error's line."""
    try:
        return call(path)
    except ConvexpError as error:
        line = str(error)
        assert line.isprintable()
        assert line.startswith(str(path))
        assert len(line) < len(str(path)) + 400
        return line


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_image_is_one_line_or_an_image(tmp_path, capfd, name):
    path, others = tmp_path / name, list(FILES.values())
    path.write_bytes(FILES[name])
    assert read_image(path).dtype == torch.float32  # as long as it is whole

    @seed(zlib.crc32(name.encode()))
    @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(content=damaged(FILES[name], others))
    def check(content):
        path.write_bytes(content)
        shape, image = outcome(probe, path), outcome(read_image, path)
        if isinstance(image, str):
            return
        assert image.dtype == torch.float32
        assert image.numel() > 0
        assert image.isfinite().all()
        assert image.min() >= 0
        assert image.max() <= 1
        assert shape == (*image.shape[1:], image.shape[0])

    check()
    assert capfd.readouterr() == ("", "")


def test_there_are_five_hundred_cases():
    assert len(FILES) * CASES > 500
