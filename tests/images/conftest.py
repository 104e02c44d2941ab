import struct
import zlib

import numpy as np
import pytest
import torch

from convexp.images.decoding import decode, probe
from convexp.images.files import read_image

# Where each of the seven passes of an interlaced PNG begins and how far it steps: row, column, row step, column step.
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
COLOUR_TYPES = {1: 0, 3: 2, 2: 4, 4: 6}  # by the number of channels


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def filtered(row, above, width, kind):
    """A row of bytes less what the filter predicts of it, https://www.w3.org/TR/png-3/#9Filter-types."""
    row, above = row.astype(int), above.astype(int)
    left, corner = (np.concatenate([np.zeros(width, int), line[:-width]])[: len(row)] for line in (row, above))
    average = (left + above) // 2
    guess = left + above - corner
    distances = np.abs([guess - left, guess - above, guess - corner])
    paeth = np.choose(distances.argmin(axis=0), [left, above, corner])
    prediction = [0 * row, left, above, average, paeth][kind]
    return bytes([kind]) + ((row - prediction) % 256).astype(np.uint8).tobytes()


def scanlines(samples, bits):
    """Bytes of (H, W, C) samples, every row filtered by another of the five filters."""
    height, _, channels = samples.shape
    if bits == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif bits == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        wide = (samples.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
        rows = np.packbits(wide.reshape(height, -1), axis=1)
    step = max(1, bits * channels // 8)
    above = np.zeros((1, rows.shape[1]), np.uint8)
    pairs = enumerate(zip(rows, np.concatenate([above, rows]), strict=False))
    return b"".join(filtered(row, before, step, number % 5) for number, (row, before) in pairs)


@pytest.fixture(scope="session")
def png():
    """Writes what a PNG holds, of any depth, without Pillow."""

    def encoded(samples, bits=8, *, colour_type=None, interlaced=False, before=(), after=()):
        samples = np.atleast_3d(samples)
        height, width, channels = samples.shape
        passes = ADAM7 if interlaced else [(0, 0, 1, 1)]
        parts = [samples[top::down, left::right] for top, left, down, right in passes]
        data = b"".join(scanlines(part, bits) for part in parts if part.size)
        kind = COLOUR_TYPES[channels] if colour_type is None else colour_type
        header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced))
        chunks = [(b"IHDR", header), *before, (b"IDAT", zlib.compress(data)), *after, (b"IEND", b"")]
        return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)

    return encoded


@pytest.fixture(scope="session")
def require():
    """Requires that a file holds these pixels exactly, and that its header says how many."""

    def required(path, expected):
        decoded = decode(path)
        assert decoded.pixels.dtype == expected.dtype
        assert decoded.pixels.flags.c_contiguous
        np.testing.assert_array_equal(decoded.pixels, expected)
        height, width = expected.shape[:2]
        assert probe(path) == (height, width, 1 if expected.ndim == 2 else 3)
        scale = 1 if expected.dtype.kind == "f" else np.iinfo(expected.dtype).max
        image = torch.from_numpy(np.atleast_3d(expected.astype(np.float32) / np.float32(scale))).permute(2, 0, 1)
        assert read_image(path).equal(image)
        return decoded

    return required
