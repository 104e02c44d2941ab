"""Context aggregation: ever sparser convolutions of one width, which see far at little cost."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.models.initialisation import identity
from convexp.operators.border import Border, check_border


class ContextAggregation(nn.Sequential):
    """3×3 convolutions of one width, each with its own dilation and a leaky ReLU behind it, and a 1×1 convolution.

    With dilations that double the receptive field grows as 2ⁿ, the work as n (Chen, Xu & Koltun 2017, Fast image
    processing with fully-convolutional networks, arXiv:1709.00643). It starts as the identity: what images in [0, 1]
    pass through unchanged, so that only the difference is left to be learned (see `initialisation.identity`).

    Args:
        in_channels: Channels of the images.
        out_channels: Channels of the target.
        width: Channels of every layer between.
        dilations: Of the 3×3 convolutions, from the first to the last.
        border: What lies outside the image and the feature maps, which all keep its size; None makes all convolutions
            valid.
        slope: Of the leaky ReLU below 0.
        adaptive_normalisation: Mix each layer's features with normalised ones, as the paper does; the filter is then no
            longer local.

    Raises:
        ConvexpError: If there is no dilation, one is not positive, the width is smaller than the image's channels, or
            the border is none.

    Example:
        >>> model = ContextAggregation(3, 3, width=24, dilations=[1, 2, 4, 8, 16, 32, 64, 1])
        >>> image = torch.rand(1, 3, 17, 23)
        >>> model(image).equal(image)
        True
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        width: int,
        dilations: Sequence[int],
        border: Border | None = "zeros",
        slope: float = 0.2,
        adaptive_normalisation: bool = False,
    ) -> None:
        check_border(border)
        if not dilations or min(dilations) < 1:
            raise ConvexpError(f"model.dilations={list(dilations)} must be whole numbers of at least 1, as [1,2,4,1]")
        if width < in_channels:
            raise ConvexpError(
                f"model.width={width} is too small for images of {in_channels} channels to pass through: "
                f"take {in_channels} or more"
            )
        children: OrderedDict[str, nn.Module] = OrderedDict()
        channels = in_channels
        for number, dilation in enumerate(dilations, 1):
            convolution = nn.Conv2d(
                channels,
                width,
                3,
                padding=0 if border is None else dilation,
                dilation=dilation,
                bias=not adaptive_normalisation,
                padding_mode="zeros" if border is None else border,
            )
            norm = [AdaptiveNormalisation(width)] if adaptive_normalisation else []
            children[f"context{number}"] = nn.Sequential(convolution, *norm, nn.LeakyReLU(slope, inplace=True))
            channels = width
        children["output"] = nn.Conv2d(channels, out_channels, 1)
        super().__init__(children)
        self._border, self._farthest = border, max(dilations)
        identity(self)

    def forward(self, input: Tensor) -> Tensor:
        """What becomes of images (B, C, H, W).

        Raises:
            ConvexpError: If they are too small for the border.
        """
        height, width = input.shape[-2:]
        # A mirror about the edge pixel does not repeat it; a circle goes round once at most.
        least = {"reflect": self._farthest + 1, "circular": self._farthest}.get(str(self._border), 1)
        if min(height, width) < least:
            raise ConvexpError(
                f"image is {height}×{width}: with model.border={self._border} and a dilation of up to {self._farthest} "
                f"it must be at least {least}×{least}; take larger images or crops, or model.border=replicate"
            )
        return super().forward(input)


class AdaptiveNormalisation(nn.Module):
    """λ·x + μ·(N(x) + offset): the network decides how much it normalises; λ = 1 and μ = 0 is where it starts.

    N subtracts each channel's mean over the image and divides by its deviation. That is the paper's batch normalisation
    (without a scale), which trains and is used on one image at a time; here a batch's other images do not matter.

    Args:
        channels: Of the feature maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.plain, self.normalised = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))
        self.offset = nn.Parameter(torch.zeros(channels, 1, 1))
        self.norm = nn.InstanceNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        """The mixed features, (B, C, H, W)."""
        return self.plain * features + self.normalised * (self.norm(features) + self.offset)
