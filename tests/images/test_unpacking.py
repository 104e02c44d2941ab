import struct

import numpy as np
import pytest
from PIL import Image

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


def over_white(colour, opacity, full):
    """In exact integers: round(opacity·colour + (1 − opacity)·white)."""
    colour, opacity = colour.astype(object), opacity.astype(object)
    return ((2 * (opacity * colour + (full - opacity) * full) + full) // (2 * full)).astype(np.int64)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("samples", [DEEP, DEEP_COLOUR], ids=["gray", "colour"])
def test_a_png_of_16_bits_keeps_them_all(tmp_path, samples, interlaced, png, require):
    decoded = require(write(tmp_path, png(samples, 16, interlaced=interlaced)), samples)
    assert (decoded.exif, decoded.profile, decoded.format) == (None, None, "PNG")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("samples", [DEEP[..., None], DEEP_COLOUR], ids=["gray", "colour"])
def test_a_transparent_png_of_16_bits_keeps_them_all(tmp_path, samples, interlaced, png, require):
    path = write(tmp_path, png(np.dstack([samples, DEEP_OPACITY]), 16, interlaced=interlaced))
    expected = over_white(samples, DEEP_OPACITY, 65535).astype(np.uint16)
    require(path, expected[..., 0] if expected.shape[2] == 1 else expected)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_gray_png_of_few_bits_is_spread_over_8(tmp_path, bits, interlaced, png, require):
    largest = 2**bits - 1
    levels = GRAY & largest
    path = write(tmp_path, png(levels, bits, interlaced=interlaced))
    require(path, (levels.astype(int) * 255 // largest).astype(np.uint8))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_gray_of_a_png_becomes_white(tmp_path, bits, png, require):
    largest = 2**bits - 1
    levels = DEEP & largest
    levels[3, 5] = key = largest // 3
    path = write(tmp_path, png(levels, bits, before=[(b"tRNS", struct.pack(">H", key))]))
    full = 65535 if bits == 16 else 255
    expected = np.where(levels == key, full, levels.astype(int) * full // largest)
    require(path, expected.astype(np.uint16 if bits == 16 else np.uint8))


@pytest.mark.parametrize("bits", [8, 16])
def test_the_transparent_colour_of_a_png_becomes_white(tmp_path, bits, png, require):
    samples = COLOUR.copy() if bits == 8 else DEEP_COLOUR.copy()
    key = samples[3, 5]
    samples[4, 6] = key[0], key[1], key[2] ^ 1  # nearly that colour
    path = write(tmp_path, png(samples, bits, before=[(b"tRNS", struct.pack(">3H", *key))]))
    expected = samples.copy()
    expected[3, 5] = 2**bits - 1
    require(path, expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_png(tmp_path, bits, png, require):
    palette, opacity = COLOUR.reshape(-1, 3)[: 2**bits], GRAY.reshape(-1)[: 2**bits]
    indices = GRAY.T.copy().reshape(H, W) & (2**bits - 1)
    colours = (b"PLTE", palette.tobytes())
    require(write(tmp_path, png(indices, bits, colour_type=3, before=[colours])), palette[indices])
    path = write(tmp_path, png(indices, bits, colour_type=3, before=[colours, (b"tRNS", opacity.tobytes())]))
    require(path, over_white(palette, opacity[:, None], 255).astype(np.uint8)[indices])


@pytest.mark.parametrize("samples", [GRAY, COLOUR], ids=["gray", "colour"])
def test_transparency_of_8_bits_stays_of_8_bits(tmp_path, samples, png, require):
    both = np.dstack([samples, GRAY[::-1]])
    expected = over_white(np.atleast_3d(samples), GRAY[::-1, :, None], 255).astype(np.uint8)
    expected = expected[..., 0] if samples.ndim == 2 else expected
    require(write(tmp_path, png(both)), expected)
    require(saved(tmp_path, Image.fromarray(both), "a.tif"), expected)
    if samples.ndim == 3:
        path = saved(tmp_path, Image.fromarray(both), "a.webp", lossless=True, exact=True)
        require(path, expected)
