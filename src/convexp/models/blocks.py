"""The named parts of a model: its blocks' feature maps and its convolutions' kernels."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convexp.models.standardised import Standardised


def _inner(model: nn.Module) -> nn.Module:
    return model.model if isinstance(model, Standardised) else model


def kernels(model: nn.Module) -> dict[str, Tensor]:
    """The weights of all 2-D convolutions, (outputs, inputs, height, width), by module name."""
    return {
        name or "kernel": module.weight.detach()
        for name, module in _inner(model).named_modules()
        if isinstance(module, nn.Conv2d)
    }


def feature_maps(model: nn.Module, image: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What a model makes of images, and what its blocks make on the way.

    Args:
        model: Its direct children are its blocks.
        image: (B, C, H, W), values in [0, 1].

    Returns:
        The output, and by block name every tensor (B, C', H', W') that a block returned.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ELU())
        >>> output, maps = feature_maps(model, torch.rand(1, 1, 5, 5))
        >>> {name: tuple(features.shape) for name, features in maps.items()}
        {'0': (1, 4, 3, 3), '1': (1, 4, 3, 3)}
    """
    maps: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            maps[name] = output.detach()

    handles = [child.register_forward_hook(partial(keep, name)) for name, child in _inner(model).named_children()]
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return model(image), maps
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
