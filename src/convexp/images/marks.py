"""Boxes drawn on pictures, and the places of an error that deserve one."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from convexp.errors import ConvexpError
from convexp.images.layout import INK, line

YELLOW = (255, 222, 0)
Box = tuple[int, int, int, int]  # top, bottom, left, right, as in [top:bottom, left:right]


def boxed(picture: Tensor, boxes: Sequence[Box], *, labels: Sequence[str] | None = None) -> Tensor:
    """Draw rectangles around places of a picture, each with a small label: its number, from 1 on.

    A dark and a yellow line run around the place, outside of it, so that all of it stays visible and one of them stands
    out on any ground. Only where the picture ends they lie within. A box is cut to the picture; one that lies outside
    is not drawn. Of boxes that cross, the first lies on top. A label that has room nowhere is left out.

    Args:
        picture: (3, H, W) uint8.
        boxes: (top, bottom, left, right) of each, as slices: row `bottom` and column `right` lie outside.
        labels: What stands at the boxes instead of their numbers; "" leaves a box without.

    Returns:
        (3, H, W) uint8, a new tensor.

    Raises:
        ConvexpError: If `picture` is no picture, a box is empty, or there are not as many labels as boxes.

    >>> picture = boxed(torch.zeros(3, 17, 23, dtype=torch.uint8), [(5, 9, 6, 11)], labels=[""])
    >>> picture[:, 3, 6].tolist(), picture[:, 4, 6].tolist(), picture[:, 5, 6].tolist()
    ([38, 38, 38], [255, 222, 0], [0, 0, 0])
    """
    if picture.ndim != 3 or len(picture) != 3 or picture.dtype != torch.uint8:
        raise ConvexpError(
            f"boxed: the picture is {picture.dtype} of shape {tuple(picture.shape)}; pass a uint8 tensor (3, H, W)"
        )
    names = [str(number) for number in range(1, len(boxes) + 1)] if labels is None else labels
    if len(names) != len(boxes):
        raise ConvexpError(f"boxed: {len(names)} labels for {len(boxes)} boxes; pass one for each")
    for top, bottom, left, right in boxes:
        if top >= bottom or left >= right:
            raise ConvexpError(
                f"boxed: the box {(top, bottom, left, right)} is empty; pass (top, bottom, left, right), top < bottom "
                "and left < right"
            )
    _, height, width = picture.shape
    stroke = -(-max(height, width) // 250)  # more than a pixel on a TensorBoard card, which is 350 pixels wide
    drawn = picture.clone()
    seen = [
        (name, (max(top, 0), min(bottom, height), max(left, 0), min(right, width)))
        for name, (top, bottom, left, right) in zip(names, boxes, strict=True)
        if top < height and bottom > 0 and left < width and right > 0
    ]
    for _, box in reversed(seen):
        _rectangle(drawn, box, stroke)
    for name, box in reversed(seen):
        if name:
            _label(drawn, name, box, stroke)
    return drawn


def worst_places(error: Tensor, *, side: int, count: int) -> list[Box]:
    """Find the square windows with the largest mean squared error that do not overlap, the worst first.

    Each is the worst of those that overlap none before it; of equal ones it is the first in reading order. What is not
    finite counts as infinitely large.

    Args:
        error: (H, W).
        side: Height and width of a window in pixels; as large as fits, if the image is smaller.
        count: How many are wanted; fewer come back where there is no room for more.

    Returns:
        (top, bottom, left, right) of each, as slices.

    Raises:
        ConvexpError: If `error` has not two dimensions or holds nothing, or `side` or `count` is not positive.

    >>> error = torch.zeros(17, 23)
    >>> error[3, 4], error[11, 20] = 1.0, -2.0
    >>> worst_places(error, side=3, count=2)
    [(9, 12, 18, 21), (1, 4, 2, 5)]
    """
    if error.ndim != 2 or not error.numel():
        raise ConvexpError(f"worst_places: the error has shape {tuple(error.shape)}; pass one image's, (H, W)")
    if side < 1 or count < 1:
        raise ConvexpError(f"worst_places: side={side} and count={count} must be at least 1")
    side = min(side, *error.shape)
    squares = error.detach().cpu().double().square().nan_to_num(nan=torch.inf, posinf=torch.inf)
    # Along rows, then along columns: as many additions as a side has pixels, not as a window has. Not by running sums:
    # their rounding would tell windows apart that are equal.
    means = functional.avg_pool2d(functional.avg_pool2d(squares[None], (1, side), stride=1), (side, 1), stride=1)[0]
    places: list[Box] = []
    while len(places) < count and means.max() >= 0:
        top, left = divmod(int(means.argmax()), means.shape[1])
        places.append((top, top + side, left, left + side))
        means[max(0, top - side + 1) : top + side, max(0, left - side + 1) : left + side] = -1.0
    return places


def _rectangle(picture: Tensor, box: Box, stroke: int) -> None:
    _, height, width = picture.shape
    top, bottom, left, right = box
    top, bottom = max(0, top - 2 * stroke), min(height, bottom + 2 * stroke)
    left, right = max(0, left - 2 * stroke), min(width, right + 2 * stroke)
    for colour in (INK, YELLOW):
        paint = _paint(colour)
        picture[:, top : top + stroke, left:right] = paint
        picture[:, max(top, bottom - stroke) : bottom, left:right] = paint
        picture[:, top:bottom, left : left + stroke] = paint
        picture[:, top:bottom, max(left, right - stroke) : right] = paint
        top, bottom, left, right = top + stroke, bottom - stroke, left + stroke, right - stroke


def _label(picture: Tensor, text: str, box: Box, stroke: int) -> None:
    """Write a text above the box, or else below, right, left or within it: at the first of them with room."""
    _, height, width = picture.shape
    word = torch.minimum(line(text, size=max(13, max(height, width) // 24)), _paint(YELLOW))
    plate = _paint(INK).repeat(1, word.shape[1] + 2 * stroke, word.shape[2] + 6 * stroke)
    plate[:, stroke:-stroke, stroke:-stroke] = _paint(YELLOW)
    plate[:, stroke:-stroke, 3 * stroke : -3 * stroke] = word
    _, high, wide = plate.shape
    top, bottom, left, right = box
    row = max(0, min(top - 2 * stroke, height - high))
    column = max(0, min(left - 2 * stroke, width - wide))
    places = [
        (top - stroke - high, column),  # on the box's dark line
        (bottom + stroke, column),
        (row, right + stroke),
        (row, left - stroke - wide),
    ]
    if bottom - top >= high and right - left >= wide:
        places.append((top, left))
    for row, column in places:
        if 0 <= row <= height - high and 0 <= column <= width - wide:
            picture[:, row : row + high, column : column + wide] = plate
            return


def _paint(colour: tuple[int, int, int]) -> Tensor:
    return torch.tensor(colour, dtype=torch.uint8).view(3, 1, 1)
