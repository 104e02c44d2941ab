"""ffmpeg: a graph around its filter `convolution`, which has integers for weights.

https://ffmpeg.org/ffmpeg-filters.html#convolution
"""

import shlex
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.formats.linear import kernel_of, on_output, refused_on_image
from convexp.deploy.learned import Learned
from convexp.deploy.programs import UnverifiedError, execute, find_program
from convexp.deploy.single_kernel import SingleKernel
from convexp.images.files import read_image, write_image

RADIUS = 3  # of 7×7, the largest square that it takes
MOST = (2**31 - 1) // 255  # of all weights' sizes together: it sums up 8-bit pixels in 32 bits
EXACT = 0.01 / 255  # a hundredth of a level: finer weights change nothing
PLANES = (1, 2, 0)  # gbrp holds green, blue and red


@dataclass(frozen=True, eq=False)
class Integers:
    """A kernel as integers: about `weights` · `rdiv`.

    Args:
        weights: (k, k).
        rdiv: What their sums are multiplied by.
        error: What an image in [0, 1] can get wrong by at most: Σ |kernel − weights · rdiv|.
    """

    weights: Tensor
    rdiv: float
    error: float

    @property
    def of_unit_sum(self) -> bool:
        """Whether `rdiv` is what ffmpeg takes by itself."""
        total = int(self.weights.sum())
        return abs(self.rdiv * (total or 1) - 1) < 1e-6


def integers(kernel: Tensor) -> Integers:
    """The smallest integers that are as good as a kernel for 8 bits, else those with the least error.

    Integers of which ffmpeg finds the scale by itself are preferred: of some versions it is the only one.

    Args:
        kernel: (k, k).

    Example:
        >>> found = integers(torch.tensor([[0.0, 0.125, 0.0], [0.125, 0.5, 0.125], [0.0, 0.125, 0.0]]))
        >>> found.weights.int().tolist(), found.rdiv
        ([[0, 1, 0], [1, 4, 1], [0, 1, 0]], 0.125)
    """
    kernel = kernel.double()
    largest = float(kernel.abs().max())
    if largest == 0:
        return Integers(torch.zeros_like(kernel), 1.0, 0.0)
    # Of all scales the whole ones, and those at which the largest weight is whole; above, every tenth power of 2.
    fine = 2.0 ** torch.arange(12, 31, 0.1, dtype=torch.float64)
    scales = torch.cat([torch.arange(1, 1025).double(), torch.arange(1, 4097).double() / largest, fine / largest])
    scales = scales[scales * kernel.abs().sum() <= MOST - kernel.numel()].sort().values
    weights = (scales[:, None, None] * kernel).round()
    totals = weights.sum(dim=(1, 2))
    own = torch.where(totals == 0, 1.0, 1 / totals)
    best: Integers | None = None
    for rdiv in (own, 1 / scales):
        errors = (kernel - weights * rdiv[:, None, None]).abs().sum(dim=(1, 2))
        errors = torch.where(rdiv > 0, errors, torch.inf)
        good = (errors <= EXACT).nonzero().flatten()
        at = int(good[0] if len(good) else errors.argmin())
        found = Integers(weights[at], float(rdiv[at]), float(errors[at]))
        if len(good):
            return found
        if best is None or found.error < best.error:
            best = found
    assert best is not None
    return best


def _radius(kernel: SingleKernel) -> int:
    """Of the square around the anchor that holds the kernel."""
    assert kernel.anchor is not None
    radius = max(max(at, side - 1 - at) for at, side in zip(kernel.anchor, kernel.size, strict=True))
    # At the right and below, squares of 3×3 repeat the edge pixel, larger ones mirror about it.
    return max(radius, 2 if kernel.border == "reflect" else 1)


def _planes(kernel: SingleKernel) -> list[Integers]:
    """For every channel."""
    radius = _radius(kernel)
    assert kernel.anchor is not None
    (top, left), (height, width) = kernel.anchor, kernel.size
    before, above = radius - left, radius - top
    padding = (before, 2 * radius + 1 - width - before, above, 2 * radius + 1 - height - above)
    return [integers(nn.functional.pad(own, padding)) for own in kernel.own]


def source(learned: Learned) -> str:
    """The filter graph."""
    kernel = kernel_of(learned)
    planes = _planes(kernel)
    options: list[str] = []
    for plane, channel in enumerate(PLANES if kernel.outputs == 3 else (0,)):
        own, bias = planes[channel], max(255 * float(kernel.constant[channel]), 0.0)
        weights = " ".join(str(int(weight)) for weight in own.weights.flatten())
        options.append(f"{plane}m='{weights}':{plane}rdiv={own.rdiv:.9g}")
        options[-1] += f":{plane}bias={bias:.9g}" if bias else ""
    before, behind = ("gbrp", "rgb24") if kernel.outputs == 3 else ("gray", "gray")
    return f"format={before},convolution={':'.join(options)},format={behind}\n"


def _refusal(learned: Learned) -> str | None:
    if (reason := refused_on_image(learned)) is not None:
        return reason
    kernel = kernel_of(learned)
    if _radius(kernel) > RADIUS:
        height, width = kernel.size
        return f"its kernel of {height}×{width} does not fit into 7×7"
    if kernel.constant.min() < -0.5 / 255:
        return f"its constant {float(kernel.constant.min()):.3g} is negative, and ffmpeg's bias may not be"
    return None


def _write(learned: Learned, path: Path) -> None:
    path.write_text(source(learned), encoding="ascii")


@contextmanager
def _opened(learned: Learned, path: Path) -> Generator[Opened, None, None]:
    kernel = kernel_of(learned)
    ffmpeg = find_program("ffmpeg", what="ffmpeg")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        said = execute([ffmpeg, "-version"], folder).decode(errors="replace").split()
        version = said[2] if len(said) > 2 else "of unknown version"
        if not all(own.of_unit_sum for own in _planes(kernel)) and not _scales(ffmpeg, folder):
            raise UnverifiedError(f"ffmpeg {version} ignores rdiv, which this kernel needs; newer ones do not")

        def run(image: Tensor) -> Tensor:
            write_image(image[0], folder / "photo.png")
            graph = path.read_text(encoding="ascii").strip()
            words = ["-v", "error", "-y", "-i", "photo.png", "-vf", graph, "-frames:v", "1", "output.png"]
            execute([ffmpeg, *words], folder)
            return on_output(read_image(folder / "output.png")[None], kernel)

        yield Opened(f"ffmpeg {version}", run)


def _scales(ffmpeg: str, folder: Path) -> bool:
    """Whether this ffmpeg multiplies by rdiv: 5.1 takes 1 / Σ weights whatever is asked for."""
    graph = "color=c=0x282828:s=8x8,format=gray,convolution=0m='0 0 0 0 2 0 0 0 0':0rdiv=1"
    words = ["-v", "error", "-f", "lavfi", "-i", graph, "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "gray", "-"]
    pixels = execute([ffmpeg, *words], folder)
    return len(pixels) == 64 and pixels[36] > 60


def _margin(learned: Learned) -> tuple[int, int]:
    kernel = kernel_of(learned)
    return (0, 0) if kernel.border in (None, "reflect") and kernel.exact_border else kernel.reach


def _slack(learned: Learned, image: Tensor) -> float:
    kernel = kernel_of(learned)
    rounding = max(own.error for own in _planes(kernel))
    return rounding + kernel.mixing + max(0.0, -float(kernel.constant.min()))


def _notes(learned: Learned) -> list[str]:
    kernel = kernel_of(learned)
    error = 255 * max(own.error for own in _planes(kernel))
    rounding = f"the weights, rounded to integers, change a pixel by at most {error:.2g} of 255 levels"
    notes = [rounding if error >= 1e-6 else "the weights are exact as integers"]
    if kernel.border != "reflect":
        notes.append("at the edge ffmpeg mirrors the image; the run does not")
    return notes


def _example(learned: Learned, path: Path) -> list[str]:
    return [f'ffmpeg -i photo.png -vf "$(cat {shlex.quote(str(path))})" -frames:v 1 output.png']


FFMPEG = Format(
    name="ffmpeg",
    suffix=".txt",
    what="a filter graph around ffmpeg's convolution",
    values="8 bits",
    everywhere=False,
    refusal=_refusal,
    write=_write,
    opened=_opened,
    example=_example,
    margin=_margin,
    slack=_slack,
    notes=_notes,
)
