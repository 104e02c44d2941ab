"""A model applied to an image in tiles, which make the same picture as the whole image.

A tile is some rows of the result, in the full width. Each step of the model keeps the rows of its input that the next
tile needs again, so that nothing is computed twice, however far the model sees; and a step that invents a border does
so at the border of the image only.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convexp.deploy.rows import Rows, lines
from convexp.errors import ConvexpError
from convexp.models.geometry import Link, border_of, growth, padding_of
from convexp.models.locality import Reach
from convexp.operators.border import Border

BUDGET = 64 * 2**20  # bytes that the widest step may take for a tile; larger tiles are not faster
LEAST_ROWS = 32


def tiles(links: Sequence[Link], read: Rows, height: int, *, rows: int) -> Iterator[Tensor]:
    """Filter an image tile by tile.

    Args:
        links: The steps of the model, as `models.geometry.chain` finds them.
        read: Gives the rows (B, C, n, W) of the image, new ones that may be written into.
        height: How many there are.
        rows: Of a tile.

    Yields:
        (B, C', rows, W'), from top to bottom; the last one may have fewer rows.

    Raises:
        ConvexpError: If `rows` is not positive, or the image is smaller than what the model reads for one pixel.

    Example:
        >>> from convexp.models.geometry import chain
        >>> blur, image = torch.nn.Conv2d(1, 1, 3, padding=1), torch.rand(1, 1, 17, 23)
        >>> made = list(tiles(chain(blur), lambda start, stop: image[..., start:stop, :], 17, rows=5))
        >>> [len(tile[0, 0]) for tile in made], torch.allclose(torch.cat(made, dim=2), blur(image), atol=1e-6)
        ([5, 5, 5, 2], True)
    """
    if rows < 1:
        raise ConvexpError(f"tile={rows} must be a positive number of rows")
    made = height + growth(tuple(links))[0]
    if made < 1:
        raise ConvexpError(f"the image has {height} rows; the model reads {height - made + 1} for one")
    for link in links:
        read, height = _through(link, read, height), height + link.reach.growth[0]
    for start in range(0, made, rows):
        with torch.inference_mode():  # not around what is done with a tile
            tile = read(start, min(start + rows, made))
        yield tile


def rows_of_a_tile(links: Sequence[Link], height: int, width: int, *, images: int = 1) -> int:
    """How many rows a tile may have, so that the widest step takes about `BUDGET`.

    A tile of few rows is slow, and what is not a convolution computes the rows around each tile again: where rows are
    long, or these many, a tile takes up to 4 or 8 times as much.

    Args:
        links: The steps of the model.
        height: Of the image.
        width: Of the image.
        images: How many are filtered at once.
    """
    each = bytes_per_pixel(links) * width * images
    again = max((link.reach.above + link.reach.below for link in links if link.convolution is None), default=0)
    wished = BUDGET // each, min(LEAST_ROWS, 4 * BUDGET // each), min(10 * again, 8 * BUDGET // each)
    return min(height, max(1, *wished))


def bytes_per_pixel(links: Sequence[Link]) -> int:
    """What the widest step of a chain takes: its input, that with a border, its output, and that activated."""
    return max((8 * sum(link.channels) for link in links if link.channels), default=24)


def _through(link: Link, read: Rows, height: int) -> Rows:
    if link.pointwise:
        return lambda start, stop: link.run(read(start, stop))
    if link.convolution is not None:
        return _Convolution(link.convolution, link.reach, read, height)
    return _Step(link, read, height)


class _Step:
    """The rows that any step makes of another's.

    Args:
        link: The step.
        read: The rows of its input; of those it keeps what it will need again.
        height: How many its input has.
    """

    def __init__(self, link: Link, read: Rows, height: int) -> None:
        self.link, self.read, self.height = link, read, height
        self.kept: Tensor | None = None
        self.start = self.stop = 0  # of what is kept

    def __call__(self, start: int, stop: int) -> Tensor:
        reach = self.link.reach
        first, last = reach.rows(start, stop, self.height)
        if self.kept is None or first >= self.stop:
            rows = self.read(first, last)
        else:
            rows = self.kept[:, :, first - self.start :]
            if last > self.stop:
                rows = torch.cat([rows, self.read(self.stop, last)], dim=2)
        again, _ = reach.rows(stop, stop + 1, self.height)
        # A copy: a part of the rows would keep all of them in memory, and the step may write into its input.
        self.kept, self.start, self.stop = rows[:, :, again - first :].clone(), again, last
        return self.link.run(rows)[:, :, start - first : stop - first]


class _Convolution:
    """The rows that a convolution makes of another step's, none of them twice.

    Args:
        convolution: Of stride 1.
        reach: Its own.
        read: The rows of its input; of those, with what lies left and right of them, it keeps what it will need again.
        height: How many its input has.
    """

    def __init__(self, convolution: nn.Conv2d, reach: Reach, read: Rows, height: int) -> None:
        self.convolution, self.reach, self.read, self.height = convolution, reach, read, height
        self.border: Border = border_of(convolution) or "zeros"
        self.top, self.bottom, self.left, self.right = padding_of(convolution)
        self.rows = self.top + self.bottom - reach.growth[0]  # that the kernel reads more than it makes
        # Zeros at both sides are left to the routine that the whole image goes through, so that it sums alike.
        self.sides = self.left if self.border == "zeros" else 0
        self.left, self.right = self.left - self.sides, self.right - self.sides
        self.kept: Tensor | None = None
        self.start = self.stop = 0  # of what is kept

    def __call__(self, start: int, stop: int) -> Tensor:
        first, last = self.reach.rows(start, stop, self.height)
        above, below = max(0, self.top - start), max(0, stop + self.rows - self.top - self.height)
        again, _ = self.reach.rows(stop, stop + 1, self.height)
        block = self._block(first, last, above, below)
        inner = block[:, :, above : above + last - first]
        self.kept, self.start, self.stop = inner[:, :, again - first :].clone(), again, last
        for there, numbers in (
            (slice(0, above), (-above, 0)),
            (slice(above + last - first, None), (self.height, self.height + below)),
        ):
            if self.border == "zeros":
                block[:, :, there] = 0
            else:
                block[:, :, there] = inner[:, :, lines(*numbers, self.height, self.border) - first]
        begin = start - self.top - first + above
        rows, layer = block[:, :, begin : begin + stop - start + self.rows], self.convolution
        return F.conv2d(rows, layer.weight, layer.bias, 1, (0, self.sides), layer.dilation, layer.groups)

    def _block(self, first: int, last: int, above: int, below: int) -> Tensor:
        """The rows from `first` to before `last`, with columns left and right, and room above and below."""
        kept = None if self.kept is None or first >= self.stop else self.kept[:, :, first - self.start :]
        begin = first if kept is None else self.stop
        new = self.read(begin, last) if last > begin else None
        some = kept if new is None else new
        assert some is not None
        width = some.shape[3] + (0 if new is None else self.left + self.right)
        block = torch.empty(
            (*some.shape[:2], above + last - first + below, width),
            dtype=some.dtype,
            device=some.device,
            memory_format=torch.channels_last,
        )
        inner = block[:, :, above : above + last - first]
        if kept is not None:
            inner[:, :, : begin - first] = kept[:, :, : last - first]
        if new is not None:
            self._widen(new, inner[:, :, begin - first :])
        return block

    def _widen(self, rows: Tensor, into: Tensor) -> None:
        width = rows.shape[3]
        if self.border == "reflect":
            self._require_mirror(width)
        into[..., self.left : self.left + width] = rows
        for there, numbers in (
            (slice(0, self.left), (-self.left, 0)),
            (slice(self.left + width, None), (width, width + self.right)),
        ):
            into[..., there] = 0 if self.border == "zeros" else rows[..., lines(*numbers, width, self.border)]

    def _require_mirror(self, width: int) -> None:
        far = max(self.top, self.bottom), max(self.left, self.right)
        if far[0] >= self.height or far[1] >= width:
            raise ConvexpError(
                f"the model mirrors {far[0]} rows and {far[1]} columns at its border, of an image (or of what it made "
                f"of one) of {self.height}×{width}; take a larger image"
            )
