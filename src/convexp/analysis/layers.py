"""What a model makes of an image on the way: its layers, in the order of computation."""

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convexp.models import Standardised

ROUNDING = 1e-6  # of a channel's largest value: about ten steps of float32


def layers(model: nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Every intermediate representation of an image, by layer, in the order of computation.

    A module with a convolution kernel starts a layer. What follows it without one, such as an activation or a
    normalisation, belongs to it: the layer's representation is what leaves the last of them, under the convolution's
    name. Modules before the first convolution are layers of their own, and so is one that changes the number of
    channels or the scale. A module's second call is ``name#2``. What a model's own ``forward`` does between its modules
    is not seen; if no module returned what the model does, its output comes last, as ``output``.

    Args:
        model: Any module. Inside `Standardised`, names are those of the inner model.
        image: (B, C, H, W), values in [0, 1], as the model gets it.

    Returns:
        (B, C', H', W') each, without gradients.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ELU(inplace=True), nn.Conv2d(4, 1, 3))
        >>> {name: tuple(features.shape) for name, features in layers(model, torch.rand(1, 1, 9, 11)).items()}
        {'0': (1, 4, 7, 9), '2': (1, 1, 5, 7)}
    """
    inner = model.model if isinstance(model, Standardised) else model
    record = _Record()
    leaves = [(name, leaf) for name, leaf in _leaves(inner, "") if leaf is not inner]
    handles = [leaf.register_forward_hook(partial(record.keep, name)) for name, leaf in leaves]
    handles.append(inner.register_forward_hook(record.finish))
    try:
        with evaluating(model), torch.no_grad():
            output = model(image)
    finally:
        for handle in handles:
            handle.remove()
    if _is_image(output) and not record.complete:
        record.add("output", output)
    return record.layers


def constant_channels(features: Tensor) -> dict[int, float]:
    """The channels that are one value everywhere, up to rounding, and that value: 0 for a dead ReLU.

    Args:
        features: (1, C, H, W).

    Example:
        >>> constant_channels(torch.tensor([[[[1.0, 2.0]], [[0.5, 0.5]]]]))
        {1: 0.5}
    """
    values = features.detach().transpose(0, 1).flatten(1).double()
    low, high = values.amin(dim=1), values.amax(dim=1)
    constant = high - low <= ROUNDING * torch.maximum(low.abs(), high.abs())
    return {int(channel): float((low + high)[channel] / 2) for channel in constant.nonzero().flatten()}


@contextmanager
def evaluating(model: nn.Module) -> Generator[None, None, None]:
    """Puts a model into eval mode for a while; each of its modules then gets back its own mode.

    Example:
        >>> model = nn.Dropout()
        >>> with evaluating(model):
        ...     print(model.training)
        False
        >>> model.training
        True
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


class _Record:
    """Notes what modules return."""

    def __init__(self) -> None:
        self.layers: dict[str, Tensor] = {}
        self.complete = False  # whether the last layer is the model's output
        self._calls: Counter[str] = Counter()
        self._convolved = False
        self._current = ""

    def keep(self, name: str, module: nn.Module, _inputs: Any, output: Any) -> None:
        if not _is_image(output):
            return
        convolves = _convolves(module)
        last = self.layers.get(self._current)
        # Channels, as the magnitude of two does; or pixels, as pooling does.
        combines = last is not None and (
            last.shape[1] != output.shape[1] or not 2 / 3 < output.shape[-1] / last.shape[-1] < 3 / 2
        )
        if convolves or combines or not self._convolved:
            self._convolved |= convolves
            self.add(name, output)
        else:
            self.layers[self._current] = output.detach().clone()

    def finish(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        last = self.layers.get(self._current)
        self.complete = (
            last is not None
            and _is_image(output)
            and last.shape == output.shape
            and torch.allclose(last, output, rtol=0, atol=0, equal_nan=True)
        )

    def add(self, name: str, output: Tensor) -> None:
        self._calls[name] += 1
        count = self._calls[name]
        self._current = name if count == 1 else f"{name}#{count}"
        # A copy: the next module may work in place.
        self.layers[self._current] = output.detach().clone()


def _leaves(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The modules without children. A parametrised module's children make its weights: it counts as a leaf."""
    children = [] if parametrize.is_parametrized(module) else list(module.named_children())
    if not children:
        yield name, module
    for child_name, child in children:
        yield from _leaves(child, f"{name}.{child_name}" if name else child_name)


def _convolves(module: nn.Module) -> bool:
    """Tell whether a leaf holds a kernel (O, I, kh, kw); that of a parametrised one is among its children."""
    return any(parameter.dim() == 4 for parameter in module.parameters())


def _is_image(output: Any) -> bool:
    return isinstance(output, Tensor) and output.dim() == 4
