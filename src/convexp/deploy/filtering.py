"""Picture files filtered into picture files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convexp.deploy.application import Application
from convexp.deploy.rows import Channels, rows_of_pixels
from convexp.errors import ConvexpError
from convexp.images import metadata
from convexp.images.decoding import Decoded, decode
from convexp.images.sink import Depth, Layout, Sink, depth_for, sink
from convexp.operators.border import Border


@dataclass(frozen=True)
class Filtered:
    """A picture that was filtered.

    Args:
        path: The result.
        before: Height and width of the picture.
        layout: Of the result.
        clipped: The fraction of its values that lay outside [0, 1] and were not kept.
        transparent: Whether the picture told an opacity, which the result does not.
        pages: Whether it was followed by others in its file, which were not filtered.
    """

    path: Path
    before: tuple[int, int]
    layout: Layout
    clipped: float
    transparent: bool = False
    pages: bool = False

    @property
    def line(self) -> str:
        """What there is to say of it."""
        made, depth = self.layout, self.layout.depth
        channels = "1 channel" if made.channels == 1 else f"{made.channels} channels"
        bits = "floats" if depth == "float32" else f"{np.iinfo(depth).bits} bits"
        said = f"{self.path}  {made.height}×{made.width}"
        if (made.height, made.width) != self.before:
            said += f" of {self.before[0]}×{self.before[1]}"
        said += f", {channels}, {bits}"
        if self.clipped:
            said += f"; {_percent(self.clipped)} of the values lay outside [0, 1] and were clipped; --to npy keeps them"
        return said


def filter_picture(
    application: Application,
    source: Path,
    destination: Path,
    *,
    border: Border | None = None,
    gray: bool = False,
    tile: int | None = None,
    overwrite: bool = False,
    device: torch.device | None = None,
    advance: Callable[[float], None] = lambda fraction: None,
) -> Filtered:
    """Filters a picture into a file, which keeps its EXIF, its colour profile and its bit depth.

    Of a picture in memory only the rows of a tile become floats, and they are written as soon as they are filtered.

    Args:
        application: What filters.
        source: The picture.
        destination: The result; its suffix is its format. Integers hold [0, 1], floats any value.
        border: What lies outside the picture.
        gray: Whether its channels are averaged first.
        tile: Rows of a tile; None lets the memory that they take decide.
        overwrite: Whether a file may be written over.
        device: The model's.
        advance: Is told how much of the picture was done since it was told last.

    Raises:
        ConvexpError: If the picture cannot be read, does not fit the model, or its result cannot be written.
    """
    decoded = decode(source)
    height, width = decoded.pixels.shape[:2]
    parts = _parts(application, decoded, source, border=border, gray=gray, tile=tile, device=device)
    first = next(parts)
    made = application.size(height, width, border)
    depth = depth_for(destination.suffix, cast("Depth", str(decoded.pixels.dtype)))
    exif = None if decoded.exif is None else metadata.without_preview(decoded.exif)
    layout = Layout(*made, first.shape[2], depth, exif, decoded.profile)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConvexpError(f"the folder {destination.parent} cannot be made: {error.strerror}") from error
    with sink(destination, layout, overwrite=overwrite) as picture:
        outside = 0
        for values in chain([first], parts):
            outside += _write(values, picture, depth, source)
            advance(len(values) / made[0])
    clipped = outside / (made[0] * made[1] * layout.channels)
    return Filtered(destination, (height, width), layout, clipped, decoded.transparent, decoded.pages)


def _parts(
    application: Application,
    decoded: Decoded,
    source: Path,
    *,
    border: Border | None,
    gray: bool,
    tile: int | None,
    device: torch.device | None,
) -> Iterator[NDArray[np.float32]]:
    """The result's rows from top to bottom, (n, W, C)."""
    height, width = decoded.pixels.shape[:2]
    try:
        channels = _channels(decoded, application, gray=gray)
        take, images = rows_of_pixels(decoded.pixels, channels, device=device), 3 if channels == "each" else 1
        for part in application.parts(take, height, width, border=border, tile=tile, images=images):
            yield _values(part, channels)
    except ConvexpError as error:
        raise ConvexpError(f"{source}: {error}") from error


def _channels(decoded: Decoded, application: Application, *, gray: bool) -> Channels:
    """What becomes of the picture's channels, so that the model can read it."""
    there, (wanted, made) = 1 if decoded.pixels.ndim == 2 else 3, application.channels
    if wanted == 3:
        return "gray in colour" if gray else "colour"
    if wanted not in (None, 1):
        raise ConvexpError(f"the model reads {wanted} channels, a picture has 1 or 3")
    if there == 1:
        return "own"
    if gray:
        return "gray"
    if wanted is None:
        return "own"
    if made not in (None, 1):
        raise ConvexpError(f"the model makes {made} channels of 1, and the picture has 3; --gray averages them first")
    return "each"


def _values(part: Tensor, channels: Channels) -> NDArray[np.float32]:
    """(n, W, C) from (1, C, n, W) or, of an image for each channel, (C, 1, n, W)."""
    image_CHW = part[:, 0] if channels == "each" else part[0]
    return image_CHW.permute(1, 2, 0).float().cpu().numpy()


def _write(values: NDArray[np.float32], picture: Sink, depth: Depth, source: Path) -> int:
    """Writes rows, and returns how many of their values are not kept."""
    if np.isnan(values).any():
        raise ConvexpError(f"the model makes NaN of {source}: its weights are damaged, or have diverged")
    if depth == "float32":
        picture.write(values)
        return 0
    largest = np.iinfo(depth).max
    levels = np.rint(values * np.float32(largest))
    picture.write(levels.clip(0, largest).astype(depth))
    return int(((levels < 0) | (levels > largest)).sum())


def _percent(fraction: float) -> str:
    return "less than 0.1 %" if fraction < 0.001 else f"{100 * fraction:.1f} %"
