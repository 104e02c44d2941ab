"""How a model starts."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def lsuv(model: nn.Module, images: Tensor) -> None:
    """Layer-sequential unit-variance initialisation (Mishkin and Matas, All you need is a good init, ICLR 2016).

    Every convolution gets orthogonal weights, no bias, and the scale at which its output on `images` has unit variance.

    Args:
        model: Its convolutions are initialised in the order in which they are registered.
        images: (B, C, H, W), as the model gets them.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
            std = _output_std(model, module, images)
            if std > 1e-6:
                module.weight /= std


def _output_std(model: nn.Module, layer: nn.Module, images: Tensor) -> float:
    seen: list[float] = []
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output.std().item()))
    try:
        model(images)
    finally:
        handle.remove()
    return seen[0] if seen else 1.0
