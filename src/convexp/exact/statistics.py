"""All that a squared loss knows of images and targets, for one convolution: its sufficient statistics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.grad import conv2d_weight

from convexp.errors import ConvexpError
from convexp.exact.gram import goes_by_structure, structured_residual, sums
from convexp.exact.layer import matrix, parts_of
from convexp.exact.strips import Strip, Two, geometry, strips


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over pixels, of which the squared loss of any weights follows.

    With u what the kernel reads at a pixel (P values, a constant 1 last if there is a bias) and y the target's Q
    channels there,

    G = mean(u uᵀ), b = mean(u yᵀ), c = mean(y²), and the mean squared error of weights w is (wᵀGw − 2bᵀw + c) / Q.

    Statistics of different images add up: `a + b` is those of both.

    Args:
        uu: (groups, P, P) Σ u uᵀ, float64.
        uy: (groups, P, Q) Σ u yᵀ of each group's Q outputs.
        yy: (groups, Q) Σ y².
        count: Number of pixels.
        kernel_size: kh, kw.
        bias: Whether the last of the P values is the constant.
    """

    uu: Tensor
    uy: Tensor
    yy: Tensor
    count: int
    kernel_size: Two
    bias: bool

    @property
    def gram(self) -> Tensor:
        """G, (groups, P, P)."""
        return self.uu / self.count

    @property
    def moments(self) -> Tensor:
        """b, (groups, P, Q)."""
        return self.uy / self.count

    @property
    def energy(self) -> float:
        """Mean of the target's squares over pixels and channels: the loss of weights that are all 0."""
        return float(self.yy.sum()) / (self.count * self.yy.numel())

    def __add__(self, other: "Statistics") -> "Statistics":
        mine, others = ((a.kernel_size, a.bias, tuple(a.uy.shape)) for a in (self, other))
        if mine != others:
            raise ConvexpError(
                f"statistics of different convolutions cannot be added: kernel, bias and shape {mine} and {others}"
            )
        return replace(
            self,
            uu=self.uu + other.uu,
            uy=self.uy + other.uy,
            yy=self.yy + other.yy,
            count=self.count + other.count,
        )

    def losses(self, weights: Tensor) -> Tensor:
        """Mean squared error of weights (groups, P, Q) in each output, (groups, Q).

        Exact to about 1e-16 of the energy: the terms cancel where the error is small.
        """
        terms = self.yy + (weights * (self.uu @ weights - 2 * self.uy)).sum(dim=1)
        return (terms / self.count).clamp_min(0)

    def loss(self, weights: Tensor) -> float:
        """Mean squared error of weights (groups, P, Q) over all pixels and channels."""
        return float(self.losses(weights).mean())

    def restrict(
        self,
        *,
        kernel_size: Two | None = None,
        at: Two | None = None,
        dilation: Two = (1, 1),
        bias: bool = True,
        groups: int = 1,
    ) -> "Statistics":
        """The statistics of a smaller convolution on the same pixels: they are a part of these.

        Args:
            kernel_size: Height and width; None keeps them.
            at: Row and column, within this kernel, of the smaller one's first weight; None keeps the centre.
            dilation: Of the smaller kernel, in weights of this one.
            bias: False leaves the constant out.
            groups: How many groups the channels fall into; they must be together in one group now.

        Raises:
            ConvexpError: If it is no part of this kernel, has another centre, or channels cannot be divided so.
        """
        kernel_size = kernel_size or self.kernel_size
        span = [step * (side - 1) + 1 for step, side in zip(dilation, kernel_size, strict=True)]
        spare = [whole - part for whole, part in zip(self.kernel_size, span, strict=True)]
        if at is None and any(rest % 2 for rest in spare):
            raise ConvexpError(
                f"kernel_size={kernel_size} has not the centre of {self.kernel_size}: take one that is smaller by an "
                "even number on each side, or say at which row and column it starts"
            )
        top, left = at or (spare[0] // 2, spare[1] // 2)
        if not (0 <= top <= spare[0] and 0 <= left <= spare[1] and min(kernel_size) > 0):
            raise ConvexpError(f"kernel_size={kernel_size} is no part of {self.kernel_size}; only smaller ones are")
        outputs = self.uy.shape[2]
        weights = torch.arange(self.uu.shape[1] - self.bias).reshape(-1, *self.kernel_size)
        if len(self.uu) != 1 or len(weights) % groups or outputs % groups:
            raise ConvexpError(
                f"{len(weights)} channels and {outputs} outputs in {len(self.uu)} groups cannot be taken in {groups}"
            )
        entries = weights[:, top : top + span[0] : dilation[0], left : left + span[1] : dilation[1]]
        entries = entries.reshape(groups, -1)
        if bias and self.bias:
            entries = torch.cat([entries, torch.full((groups, 1), self.uu.shape[1] - 1)], dim=1)
        columns = torch.arange(outputs).reshape(groups, -1)
        return Statistics(
            self.uu[0][entries[:, :, None], entries[:, None]],
            self.uy[0][entries[:, :, None], columns[:, None]],
            self.yy[0][columns],
            self.count,
            kernel_size,
            bias and self.bias,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> "Statistics":
        """The same elsewhere."""
        uu, uy, yy = (part.to(device=device, dtype=dtype) for part in (self.uu, self.uy, self.yy))
        return replace(self, uu=uu, uy=uy, yy=yy)


def gather(layer: nn.Conv2d, pairs: Iterable[Sequence[Tensor]]) -> Statistics:
    """The statistics of a convolution on whole images and targets, in float64 and bounded memory.

    Output and target are compared on their common centre, as everywhere; padding of every kind is exact. Images are
    taken one after the other and a strip of rows at a time, so that `pairs` may be a generator, and an image a
    memory-mapped array.

    Args:
        layer: Its weights are not looked at; size, stride, padding, dilation, channels, groups and bias are.
        pairs: Images (B, C, H, W) and targets (B, O, H', W').

    Raises:
        ConvexpError: If there is no pixel, an image or target holds NaN or infinity, or shapes do not fit the layer.

    Example:
        >>> image = torch.ones(1, 1, 5, 7)
        >>> gather(nn.Conv2d(1, 1, 3, bias=False), [(image, 2 * image)]).moments[0, :, 0].tolist()
        [2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    """
    total: Statistics | None = None
    for index, (image, target) in enumerate(pairs):
        for strip in strips(layer, image, target):
            part = _of_strip(layer, strip)
            total = part if total is None else total + part
        if total is not None and not (total.uu.isfinite().all() and total.yy.isfinite().all()):
            raise ConvexpError(
                f"image {index + 1} of {tuple(image.shape)} or its target has NaN or infinite values, or values too "
                "large to square; leave it out"
            )
    if total is None:
        raise ConvexpError("there is no pixel to learn from: give at least one image as large as the kernel")
    return total.restrict(bias=layer.bias is not None, groups=layer.groups)


def _of_strip(layer: nn.Conv2d, strip: Strip) -> Statistics:
    """With a constant, and all channels in one group."""
    kernel_size, stride, dilation = geometry(layer)
    target = torch.cat([strip.target, torch.ones_like(strip.target[:1])])
    count = target[0].numel()
    uu, uy = sums(strip.region, target, kernel_size=kernel_size, stride=stride, dilation=dilation)
    constant = uy[:, -1:]
    return Statistics(
        torch.cat([torch.cat([uu, constant], 1), torch.cat([constant.T, constant.new_full((1, 1), count)], 1)])[None],
        torch.cat([uy[:, :-1], strip.target.sum(dim=(1, 2))[None]])[None],
        strip.target.square().sum(dim=(1, 2))[None],
        count,
        kernel_size,
        bias=True,
    )


def residual(layer: nn.Conv2d, pairs: Iterable[Sequence[Tensor]], weights: Tensor) -> tuple[Tensor, Tensor]:
    """What a convolution with given weights leaves of the target, in a second pass over the pixels.

    Statistics of the target lose what is smaller than 1e-16 of its energy; these are of the remainder itself.

    Args:
        layer: As for `gather`.
        pairs: As for `gather`; the same ones.
        weights: (groups, P, Q).

    Returns:
        mean(u rᵀ), (groups, P, Q), and mean(r²), (groups, Q), of the residuals r = y − wᵀu.
    """
    kernel, *constant = parts_of(weights, layer)
    bias = constant[0] if constant else None
    kernel_size, stride, dilation = geometry(layer)
    moments, energies, count = torch.zeros_like(weights), torch.zeros_like(weights[:, 0]), 0
    for image, target in pairs:
        for region, wanted in strips(layer, image, target):
            if bias is not None:
                wanted = wanted - bias[:, None, None]
            if layer.groups == 1 and goes_by_structure(kernel_size, stride, dilation):
                rest, products = structured_residual(region, wanted, kernel)
            else:
                rest = wanted - F.conv2d(region[None], kernel, None, stride, 0, dilation, layer.groups)[0]
                products = conv2d_weight(region[None], kernel.shape, rest[None], stride, 0, dilation, layer.groups)  # pyright: ignore[reportArgumentType]  # its annotations know whole numbers only
            moments += matrix(products, None if bias is None else rest.sum(dim=(1, 2)), groups=layer.groups)
            energies += rest.square().sum(dim=(1, 2)).view_as(energies)
            count += wanted[0].numel()
    return moments / count, energies / count
