"""The best linear filter: what any model has to beat to be worth its non-linearity."""

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from convexp.exact.layer import parts_of
from convexp.exact.shelf import NOWHERE, Shelf
from convexp.exact.strips import Two

MOST_UNKNOWNS = 1500


def best_linear_filter(pairs: Iterable[Sequence[Tensor]], *, field: Two, shelf: Shelf = NOWHERE) -> nn.Conv2d:
    """The convolution with bias and the least mean squared error on images and targets.

    Args:
        pairs: Images (B, C, H, W) and targets (B, O, H', W'); they are gone through several times.
        field: Height and width of the kernel, as a model's receptive field has them. It is cut, around its centre, to
            what the smallest image holds and to 1500 unknowns for each output.
        shelf: Where statistics are kept.

    Returns:
        A valid convolution; its weights need no gradient.
    """
    channels, outputs = (part.shape[1] for part in next(iter(pairs)))
    affordable = int((MOST_UNKNOWNS / channels) ** 0.5)
    smallest = [min(sides) for sides in zip(*(image.shape[2:] for image, _ in pairs), strict=True)]
    height, width = (_cut(side, min(affordable, most)) for side, most in zip(field, smallest, strict=True))
    layer = nn.Conv2d(channels, outputs, (height, width)).requires_grad_(False)
    weight, bias = parts_of(shelf.solved(layer, pairs)[1].weights, layer)
    layer.weight.copy_(weight)
    assert layer.bias is not None
    layer.bias.copy_(bias)
    return layer


def _cut(side: int, most: int) -> int:
    """The largest side up to `most` that is smaller by an even number, so that it keeps its centre."""
    return side if side <= most else max(most - (side - most) % 2, 1)
