"""What a model does to an image as one kernel: everywhere if it is linear, at one pixel if it is not."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from math import inf
from operator import itemgetter

import torch
from torch import Tensor, nn

from convexp.analysis.layers import evaluating
from convexp.errors import ConvexpError
from convexp.operators.response import Operator, Response, impulse_response

# Windows are cut off in steps of so many pixels, so that blocks, mosaics and strides fall as in the whole image.
PERIOD = 32
MARGIN = 8  # more than what is needed, for steps that look further than their result does


@dataclass(frozen=True, eq=False)
class LocalKernel:
    """What an output pixel takes from the image around it: a row of the Jacobian.

    ``kernel[o, i, j, k] = ∂out[o, y, x] / ∂image[i, y + top + j, x + left + k]``, where (y, x) is the input pixel that
    lies under the output pixel when both images have a common centre.

    Args:
        kernel: (O, I, kh, kw).
        top: Row of the kernel's first row from the aligned input pixel.
        left: Column of the kernel's first column from the aligned input pixel.
    """

    kernel: Tensor
    top: int
    left: int


def local_kernel(
    function: Operator,
    image: Tensor,
    place: tuple[int, int],
    *,
    reach: tuple[int, int, int, int] | None = None,
) -> LocalKernel | None:
    """The kernel that a function applies at one place of an image, exact by automatic differentiation.

    A linear function has the same everywhere; of any other it is the linear one that it equals there for small changes.
    It is computed in float64 where the function can be, and cut to the smallest box that holds all but 0 and rounding.

    Args:
        function: Maps (1, I, H, W) to (1, O, H', W'). A module is asked in eval mode.
        image: (1, I, H, W).
        place: Row and column of a pixel of the output.
        reach: The offsets (top, bottom, left, right) that an output pixel depends on, as
            `convexp.operators.response.support` finds them. If they are known, and far from the border, the function is
            given a window of the image only, which is faster.

    Returns:
        None if the function carries no gradients.

    Raises:
        ConvexpError: If the place is not in the output.

    Example:
        >>> found = local_kernel(torch.square, torch.full((1, 1, 5, 7), 0.5), (2, 3))
        >>> found.kernel, found.top, found.left
        (tensor([[[[1.]]]], dtype=torch.float64), 0, 0)
    """
    for operator, dtype in _versions(function):
        try:
            return _row(operator, image.detach().to(dtype), place, reach)
        except Exception:  # whether it knows float64, and carries gradients, shows when it is tried
            continue
    with torch.no_grad():
        _check_place(place, _evaluated(function)(image).shape)  # may fail as the function does
    return None


def effective_kernel(model: nn.Module, in_channels: int, *, field: tuple[int, int]) -> Response | None:
    """The one kernel and constant that a linear model equals, whatever the number of its layers.

    Args:
        model: Maps (1, I, H, W) to (1, O, H', W').
        in_channels: I.
        field: Height and width of its receptive field.

    Returns:
        None if the model is not linear, up to a constant, or not the same everywhere but near the border.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 1, (1, 2), bias=False), nn.Conv2d(1, 1, (1, 2), bias=False))
        >>> for layer in model:
        ...     nn.init.ones_(layer.weight)[0, 0].tolist()
        [[1.0, 1.0]]
        [[1.0, 1.0]]
        >>> effective_kernel(model, 1, field=(1, 3)).kernel
        tensor([[[[1., 2., 1.]]]])
    """
    side = 2 * max(field) + 17
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    for operator, dtype in _versions(model):
        found = impulse_response(partial(_converted, operator, device, dtype), in_channels, side=side)
        if found is not None:
            return found
    return None


def energy_box(kernel: Tensor, fraction: float = 0.99) -> tuple[int, int]:
    """Height and width of the box that holds most of a kernel's energy Σk².

    From the whole kernel, the outer row or column with the least energy is taken away again and again, as long as the
    fraction is left.

    Args:
        kernel: (O, I, kh, kw).
        fraction: What has to be left, from 0 to 1.

    Example:
        >>> energy_box(torch.tensor([[[[0.0, 0.1, 0.0, 0.0], [0.0, 2.0, 1.0, 0.0]]]]))
        (1, 2)
    """
    energy = kernel.detach().double().square().sum(dim=(0, 1))
    affordable = (1 - fraction) * float(energy.sum())
    while True:
        sides = [(energy[0], energy[1:]), (energy[-1], energy[:-1])] if energy.shape[0] > 1 else []
        if energy.shape[1] > 1:
            sides += [(energy[:, 0], energy[:, 1:]), (energy[:, -1], energy[:, :-1])]
        lost, rest = min(((float(line.sum()), rest) for line, rest in sides), key=itemgetter(0), default=(inf, energy))
        if not lost <= affordable:
            return energy.shape[0], energy.shape[1]
        affordable, energy = affordable - lost, rest


def _versions(function: Operator) -> Iterator[tuple[Operator, torch.dtype]]:
    """The function for float64 images, if that can be had, and as it is; modules in eval mode."""
    exact = _exact(function)
    if exact is not None:
        yield exact, torch.float64
    yield _evaluated(function), torch.float32


def _exact(function: Operator) -> Operator | None:
    if not isinstance(function, nn.Module):
        return function
    try:
        return deepcopy(function).requires_grad_(False).double().eval()
    except Exception:  # not every module can be copied, nor does every device know float64
        return None


def _evaluated(function: Operator) -> Operator:
    def answer(image: Tensor) -> Tensor:
        with evaluating(function) if isinstance(function, nn.Module) else nullcontext():
            return function(image)

    return answer


def _converted(operator: Operator, device: torch.device, dtype: torch.dtype, image: Tensor) -> Tensor:
    return operator(image.to(device, dtype))


def _row(
    operator: Operator, image: Tensor, place: tuple[int, int], reach: tuple[int, int, int, int] | None
) -> LocalKernel:
    """The row of the Jacobian, of a window of the image if there is a reach."""
    if reach is not None:
        rows, columns = _window(operator, image, place, reach)
        image, place = image[..., rows, columns], (place[0] - rows.start, place[1] - columns.start)
    image = image.clone().requires_grad_()
    with torch.enable_grad():
        output = operator(image.clone())  # it may write into its input
        _check_place(place, output.shape)
        row, column = place
        values = output[0, :, row, column]
    # One after the other: not every operation can be batched backwards, and outputs are few.
    answers = [
        torch.autograd.grad(values, image, one, retain_graph=True)[0] for one in torch.eye(len(values)).to(values)
    ]
    row += _offset(image.shape[-2], output.shape[-2])
    column += _offset(image.shape[-1], output.shape[-1])
    return _cut(torch.cat(answers), (row, column))


def _window(
    operator: Operator, image: Tensor, place: tuple[int, int], reach: tuple[int, int, int, int]
) -> tuple[slice, slice]:
    """The rows and columns of the image that are enough for a place; all, if they come near the border."""
    sizes = image.shape[-2:]
    reaches = (reach[:2], reach[2:])
    # How many lines the output lacks, a corner shows; that of a stride or of blocks, if it lacks whole periods itself.
    dropped = [
        max(side - 2 * (high - low + MARGIN), 0) // PERIOD * PERIOD
        for side, (low, high) in zip(sizes, reaches, strict=True)
    ]
    corner = image[..., dropped[0] :, dropped[1] :]
    try:
        with torch.no_grad():
            output = operator(corner.clone())
    except Exception:  # the corner may be too small
        return slice(0, sizes[0]), slice(0, sizes[1])
    lost = [corner.shape[dim] - output.shape[dim] for dim in (-2, -1)]
    windows: list[slice] = []
    for side, position, less, (low, high) in zip(sizes, place, lost, reaches, strict=True):
        aligned = position + _offset(side, side - less)
        margin = max(high - low + MARGIN, less)  # what the output lacks may be more than what it depends on
        start, end = aligned + min(low, 0) - margin, aligned + max(high, 0) + margin + 1
        inside = start >= 0 and end <= side
        windows.append(slice(start - start % PERIOD, end + (side - end) % PERIOD) if inside else slice(0, side))
    return windows[0], windows[1]


def _cut(rows: Tensor, aligned: tuple[int, int]) -> LocalKernel:
    """The smallest box of (O, I, H, W) that holds all that is neither 0 nor rounding."""
    rounding = 16 * torch.finfo(rows.dtype).eps * rows.abs().max()
    inside = ~(rows.abs() <= rounding).all(dim=0).all(dim=0)  # so that what is no number is inside
    if not inside.any():
        return LocalKernel(rows.new_zeros(*rows.shape[:2], 1, 1), 0, 0)
    (top, bottom), (left, right) = ((int(line.min()), int(line.max())) for line in inside.nonzero().T)
    kernel = rows[..., top : bottom + 1, left : right + 1].clone()
    return LocalKernel(kernel, top - aligned[0], left - aligned[1])


def _offset(input_side: int, output_side: int) -> int:
    """The input line that is aligned with output line 0, as ``images.alignment`` does."""
    return (input_side - output_side) // 2


def _check_place(place: tuple[int, int], shape: Sequence[int]) -> None:
    height, width = shape[-2:]
    if not (0 <= place[0] < height and 0 <= place[1] < width):
        raise ConvexpError(
            f"place={place} is not in the output, which is {height}x{width} (HxW): choose a row from 0 to {height - 1} "
            f"and a column from 0 to {width - 1}"
        )
