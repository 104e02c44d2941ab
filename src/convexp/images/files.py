"""Image files in and out of tensors."""

import difflib
import glob
import io
import os
import threading
import uuid
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.encoding import encode

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".bmp", ".npy")
MAX_PIXELS = 500_000_000

# Named, so that a stranger's file cannot reach Pillow's rarer decoders (EPS would start Ghostscript).
_READ_FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP")
_WRITE_FORMATS: dict[str, Literal["PNG", "JPEG"]] = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_READABLE = "PNG, JPEG, TIFF, WebP, BMP or .npy"

_pillow_limit = threading.Lock()


def read_image(path: str | Path) -> Tensor:
    """Read an image file as a (C, H, W) float32 tensor in [0, 1], with C = 1 (gray) or 3 (colour).

    Integers are divided by the largest value of their type. Palette and CMYK images become RGB, transparent ones are
    composited over white, the EXIF orientation is applied, and of several pages the first is read. Gray images of 16
    bits keep them all; Pillow decodes colour images of 16 bits to the upper 8. A `.npy` array is (H, W) or (H, W, C) of
    uint8, uint16 or floats in [0, 1]; pickled objects are never loaded.

    Args:
        path: a PNG, JPEG, TIFF, WebP, BMP or `.npy` file.

    Raises:
        ConvexpError: the file is missing, no image, damaged, empty or above 500 megapixels, or its values are not
            finite or not in [0, 1].

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     write_image(torch.ones(3, 4, 5), f"{folder}/white.png")
        ...     read_image(f"{folder}/white.png").shape
        torch.Size([3, 4, 5])
    """
    path = _expand(path)
    if path.is_dir():
        raise ConvexpError(f"{path} is a folder, not an image: name one of the files in it")
    if not path.exists():
        raise ConvexpError(_missing(path))
    array = _load_npy(path) if path.suffix.lower() == ".npy" else _decode(path)
    return _to_tensor(array, path)


def read_picture(path: str | Path) -> Tensor:
    """Read an image file of 8 bits for showing it: (3, H, W) uint8.

    Args:
        path: a file that `write_image` has written.

    Raises:
        ConvexpError: the file is missing, no image, damaged, or not of 8 bits.
    """
    array = _decode(path := _expand(path))
    if array.dtype != np.uint8:
        raise ConvexpError(f"{path} holds {array.dtype}, not 8 bits")
    return torch.tensor(np.atleast_3d(array)).permute(2, 0, 1).expand(3, -1, -1)


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
    path = _expand(source)
    if path.is_dir():
        found, kind = path.iterdir(), "folder"
    elif path.exists():
        return [path]
    elif glob.has_magic(str(path)):
        # Path.glob refuses absolute patterns, glob.glob takes both.
        found, kind = map(Path, glob.glob(str(path), recursive=True)), "pattern"  # noqa: PTH207
    else:
        raise ConvexpError(_missing(path))
    try:
        images = sorted(p for p in found if p.suffix.lower() in SUFFIXES and p.name[0] != "." and p.is_file())
    except OSError as error:
        raise ConvexpError(f"{path} cannot be listed: {_reason(error)}") from error
    if not images:
        raise ConvexpError(f"the {kind} {path} holds no image; looked for the suffixes {', '.join(SUFFIXES)}")
    return images


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
    path = _expand(path)
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
    _write_whole(encoded.getvalue(), _expand(path))


def _write_whole(content: bytes, path: Path) -> None:
    try:
        unfinished = path.with_name(f".{uuid.uuid4().hex}.tmp")
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise ConvexpError(f"cannot write {path}: {_reason(error)}") from error


def _expand(path: str | Path) -> Path:
    # Path.expanduser raises where there is no such user, as in "~backup.png"; os.path leaves such a name alone.
    return Path(os.path.expanduser(path))  # noqa: PTH111


def _missing(path: Path) -> str:
    if not path.parent.is_dir():
        return f"{path} does not exist, nor does the folder {path.parent}"
    nearest = difflib.get_close_matches(path.name, [there.name for there in path.parent.iterdir()], n=1)
    return f"{path} does not exist" + (f"; did you mean {nearest[0]}?" if nearest else "")


def _reason(error: Exception) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return " ".join((strerror or str(error) or type(error).__name__).split())


@contextmanager
def _limited_pixels() -> Generator[None, None, None]:
    """Raise Pillow's limit, which is a module global and half a warning, to an error above `MAX_PIXELS`."""
    with _pillow_limit, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _decode(path: Path) -> NDArray[Any]:
    try:
        with _limited_pixels(), Image.open(path, formats=_READ_FORMATS) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return _pixels(image)
    except UnidentifiedImageError as error:
        raise ConvexpError(f"{path} is no image, or damaged at its start; readable are {_READABLE}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        size = _reason(error).split(" exceeds")[0].lower()  # "Image size (600000000 pixels) exceeds limit of …"
        raise ConvexpError(
            f"{path} was not decoded: its {size} is above the limit of {MAX_PIXELS} pixels; cut it into smaller images"
        ) from error
    # Damaged bytes make Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error and more.
    except Exception as error:
        raise ConvexpError(f"{path} cannot be decoded: {_reason(error)}; make a fresh copy of the file") from error


def _pixels(image: Image.Image) -> NDArray[Any]:
    """(H, W) or (H, W, 3), of a type that `_to_tensor` knows."""
    if image.mode.startswith(("I", "F")):  # gray of 16 or 32 bits
        return np.asarray(image)
    if image.has_transparency_data:
        gray = image.mode in ("1", "L", "LA", "La")
        pixels = np.asarray(image.convert("LA" if gray else "RGBA"), np.float32) / np.float32(255)
        colour, opacity = pixels[..., :-1], pixels[..., -1:]
        return opacity * colour + (1 - opacity)
    return np.asarray(image.convert("L" if image.mode in ("1", "L") else "RGB"))


def _load_npy(path: Path) -> NDArray[Any]:
    try:
        # A memory map can hold no pickled objects, and refuses a header that promises more than the file holds.
        return np.lib.format.open_memmap(path, mode="r")
    # Damaged headers make NumPy's parser raise OSError, ValueError, SyntaxError, tokenize.TokenError and more.
    except Exception as error:
        raise ConvexpError(
            f"{path} cannot be read as a .npy array: {_reason(error)}; write it with numpy.save"
        ) from error


def _to_tensor(array: NDArray[Any], path: Path) -> Tensor:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise ConvexpError(f"{path} has shape {array.shape}; allowed are (H, W), (H, W, 1) and (H, W, 3)")
    if array.size == 0:
        raise ConvexpError(f"{path} is empty: its shape is {array.shape}")
    if array.shape[0] * array.shape[1] > MAX_PIXELS:
        raise ConvexpError(f"{path} has shape {array.shape}, more than {MAX_PIXELS} pixels; cut it into smaller images")
    if array.dtype.kind == "f":
        low, high = float(array.min()), float(array.max())
        if not np.isfinite([low, high]).all():
            raise ConvexpError(f"{path} holds NaN or infinite values; replace them before it is used")
        if low < 0 or high > 1:
            raise ConvexpError(f"{path} holds values from {low:g} to {high:g}; floats must lie in [0, 1]")
        scaled = array.astype(np.float32)
    elif array.dtype.kind == "u" and array.dtype.itemsize <= 2:
        scaled = array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    else:
        raise ConvexpError(f"{path} holds {array.dtype}; allowed are uint8, uint16 and floats in [0, 1]")
    image_HWC = torch.from_numpy(np.atleast_3d(scaled))
    return image_HWC.permute(2, 0, 1).contiguous()


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
