"""The one convolution that a model is, and its weights as a matrix."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from convexp.models import Standardised


def only_convolution(model: nn.Module) -> nn.Conv2d | None:
    """The convolution that a model is, if its output is linear in its weights; None if it is anything more.

    `Standardised` around it and a chain with nothing else in it change nothing.

    Example:
        >>> only_convolution(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Identity()))
        Conv2d(1, 1, kernel_size=(3, 3), stride=(1, 1))
        >>> only_convolution(nn.Sequential(nn.Conv2d(1, 1, 3), nn.ReLU())) is None
        True
    """
    parts = _chain(model.model if type(model) is Standardised else model)
    working = [part for part in parts if type(part) is not nn.Identity]
    if len(working) != 1 or type(working[0]) is not nn.Conv2d:  # a subclass may do anything
        return None
    layer = working[0]
    # A hook may do anything, too.
    hooked = any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())  # pyright: ignore[reportPrivateUsage]
    learns = all(weight.requires_grad for weight in model.parameters())
    return layer if learns and not hooked else None


def _chain(model: nn.Module) -> Iterator[nn.Module]:
    if type(model).forward is nn.Sequential.forward:
        for child in model.children():
            yield from _chain(child)
    else:
        yield model


def weights_of(layer: nn.Conv2d) -> Tensor:
    """The weights (groups, P, Q), float64 on the CPU: a column for each of a group's Q outputs, a bias last of P.

    Example:
        >>> weights_of(nn.Conv2d(3, 2, 5)).shape
        torch.Size([1, 76, 2])
    """
    bias = None if layer.bias is None else layer.bias.detach()
    return matrix(layer.weight.detach(), bias, groups=layer.groups).cpu().double()


def matrix(weight: Tensor, bias: Tensor | None, *, groups: int) -> Tensor:
    """What has the shapes of a convolution's parameters, (O, I, kh, kw) and (O,), as one (groups, P, Q)."""
    columns = weight.reshape(groups, len(weight) // groups, -1)
    if bias is not None:
        columns = torch.cat([columns, bias.reshape(groups, -1, 1)], dim=2)
    return columns.transpose(1, 2)


def parts_of(weights: Tensor, layer: nn.Conv2d) -> list[Tensor]:
    """A matrix (groups, P, Q) in the shapes of the layer's parameters: [weight] or [weight, bias]."""
    columns = weights.transpose(1, 2)
    if layer.bias is None:
        return [columns.reshape(layer.weight.shape)]
    return [columns[..., :-1].reshape(layer.weight.shape), columns[..., -1].reshape(-1)]


def exact_dtype() -> torch.dtype:
    """float64; where the accelerator of this machine is Apple's, which has none, float32."""
    return torch.float32 if torch.backends.mps.is_available() else torch.float64
