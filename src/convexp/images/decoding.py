"""What an image file holds: its pixels in their own bit depth, its EXIF and its colour profile."""

import os
import re
import threading
import warnings
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from convexp.errors import ConvexpError
from convexp.images import metadata, tiff, unpacking

MAX_PIXELS = 500_000_000

# Named, so that a stranger's file cannot reach Pillow's rarer decoders (EPS would start Ghostscript).
_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_READABLE = "PNG, JPEG, TIFF, WebP, BMP or .npy"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# A JPEG may come in many passes over the whole image: encoders take ten, and a thousand would take hours.
_MOST_SCANS = 100
_START_OF_SCAN, _END = b"\xff\xda", b"\xff\xd9"
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")  # none of those that stand within a pass

_BLOCK = 2**24  # bytes; with Pillow's 64 KB it takes minutes to put a row of a hundred megabytes together

_pillow_limit = threading.Lock()


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image file's content.

    Args:
        pixels: (H, W) gray or (H, W, 3) colour, upright, uint8, uint16 or float32 in [0, 1], not to be written into.
            What is transparent is composited over white, rounded to the file's own depth.
        exif: What the camera wrote, as the file has it but for the orientation, which is 1; None without any.
        profile: The ICC profile of the pixels' colours; None without one.
        format: PNG, JPEG, TIFF, WEBP, BMP or NPY.
        transparent: Whether the file tells an opacity, though perhaps a full one.
        pages: Whether the file is a TIFF with further pictures.
    """

    pixels: NDArray[Any]
    exif: bytes | None
    profile: bytes | None
    format: str
    transparent: bool = False
    pages: bool = False


def decode(path: Path) -> Decoded:
    """Read an image file in its own bit depth.

    Args:
        path: A PNG, JPEG, TIFF, WebP, BMP or `.npy` file.

    Raises:
        ConvexpError: As `read_image`.
    """
    if path.suffix.lower() == ".npy":
        return Decoded(_checked(np.array(_map(path)), path), None, None, "NPY")
    with opened(path) as (image, file):
        if isinstance(image, tiff.Page):
            pixels, orientation = image.pixels(), image.orientation
            exif, profile = None, image.profile
            transparent, pages = image.transparent, image.followed
        else:
            transparent, pages = unpacking.transparent(image), tiff.followed(image)
            if _format(image) == "JPEG":
                _require_few_scans(file)
            pixels = unpacking.unpack(image, file)
            orientation = metadata.orientation(image)
            exif, profile = metadata.exif(image), image.info.get("icc_profile")
        pixels = _checked(_upright(pixels, orientation), path)
        profile = metadata.profile(profile, 1 if pixels.ndim == 2 else 3)
        return Decoded(pixels, exif, profile, _format(image), transparent, pages)


def format_of(path: Path) -> str:
    """Read from an image file's header what it is, PNG, JPEG, TIFF, WEBP or BMP, whatever its name ends in.

    Raises:
        ConvexpError: As `probe`.
    """
    with opened(path) as (image, _):
        return _format(image)


def probe(path: Path) -> tuple[int, int, int]:
    """Read height, width and channels of an upright image from its file's header, without decoding it.

    Args:
        path: As for `decode`.

    Raises:
        ConvexpError: The file is missing, no image or too large. Damage further on is not seen.
    """
    if path.suffix.lower() == ".npy":
        shape = _map(path).shape
        return shape[0], shape[1], shape[2] if len(shape) == 3 else 1
    with opened(path) as (image, file):
        if isinstance(image, tiff.Page):
            orientation, (height, width), channels = image.orientation, (image.height, image.width), image.channels
        else:
            channels, orientation = unpacking.channels(image), metadata.probed_orientation(image, file)
            width, height = image.size
    if orientation in metadata.SIDEWAYS:
        height, width = width, height
    return height, width, channels


def scaled(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Bring pixels to float32 in [0, 1]: integers are divided by the largest value of their type.

    Example:
        >>> scaled(np.array([[0, 51, 255]], np.uint8))
        array([[0. , 0.2, 1. ]], dtype=float32)
    """
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32)
    return pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)


@contextmanager
def opened(path: Path) -> Generator[tuple[ImageFile | tiff.Page, BufferedReader], None, None]:
    """Open an image file, not a `.npy`, and read its header; whatever goes wrong then becomes one line.

    Raises:
        ConvexpError: As `probe`, and of whatever is raised while it is open.
    """
    try:
        with _limited_pixels(), _file(path) as file:
            yield _opened(file, path), file
    except ConvexpError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = str(error).split(" exceeds")[0].lower()  # "Image size (600000000 pixels) exceeds limit of …"
        raise _too_large(path, size) from error
    # Damaged bytes make Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        raise ConvexpError(f"{path} cannot be decoded: {reason(error)}; make a fresh copy of the file") from error


def _format(image: ImageFile | tiff.Page) -> str:
    if isinstance(image, tiff.Page):
        return "TIFF"
    return "JPEG" if image.format == "MPO" else str(image.format)  # several JPEGs in one file


def _file(path: Path) -> BufferedReader:
    require_file(path)
    return path.open("rb")


def require_file(path: Path) -> None:
    """Refuse what would be read without an end: a pipe or a device, by its own name or through a link.

    Raises:
        ConvexpError: There is something, but no file.
    """
    if os.path.exists(path) and not os.path.isfile(path):  # noqa: PTH110, PTH113  # Path's own may raise
        raise ConvexpError(f"{path} is a folder, a pipe or a device; an image is read from a file")


@contextmanager
def _limited_pixels() -> Generator[None, None, None]:
    """Raise Pillow's limit, which is a module global and half a warning, to an error above `MAX_PIXELS`."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged EXIF, for instance, which the pixels do not need
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _opened(file: BufferedReader, path: Path) -> ImageFile | tiff.Page:
    try:
        image = Image.open(file, formats=_FORMATS)
    except UnidentifiedImageError as error:
        file.seek(0)
        if file.read(4) not in _TIFF:
            raise ConvexpError(f"{path} is no image, or damaged at its start; readable are {_READABLE}") from error
        image = None
    if image is None or tiff.misread(image):
        image = tiff.Page(file, path)
        sizes = [(image.width, image.height)]
    else:
        sizes = [image.size, tiff.tile_size(image)]
    if 0 in sizes[0]:
        raise ConvexpError(f"{path} is empty: its size is {sizes[0][0]}×{sizes[0][1]} pixels")
    for width, height in sizes:
        if width * height > MAX_PIXELS:
            raise _too_large(path, f"image size ({width * height} pixels)")
    if not isinstance(image, tiff.Page):
        pixels = max(width * height for width, height in sizes)
        unpacking.require_plausible(image, pixels, os.fstat(file.fileno()).st_size)
        image.decodermaxblock = _BLOCK
    return image


def _too_large(path: Path, size: str) -> ConvexpError:
    return ConvexpError(
        f"{path} was not decoded: its {size} is above the limit of {MAX_PIXELS} pixels; cut it into smaller images"
    )


def _require_few_scans(file: BufferedReader) -> None:
    file.seek(0)
    content, position, scans = file.read(), 2, 0
    # What stands behind the end may be anything: phones append a film.
    while (marker := _MARKER.search(content, position)) is not None and marker[0] != _END:
        scans += marker[0] == _START_OF_SCAN
        position = marker.end() + max(2, int.from_bytes(content[marker.end() : marker.end() + 2], "big"))
    if scans > _MOST_SCANS:
        raise ValueError(f"its pixels come in {scans} passes, more than {_MOST_SCANS}, which would take hours")


def _upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    if orientation in metadata.SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    down = -1 if orientation in metadata.UPSIDE_DOWN else 1
    right = -1 if orientation in metadata.MIRRORED else 1
    return pixels[::down, ::right]


def _map(path: Path) -> NDArray[Any]:
    require_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a header as Python 2 wrote it
            # A memory map can hold no pickled objects, and refuses a header that promises more than the file holds.
            array = np.lib.format.open_memmap(path, mode="r")
    # Damaged headers make NumPy's parser raise OSError, ValueError, SyntaxError, tokenize.TokenError and more.
    except Exception as error:
        raise ConvexpError(
            f"{path} cannot be read as a .npy array: {reason(error)}; write it with numpy.save"
        ) from error
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise ConvexpError(f"{path} has shape {array.shape}; allowed are (H, W), (H, W, 1) and (H, W, 3)")
    if array.size == 0:
        raise ConvexpError(f"{path} is empty: its shape is {array.shape}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ConvexpError(f"{path} has shape {array.shape}, more than {MAX_PIXELS} pixels; cut it into smaller images")
    return array


def _checked(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Of a type that convexp computes with, in the machine's order of bytes."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.dtype.kind == "f":
        low, high = float(pixels.min()), float(pixels.max())
        if not np.isfinite([low, high]).all():
            raise ConvexpError(f"{path} holds NaN or infinite values; replace them before it is used")
        if low < 0 or high > 1:
            raise ConvexpError(f"{path} holds values from {low:g} to {high:g}; floats must lie in [0, 1]")
        return np.ascontiguousarray(pixels, np.float32)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    raise ConvexpError(f"{path} holds {pixels.dtype}; allowed are uint8, uint16 and floats in [0, 1]")


def reason(error: Exception) -> str:
    """Say in a few words why a file could not be read or written."""
    if isinstance(error, MemoryError):
        return "there is too little memory for it"
    if not isinstance(error, OSError | ValueError | SyntaxError | zlib.error):
        return "its bytes are damaged"  # a reader stumbled over them, and speaks of itself
    strerror = error.strerror if isinstance(error, OSError) else None
    words = " ".join((strerror or str(error) or type(error).__name__).split())
    return words if len(words) <= 200 else f"{words[:200]}…"
