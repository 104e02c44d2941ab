"""How far a model sees, and the steps that it consists of."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from convexp.models.context_aggregation import ContextAggregation
from convexp.models.locality import NotLocalError, Reach, reach_of
from convexp.models.standardised import Standardised
from convexp.operators.border import Border

_POOLING = (nn.MaxPool2d, nn.AvgPool2d)
_WINDOWED = (nn.Conv2d, *_POOLING)
_POINTWISE = (
    *(nn.ELU, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.SELU, nn.CELU, nn.SiLU, nn.GELU, nn.Mish, nn.Tanh, nn.Sigmoid),
    *(nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.Softplus, nn.Softsign, nn.Softshrink, nn.Threshold),
    *(nn.Identity, nn.Softmax2d, nn.LogSigmoid, nn.Tanhshrink, nn.Hardshrink, nn.Dropout, nn.Dropout2d),
)
_NORMALISING = (nn.BatchNorm2d, nn.InstanceNorm2d)
_POOLING_ALL = (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)


@dataclass(frozen=True, eq=False)
class Link:
    """One step of a model that is a chain of steps.

    Args:
        run: The step, (B, C, H, W) to (B, C', H', W'), with the border that it invents.
        reach: Which rows it reads, and how much larger the result is.
        channels: C and C'; None if it takes any number and keeps it.
        convolution: What `run` is, if it is a convolution of stride 1.
    """

    run: Callable[[Tensor], Tensor]
    reach: Reach
    channels: tuple[int, int] | None = None
    convolution: nn.Conv2d | None = None

    @property
    def pointwise(self) -> bool:
        """Whether an output pixel depends on the input pixel at the same place alone, or on none."""
        return self.reach == Reach(0, 0, (0, 0))


def receptive_field(model: nn.Module) -> tuple[int, int]:
    """Height and width in pixels of the input region that one output pixel depends on.

    The modules are taken as a chain in the order of their registration:
    r = 1 + Σ dilation·(kernel − 1)·(product of the strides before).

    Example:
        >>> receptive_field(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ELU(), nn.Conv2d(4, 1, (5, 1), dilation=2)))
        (11, 3)
    """
    field, jump = [1, 1], [1, 1]
    for module in model.modules():
        if not isinstance(module, _WINDOWED):
            continue
        reach, stride = _reach(module), _two(module.stride)
        for axis in (0, 1):
            field[axis] += reach[axis] * jump[axis]
            jump[axis] *= stride[axis]
    return field[0], field[1]


def in_channels(model: nn.Module) -> int | None:
    """How many channels the first convolution of a model reads; None if it has none.

    Example:
        >>> in_channels(nn.Sequential(nn.ELU(), nn.Conv2d(3, 1, 5)))
        3
    """
    return next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), None)


def chain(model: nn.Module) -> tuple[Link, ...]:
    """The steps of a local model, one behind the other, in evaluation mode.

    Sequences are taken apart; convolutions of stride 1, poolings and activations of `torch.nn` are known. What any
    other module reads is found by experiment.

    Args:
        model: In evaluation mode.

    Raises:
        NotLocalError: If an output pixel depends on the whole image, or on where it lies.
        ConvexpError: If a module fails on all images that it is tried on.

    Example:
        >>> steps = chain(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ELU(), nn.Conv2d(4, 1, 2)))
        >>> [(step.reach.above, step.reach.below) for step in steps]
        [(1, 1), (0, 0), (0, 1)]
    """
    for name, module in model.named_modules():
        if (reason := _obstacle(module)) is not None:
            raise NotLocalError(f"it {reason} ({type(module).__name__}{f' {name!r}' if name else ''})")
    return tuple(_links(model, "", in_channels(model)))


def halo(links: tuple[Link, ...]) -> tuple[int, int]:
    """How many rows above and below an output row a chain reads.

    Example:
        >>> halo(chain(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ELU(), nn.Conv2d(4, 1, 2))))
        (1, 2)
    """
    return sum(link.reach.above for link in links), sum(link.reach.below for link in links)


def growth(links: tuple[Link, ...]) -> tuple[int, int]:
    """How many rows and columns the result of a chain has more than its image; fewer are negative.

    Example:
        >>> growth(chain(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ELU(), nn.Conv2d(4, 1, (2, 5)))))
        (-1, -4)
    """
    return sum(link.reach.growth[0] for link in links), sum(link.reach.growth[1] for link in links)


def padding_of(convolution: nn.Conv2d) -> tuple[int, int, int, int]:
    """What a convolution adds to an image above, below, left and right.

    Example:
        >>> padding_of(nn.Conv2d(1, 1, (3, 4), padding="same"))
        (1, 1, 1, 2)
    """
    if convolution.padding == "same":
        reach = _reach(convolution)
        return reach[0] // 2, reach[0] - reach[0] // 2, reach[1] // 2, reach[1] - reach[1] // 2
    rows, columns = (0, 0) if isinstance(convolution.padding, str) else _two(convolution.padding)
    return rows, rows, columns, columns


def border_of(convolution: nn.Conv2d) -> Border | None:
    """The border that a convolution invents; None if it invents none."""
    return convolution.padding_mode if any(padding_of(convolution)) else None


def _links(module: nn.Module, name: str, channels: int | None) -> Iterator[Link]:
    if _is(module, nn.Sequential) or _is(module, ContextAggregation):  # whose own method only checks sizes
        for child_name, child in module.named_children():
            for link in _links(child, f"{name}.{child_name}" if name else child_name, channels):
                channels = link.channels[1] if link.channels else channels
                yield link
    elif isinstance(module, Standardised) and _is(module, Standardised):
        yield Link(module.standardised_input, Reach(0, 0, (0, 0)))
        yield from _links(module.model, f"{name}.model" if name else "model", channels)
        yield Link(lambda output: module.offset + module.scale * output, Reach(0, 0, (0, 0)))
    elif isinstance(module, nn.Conv2d) and _is(module, nn.Conv2d) and _two(module.stride) == (1, 1):
        top, bottom, left, right = padding_of(module)
        rows, columns = _reach(module)
        reach = Reach.padded(top, rows - top, (top + bottom - rows, left + right - columns))
        # Zeros and replicas of the edge are there whatever lies before it; a mirror needs as many rows as it adds.
        reach = reach if border_of(module) == "reflect" else replace(reach, above=top, below=rows - top)
        yield Link(module, reach, (module.in_channels, module.out_channels), module)
    elif isinstance(module, _POOLING) and _pools(module) and _two(module.stride) == (1, 1):
        (top, left), (rows, columns) = _two(module.padding), _reach(module)
        yield Link(module, Reach(top, rows - top, (2 * top - rows, 2 * left - columns)))
    elif any(_is(module, kind) for kind in _POINTWISE) or (isinstance(module, _NORMALISING) and _known(module)):
        yield Link(module, Reach(0, 0, (0, 0)))
    else:
        reach, ours = reach_of(module, name, channels)
        yield Link(module, reach, ours)


def _obstacle(module: nn.Module) -> str | None:
    """What a module does that no tile can do."""
    if isinstance(module, nn.GroupNorm) or (isinstance(module, _NORMALISING) and module.running_mean is None):
        return "normalises over the whole image"
    if isinstance(module, _POOLING_ALL):
        return "pools over the whole image"
    if isinstance(module, nn.Conv2d) and border_of(module) == "circular":
        return "goes on at the opposite side of the image"
    return None


def _known(module: nn.Module) -> bool:
    """Whether a module does what its class does: no hook, such as torch's older `weight_norm`, changes it."""
    # The ignores: torch has no public way to ask.
    hooks = (
        module._forward_hooks,  # pyright: ignore[reportPrivateUsage]
        module._forward_pre_hooks,  # pyright: ignore[reportPrivateUsage]
    )
    return not any(hooks)


def _pools(module: nn.Module) -> bool:
    return any(_is(module, kind) for kind in _POOLING)


def _is(module: nn.Module, kind: type[nn.Module]) -> bool:
    methods = ("forward", "_conv_forward")  # of which a convolution has the second, too
    own = all(getattr(type(module), name, None) is getattr(kind, name, None) for name in methods)
    return isinstance(module, kind) and own and _known(module)


def _reach(module: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d) -> tuple[int, int]:
    """Rows and columns of a window's outer pixels from each other."""
    kernel = _two(module.kernel_size)
    dilation = (1, 1) if isinstance(module, nn.AvgPool2d) else _two(module.dilation)
    return dilation[0] * (kernel[0] - 1), dilation[1] * (kernel[1] - 1)


def _two(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else value
