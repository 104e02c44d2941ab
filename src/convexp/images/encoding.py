"""What image files hold."""

import io
import struct
import zlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def encode(image: Tensor, kind: Literal["PNG", "JPEG"]) -> bytes:
    r"""Return what a file of an image holds.

    Args:
        image: (C, H, W) uint8 with C = 1 or 3.
        kind: The format.

    >>> import torch
    >>> encode(torch.zeros(1, 4, 5, dtype=torch.uint8), "PNG")[:4]
    b'\x89PNG'
    """
    pixels_HWC = image.permute(1, 2, 0).contiguous().cpu().numpy()
    if kind == "PNG":
        return _png(pixels_HWC)
    picture = Image.fromarray(pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC)
    encoded = io.BytesIO()
    # Every pixel keeps its own colour: thin coloured lines would suffer.
    picture.save(encoded, kind, quality=95, subsampling=0)
    return encoded.getvalue()


def _png(pixels_HWC: NDArray[np.uint8]) -> bytes:
    """Write a PNG of 8 bits, https://www.w3.org/TR/png-3: each row is its difference from the one above.

    Pillow tries five such filters on every row and searches for repeated bytes, which takes two to three times as long
    for files of the same size: photographs hardly repeat, and rows of flat colours become runs of zeros.
    """
    height, width, channels = pixels_HWC.shape
    pixels = pixels_HWC.reshape(height, -1)
    rows = np.empty((height, 1 + width * channels), np.uint8)
    rows[:, 0] = 2  # the filter "Up"
    rows[0, 1:] = pixels[0]
    np.subtract(pixels[1:], pixels[:-1], out=rows[1:, 1:])
    packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, zlib.Z_RLE)
    header = struct.pack(">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": packer.compress(rows.data) + packer.flush(), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        for kind, data in chunks.items()
    )
