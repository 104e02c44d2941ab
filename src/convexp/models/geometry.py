"""How far a model sees."""

from torch import nn

_WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


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
        kernel, stride = _two(module.kernel_size), _two(module.stride)
        dilation = (1, 1) if isinstance(module, nn.AvgPool2d) else _two(module.dilation)
        for axis in (0, 1):
            field[axis] += dilation[axis] * (kernel[axis] - 1) * jump[axis]
            jump[axis] *= stride[axis]
    return field[0], field[1]


def _two(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else value
