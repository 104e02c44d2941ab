"""A model applied to images of any size."""

import os
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from convexp.deploy.rows import Take, bordered, rows_of
from convexp.deploy.tiling import rows_of_a_tile, tiles
from convexp.errors import ConvexpError
from convexp.models.geometry import Link, chain, growth, in_channels
from convexp.models.locality import NotLocalError, size_of
from convexp.operators.border import Border

MOST_OF_MEMORY = 0.8


class Application:
    """A model made ready for images of any size.

    Args:
        model: Maps (B, C, H, W) images in [0, 1] to (B, C', H', W'); in evaluation mode.
        whole: Filters images at once, and does not ask whether the model is local.

    Attributes:
        links: The steps of the model; None if images are filtered at once.
        reason: Why they are, unless that was wished: "it normalises …".
        growth: Rows and columns that a result has more than its image, negative where it has fewer.
        channels: C, or None if the model takes any number; C', or None if it keeps it.

    Raises:
        ConvexpError: If the model fails on noise, or makes its images larger by a factor.
    """

    def __init__(self, model: nn.Module, *, whole: bool = False) -> None:
        self.model = model
        self.links: Sequence[Link] | None = None
        self.reason: str | None = None
        read = in_channels(model)
        if not whole:
            try:
                self.links = chain(model)
            except NotLocalError as error:
                self.reason = str(error)
        if self.links is None:
            self.growth, made = size_of(model, read)
            self.channels = read, made
        else:
            self.growth = growth(tuple(self.links))
            known = [link.channels for link in self.links if link.channels]
            self.channels = (known[0][0], known[-1][1]) if known else (None, None)

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of what an image loses its border to; 1 of a model that keeps its size."""
        return max(1, 1 - self.growth[0]), max(1, 1 - self.growth[1])

    def size(self, height: int, width: int, border: Border | None) -> tuple[int, int]:
        """Height and width of the result.

        Raises:
            ConvexpError: If nothing is left.
        """
        kept = (0, 0) if border is None else (self.kernel[0] - 1, self.kernel[1] - 1)
        made = height + self.growth[0] + kept[0], width + self.growth[1] + kept[1]
        if min(made) < 1:
            raise ConvexpError(
                f"an image of {height}×{width} is too small: the model reads {self.kernel[0]}×{self.kernel[1]} pixels "
                "for one; take a larger image, or invent a border, as --border replicate"
            )
        return made

    def parts(
        self,
        take: Take,
        height: int,
        width: int,
        *,
        border: Border | None = None,
        tile: int | None = None,
        images: int = 1,
    ) -> Iterator[Tensor]:
        """Filters an image.

        Args:
            take: Gives its rows (B, C, n, W).
            height: H.
            width: W.
            border: What lies outside the image, so that the result is not smaller; None invents nothing.
            tile: Rows of a tile; None lets the memory that they take decide.
            images: B.

        Yields:
            The parts of the result from top to bottom, (B, C', n, W').

        Raises:
            ConvexpError: If the image is too small, a model that is not local is to be applied in tiles, there is not
                enough memory, or the model fails.
        """
        self.size(height, width, border)
        read = bordered(take, height, width, self.kernel, border)
        rows, columns = (height, width) if border is None else (height + self.kernel[0] - 1, width + self.kernel[1] - 1)
        if self.links is None and tile is not None:
            why = f": {self.reason}" if self.reason else ""
            raise ConvexpError(f"tile={tile} cannot be{why}; tiles would differ from the whole image; leave it out")
        try:
            if self.links is not None:
                chosen = rows_of_a_tile(self.links, rows, columns, images=images) if tile is None else tile
                yield from tiles(self.links, read, rows, rows=chosen)
            else:
                self._require_memory(rows, columns, images)
                with torch.inference_mode():
                    result = self.model(read(0, rows))
                yield result
        except ConvexpError:
            raise
        except (RuntimeError, MemoryError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConvexpError(f"the model fails on an image of {height}×{width}: {reason}") from error

    def _require_memory(self, height: int, width: int, images: int) -> None:
        if self.reason is None:  # it was wished
            return
        widths = [link for link in self.model.modules() if isinstance(link, nn.Conv2d)]
        each = max((8 * (layer.in_channels + layer.out_channels) for layer in widths), default=24)
        needed = each * height * width * images
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if needed > MOST_OF_MEMORY * there:
            raise ConvexpError(
                f"an image of {height}×{width} takes about {needed / 2**30:.0f} GB at once, this machine has "
                f"{there / 2**30:.0f}, and tiles cannot be: {self.reason}; make it smaller, or try with --whole"
            )


def apply(model: nn.Module, image: Tensor, *, tile: int | None = None, border: Border | None = None) -> Tensor:
    """Filters one image, tile by tile where the model is local; the result is that of the whole image.

    Args:
        model: Maps (B, C, H, W) images in [0, 1] to (B, C', H', W'). It is applied in evaluation mode.
        image: (C, H, W), floats in [0, 1], on the model's device.
        tile: Rows of a tile; None lets the memory that they take decide.
        border: What lies outside the image, `reflect`, `replicate`, `zeros` or `circular`, so that a model that invents
            no border itself keeps the image's size; None lets it lose its border.

    Returns:
        (C', H', W').

    Raises:
        ConvexpError: If the image does not fit the model, or `tile` is given and the model is not local, as with a
            normalisation over the image; the message says why.

    Example:
        >>> blur, photograph = nn.Conv2d(1, 1, 5, bias=False), torch.rand(1, 17, 23)
        >>> apply(blur, photograph).shape, apply(blur, photograph, border="reflect").shape
        (torch.Size([1, 13, 19]), torch.Size([1, 17, 23]))
    """
    if image.ndim != 3 or not image.is_floating_point() or image.numel() == 0:
        raise ConvexpError(f"image is {image.dtype} of shape {tuple(image.shape)}; it must be floats, (C, H, W)")
    training = model.training
    model.eval()
    try:
        application = Application(model)
        if application.channels[0] not in (None, image.shape[0]):
            channels = f"the image has channels: {image.shape[0]}, the model reads: {application.channels[0]}"
            raise ConvexpError(f"{channels}; convert it with to_gray or to_colour")
        height, width = image.shape[1:]
        return torch.cat([*application.parts(rows_of(image[None]), height, width, tile=tile, border=border)], dim=2)[0]
    finally:
        model.train(training)
