import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from convexp.images.decoding import decode

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


def tiff(folder, samples, **options):
    tifffile.imwrite(folder / "image.tif", samples, **options)
    return folder / "image.tif"


def turned(pixels, orientation):
    """By the definition of the tag: which side of the picture the first row and the first column are."""
    row, column = {
        1: ("top", "left"),
        2: ("top", "right"),
        3: ("bottom", "right"),
        4: ("bottom", "left"),
        5: ("left", "top"),
        6: ("right", "top"),
        7: ("right", "bottom"),
        8: ("left", "bottom"),
    }[orientation]
    if row in ("left", "right"):
        pixels, row, column = np.swapaxes(pixels, 0, 1), column, row
    pixels = pixels[::-1] if row == "bottom" else pixels
    return pixels[:, ::-1] if column == "right" else pixels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_format_is_turned_upright(tmp_path, orientation, png, require):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "a maker"
    expected = turned(COLOUR, orientation)
    for name, options in (("a.png", {}), ("a.webp", {"lossless": True}), ("a.tif", {})):
        decoded = require(saved(tmp_path, Image.fromarray(COLOUR), name, exif=exif, **options), expected)
        kept = Image.Exif()
        kept.load(decoded.exif)
        assert (kept.get(0x0112, 1), kept[0x010F]) == (1, "a maker")
    path = saved(tmp_path, Image.fromarray(COLOUR), "a.jpg", exif=exif, quality=95, subsampling=0)
    with Image.open(path) as plain:
        require(path, turned(np.asarray(plain), orientation))
    options = {"photometric": "rgb", "extratags": [(274, 3, 1, orientation, True)]}
    for samples in (DEEP_COLOUR, (DEEP_COLOUR / 65535).astype(np.float32)):
        require(tiff(tmp_path, samples, **options), turned(samples, orientation))
    raw = exif.tobytes().removeprefix(b"Exif\0\0")
    for place in ("before", "after"):  # the pixels
        require(write(tmp_path, png(DEEP_COLOUR, 16, **{place: [(b"eXIf", raw)]})), turned(DEEP_COLOUR, orientation))
        opaque = np.dstack([DEEP, np.full((H, W), 65535, np.uint16)])
        require(write(tmp_path, png(opaque, 16, **{place: [(b"eXIf", raw)]})), turned(DEEP, orientation))


def test_exif_stays_but_for_its_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    exif.get_ifd(0x8769)[0x927C] = b"a note that only its maker understands"
    before = exif.tobytes()
    after = decode(saved(tmp_path, Image.fromarray(GRAY), "a.jpg", exif=before)).exif
    differing = [index for index, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]]
    assert [(before[index], after[index]) for index in differing] == [(6, 1)]


@pytest.mark.parametrize(
    "content", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"nonsense", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"]
)
def test_damaged_exif_leaves_the_pixels(tmp_path, content, png, require):
    path = write(tmp_path, png(COLOUR, before=[(b"eXIf", content)]))
    assert require(path, COLOUR).exif is None


def icc(space):
    return (
        struct.pack(">I", 132) + b"\0" * 12 + space + b"XYZ " + b"\0" * 12 + b"acsp" + b"\0" * 88 + struct.pack(">I", 0)
    )


def test_a_profile_of_the_same_colours_is_kept(tmp_path):
    for samples, name in ((COLOUR, "a.png"), (COLOUR, "a.jpg"), (COLOUR, "a.tif"), (COLOUR, "a.webp"), (GRAY, "a.png")):
        space = b"GRAY" if samples.ndim == 2 else b"RGB "
        for written, kept in ((space, icc(space)), (b"CMYK", None)):
            assert decode(saved(tmp_path, Image.fromarray(samples), name, icc_profile=icc(written))).profile == kept
