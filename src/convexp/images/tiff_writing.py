"""TIFF 6.0 of any bit depth, written strip by strip: https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf."""

import math
import struct
import warnings
import zlib
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from convexp.errors import ConvexpError

_STRIP = 2**20  # bytes, before they are packed
_EXIF_TEXTS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)  # the camera, the author, the date
_EXPOSURE, _INTEROPERABILITY = 0x8769, 0xA005
_EXIF_PARTS = (_EXPOSURE, 0x8825)  # and the place
_Fields = dict[int, tuple[str, tuple[int, ...] | bytes]]  # a type's letter and the values, by number


class TiffWriting:
    """A TIFF that is being written: packed strips, and behind them what they are.

    Args:
        file: Empty.
        shape: (H, W) or (H, W, 3).
        depth: `uint8`, `uint16` or `float32`.
        exif: What is said of the camera.
        profile: An ICC colour profile.
    """

    def __init__(
        self, file: IO[bytes], shape: tuple[int, ...], depth: str, *, exif: bytes | None, profile: bytes | None
    ) -> None:
        self.file, self.shape, self.depth, self.exif, self.profile = file, shape, depth, exif, profile
        row = math.prod(shape[1:]) * np.dtype(depth).itemsize
        self.rows = max(1, _STRIP // row)  # of a strip
        self.waiting: list[NDArray[Any]] = []
        self.offsets: list[int] = []
        self.sizes: list[int] = []
        file.write(b"II*\0\0\0\0\0")

    def write(self, rows: NDArray[Any]) -> None:
        """Takes the next rows (n, W, C)."""
        self.waiting.append(rows)
        if sum(map(len, self.waiting)) < self.rows:
            return
        joined = np.concatenate(self.waiting)
        whole = len(joined) // self.rows * self.rows
        for start in range(0, whole, self.rows):
            self._strip(joined[start : start + self.rows])
        self.waiting = [joined[whole:]]

    def close(self) -> None:
        """Writes what is left, and what it is.

        Raises:
            ConvexpError: If that is more than 4 GB.
        """
        if sum(map(len, self.waiting)):
            self._strip(np.concatenate(self.waiting))
        fields = self._fields() | self._camera()
        start = self._even()
        directory = _directory(fields, start)
        if start + len(directory) >= 2**32:
            raise ConvexpError(f"a TIFF holds 4 GB at most, not {start / 2**30:.1f}; --to npy takes any size")
        self.file.write(directory)
        self.file.seek(4)
        self.file.write(struct.pack("<I", start))

    def _strip(self, rows: NDArray[Any]) -> None:
        values = np.ascontiguousarray(rows, np.dtype(self.depth).newbyteorder("<"))
        if values.dtype.kind == "u":
            values[:, 1:] -= values[:, :-1].copy()  # the predictor: differences from the pixel to the left
        packed = zlib.compress(values.data, 1)
        self.offsets.append(self.file.tell())
        self.sizes.append(len(packed))
        self.file.write(packed)

    def _fields(self) -> _Fields:
        height, width, *channels = self.shape
        count = channels[0] if channels else 1
        return {
            256: ("I", (width,)),
            257: ("I", (height,)),
            258: ("H", (8 * np.dtype(self.depth).itemsize,) * count),
            259: ("H", (8,)),  # packed with zlib
            262: ("H", (1 if count == 1 else 2,)),  # black is 0; RGB
            273: ("I", tuple(offset % 2**32 for offset in self.offsets)),  # a file that is too large is refused
            277: ("H", (count,)),
            278: ("I", (self.rows,)),
            279: ("I", tuple(self.sizes)),
            317: ("H", (1 if self.depth == "float32" else 2,)),
            339: ("H", (3 if self.depth == "float32" else 1,) * count),
            **({} if self.profile is None else {34675: ("u", self.profile)}),
        }

    def _camera(self) -> _Fields:
        """What the EXIF says, its own directories written."""
        if self.exif is None:
            return {}
        try:
            with warnings.catch_warnings(action="ignore"):
                exif = Image.Exif()
                exif.load(self.exif)
                texts = {tag: exif[tag] for tag in _EXIF_TEXTS if isinstance(exif.get(tag), str)}
                parts = {tag: dict(exif.get_ifd(tag)) for tag in _EXIF_PARTS}
                fields: _Fields = {tag: ("s", _as_read(text) + b"\0") for tag, text in texts.items()}
                if _INTEROPERABILITY in parts[_EXPOSURE]:  # a directory within a directory: its old place is none here
                    parts[_EXPOSURE][_INTEROPERABILITY] = self._part(_INTEROPERABILITY, exif.get_ifd(_INTEROPERABILITY))
                fields |= {tag: ("I", (self._part(tag, part),)) for tag, part in parts.items() if part}
        except Exception:  # damaged EXIF raises nearly anything, and says nothing of the pixels
            return {}
        return fields

    def _part(self, tag: int, part: Mapping[int, Any]) -> int:
        """Writes a directory of the EXIF, and says where."""
        directory = ImageFileDirectory_v2(b"II*\0\0\0\0\0", group=tag)
        for key, value in part.items():
            if isinstance(value, str):
                directory.tagtype[key] = TiffTags.ASCII  # which bytes would not be taken for
            directory[key] = _as_read(value) if isinstance(value, str) else value
        start = self._even()
        self.file.write(directory.tobytes(start))
        return start

    def _even(self) -> int:
        """Where the file goes on: directories begin at even places."""
        self.file.write(bytes(self.file.tell() % 2))
        return self.file.tell()


def _as_read(text: str) -> bytes:
    """The bytes of a text as Pillow reads it, whatever they are the letters of: nowadays most write UTF-8."""
    return text.encode("latin-1")


def _directory(fields: _Fields, start: int) -> bytes:
    """What a TIFF's directory of these fields is, at a place of the file."""
    types = {"u": 7, "s": 2, "H": 3, "I": 4}
    entries, further = b"", b""
    end = start + 2 + 12 * len(fields) + 4
    for tag, (kind, content) in sorted(fields.items()):
        data = content if isinstance(content, bytes) else struct.pack(f"<{len(content)}{kind}", *content)
        entries += struct.pack("<HHI", tag, types[kind], len(content))
        entries += data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", (end + len(further)) % 2**32)
        further += data + bytes(len(data) % 2) if len(data) > 4 else b""
    return struct.pack("<H", len(fields)) + entries + bytes(4) + further
