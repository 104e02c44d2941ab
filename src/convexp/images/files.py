"""Image files in and out of tensors."""

import difflib
import glob
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.decoding import decode, reason, scaled
from convexp.images.encoding import encode
from convexp.images.unfinished import unfinished

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".npy")

_WRITE_FORMATS: dict[str, Literal["PNG", "JPEG"]] = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}


def read_image(path: str | Path) -> Tensor:
    """Read an image file as a (C, H, W) float32 tensor in [0, 1], with C = 1 (gray) or 3 (colour).

    Integers are divided by the largest value of their type, 255 or 65535: 16 bits are kept, of colours too (of CMYK
    the upper 8). Palette and CMYK images become RGB, transparent ones are composited over white and rounded to their
    own depth, the EXIF orientation is applied, and of several pages the first is read. Floats of a TIFF lie in [0, 1].
    A `.npy` array is (H, W) or (H, W, C) of uint8, uint16 or floats in [0, 1]; pickled objects are never loaded.

    Args:
        path: a PNG, JPEG, TIFF, WebP, BMP or `.npy` file.

    Raises:
        ConvexpError: the file is missing, no image, damaged, empty or above 500 megapixels, its values are not finite
            or not in [0, 1], or there is a pipe or a device in its place.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_image(torch.ones(3, 4, 5), f"{folder}/white.png")
        ...     read_image(f"{folder}/white.png").shape
        torch.Size([3, 4, 5])
    """
    path = expanded(path)
    # Path's own raise where a name is too long, or a folder above is closed.
    if os.path.isdir(path):  # noqa: PTH112
        raise ConvexpError(f"{path} is a folder, not an image: name one of the files in it")
    if not os.path.exists(path):  # noqa: PTH110
        raise ConvexpError(_missing(path))
    image_HWC = torch.from_numpy(np.atleast_3d(scaled(decode(path).pixels)))
    return image_HWC.permute(2, 0, 1).contiguous()


def read_picture(path: str | Path) -> Tensor:
    """Read an image file of 8 bits for showing it: (3, H, W) uint8.

    Args:
        path: a file that `write_image` has written.

    Raises:
        ConvexpError: the file is missing, no image, damaged, or not of 8 bits.
    """
    pixels = decode(path := expanded(path)).pixels
    if pixels.dtype != np.uint8:
        raise ConvexpError(f"{path} holds {pixels.dtype}, not 8 bits")
    return torch.tensor(np.atleast_3d(pixels)).permute(2, 0, 1).expand(3, -1, -1)


def find_images(source: str | Path) -> list[Path]:
    """List the image files that `source` names, sorted.

    A file stands for itself, a folder for the images directly in it, and a pattern for the images that it matches
    (`**` descends into subfolders). In folders and patterns an image is what has one of the suffixes `SUFFIXES`;
    hidden files are left out.

    Args:
        source: a file, a folder, or a glob pattern.

    Raises:
        ConvexpError: there is nothing at `source`, or no image in it.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_image(torch.zeros(1, 4, 5), f"{folder}/black.png")
        ...     [path.name for path in find_images(f"{folder}/*.png")]
        ['black.png']
    """
    path = expanded(source)
    if os.path.isdir(path):  # noqa: PTH112  # as above
        found, kind = path.iterdir(), "folder"
    elif os.path.exists(path):  # noqa: PTH110
        return [path]
    elif glob.has_magic(str(path)):
        # Path.glob refuses absolute patterns, glob.glob takes both.
        found, kind = map(Path, glob.glob(str(path), recursive=True)), "pattern"  # noqa: PTH207
    else:
        raise ConvexpError(_missing(path))
    try:
        images = sorted(set(_images(found)))
    except OSError as error:
        raise ConvexpError(f"{path} cannot be listed: {reason(error)}") from error
    if not images:
        more = f"; {pattern_of(path)} takes its subfolders" if kind == "folder" and any(images_below(path)) else ""
        raise ConvexpError(f"the {kind} {path} holds no image; looked for the suffixes {', '.join(SUFFIXES)}{more}")
    return images


def images_below(folder: Path) -> Iterator[Path]:
    """The image files in the subfolders of a folder, one after the other as they are found."""
    return _images(map(Path, glob.iglob(f"{glob.escape(str(folder))}/*/**/*", recursive=True)))  # noqa: PTH207


def pattern_of(folder: Path) -> str:
    """What names the images of a folder and of its subfolders."""
    return f"'{glob.escape(str(folder))}/**/*'"


def _images(paths: Iterable[Path]) -> Iterator[Path]:
    return (path for path in paths if path.suffix.lower() in SUFFIXES and path.name[0] != "." and path.is_file())


def write_image(image: Tensor, path: str | Path) -> None:
    """Write an image as an 8-bit PNG or JPEG, whole or not at all.

    The file appears under its name only when it is complete; until then an old one of that name stays.

    Args:
        image: (C, H, W) with C = 1 or 3, floats (clipped to [0, 1], rounded to 8 bits) or uint8.
        path: where to; its suffix `.png`, `.jpg` or `.jpeg` chooses the format. JPEG loses a little.

    Raises:
        ConvexpError: the tensor is no image, the suffix is another one, or the file cannot be written.

    Example:
        >>> write_image(torch.zeros(1, 4, 5), "black.gif")
        Traceback (most recent call last):
        convexp.errors.ConvexpError: cannot write black.gif: the suffix must be .png, .jpg or .jpeg
    """
    path = expanded(path)
    if path.suffix.lower() not in _WRITE_FORMATS:
        raise ConvexpError(f"cannot write {path}: the suffix must be .png, .jpg or .jpeg")
    _write_whole(encode(_to_bytes(image, path), _WRITE_FORMATS[path.suffix.lower()]), path)


def write_array(values: Tensor, path: str | Path) -> None:
    """Write values as a NumPy array, whole or not at all, as `read_image` reads them.

    Args:
        values: (C, H, W) of any range; the file holds (H, W) float32 if C = 1, else (H, W, C).
        path: where to, ending in `.npy`.

    Raises:
        ConvexpError: the file cannot be written.
    """
    values_HWC = values.detach().cpu().float().permute(1, 2, 0).contiguous().numpy()
    encoded = io.BytesIO()
    np.save(encoded, values_HWC[..., 0] if values_HWC.shape[2] == 1 else values_HWC)
    _write_whole(encoded.getvalue(), expanded(path))


def _write_whole(content: bytes, path: Path) -> None:
    try:
        with unfinished(path) as beside:
            beside.write_bytes(content)
            beside.replace(path)
    except OSError as error:
        raise ConvexpError(f"cannot write {path}: {reason(error)}") from error


def expanded(path: str | Path) -> Path:
    """A path whose `~` is the user's home."""
    # Path.expanduser raises where there is no such user, as in "~backup.png"; os.path leaves such a name alone.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _missing(path: Path) -> str:
    if not os.path.isdir(path.parent):  # noqa: PTH112  # as above
        return f"{path} does not exist, nor does the folder {path.parent}"
    nearest: list[str] = []
    with suppress(OSError):
        nearest = difflib.get_close_matches(path.name, [there.name for there in path.parent.iterdir()], n=1)
    return f"{path} does not exist" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _to_bytes(image: Tensor, path: Path) -> Tensor:
    if image.ndim != 3 or image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ConvexpError(f"cannot write {path}: shape {tuple(image.shape)} is not (C, H, W) with C = 1 or 3")
    if image.dtype == torch.uint8:
        return image
    if not image.is_floating_point():
        raise ConvexpError(f"cannot write {path}: {image.dtype} is neither a float in [0, 1] nor uint8")
    if image.isnan().any():
        raise ConvexpError(f"cannot write {path}: the image holds NaN")
    return image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
