"""Captions, colour scales and the placing of pictures on a white sheet; a picture is a uint8 tensor (3, H, W).

In memory the three bytes of a pixel lie beside each other, as image files want them.
"""

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


@lru_cache(maxsize=4096)  # the same numbers come with every picture
def _word(text: str, size: int) -> Image.Image:
    """Return a text as a mask with nothing around it but a pixel, as high as every text of this size."""
    font = _font(size)
    ascent, descent = font.getmetrics()
    image = Image.new("L", (max(1, round(font.getlength(text))) + 2, ascent + descent))
    ImageDraw.Draw(image).text((image.width / 2, image.height / 2), text, font=font, fill=255, anchor="mm")
    return image


def numbered(picture: Tensor, texts: Sequence[Sequence[str]], *, light: Tensor, size: int) -> Tensor:
    """Write a table of texts over a picture, each centred in its cell.

    Args:
        picture: (3, H, W) uint8, divided evenly into the cells of the table.
        texts: Rows of texts.
        light: (rows, columns) bool, where the text is white instead of dark.
        size: Font size in pixels.
    """
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    height, width = image.height / len(texts), image.width / len(texts[0])
    for row, (words, shades) in enumerate(zip(texts, light.tolist(), strict=True)):
        for column, (text, is_light) in enumerate(zip(words, shades, strict=True)):
            word = _word(text, size)
            corner = round((column + 0.5) * width - word.width / 2), round((row + 0.5) * height - word.height / 2)
            image.paste((255, 255, 255) if is_light else INK, corner, word)
    return _tensor(image)


@lru_cache(maxsize=256)
def scale_bar(scale: Scale, *, width: int, size: int) -> Tensor:
    """Return a colour scale with its numbers spread evenly under it, the outer ones flush with its ends.

    The same scale is the same tensor every time, and not to be written into.

    Args:
        scale: What is drawn.
        width: Width in pixels; numbers that need more room widen it.
        size: Font size in pixels.
    """
    words = [line(label, size=size) for label in scale.labels()]
    width = max(width, sum(word.shape[2] for word in words) + size * (len(words) - 1))
    bar = framed(scale.ramp(width - 2).expand(3, size // 2, width - 2))
    numbers = _sheet(words[0].shape[1], width)
    for position, word in enumerate(words):
        left = round((width - word.shape[2]) * position / (len(words) - 1))
        numbers[:, :, left : left + word.shape[2]] = word
    return below([bar, numbers], gap=size // 6)


def beside(pictures: Sequence[Tensor], *, gap: int) -> Tensor:
    """Place pictures from left to right on white, aligned at the top, `gap` pixels apart."""
    sheet = _sheet(
        max(picture.shape[1] for picture in pictures),
        sum(picture.shape[2] for picture in pictures) + gap * (len(pictures) - 1),
    )
    left = 0
    for picture in pictures:
        _place(sheet, picture, 0, left)
        left += picture.shape[2] + gap
    return sheet


def below(pictures: Sequence[Tensor], *, gap: int) -> Tensor:
    """Place pictures from top to bottom on white, aligned at the left, `gap` pixels apart."""
    sheet = _sheet(
        sum(picture.shape[1] for picture in pictures) + gap * (len(pictures) - 1),
        max(picture.shape[2] for picture in pictures),
    )
    top = 0
    for picture in pictures:
        _place(sheet, picture, top, 0)
        top += picture.shape[1] + gap
    return sheet


def grid(pictures: Sequence[Tensor], *, columns: int, gap: int, margin: int = 0) -> Tensor:
    """Place pictures in reading order, in columns as wide as the widest picture, with a white margin around them."""
    rows = [pictures[i : i + columns] for i in range(0, len(pictures), columns)]
    heights = [max(picture.shape[1] for picture in row) for row in rows]
    width = max(picture.shape[2] for picture in pictures)
    around = 2 * margin - gap
    sheet = _sheet(sum(heights) + gap * len(rows) + around, (width + gap) * len(rows[0]) + around)
    top = margin
    for row, height in zip(rows, heights, strict=True):
        for column, picture in enumerate(row):
            _place(sheet, picture, top, margin + column * (width + gap))
        top += height + gap
    return sheet


def framed(picture: Tensor, *, rows: int = 1, columns: int = 1, gap: int = 0) -> Tensor:
    """Surround a picture by a grey line one pixel wide, so that white content shows where it ends.

    Args:
        picture: (3, H, W) uint8.
        rows: Cuts it evenly into so many parts from top to bottom, each with a line around it.
        columns: The same from left to right.
        gap: Pixels of white between the parts.
    """
    height, width = picture.shape[1] // rows, picture.shape[2] // columns
    sheet = torch.full((rows, height + 2 + gap, columns, width + 2 + gap, 3), 255, dtype=torch.uint8)
    sheet[:, : height + 2, :, : width + 2] = FRAME[0]  # a grey
    sheet[:, 1 : height + 1, :, 1 : width + 1] = picture.permute(1, 2, 0).view(rows, height, columns, width, 3)
    whole = sheet.view(rows * (height + 2 + gap), columns * (width + 2 + gap), 3).permute(2, 0, 1)
    return whole[:, : whole.shape[1] - gap, : whole.shape[2] - gap]


def with_margin(picture: Tensor, margin: int) -> Tensor:
    """Surround a picture by white."""
    sheet = _sheet(picture.shape[1] + 2 * margin, picture.shape[2] + 2 * margin)
    _place(sheet, picture, margin, margin)
    return sheet


def enlarged(picture: Tensor, factor: int) -> Tensor:
    """Repeat every pixel `factor` times in both directions."""
    _, height, width = picture.shape
    if factor == 1:
        return picture
    # First along the rows: those are then copied whole.
    rows = picture.permute(1, 2, 0)[:, :, None].expand(-1, -1, factor, -1).reshape(height, 1, width * factor, 3)
    return rows.expand(-1, factor, -1, -1).reshape(height * factor, width * factor, 3).permute(2, 0, 1)


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


def _sheet(height: int, width: int, level: int = 255) -> Tensor:
    return torch.full((height, width, 3), level, dtype=torch.uint8).permute(2, 0, 1)


def _place(sheet: Tensor, picture: Tensor, top: int, left: int) -> None:
    _, height, width = picture.shape
    sheet[:, top : top + height, left : left + width] = picture


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
