"""Captions, colour scales and the placing of pictures on a white sheet; a picture is a uint8 tensor (3, H, W)."""

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional

from convexp.images.colours import Scale

INK = (38, 38, 38)
FRAME = (170, 170, 170)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=size)
    # Without FreeType Pillow falls back to a bitmap font that has one size only.
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


@lru_cache(maxsize=1024)  # the same titles come with every picture
def line(text: str, *, size: int) -> Tensor:
    """Return one line of dark text on white, as wide as the text and as high as every line of this size.

    The font that Pillow carries has no Greek letters and no mathematical signs but ±. The same line is the same tensor
    every time, and not to be written into.

    Args:
        text: What is written.
        size: Font size in pixels.

    >>> line("target", size=20).shape[1] == line("±1", size=20).shape[1]
    True
    """
    font = _font(size)
    ascent, descent = font.getmetrics()
    image = Image.new("RGB", (max(1, round(font.getlength(text)) + 1), ascent + descent + 1), "white")
    ImageDraw.Draw(image).text((0, ascent), text, font=font, fill=INK, anchor="ls")
    return _tensor(image)


def numbered(picture: Tensor, texts: Sequence[Sequence[str]], *, light: Tensor, size: int) -> Tensor:
    """Write a table of texts over a picture, each centred in its cell.

    Args:
        picture: (3, H, W) uint8, divided evenly into the cells of the table.
        texts: Rows of texts.
        light: (rows, columns) bool, where the text is white instead of dark.
        size: Font size in pixels.
    """
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    draw = ImageDraw.Draw(image)
    height, width = image.height / len(texts), image.width / len(texts[0])
    for row, words in enumerate(texts):
        for column, text in enumerate(words):
            centre = ((column + 0.5) * width, (row + 0.5) * height)
            colour = "white" if light[row, column] else INK
            draw.text(centre, text, font=_font(size), fill=colour, anchor="mm")
    return _tensor(image)


def scale_bar(scale: Scale, *, width: int, size: int) -> Tensor:
    """Return a colour scale with its numbers spread evenly under it, the outer ones flush with its ends.

    Args:
        scale: What is drawn.
        width: Width in pixels; numbers that need more room widen it.
        size: Font size in pixels.
    """
    words = [line(label, size=size) for label in scale.labels()]
    width = max(width, sum(word.shape[2] for word in words) + size * (len(words) - 1))
    bar = framed(scale.ramp(width - 2).expand(3, size // 2, width - 2))
    numbers = _blank(words[0].shape[1], width)
    for position, word in enumerate(words):
        left = round((width - word.shape[2]) * position / (len(words) - 1))
        numbers[:, :, left : left + word.shape[2]] = word
    return below([bar, numbers], gap=size // 6)


def beside(pictures: Sequence[Tensor], *, gap: int) -> Tensor:
    """Place pictures from left to right on white, aligned at the top, `gap` pixels apart."""
    sheet = _blank(
        max(picture.shape[1] for picture in pictures),
        sum(picture.shape[2] for picture in pictures) + gap * (len(pictures) - 1),
    )
    left = 0
    for picture in pictures:
        _, height, width = picture.shape
        sheet[:, :height, left : left + width] = picture
        left += width + gap
    return sheet


def below(pictures: Sequence[Tensor], *, gap: int) -> Tensor:
    """Place pictures from top to bottom on white, aligned at the left, `gap` pixels apart."""
    sheet = _blank(
        sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1),
        max(picture.shape[2] for picture in pictures),
    )
    top = 0
    for picture in pictures:
        _, height, width = picture.shape
        sheet[:, top : top + height, :width] = picture
        top += height + gap
    return sheet


def grid(pictures: Sequence[Tensor], *, columns: int, gap: int) -> Tensor:
    """Place pictures in reading order, in columns as wide as the widest picture."""
    width = max(picture.shape[2] for picture in pictures)
    cells = [functional.pad(picture, (0, width - picture.shape[2]), value=255) for picture in pictures]
    return below([beside(cells[i : i + columns], gap=gap) for i in range(0, len(cells), columns)], gap=gap)


def framed(picture: Tensor) -> Tensor:
    """Surround a picture by a grey line one pixel wide, so that white content shows where it ends."""
    frame = torch.tensor(FRAME, dtype=torch.uint8).view(3, 1, 1)
    sheet = frame.repeat(1, picture.shape[1] + 2, picture.shape[2] + 2)
    sheet[:, 1:-1, 1:-1] = picture
    return sheet


def with_margin(picture: Tensor, margin: int) -> Tensor:
    """Surround a picture by white."""
    return functional.pad(picture, (margin, margin, margin, margin), value=255)


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """Repeat every pixel `factor` times in both directions."""
    return picture.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)


def shrunk(values_CHW: Tensor, longest: int) -> Tensor:
    """Scale values down (antialiased) so that neither side exceeds `longest`; smaller ones come back as they are.

    Values are shrunk before they are coloured: the mean of +1 and −1 is then 0 and not a mixture of two colours.
    """
    height, width = values_CHW.shape[-2:]
    if max(height, width) <= longest:
        return values_CHW
    ratio = longest / max(height, width)
    size = (max(1, round(height * ratio)), max(1, round(width * ratio)))
    return functional.interpolate(values_CHW[None], size=size, mode="bilinear", antialias=True)[0]


def _blank(height: int, width: int) -> Tensor:
    return torch.full((3, height, width), 255, dtype=torch.uint8)


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
