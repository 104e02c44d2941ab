"""What an image file says of its picture: which side is up, what the camera wrote, which colours are meant."""

import struct
from io import BufferedReader

from PIL import Image

_ORIENTATION, _SHORT = 0x0112, 3
EXIF_PREFIX = b"Exif\0\0"

# Orientations that exchange height and width; then, of the exchanged ones, those that are read from the bottom, and
# those that are read from the right.
SIDEWAYS, UPSIDE_DOWN, MIRRORED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)

# Of a TIFF's own tags, those that say nothing of how it is laid out: description, maker, model, resolution and its
# unit, software, date, artist, copyright; and the two lists of what the camera and its receiver wrote.
_DESCRIPTIVE = (270, 271, 272, 282, 283, 296, 305, 306, 315, 33432)
_LISTS = (0x8769, 0x8825)

# How a chunk of a PNG begins that may hold an orientation.
_TELLING = (b"eXIf", b"tEXtRaw profile type exif", b"zTXtRaw profile type exif", b"iTXtXML:com.adobe.xmp")


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 (upright) to 8; of a TIFF 1, since Pillow turns it by itself.

    Args:
        image: Of a PNG decoded, or what stands behind its pixels is not seen.
    """
    if image.format == "TIFF":
        return 1
    try:
        # Not the PNG's own method, which decodes the image to see what stands behind it.
        found = Image.Image.getexif(image).get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF raises nearly anything, and the pixels do not need it
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def probed_orientation(image: Image.Image, file: BufferedReader) -> int:
    """Return the orientation of an image that is not decoded; only a PNG that tells it at its end is."""
    if image.format == "PNG" and _tells_late(file):
        image.load()
    return orientation(image)


def exif(image: Image.Image) -> bytes | None:
    """Return the EXIF of a decoded image, beginning with ``Exif``, with the orientation 1; None without any.

    Everything but the orientation stays as it is, byte by byte. Of a TIFF it is made of its tags.
    """
    try:
        if image.format == "TIFF":
            return _exif_of_tags(image)
        content = image.info.get("exif")
        if content is None and "Raw profile type exif" in image.info:
            content = Image.Image.getexif(image).tobytes()
        if not isinstance(content, bytes) or not content:
            return None
        return EXIF_PREFIX + _upright(content.removeprefix(EXIF_PREFIX))
    except Exception:  # as above
        return None


def without_preview(exif: bytes) -> bytes:
    """Take out of an EXIF where its second list begins: that of a small picture, which is not of a filtered one."""
    tiff = exif.removeprefix(EXIF_PREFIX)
    try:
        _, _, end = _first_list(tiff)
    except (KeyError, struct.error):  # damaged, and kept as it is
        return exif
    return EXIF_PREFIX + tiff[:end] + bytes(len(tiff[end : end + 4])) + tiff[end + 4 :]


def profile(content: object, channels: int) -> bytes | None:
    """Return an ICC profile if it is for pixels of so many channels, None if it is for others (CMYK) or is none.

    Args:
        content: What stands in the file in its place.
        channels: 1 or 3.
    """
    if isinstance(content, bytes) and content[16:20] == (b"GRAY" if channels == 1 else b"RGB "):
        return content
    return None


def _upright(tiff: bytes) -> bytes:
    order, start, end = _first_list(tiff)
    for entry in range(start, end, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", tiff, entry)
        if (tag, kind, number) == (_ORIENTATION, _SHORT, 1):
            return tiff[: entry + 8] + struct.pack(f"{order}HH", 1, 0) + tiff[entry + 12 :]
    return tiff


def _first_list(tiff: bytes) -> tuple[str, int, int]:
    """EXIF is a small TIFF: an order of bytes, and a list of tags of 12 bytes each, which begins and ends here."""
    order = {b"II": "<", b"MM": ">"}[tiff[:2]]
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    return order, start + 2, start + 2 + 12 * count


def _exif_of_tags(image: Image.Image) -> bytes | None:
    tags, kept = image.getexif(), Image.Exif()
    for tag in _DESCRIPTIVE:
        if tag in tags:
            kept[tag] = tags[tag]
    for tag in _LISTS:
        if entries := tags.get_ifd(tag):
            kept[tag] = dict(entries)
    return kept.tobytes() if len(kept) else None


def _tells_late(file: BufferedReader) -> bool:
    """Whether a PNG has anything to say of its orientation behind its pixels, where opening it does not look."""
    position = file.tell()
    try:
        file.seek(8)
        behind = False
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            behind = behind or kind == b"IDAT"
            start = kind if kind == b"IDAT" else kind + file.read(min(length, 21))
            if behind and start.startswith(_TELLING):
                return True
            file.seek(length + 4 - (len(start) - 4), 1)
        return False
    finally:
        file.seek(position)
