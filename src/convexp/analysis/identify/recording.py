"""What a picture loses when it is written to a file: steps of 8 or 16 bits, and JPEG."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, JpegImagePlugin
from torch import Tensor

from convexp.images import metadata
from convexp.images.decoding import opened
from convexp.images.files import expanded

_BITS = (8, 16)
LEVEL = 1 / 255
BLOCK = 16  # pixels of a JPEG's blocks, where colours are halved


@dataclass(frozen=True)
class Compression:
    """How a JPEG file was made.

    Args:
        tables: The quantisation tables, by number.
        subsampling: As Pillow counts: 0 keeps every pixel's colour, 1 halves the columns, 2 the rows as well.
        orientation: Of the pixels in the file against the upright picture, as EXIF counts, 1 to 8.
    """

    tables: dict[int, list[int]]
    subsampling: int
    orientation: int = 1

    @property
    def flipped(self) -> list[int]:
        """The axes of (C, H, W) along which the file holds the picture from its end."""
        turned = ((1, metadata.UPSIDE_DOWN), (2, metadata.MIRRORED))
        return [axis for axis, orientations in turned if self.orientation in orientations]


@dataclass(frozen=True)
class Recording:
    """How the values of a picture were recorded.

    Args:
        step: Distance of two values that the file can hold, 1/255 for 8 bits; 0 for floats.
        compression: None if it is no JPEG.
    """

    step: float
    compression: Compression | None = None

    @classmethod
    def of(cls, picture: Tensor, compression: Compression | None = None) -> "Recording":
        """The recording of a picture's values in [0, 1], told from the values themselves.

        Example:
            >>> Recording.of(torch.tensor([[[0.0, 51 / 255, 1.0]]])).step == 1 / 255
            True
            >>> Recording.of(torch.tensor([[[0.0, 0.1234567]]])).step
            0.0
        """
        for bits in _BITS:
            levels = picture.double() * (2**bits - 1)
            if bool(((levels - levels.round()).abs() < 2e-3).all()):
                return cls(1 / (2**bits - 1), compression)
        return cls(0.0, compression)

    @property
    def rounding(self) -> float:
        """Variance that rounding adds to a value: step²/12."""
        return self.step**2 / 12

    @property
    def words(self) -> str:
        """What it is called."""
        if self.compression is not None:
            return "JPEG"
        return {1 / 255: "rounding to 8 bits", 1 / 65535: "rounding to 16 bits"}.get(self.step, "float precision")

    def middle(self, whole: int, part: int, *, axis: int) -> int:
        """Where a part of a side begins, about in its middle, so that its blocks are those of the whole.

        Args:
            whole: Pixels.
            part: Likewise, whole blocks.
            axis: Of (C, H, W).
        """
        start = (whole - part) // 2 // BLOCK * BLOCK
        from_the_end = self.compression is not None and axis in self.compression.flipped
        return whole - part - start if from_the_end else start

    def lost(self, values: Tensor) -> Tensor:
        """What a file like this loses of a picture (C, H, W) that was in one before: the same, on other blocks."""
        moved = values[:, 3:, 5:].double()
        return self.written(moved) - moved

    def written(self, values: Tensor) -> Tensor:
        """What a file of the same kind holds of values (C, H, W) of any range, float64: clipped, rounded, compressed.

        Example:
            >>> levels = 255 * Recording(1 / 255).written(torch.tensor([[[-0.5, 0.4999, 1.5]]]))
            >>> levels.tolist()
            [[[0.0, 127.0, 255.0]]]
        """
        values = values.double().clamp(0, 1)
        if self.compression is not None:
            return _through_jpeg(values, self.compression)
        return (values / self.step).round() * self.step if self.step else values


def compression_of(path: str | Path) -> Compression | None:
    """How a file was compressed, from its header; None if it is no JPEG.

    Args:
        path: Of an image.

    Raises:
        ConvexpError: As `read_image`.
    """
    path = expanded(path)
    if path.suffix.lower() == ".npy":
        return None
    with opened(path) as (image, _):
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return None
        tables = {number: list(table) for number, table in image.quantization.items()}
        return Compression(tables, max(JpegImagePlugin.get_sampling(image), 0), metadata.orientation(image))


def _through_jpeg(values: Tensor, compression: Compression) -> Tensor:
    sideways = compression.orientation in metadata.SIDEWAYS
    values = values.flip(compression.flipped)
    values = values.transpose(1, 2) if sideways else values
    levels = (255 * values).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    gray = levels.shape[2] == 1
    picture = Image.fromarray(levels[..., 0] if gray else levels)
    tables = {0: compression.tables[min(compression.tables)]} if gray else compression.tables
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", qtables=tables, subsampling=compression.subsampling)
    with Image.open(encoded) as decoded:
        array = np.atleast_3d(np.array(decoded))
    read = torch.from_numpy(array).permute(2, 0, 1).double() / 255
    return (read.transpose(1, 2) if sideways else read).flip(compression.flipped)
