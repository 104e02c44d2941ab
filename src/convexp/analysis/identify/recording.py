"""What a picture loses when it is written to a file: steps of 8 or 16 bits, and JPEG."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

_BITS = (8, 16)
LEVEL = 1 / 255


@dataclass(frozen=True)
class Compression:
    """How a JPEG file was made.

    Args:
        tables: The quantisation tables, by number.
        subsampling: As Pillow counts: 0 keeps every pixel's colour, 1 halves the columns, 2 the rows as well.
    """

    tables: dict[int, list[int]]
    subsampling: int


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
        path: An image that `read_image` has read.
    """
    try:
        with Image.open(path, formats=("JPEG",)) as image:
            tables: dict[int, list[int]] = {number: list(table) for number, table in image.quantization.items()}  # pyright: ignore[reportAttributeAccessIssue]  # of JPEG images only
            return Compression(tables, max(JpegImagePlugin.get_sampling(image), 0))
    except UnidentifiedImageError:  # of any other format
        return None


def _through_jpeg(values: Tensor, compression: Compression) -> Tensor:
    levels = (255 * values).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    gray = levels.shape[2] == 1
    picture = Image.fromarray(levels[..., 0] if gray else levels)
    tables = {0: compression.tables[min(compression.tables)]} if gray else compression.tables
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", qtables=tables, subsampling=compression.subsampling)
    with Image.open(encoded) as decoded:
        array = np.atleast_3d(np.array(decoded))
    return torch.from_numpy(array).permute(2, 0, 1).double() / 255
