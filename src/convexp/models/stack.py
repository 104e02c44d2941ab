"""A stack of convolutions in named blocks."""

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from copy import deepcopy

from torch import nn

from convexp.errors import ConvexpError


class Stack(nn.Sequential):
    """Valid convolutions with bias, an activation after each, in named blocks.

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the target.
        blocks: For each block its layers, as `channels@height x width`, for example `100@1x1`; the last layer has
            `out` for its channels, or their number.
        activation: Comes after every convolution.

    Raises:
        ConvexpError: If a layer is not understood, there is none, or the last does not make the target's channels.

    Example:
        >>> stack = Stack(1, 1, blocks={"edges": ["2@2x2", "1@1x1"], "blur": ["out@3x3"]}, activation=nn.ELU())
        >>> [name for name, _ in stack.named_children()], stack.blur[0].weight.shape
        (['edges', 'blur'], torch.Size([1, 1, 3, 3]))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        blocks: Mapping[str, Sequence[str]],
        activation: nn.Module,
    ) -> None:
        children: OrderedDict[str, nn.Module] = OrderedDict()
        channels = in_channels
        for name, layers in blocks.items():
            modules: list[nn.Module] = []
            for layer in layers:
                width, height, breadth = _parse(layer, out_channels)
                modules += [nn.Conv2d(channels, width, (height, breadth)), deepcopy(activation)]
                channels = width
            children[name] = nn.Sequential(*modules)
        if not any(len(layers) for layers in blocks.values()):
            raise ConvexpError("model.blocks has no layer: give at least one, as {blur: [out@3x3]}")
        if channels != out_channels:
            raise ConvexpError(
                f"the model ends in {channels} channels, the target has {out_channels}; write the last layer as out@…"
            )
        super().__init__(children)


def _parse(layer: str, out_channels: int) -> tuple[int, int, int]:
    match = re.fullmatch(r"([1-9]\d*|out)@([1-9]\d*)x([1-9]\d*)", str(layer))
    if match is None:
        raise ConvexpError(
            f"model.blocks: layer {layer!r} is not understood; write channels@heightxwidth, as 4@3x3 or out@3x3"
        )
    width, height, breadth = match.groups()
    return out_channels if width == "out" else int(width), int(height), int(breadth)
