"""Pixels of a file that Pillow reads, in the file's own bit depth, which Pillow's modes do not always have."""

from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

# Pillow unpacks samples of two bytes to the upper one, and to the lower one if told that they stand the other way
# round. N is the machine's order, in which libtiff gives them.
_SWAPPED = {"B": "L", "L": "B", "N": "L" if np.dtype("=u2") == np.dtype(">u2") else "B"}

# Bytes that one byte of a file can become; of deflate, https://zlib.net/zlib_tech.html
_MOST = {"raw": 1, "zip": 1032, "tiff_adobe_deflate": 1032, "tiff_deflate": 1032}

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
_GRAY = ("1", "L", "LA", "La")
_FEW = 2**16  # pixels
_LEVELS = {
    "L;2": 3,
    "L;4": 15,
}  # Pillow spreads the gray values of a PNG to 8 bits, but not the one that is transparent


def channels(image: ImageFile) -> int:
    """Count 1 for a gray image and 3 for a coloured one, before it is decoded."""
    gray = image.mode in _GRAY or image.mode.startswith(("I", "F")) or _layout(image) == "LA;16B"
    return 1 if gray else 3


def transparent(image: ImageFile) -> bool:
    """Whether an image that is not decoded has an alpha channel, or names a colour that is transparent."""
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def require_plausible(image: ImageFile, pixels: int, size: int) -> None:
    """Refuse an image that promises more pixels than a file of `size` bytes can hold, before there is room for them.

    Args:
        image: As `PIL.Image.open` gives it, not yet decoded.
        pixels: Of all of it, or of the largest part that is decoded at once, whichever is more.
        size: Of the file, in bytes.

    Raises:
        ValueError: If it does.
    """
    codec = image.tile[0].codec_name if image.tile else ""
    most = _MOST.get(image.info.get("compression", "") if codec == "libtiff" else codec, 0)
    bits = 1 if image.mode in ("1", "L", "P") else 8 * len(image.getbands())
    if most and pixels * bits > 8 * most * size:
        raise ValueError(f"it promises {pixels} pixels, too many for a file of {size} bytes")
    parts = [part.extents for part in image.tile if part.extents is not None]
    covered = sum((right - left) * (bottom - top) for left, top, right, bottom in parts)
    if image.tile and covered < image.width * image.height:
        raise ValueError("a part of its pixels is missing")


def unpack(image: ImageFile, file: BufferedReader) -> NDArray[Any]:
    """Decode an opened image.

    Args:
        image: As `PIL.Image.open` gives it, not yet decoded.
        file: Where it comes from, to read it once more.

    Returns:
        (H, W) or (H, W, 3), opaque, in the file's own depth; of any type that Pillow knows.
    """
    layout = _layout(image)
    if layout == "LA;16B":  # which Pillow takes for four bytes of colour
        return over_white(_samples(image, "RGBA").view(">u2").astype(np.uint16))
    if layout == "F;32BF" and image.tile[0].codec_name == "libtiff":  # which has turned the bytes already
        pixels = _samples(image, "F;32NF")
    elif layout[:-1] in ("RGB;16", "RGBA;16", "RGBX;16", "RGBa;16"):
        pixels = _deep(image, file, layout.replace("a", "A"))
    elif layout.startswith("RGBa"):
        pixels = _samples(image, layout.replace("a", "A"))
    else:
        image.load()
        pixels = _of_mode(image)
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        pixels = over_white(pixels, multiplied="a" in layout)
    return _in_range(_without_key(pixels, image, layout), image, layout)


def over_white(pixels: NDArray[Any], *, multiplied: bool = False) -> NDArray[Any]:
    """Composite an image over white, rounded to its own depth.

    Args:
        pixels: (H, W, 2) or (H, W, 4), integers or floats in [0, 1], with the opacity last.
        multiplied: Whether the colours are multiplied by the opacity already.

    Returns:
        (H, W) or (H, W, 3) of the same type.

    Example:
        >>> over_white(np.array([[[0, 255], [0, 51], [0, 0]]], np.uint8))
        array([[  0, 204, 255]], dtype=uint8)
    """
    floating = pixels.dtype.kind == "f"
    full = 1 if floating else np.iinfo(pixels.dtype).max
    wide = pixels.dtype if floating else np.uint32
    channels = pixels.shape[2] - 1
    composited = np.empty((*pixels.shape[:2], channels), pixels.dtype)
    rows = max(1, _FEW // pixels.shape[1])
    for top in range(0, len(pixels), rows):  # a large image fits into memory, but not four times
        into, block = composited[top : top + rows], pixels[top : top + rows].astype(wide)
        colour, opacity = block[..., :-1], block[..., -1:]
        if multiplied:
            into[:] = np.minimum(colour, opacity) + (full - opacity)
        elif floating:
            into[:] = opacity * colour + (1 - opacity)
        else:
            into[:] = (opacity * colour + (full - opacity) * full + full // 2) // full
    return composited[..., 0] if channels == 1 else composited


def _layout(image: ImageFile) -> str:
    """How the samples lie in the file, in Pillow's words."""
    arguments = image.tile[0].args if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _samples(image: ImageFile, layout: str) -> NDArray[Any]:
    """Decode the image as if its samples lay otherwise in the file."""
    image.tile = [
        tile._replace(args=(layout, *tile.args[1:]) if isinstance(tile.args, tuple) else layout) for tile in image.tile
    ]
    image.load()
    return np.asarray(image)


def _deep(image: ImageFile, file: BufferedReader, layout: str) -> NDArray[np.uint16]:
    upper = _samples(image, layout)
    file.seek(0)
    with Image.open(file, formats=[str(image.format)]) as again:
        lower = _samples(again, layout[:-1] + _SWAPPED[layout[-1]])
    pixels = upper.astype(np.uint16)
    pixels <<= 8
    pixels |= lower
    return pixels


def _of_mode(image: ImageFile) -> NDArray[Any]:
    if image.mode in ("L", "LA", "La", "RGB", "RGBA") or image.mode.startswith(("I", "F")):
        return np.asarray(image)
    if image.mode == "1":
        return np.asarray(image.convert("L"))
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _without_key(pixels: NDArray[Any], image: ImageFile, layout: str) -> NDArray[Any]:
    """A PNG may name one gray value or colour that is transparent."""
    key = image.info.get("transparency")
    if image.format != "PNG" or image.mode not in ("1", "L", "I;16", "RGB") or key is None:
        return pixels
    key = np.asarray(key) * 255 // _LEVELS[layout] if layout in _LEVELS else np.asarray(key)
    keyed = pixels == key.astype(pixels.dtype)
    pixels = pixels.copy()
    pixels[keyed if pixels.ndim == 2 else keyed.all(axis=2)] = np.iinfo(pixels.dtype).max
    return pixels


def _in_range(pixels: NDArray[Any], image: ImageFile, layout: str) -> NDArray[Any]:
    """Deep gray values of a TIFF from black to white, where Pillow leaves them as they are."""
    if layout == "I;12":
        pixels = ((pixels.astype(np.uint32) * 65535 + 2047) // 4095).astype(np.uint16)
    if image.mode[0] in "IF" and isinstance(image, TiffImageFile) and image.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        return 1 - pixels if image.mode == "F" else ~pixels
    return pixels
