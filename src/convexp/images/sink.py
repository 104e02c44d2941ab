"""Pictures written row by row, in their own bit depth, whole or not at all."""

import os
import struct
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convexp.errors import ConvexpError
from convexp.images import metadata
from convexp.images.tiff_writing import TiffWriting
from convexp.images.unfinished import unfinished

Depth = Literal["uint8", "uint16", "float32"]

_DEPTHS: dict[str, tuple[Depth, ...]] = {
    ".png": ("uint8", "uint16"),
    ".tif": ("uint8", "uint16", "float32"),
    ".tiff": ("uint8", "uint16", "float32"),
    ".npy": ("float32",),
    ".jpg": ("uint8",),
    ".jpeg": ("uint8",),
    ".webp": ("uint8",),
    ".bmp": ("uint8",),
}
_PILLOW = {".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".bmp": "BMP"}
_LONGEST_SIDE = {".jpg": 65_535, ".jpeg": 65_535, ".webp": 16_383}
_LONGEST_EXIF = 65_000  # in a JPEG, whose segments have 64 kB


class CannotWriteError(ConvexpError):
    """A file cannot be written, and no other one of that folder either: no space, no permission."""


@dataclass(frozen=True)
class Layout:
    """What a picture is to be.

    Args:
        height: In pixels.
        width: In pixels.
        channels: 1 or 3; in a `.npy` any number.
        depth: The type of a value.
        exif: What a file says of the camera; kept by all but BMP and `.npy`.
        profile: An ICC colour profile; kept likewise, and only by pictures of its own number of channels.
    """

    height: int
    width: int
    channels: int
    depth: Depth
    exif: bytes | None = None
    profile: bytes | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(height, width), and the channels if there are several."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)

    @property
    def fitting_profile(self) -> bytes | None:
        """The profile, unless it is one of colours and the picture is gray, or the other way round."""
        return metadata.profile(self.profile, self.channels)


class Sink(Protocol):
    """A picture's file that is being written."""

    def write(self, rows: NDArray[Any], /) -> None:
        """Takes the next rows (n, W, C), of the layout's depth."""

    def close(self) -> None:
        """Writes what is left."""


def depth_for(suffix: str, depth: Depth) -> Depth:
    """The depth in which a format keeps most of values of another.

    Args:
        suffix: As `.png`; of one that no picture has, `sink` says so.
        depth: Of the values.

    Example:
        >>> depth_for(".png", "float32"), depth_for(".jpg", "uint16"), depth_for(".tif", "float32")
        ('uint16', 'uint8', 'float32')
    """
    depths = _DEPTHS.get(suffix.lower(), (depth,))
    return depth if depth in depths else depths[-1]


def suffixes() -> tuple[str, ...]:
    """What a picture's name may end in."""
    return tuple(_DEPTHS)


@contextmanager
def sink(path: Path, layout: Layout, *, overwrite: bool = False) -> Generator[Sink, None, None]:
    """Opens a picture for writing; it appears under its name at the end, whole, or not at all.

    PNG, TIFF and `.npy` are written as the rows come; of the other formats the picture is held in memory.

    Args:
        path: Its suffix is the format.
        layout: What the picture is to be.
        overwrite: Whether a file that is there may go.

    Raises:
        ConvexpError: If the format does not hold such a picture, or the file is there.
        CannotWriteError: If the file cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with sink(Path(folder, "gray.png"), Layout(4, 5, 1, "uint16")) as picture:
        ...         for row in range(4):
        ...             picture.write(np.full((1, 5, 1), 1000 * row, np.uint16))
        ...     int(np.asarray(Image.open(f"{folder}/gray.png"))[3, 0])
        3000
    """
    kind = _checked(path, layout)
    try:
        with unfinished(path) as beside:
            with beside.open("wb") as file:
                opened = kind(file, layout)
                yield opened
                opened.close()
            _publish(beside, path, overwrite=overwrite)
    except OSError as error:
        raise CannotWriteError(f"cannot write {path}: {error.strerror or error}") from error


def _checked(path: Path, layout: Layout) -> Callable[[IO[bytes], Layout], Sink]:
    suffix = path.suffix.lower()
    if suffix not in _DEPTHS:
        raise ConvexpError(f"cannot write {path}: the suffix must be one of {', '.join(_DEPTHS)}")
    if layout.channels not in (1, 3) and suffix != ".npy":
        raise ConvexpError(f"cannot write {path}: a picture has 1 or 3 channels, not {layout.channels}; .npy takes any")
    longest = _LONGEST_SIDE.get(suffix)
    if longest is not None and max(layout.height, layout.width) > longest:
        size = f"{layout.height}×{layout.width}"
        raise ConvexpError(
            f"cannot write {path}: {suffix} holds sides of {longest} pixels at most, not {size}; take .png"
        )
    if layout.depth not in _DEPTHS[suffix]:
        raise ConvexpError(f"cannot write {path}: {suffix} holds {' or '.join(_DEPTHS[suffix])}, not {layout.depth}")
    own = {".png": _Png, ".tif": _tiff, ".tiff": _tiff, ".npy": _Npy}
    return own[suffix] if suffix in own else partial(_Held, kind=_PILLOW[suffix])


def _publish(beside: Path, path: Path, *, overwrite: bool) -> None:
    if overwrite:
        beside.replace(path)
        return
    try:
        os.link(beside, path)  # unlike a renaming, it fails where there is a file by now
    except FileExistsError as error:
        raise ConvexpError(f"{path} is there already; --force writes over it") from error
    except OSError as error:  # a file system without links
        if path.exists():
            raise ConvexpError(f"{path} is there already; --force writes over it") from error
        beside.replace(path)


class _Png:
    """https://www.w3.org/TR/png-3; each row is its difference from the one above, as in `encoding`."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self.file, self.layout = file, layout
        self.packer = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL + 1, zlib.Z_RLE)
        self.above = np.zeros(0, np.uint8)
        bits, colours = 8 if layout.depth == "uint8" else 16, 0 if layout.channels == 1 else 2
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", layout.width, layout.height, bits, colours, 0, 0, 0))
        if layout.fitting_profile is not None:
            self._chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(layout.fitting_profile))
        if layout.exif is not None:
            self._chunk(b"eXIf", layout.exif.removeprefix(metadata.EXIF_PREFIX))

    def write(self, rows: NDArray[Any]) -> None:
        values = np.ascontiguousarray(rows, ">u2" if self.layout.depth == "uint16" else np.uint8)
        bytes_HX = values.reshape(len(rows), -1).view(np.uint8)
        filtered = np.empty((len(rows), 1 + bytes_HX.shape[1]), np.uint8)
        filtered[:, 0] = 2  # the filter "Up"
        np.subtract(bytes_HX[0], self.above if len(self.above) else 0, out=filtered[0, 1:])
        np.subtract(bytes_HX[1:], bytes_HX[:-1], out=filtered[1:, 1:])
        self.above = bytes_HX[-1].copy()
        self._data(self.packer.compress(filtered.data))

    def close(self) -> None:
        self._data(self.packer.flush())
        self._chunk(b"IEND", b"")

    def _data(self, packed: bytes) -> None:
        if packed:
            self._chunk(b"IDAT", packed)

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self.file.write(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
        )


class _Npy:
    """https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html."""

    def __init__(self, file: IO[bytes], layout: Layout) -> None:
        self.file, self.layout = file, layout
        header = {"descr": "<f4", "fortran_order": False, "shape": layout.shape}
        np.lib.format.write_array_header_1_0(file, header)

    def write(self, rows: NDArray[Any]) -> None:
        self.file.write(np.ascontiguousarray(rows, "<f4").data)

    def close(self) -> None:
        pass


class _Held:
    """Formats that Pillow packs as a whole."""

    def __init__(self, file: IO[bytes], layout: Layout, *, kind: str) -> None:
        self.file, self.layout, self.kind = file, layout, kind
        self.picture = np.empty((layout.height, layout.width, layout.channels), np.uint8)
        self.filled = 0

    def write(self, rows: NDArray[Any]) -> None:
        self.picture[self.filled : self.filled + len(rows)] = rows
        self.filled += len(rows)

    def close(self) -> None:
        picture = Image.fromarray(self.picture.reshape(self.layout.shape))
        self.picture = np.empty(0, np.uint8)  # Pillow has a copy
        exif, profile = self.layout.exif, self.layout.fitting_profile
        kept = {"icc_profile": profile} if profile is not None else {}
        if self.kind != "BMP" and exif is not None and len(exif) <= _LONGEST_EXIF:
            kept["exif"] = metadata.EXIF_PREFIX + exif.removeprefix(metadata.EXIF_PREFIX)
        # Every pixel keeps its own colour: thin coloured lines would suffer.
        how = {"quality": 95, "subsampling": 0} if self.kind == "JPEG" else {"lossless": True, "method": 1}
        picture.save(self.file, self.kind, **({} if self.kind == "BMP" else how | kept))


def _tiff(file: IO[bytes], layout: Layout) -> TiffWriting:
    return TiffWriting(file, layout.shape, layout.depth, exif=layout.exif, profile=layout.fitting_profile)
