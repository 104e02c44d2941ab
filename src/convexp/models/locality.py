"""What part of an image a module reads, found by experiment."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError

HEIGHT = 1021  # a layer whose outer taps lie outside an image does not show how far they reach
# Sizes of noise images, and what others have more. Primes, so that what depends on the place or the size is found out,
# and multiples for models that take no others; narrow, and wider for models that lose many columns.
SIZES = (((HEIGHT, 61), (13, 8)), ((1024, 64), (64, 64)), ((HEIGHT, 251), (13, 8)), ((HEIGHT, HEIGHT), (13, 8)))
PLACES = (0, 1, 2, 3)  # rows from the middle one: layers that halve and double have phases
TOLERANCE = 1e-5  # of the largest value: a part is computed by other routines than the whole


class NotLocalError(ConvexpError):
    """A model cannot be applied to a part of an image; the message says why, as "it normalises over …"."""


@dataclass(frozen=True)
class Reach:
    """Row y of the output depends on the rows y − above to y + below of the input, and on no others.

    Args:
        above: May be negative, and so may `below`.
        below: …
        growth: Rows and columns that the output has more than the input; −2 of a valid 3×3 convolution.
    """

    above: int
    below: int
    growth: tuple[int, int]

    @classmethod
    def padded(cls, above: int, below: int, growth: tuple[int, int]) -> "Reach":
        """The reach of a step that reads rows from y − above to y + below, and mirrors those outside the image.

        Row −k is row k: at the border an asymmetric step reads further to its shorter side. A result that is larger
        than the image ends that much further from it.
        """
        larger = 2 * max(0, growth[0])
        return cls(max(above, below) + larger, max(above, below) + larger, growth)

    def rows(self, start: int, stop: int, height: int) -> tuple[int, int]:
        """The rows of an input of that height that the output rows from `start` to before `stop` depend on."""
        first = min(max(0, start - self.above), height - 1)
        return first, min(max(first + 1, stop + self.below), height)


def reach_of(module: nn.Module, name: str, channels: int | None) -> tuple[Reach, tuple[int, int] | None]:
    """Find out which rows a module reads, and make sure that parts of an image are filtered as the whole is.

    Rows of a noise image are made NaN — which a sum does not lose, even with a weight of 0 — and other noise, and the
    rows of the output that change are noted.

    Args:
        module: Maps (1, C, H, W) to (1, C', H', W').
        name: For messages.
        channels: C; None tries 3 and 1.

    Returns:
        The reach, and C and C', or None if it keeps their number, whatever it is.

    Raises:
        NotLocalError: If an output row depends on all rows, or on where it lies, or the output is larger by a factor.
        ConvexpError: If the module fails.

    Example:
        >>> reach_of(nn.MaxPool2d((3, 5), stride=1), "pool", 1)[0]
        Reach(above=0, below=2, growth=(-2, -4))
    """
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        image, whole, growth = _tried(module, name, channels)
        reads = _reads(module, image, whole)
        if reads is None:
            raise NotLocalError(f"a row reaches more than {HEIGHT // 2} rows far ({_named(module, name)})")
        # What loses as many rows as it reads, or more, invents no border. It makes row 0 from row 0 on.
        above = max(0, reads[0])
        below = max(reads[1], -growth[0] - above)
        reach = Reach(above, below, growth) if above + below == -growth[0] else Reach.padded(*reads, growth)
        if not _same_in_parts(module, image, whole, reach):
            raise NotLocalError(f"it makes something else of a part than of the whole ({_named(module, name)})")
    taken = image.shape[1], whole.shape[1]
    return reach, (None if channels is None and taken[0] == taken[1] else taken)


def size_of(module: nn.Module, channels: int | None) -> tuple[tuple[int, int], int | None]:
    """Find out how many rows and columns the output of a module, local or not, has more than its image.

    Returns:
        These, and how many channels; None if it keeps their number, whatever it is.

    Raises:
        ConvexpError: If the output is larger by a factor, or the module fails.

    Example:
        >>> size_of(nn.Sequential(nn.Conv2d(1, 4, (2, 3)), nn.InstanceNorm2d(4)), 1)
        ((-1, -2), 4)
    """
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        image, whole, growth = _tried(module, "", channels)
        return growth, (None if channels is None and image.shape[1] == whole.shape[1] else whole.shape[1])


def _tried(module: nn.Module, name: str, channels: int | None) -> tuple[Tensor, Tensor, tuple[int, int]]:
    """Return a noise image, what the module makes of it, and how much larger that is."""
    failure: Exception | None = None
    for size, extra in SIZES:
        for count in (3, 1) if channels is None else (channels,):
            image = _noise(module, count, *size, seed=1)
            larger = _noise(module, count, size[0] + extra[0], size[1] + extra[1], seed=1)
            try:
                whole, more = module(image.clone()), module(larger.clone())
                growth = whole.shape[2] - image.shape[2], whole.shape[3] - image.shape[3]
                same = (more.shape[2] - larger.shape[2], more.shape[3] - larger.shape[3]) == growth
            except Exception as error:  # a user's module may raise anything
                failure = error
                continue
            if same:
                return image, whole, growth
            # One that halves and doubles keeps the size of some images only: the last ones are such.
            failure = NotLocalError(f"it changes the scale of an image ({_named(module, name)})")
    if isinstance(failure, NotLocalError):
        raise failure
    reason = " ".join(str(failure).split())
    raise ConvexpError(f"the model fails on noise of {HEIGHT}×{HEIGHT} ({_named(module, name)}): {reason}")


def _reads(module: nn.Module, image: Tensor, whole: Tensor) -> tuple[int, int] | None:
    """Return how many rows above and below its own an output row reads; None if they are too many to be seen."""
    reach: list[tuple[int, int]] = []
    for place in PLACES:
        row = image.shape[2] // 2 + place
        for change in _changes(module, image, row):
            rows = (change != whole).any(dim=3).any(dim=1)[0].nonzero()
            if not len(rows):
                continue
            first, last = int(rows.min()), int(rows.max())
            if first == 0 or last == whole.shape[2] - 1:
                return None
            reach.append((last - row, row - first))
    if not reach:
        return 0, 0
    return max(above for above, _ in reach), max(below for _, below in reach)


def _changes(module: nn.Module, image: Tensor, row: int) -> list[Tensor]:
    """What the module makes of the image with another row."""
    other = _noise(module, image.shape[1], 1, image.shape[3], seed=2 + row)
    made: list[Tensor] = []
    for values in (torch.full_like(other, torch.nan), other, 10 * other):
        changed = image.clone()
        changed[:, :, row : row + 1] = values
        made.append(module(changed))
    return made


def _same_in_parts(module: nn.Module, image: Tensor, whole: Tensor, reach: Reach) -> bool:
    height, made = image.shape[2], whole.shape[2]
    middle = made // 2
    parts = [(0, 1), (0, 7), (3, 5), (middle, middle + 1), (middle - 4, middle + 7), (middle + 1, middle + 4)]
    parts += [(made - 9, made - 2), (made - 1, made)]
    for start, stop in parts:
        start, stop = max(0, start), min(stop, made)
        first, last = reach.rows(start, stop, height)
        try:
            part = module(image[:, :, first:last].clone())[:, :, start - first : stop - first]
        except Exception:  # which the whole image did not raise
            return False
        expected = whole[:, :, start:stop]
        if part.shape != expected.shape:
            return False
        if not torch.allclose(part, expected, rtol=0, atol=TOLERANCE * float(whole.abs().max()), equal_nan=True):
            return False
    return True


def _noise(module: nn.Module, channels: int, height: int, width: int, *, seed: int) -> Tensor:
    device = next((weight.device for weight in module.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, channels, height, width, generator=generator).to(device)


def _named(module: nn.Module, name: str) -> str:
    return f"{type(module).__name__}{f' {name!r}' if name else ''}"
