"""What an operator answers to an impulse, found by experiment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.operators.fourier import correlate
from convexp.operators.memory import remembered

SMALLEST_SIDE = 17
ROUNDING = 1e-6  # of the largest output: what a change of one pixel leaves everywhere in a Fourier transform, and less
TOLERANCE = 1e-4  # of the output's standard deviation
# Added to the side, 65, these give two primes: what depends on the size, or swaps the axes, is found out.
EXTRA_HEIGHT, EXTRA_WIDTH = 8, 14
# Which pixels of the 8×8 block in the middle are changed. The corners show how far operators reach that work on such
# blocks, and are the four kinds of pixels in a mosaic of 2×2.
BLOCK = 8
PLACES = ((0, 0), (7, 7), (0, 7), (7, 0), (3, 4))
# The range of the noise around them. In the dark, small weights are not lost in rounding, and similar pixels are many.
CONTRASTS = (0.02, 1.0, 1.0, 1.0, 1.0)

Operator = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Response:
    """A linear operator: ``out[y, x] = constant + Σᵢⱼ kernel[i, j] · image[y + top + i, x + left + j]``.

    ``(y, x)`` is the input pixel that lies under the output pixel when both images have a common centre.

    Args:
        kernel: (O, I, kh, kw) float32, as ``Conv2d`` holds it.
        top: Row of the kernel's first row from the aligned input pixel: −3 for a centred kernel of 7 rows.
        left: Column of the kernel's first column from the aligned input pixel.
        constant: (O,) float32, the output for a black image.
    """

    kernel: Tensor
    top: int
    left: int
    constant: Tensor

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The offsets (top, bottom, left, right) of the outer weights from the aligned input pixel, inclusive."""
        height, width = self.kernel.shape[-2:]
        return self.top, self.top + height - 1, self.left, self.left + width - 1


@remembered
def impulse_response(operator: Operator, in_channels: int, *, side: int = 65) -> Response | None:
    """Return the kernel of a linear operator, or None if the operator is not a convolution.

    The kernel is what a white pixel on black adds to what black gives, cut to the smallest box that holds all that is
    not rounding. The operator is a convolution (plus a constant) if this kernel predicts, to 10⁻⁴ of the standard
    deviation, what the operator makes of noise in [0, 1], of bright and dark plateaus and of white, away from the
    border. An operator that clips is linear as long as it does not clip these.

    Args:
        operator: Anything that maps (1, C, H, W) float32 in [0, 1] to (1, C', H', W'). It is called without gradients,
            and leaves PyTorch's global random state as it was.
        in_channels: C.
        side: Height and width of the image with the white pixel. The output must be larger than the kernel on all
            sides, so the kernel of an operator without a border may be about half as large.

    Returns:
        None if the operator fails on such images, is not linear or not shift-invariant away from the border, or its
        kernel does not fit into `side`.

    Raises:
        ConvexpError: If `in_channels` is not positive or `side` is less than 17.

    Example:
        >>> from convexp.operators import Gradients
        >>> impulse_response(Gradients("edges"), 1).kernel[0, 0]
        tensor([[-1.,  1.],
                [-1.,  1.]])
        >>> impulse_response(torch.square, 1)
    """
    _check(in_channels, side)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        # In float64 first, where the operator can: the rounding of hundreds of products looks like a non-linearity.
        for dtype in (torch.float64, torch.float32):
            found = _response(operator, in_channels, side, dtype)
            if found is not None and _predicts(found, operator, in_channels, side, dtype):
                return found
        return None


@remembered
def support(operator: Operator, in_channels: int, *, side: int = 65) -> tuple[int, int, int, int] | None:
    """Return the box of input pixels that an output pixel depends on, whatever the operator.

    Single pixels of noise images, in several places, are made black and white, and the outputs that change are noted.
    Changes below 10⁻⁶ of the largest output are taken for rounding. Of a linear operator it is the response's box.

    Args:
        operator: As for `impulse_response`.
        in_channels: C.
        side: About the height and width of the images.

    Returns:
        The offsets (top, bottom, left, right) of the outer pixels from the input pixel that is aligned with the output
        pixel, inclusive: (−3, 3, −3, 3) for a centred 7×7 kernel. None if nothing changes, the operator fails or scales
        the image, or a change reaches the edge of the output, as it does if every pixel depends on all.

    Raises:
        ConvexpError: If `in_channels` is not positive or `side` is less than 17.

    Example:
        >>> support(lambda image: nn.functional.max_pool2d(image, (3, 5), stride=1), 1)
        (-1, 1, -2, 2)
    """
    _check(in_channels, side)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return _support(operator, in_channels, side)


def _response(operator: Operator, in_channels: int, side: int, dtype: torch.dtype) -> Response | None:
    images = torch.zeros(in_channels + 1, in_channels, side, side, dtype=dtype)  # the last one stays black
    middle = side // 2
    for channel in range(in_channels):
        images[channel, channel, middle, middle] = 1
    answers = apply_each(operator, images)
    if answers is None:
        return None
    constant = answers[-1, :, answers.shape[-2] // 2, answers.shape[-1] // 2].float()
    box = _changed(answers[:-1], answers[-1])
    if box is None:
        return Response(torch.zeros(len(constant), in_channels, 1, 1), 0, 0, constant)
    first_row, last_row, first_column, last_column = box
    if _touches(box, answers):
        return None
    weights_IOHW = (answers[:-1] - answers[-1])[..., first_row : last_row + 1, first_column : last_column + 1]
    kernel = weights_IOHW.transpose(0, 1).flip(-2, -1).float().contiguous()
    top = middle - _offset(side, answers.shape[-2]) - last_row
    left = middle - _offset(side, answers.shape[-1]) - last_column
    return Response(kernel, top, left, constant)


def _predicts(response: Response, operator: Operator, in_channels: int, side: int, dtype: torch.dtype) -> bool:
    """Tell whether the response is all that the operator does to other images, away from the border."""
    generator = torch.Generator().manual_seed(1)
    size = (side + EXTRA_HEIGHT, side + EXTRA_WIDTH)
    noise = torch.rand(2, in_channels, *size, generator=generator)
    # Large areas near black and white in all channels, for operators that clip what they have averaged.
    levels = torch.rand(1, 1, 5, 5, generator=generator) * 1.5 - 0.25
    plateaus = nn.functional.interpolate(levels, size) + 0.2 * torch.rand(1, in_channels, *size, generator=generator)
    plain = torch.stack([torch.zeros(in_channels, *size), torch.ones(in_channels, *size)])
    # And noise of little contrast, for operators that stretch it.
    images = torch.cat([noise, plateaus.clamp(0, 1), plain, 0.4 + 0.1 * noise[:1]])
    answers = apply_each(operator, images.to(dtype))
    if answers is None or answers.shape[1] != len(response.constant):
        return False

    weight, constant = response.kernel.double(), response.constant.double().view(-1, 1, 1)
    predictions = correlate(images.double(), weight) + constant
    rows = _interior(answers.shape[-2], predictions.shape[-2], _offset(size[0], answers.shape[-2]) + response.top, side)
    columns = _interior(
        answers.shape[-1], predictions.shape[-1], _offset(size[1], answers.shape[-1]) + response.left, side
    )
    if rows is None or columns is None:
        return False
    answered, predicted = answers[..., rows[0], columns[0]], predictions[..., rows[1], columns[1]]
    deviation = answered[: len(noise)].std(dim=(0, 2, 3), correction=0)
    rounding = 2 * ROUNDING * answered.abs().amax(dim=(0, 2, 3))
    worst = (answered - predicted).abs().amax(dim=(0, 2, 3))
    return bool((worst <= TOLERANCE * deviation + rounding).all())


def _interior(answered: int, predicted: int, shift: int, side: int) -> tuple[slice, slice] | None:
    """Return the same lines of the answer and of its prediction, or None: line p of the one is p + shift of the other.

    Operators do as they like with a border of an eighth of the side.
    """
    border = side // 8
    first, end = max(border, -shift), min(answered - border, predicted - shift)
    return (slice(first, end), slice(first + shift, end + shift)) if first < end else None


def _support(operator: Operator, in_channels: int, side: int) -> tuple[int, int, int, int] | None:
    generator = torch.Generator().manual_seed(2)
    size = (side + EXTRA_HEIGHT, side + EXTRA_WIDTH)
    boxes: list[tuple[int, int, int, int]] = []
    losses: set[tuple[int, int]] = set()
    for places, contrast in zip(PLACES, CONTRASTS, strict=True):
        size = size[::-1]  # an output that is twice as large, say, is not as much larger than both
        row, column = (length // 2 // BLOCK * BLOCK + place for length, place in zip(size, places, strict=True))
        noise = contrast * torch.rand(in_channels, *size, generator=generator)
        images = noise.repeat(1 + 2 * in_channels, 1, 1, 1)  # the first one stays as it is
        for channel in range(in_channels):
            images[1 + channel, channel, row, column] = 0
            images[1 + in_channels + channel, channel, row, column] = 1
        answers = apply_each(operator, images)
        if answers is None:
            return None
        losses.add((size[0] - answers.shape[-2], size[1] - answers.shape[-1]))
        box = _changed(answers[1:], answers[0])
        if box is None:
            continue
        if _touches(box, answers):
            return None
        row -= _offset(size[0], answers.shape[-2])
        column -= _offset(size[1], answers.shape[-1])
        boxes.append((row - box[1], row - box[0], column - box[3], column - box[2]))
    if not boxes or len(losses) > 1:
        return None
    tops, bottoms, lefts, rights = zip(*boxes, strict=True)
    return min(tops), max(bottoms), min(lefts), max(rights)


def apply_each(operator: Operator, images: Tensor) -> Tensor | None:
    """Apply an operator to each image (N, C, H, W) on its own: (N, C', H', W') float64 on the CPU.

    Args:
        operator: As for `impulse_response`.
        images: What it is applied to; it may write into copies.

    Returns:
        None if it fails, or unless all outputs are finite images of one shape.
    """
    answers: list[Tensor] = []
    for image in images:
        try:
            answer = operator(image[None].clone())  # it may write into its input
        except Exception:  # whatever the operator raises, its answer is: not to such images
            return None
        # The ignore: an operator of the user's may return anything, whatever the annotation says.
        if not isinstance(answer, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
            return None
        if answer.dim() != 4 or len(answer) != 1 or not answer.numel() or answer.is_complex():
            return None
        answer = answer.detach().cpu().double()
        if not answer.isfinite().all():
            return None
        answers.append(answer)
    if any(answer.shape != answers[0].shape for answer in answers):
        return None
    return torch.cat(answers)


def _changed(after: Tensor, before: Tensor) -> tuple[int, int, int, int] | None:
    """Return the first and last row and the first and last column in which (N, C, H, W) differs from (C, H, W)."""
    largest = torch.maximum(after.abs().max(), before.abs().max())
    changed_HW = ((after - before).abs() > ROUNDING * largest).any(dim=0).any(dim=0)
    if not changed_HW.any():
        return None
    rows, columns = changed_HW.nonzero().T
    return int(rows.min()), int(rows.max()), int(columns.min()), int(columns.max())


def _touches(box: Sequence[int], answers: Tensor) -> bool:
    """Tell whether a box of rows and columns reaches the edge, beyond which it may go on."""
    height, width = answers.shape[-2:]
    return box[0] == 0 or box[1] == height - 1 or box[2] == 0 or box[3] == width - 1


def _offset(input_side: int, output_side: int) -> int:
    """Return the input line that is aligned with output line 0, as ``images.alignment`` does."""
    return (input_side - output_side) // 2


def _check(in_channels: int, side: int) -> None:
    if in_channels < 1:
        raise ConvexpError(f"in_channels={in_channels} must be positive: 1 for gray images, 3 for colour")
    if side < SMALLEST_SIDE:
        raise ConvexpError(f"side={side} must be at least {SMALLEST_SIDE} pixels, and twice the size of the kernel")
