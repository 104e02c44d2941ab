import struct
import zlib

import numpy as np
import pytest
import tifffile

from convexp.errors import ConvexpError
from convexp.images.decoding import decode, probe

H, W = 17, 23
RANDOM = np.random.default_rng(0)
GRAY = RANDOM.integers(0, 256, (H, W), np.uint8)
COLOUR = RANDOM.integers(0, 256, (H, W, 3), np.uint8)
DEEP = RANDOM.integers(0, 2**16, (H, W), np.uint16)
DEEP_COLOUR = RANDOM.integers(0, 2**16, (H, W, 3), np.uint16)
DEEP_OPACITY = np.where(RANDOM.random((H, W, 1)) < 0.2, 65535, RANDOM.integers(0, 2**16, (H, W, 1))).astype(np.uint16)


def write(folder, content, name="image.png"):
    (folder / name).write_bytes(content)
    return folder / name


def saved(folder, picture, name="image.png", **options):
    picture.save(folder / name, **options)
    return folder / name


BYTE_ORDERS = pytest.mark.parametrize("order", ["<", ">"])


COMPRESSIONS = pytest.mark.parametrize("compression", [None, "zlib"])


def tiff(folder, samples, **options):
    tifffile.imwrite(folder / "image.tif", samples, **options)
    return folder / "image.tif"


def over_white(colour, opacity, full):
    """In exact integers: round(opacity·colour + (1 − opacity)·white)."""
    colour, opacity = colour.astype(object), opacity.astype(object)
    return ((2 * (opacity * colour + (full - opacity) * full) + full) // (2 * full)).astype(np.int64)


@BYTE_ORDERS
@COMPRESSIONS
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize(
    "samples", [COLOUR, DEEP_COLOUR, (DEEP_COLOUR / 65535).astype(np.float32)], ids=["u1", "u2", "f4"]
)
def test_a_tiff_of_colours(tmp_path, samples, planes, tile, compression, order, require):
    stored = samples if planes == "contig" else samples.transpose(2, 0, 1)
    options = {"photometric": "rgb", "planarconfig": planes, "tile": tile, "compression": compression}
    require(tiff(tmp_path, stored, byteorder=order, **options), samples)


@BYTE_ORDERS
@COMPRESSIONS
@pytest.mark.parametrize("black", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f2", "f4", "f8"])
def test_a_tiff_of_grays(tmp_path, kind, black, compression, order, require):
    samples = (DEEP / 65535).astype(kind) if kind[0] == "f" else (DEEP >> (8 if kind == "u1" else 0)).astype(kind)
    full = samples.dtype.type(1 if kind[0] == "f" else np.iinfo(kind).max)
    expected = samples if black == "minisblack" else full - samples
    path = tiff(tmp_path, samples, photometric=black, compression=compression, byteorder=order)
    require(path, expected.astype(np.float32) if kind[0] == "f" else expected)


@BYTE_ORDERS
@COMPRESSIONS
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_tiff(tmp_path, channels, kind, compression, order, require):
    colour, opacity = DEEP_COLOUR[..., :channels].astype(np.int64), DEEP_OPACITY.astype(np.int64)
    if kind == "u1":
        colour, opacity = colour >> 8, opacity >> 8
    full = 255 if kind == "u1" else 65535
    multiplied = colour * opacity // full
    options = {
        "photometric": "rgb" if channels == 3 else "minisblack",
        "planarconfig": "contig",
        "compression": compression,
        "byteorder": order,
    }
    for extra, first in (("unassalpha", colour), ("assocalpha", multiplied)):
        exact = over_white(colour, opacity, full) if extra == "unassalpha" else multiplied + full - opacity
        samples, expected = np.dstack([first, opacity]), exact
        if kind == "f4":
            samples, expected = samples / full, None
        path = tiff(tmp_path, samples.astype(kind), extrasamples=[extra], **options)
        if expected is None:
            expected = (first * opacity / full if extra == "unassalpha" else first) + full - opacity
            np.testing.assert_allclose(np.atleast_3d(decode(path).pixels), expected / full, atol=1e-6)
        else:
            require(path, (expected[..., 0] if channels == 1 else expected).astype(kind))


def test_a_fourth_channel_of_no_meaning_is_left_out(tmp_path, require):
    for samples in (COLOUR, DEEP_COLOUR, (COLOUR / 255).astype(np.float32)):
        four = np.dstack([samples, samples[..., :1]])
        require(tiff(tmp_path, four, photometric="rgb", extrasamples=["unspecified"]), samples)


def lzw(data):
    """LZW as TIFF 6.0 has it, uncompressed: every byte is a code of 9 bits, and the table starts anew in time."""
    bits = ""
    for start in range(0, len(data), 200):
        bits += f"{256:09b}" + "".join(f"{byte:09b}" for byte in data[start : start + 200])
    bits += f"{257:09b}"
    return int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")


def hand_made_tiff(data, tags, order="<"):
    """One strip, and tags of one or several 16-bit or 32-bit numbers."""
    name = {"<": b"II", ">": b"MM"}[order]
    entries, more, behind = b"", b"", 8 + len(data) + 2 + 12 * (len(tags) + 2) + 4
    for tag, value in sorted({**tags, 273: 8, 279: len(data)}.items()):
        values = value if isinstance(value, tuple) else (value,)
        kind, letter = (4, "I") if tag in (273, 279) else (3, "H")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            packed, more = struct.pack(f"{order}I", behind + len(more)), more + packed
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = name + struct.pack(f"{order}HI", 42, 8 + len(data))
    return head + data + struct.pack(f"{order}H", len(tags) + 2) + entries + b"\0" * 4 + more


RGB_TAGS = {256: W, 257: H, 258: (16, 16, 16), 262: 2, 277: 3, 278: H}


GRAY_TAGS = {256: W, 257: H, 258: 16, 262: 1, 277: 1, 278: H}


FLOATS = {**RGB_TAGS, 258: (32, 32, 32), 339: (3, 3, 3)}


@BYTE_ORDERS
def test_a_tiff_of_16_bits_compressed_as_editors_do(tmp_path, order, require):
    for samples, tags in ((DEEP_COLOUR, RGB_TAGS), (DEEP, GRAY_TAGS)):
        data = lzw(samples.astype(f"{order}u2").tobytes())
        require(write(tmp_path, hand_made_tiff(data, {**tags, 259: 5}, order), "image.tif"), samples)


def test_a_tiff_of_12_bits_is_spread_over_16(tmp_path, require):
    levels = DEEP >> 4
    wide = (levels[..., None] >> np.arange(11, -1, -1)) & 1
    rows = np.packbits(wide.reshape(H, -1), axis=1)
    path = write(tmp_path, hand_made_tiff(rows.tobytes(), {**GRAY_TAGS, 258: 12}), "image.tif")
    require(path, np.round(levels / 4095 * 65535).astype(np.uint16))


def test_what_no_reader_here_decompresses_says_what_to_do(tmp_path):
    data = lzw(np.zeros((H, W, 3), np.float32).tobytes())
    tags = {**RGB_TAGS, 258: (32, 32, 32), 339: (3, 3, 3), 259: 5}
    path = write(tmp_path, hand_made_tiff(data, tags), "image.tif")
    for call in (decode, probe):
        with pytest.raises(
            ConvexpError,
            match=r"is a TIFF of 32 bits, compressed by LZW; save it uncompressed or compressed by deflate",
        ):
            call(path)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.full((H, W, 3), 1.5, np.float32), r"values from 1\.5 to 1\.5; floats must lie in \[0, 1\]"),
        (np.full((H, W, 3), np.nan, np.float32), "holds NaN or infinite values"),
        (DEEP.astype(np.int16), "holds int32; allowed are"),
        (DEEP_COLOUR.astype(np.int16), "holds int16; allowed are"),
        (DEEP_COLOUR.astype(np.uint32), "holds uint32; allowed are"),
        (DEEP.astype(np.complex64), "samples of 64 bits are none of uint8, uint16 and floats"),
        (DEEP.astype(np.int8), "holds int8; allowed are"),
    ],
    ids=["large", "nan", "i2", "i2-colour", "u4", "c8", "i1"],
)
def test_a_tiff_of_other_numbers_is_refused(tmp_path, samples, reason):
    path = tiff(tmp_path, samples, photometric="rgb" if samples.ndim == 3 else "minisblack")
    with pytest.raises(ConvexpError, match=rf"image\.tif .*{reason}"):
        decode(path)


def test_a_tiff_of_rare_colours_is_refused(tmp_path):
    path = tiff(tmp_path, np.zeros((H, W, 3), np.float32), photometric="ycbcr")
    with pytest.raises(ConvexpError, match="is a TIFF of a rare kind; save it as one of gray values or RGB"):
        decode(path)


def too_large(path):
    with pytest.raises(ConvexpError) as caught:
        decode(path)
    message = str(caught.value)
    with pytest.raises(ConvexpError) as caught:
        probe(path)
    assert str(caught.value) == message
    return message


def test_a_tiff_that_promises_too_much_is_refused_before_there_is_room_for_it(tmp_path):
    for tags in (RGB_TAGS, GRAY_TAGS, FLOATS):
        path = write(tmp_path, hand_made_tiff(b"\0" * 100, {**tags, 256: 60_000, 257: 60_000}), "a.tif")
        assert too_large(path).endswith(
            "a.tif was not decoded: its image size (3600000000 pixels) is above the limit of 500000000 pixels; "
            "cut it into smaller images"
        )
    path = write(tmp_path, hand_made_tiff(b"\0" * 100, {**FLOATS, 256: 20_000, 257: 20_000}), "a.tif")
    with pytest.raises(ConvexpError, match=r"promises 4800000000 bytes of pixels, and is a file of [0-9]+ bytes"):
        decode(path)


@pytest.mark.parametrize("compression", [1, 8])
def test_what_pillow_would_make_room_for_is_refused_too(tmp_path, compression):
    tags = {**RGB_TAGS, 256: 20_000, 257: 20_000, 259: compression}
    path = write(tmp_path, hand_made_tiff(zlib.compress(b"\0" * 100), tags), "a.tif")
    for call in (decode, probe):
        with pytest.raises(ConvexpError, match=r"it promises 400000000 pixels, too many for a file of \d+ bytes"):
            call(path)


def test_a_tiff_without_some_of_its_strips_is_refused(tmp_path):
    path = write(tmp_path, hand_made_tiff(COLOUR.tobytes(), {**RGB_TAGS, 258: (8, 8, 8), 278: 5}), "a.tif")
    with pytest.raises(ConvexpError, match=r"a\.tif cannot be decoded: a part of its pixels is missing"):
        decode(path)


def test_a_tiff_of_monstrous_tiles_is_refused(tmp_path):
    tags = {**RGB_TAGS, 258: (8, 8, 8), 259: 8, 322: 60_000, 323: 60_000, 324: 8, 325: 100}
    path = write(tmp_path, hand_made_tiff(zlib.compress(b"\0" * 1000), tags), "a.tif")
    assert "its image size (3600000000 pixels) is above the limit" in too_large(path)


def test_a_tiff_whose_strip_unpacks_to_more_than_it_should_is_refused(tmp_path):
    path = write(tmp_path, hand_made_tiff(zlib.compress(b"\0" * 10_000_000), {**FLOATS, 259: 8}), "a.tif")
    with pytest.raises(ConvexpError, match=f"unpacks to more than the {H * W * 12} bytes that it should"):
        decode(path)


@pytest.mark.parametrize("options", [{"rowsperstrip": 2}, {"tile": (16, 16)}], ids=["strips", "tiles"])
def test_no_part_of_a_tiff_may_unpack_to_the_whole_of_it(tmp_path, options):
    """Else as many parts as there are rows, all of them the same bytes, would be unpacked for minutes."""
    path = tiff(tmp_path, np.zeros((64, 48), np.float64), compression="zlib", photometric="minisblack", **options)
    content, whole = bytearray(path.read_bytes()), zlib.compress(bytes(64 * 48 * 8))
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        offsets, counts = (page.tags[name] for name in page_tags(page))
        number, size = len(page.dataoffsets), {3: 2, 4: 4}
        assert number in (32, 12)
        for tag, value in ((offsets, len(content)), (counts, len(whole))):
            place, width = tag.valueoffset, size[int(tag.dtype)]
            content[place : place + number * width] = value.to_bytes(width, "little") * number
    path.write_bytes(bytes(content) + whole)
    part = 2 * 48 * 8 if "rowsperstrip" in options else 16 * 16 * 8
    with pytest.raises(ConvexpError, match=f"unpacks to more than the {part} bytes that it should"):
        decode(path)


def page_tags(page):
    return ("TileOffsets", "TileByteCounts") if page.is_tiled else ("StripOffsets", "StripByteCounts")
