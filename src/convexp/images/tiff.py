"""TIFF files that Pillow does not read: floats of several channels, of 16 or 64 bits, 16 bits in separate planes."""

import ctypes
import logging
import math
import zlib
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from convexp.errors import ConvexpError
from convexp.images.unpacking import over_white

# What the tags of a TIFF mean, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf
_BITS, _PLANES, _TILE, _FORMAT = 258, 284, (322, 323), 339
_SEPARATE = _SIGNED = 2
_NONE, _DEFLATE, _PACK_BITS = 1, (8, 32946), 32773
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_MULTIPLIED, _UNASSOCIATED = 1, 2
_ORIENTATION, _PROFILE = 274, 34675

_MOST = 1032  # bytes that one byte of deflate can become, https://zlib.net/zlib_tech.html

# Both libraries, and libtiff beneath Pillow, would print remarks on damaged files; what matters is raised.
for _library in ("tifffile", "PIL"):
    logging.getLogger(_library).addHandler(logging.NullHandler())
with suppress(OSError, AttributeError):  # where it is linked otherwise, it prints
    ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


def misread(image: Image.Image) -> bool:
    """Whether Pillow opens a TIFF but gives wrong pixels: of 16 bits in a plane for each channel, or of signed 8."""
    if not isinstance(image, TiffImageFile):
        return False
    bits = image.tag_v2.get(_BITS, (1,))
    planes = len(bits) > 1 and max(bits) > 8 and image.tag_v2.get(_PLANES) == _SEPARATE
    return planes or (max(bits) == 8 and max(image.tag_v2.get(_FORMAT, (1,))) == _SIGNED)


def tile_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of a TIFF's tiles, each of which is decoded whole; (1, 1) without tiles."""
    tags = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    width, height = (tags.get(tag, 1) for tag in _TILE)
    return width, height


def followed(image: Image.Image) -> bool:
    """Whether it is the first of several pages of a TIFF."""
    return isinstance(image, TiffImageFile) and image.tag_v2.next != 0


class Page:
    """The first page of a TIFF.

    Args:
        file: Of the TIFF, open while the page is used.
        path: Its name, for messages.

    Raises:
        ConvexpError: If it is of another kind than gray or RGB, or compressed as nothing here can read.
    """

    def __init__(self, file: BufferedReader, path: Path) -> None:
        import tifffile  # takes a tenth of a second, and few files need it

        file.seek(0)
        # Each microscope's own kind of TIFF would be looked into at once, and beyond its first page.
        own: dict[str, Any] = {f"is_{kind}": False for kind in tifffile.TIFF.FILE_FLAGS}
        pages = tifffile.TiffFile(file, name=path.name, **own).pages
        self._page, self.followed = pages.first, pages.is_multipage
        self._file, self._path = file, path
        page = self._page
        self.height, self.width = page.imagelength, page.imagewidth
        self.channels = 3 if page.photometric == _RGB else 1
        self.orientation = page.tags.valueof(_ORIENTATION, 1)
        self.profile = page.tags.valueof(_PROFILE)
        self.transparent = page.extrasamples[:1] in ((_MULTIPLIED,), (_UNASSOCIATED,))
        numbers = (page.imagewidth, page.imagelength, page.compression, page.samplesperpixel, self.orientation)
        if not all(isinstance(number, int) for number in numbers):
            raise ValueError("its header has several numbers where one belongs")
        known = page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB) and page.imagedepth == 1
        if not known or page.samplesperpixel not in (self.channels, self.channels + 1):
            raise ConvexpError(f"{path} is a TIFF of a rare kind; save it as one of gray values or RGB, or as PNG")
        if page.compression not in (_NONE, *_DEFLATE, _PACK_BITS):
            name = getattr(page.compression, "name", page.compression)
            raise ConvexpError(
                f"{path} is a TIFF of {page.bitspersample} bits, compressed by {name}; save it uncompressed or "
                "compressed by deflate (zip)"
            )

    def pixels(self) -> NDArray[Any]:
        """Decode it: (H, W) or (H, W, 3), in the file's own depth.

        Raises:
            ValueError: If the file holds less or more than its header says.
        """
        page = self._page
        self._require_data()
        pixels = np.asarray(page.asarray(maxworkers=1))
        if page.planarconfig == _SEPARATE and pixels.ndim == 3:
            pixels = pixels.transpose(1, 2, 0)
        pixels = np.atleast_3d(pixels)
        if pixels.shape != (self.height, self.width, page.samplesperpixel):
            raise ValueError(f"it holds {pixels.shape}, which its header does not say")
        if page.photometric == _WHITE_IS_ZERO:
            largest = 1 if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
            pixels[..., 0] = largest - pixels[..., 0]
        if pixels.shape[2] > self.channels and self.transparent and pixels.dtype.kind in "uf":
            multiplied = page.extrasamples[0] == _MULTIPLIED
            return over_white(pixels[..., : self.channels + 1], multiplied=multiplied)
        return pixels[..., : self.channels]

    def _require_data(self) -> None:
        """Refuses a page that promises more pixels than its bytes can become, before there is room made for them."""
        page = self._page
        self._file.seek(0, 2)
        there, promised = self._file.tell(), page.nbytes
        ratio = _MOST if page.compression in _DEFLATE else 128 if page.compression == _PACK_BITS else 1
        if promised > ratio * there:
            raise ValueError(f"it promises {promised} bytes of pixels, and is a file of {there} bytes")
        if page.dtype is None or page.dtype.kind not in "uif":
            raise ValueError(f"samples of {page.bitspersample} bits are none of uint8, uint16 and floats")
        if page.compression not in _DEFLATE:
            return
        segment = math.prod(page.chunks) * page.dtype.itemsize  # of a strip or a tile
        if len(page.dataoffsets) > math.prod(page.chunked):
            raise ValueError(f"it has {len(page.dataoffsets)} parts, more than its {math.prod(page.chunked)} strips")
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            self._file.seek(offset)
            unpacking = zlib.decompressobj()
            unpacking.decompress(self._file.read(count), segment)
            if unpacking.unconsumed_tail:
                raise ValueError(f"a part of it unpacks to more than the {segment} bytes that it should")
