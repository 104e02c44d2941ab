"""SVG: a filter of `feConvolveMatrix` for web pages, which is a true convolution: the kernel is turned by 180°.

https://www.w3.org/TR/filter-effects-1/#feConvolveMatrixElement
"""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from convexp.deploy.formats.chromium import chromium, data_uri
from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.formats.linear import border_in_words, kernel_of, numbers, on_output, refused_on_image
from convexp.deploy.learned import Learned
from convexp.deploy.single_kernel import SingleKernel
from convexp.images.encoding import encode
from convexp.images.files import read_picture

MOST = 256  # weights: of more Chromium draws nothing
FLOATS = 25  # weights: of more Chromium keeps only 8 bits of each
EDGES = {"replicate": "duplicate", "circular": "wrap", "zeros": "none"}
ALPHA = "0 0 0 1 0"


def source(learned: Learned) -> str:
    """The SVG file, which holds the filter and draws nothing."""
    kernel = kernel_of(learned)
    if _alike(kernel):
        steps = [_step(kernel, 0, "")]
    else:
        # Each channel by itself; the others are black, so that the sums of the results do not clip.
        steps = []
        for channel, name in enumerate(("red", "green", "blue")):
            rows = " ".join(_unit(channel) if row == channel else "0 0 0 0 0" for row in range(3))
            steps.append(_step(kernel, channel, f' in="SourceGraphic" result="all-{name}"'))
            steps.append(f'<feColorMatrix in="all-{name}" values="{rows} {ALPHA}" result="{name}"/>')
        steps.append('<feBlend in="red" in2="green" mode="lighten" result="both"/>')
        steps.append('<feBlend in="both" in2="blue" mode="lighten"/>')
    lines = "\n".join(f"    {step}" for step in steps)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="0" height="0">
  <filter id="convexp" x="0" y="0" width="100%" height="100%" color-interpolation-filters="sRGB">
    <title>{_escaped(learned.name)}, learned by convexp; border: {border_in_words(kernel)}</title>
{lines}
  </filter>
</svg>
"""


def _alike(kernel: SingleKernel) -> bool:
    """Whether all channels have one kernel and constant, which is then written once."""
    alike = (kernel.own == kernel.own[0]).all() and (kernel.constant == kernel.constant[0]).all()
    return bool(alike)


def _unit(channel: int) -> str:
    return " ".join("1" if column == channel else "0" for column in range(5))


def _step(kernel: SingleKernel, channel: int, more: str) -> str:
    assert kernel.anchor is not None
    (row, column), (height, width) = kernel.anchor, kernel.size
    weights = " ".join(numbers(kernel.own[channel].flip(0, 1)))
    edge = EDGES.get(str(kernel.border), "duplicate")
    return (
        f'<feConvolveMatrix order="{width} {height}" kernelMatrix="{weights}" divisor="1" '
        f'bias="{float(kernel.constant[channel]):.9g}" targetX="{column}" targetY="{row}" edgeMode="{edge}" '
        f'preserveAlpha="true"{more}/>'
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _refusal(learned: Learned) -> str | None:
    if (reason := refused_on_image(learned)) is not None:
        return reason
    kernel = kernel_of(learned)
    height, width = kernel.size
    if height * width > MOST:
        return f"its kernel of {height}×{width} has more than {MOST} weights, the most that Chromium draws"
    return None


def _write(learned: Learned, path: Path) -> None:
    path.write_text(source(learned), encoding="utf-8")


@contextmanager
def _opened(learned: Learned, path: Path) -> Generator[Opened, None, None]:
    kernel = kernel_of(learned)
    with chromium() as browser:

        def run(image: Tensor) -> Tensor:
            height, width = image.shape[2:]
            photo = data_uri(encode((image[0] * 255).round().to(torch.uint8), "PNG"), "image/png")
            page = f"""<!DOCTYPE html><meta charset="utf-8"><body style="margin: 0">
<img src="{photo}" style="position: absolute; left: 0; top: 0; filter: url(#convexp)">
{path.read_text(encoding="utf-8")}"""
            shown = read_picture(browser.screenshot(page, height, width)).float() / 255
            return on_output(shown[None, : image.shape[1], :height, :width], kernel)

        yield Opened(f"Chromium {browser.version}", run)


def _margin(learned: Learned) -> tuple[int, int]:
    kernel = kernel_of(learned)
    same = kernel.border in (None, *EDGES) and kernel.outside == 0 and kernel.exact_border
    return (0, 0) if same else kernel.reach


def _slack(learned: Learned, image: Tensor) -> float:
    """What is left out, and what 8 bits for each weight make of this image where the browser has no more."""
    kernel = kernel_of(learned)
    if kernel.own[0].numel() <= FLOATS:
        return kernel.mixing
    low, high = (bound(kernel.own, (1, 2))[:, None, None] for bound in (torch.amin, torch.amax))
    span = (high - low).clamp_min(1e-12)
    coarse = ((kernel.own - low) / span * 255).round() / 255 * span + low
    change = torch.zeros_like(kernel.kernel)
    channels = torch.arange(kernel.outputs)
    change[channels, channels] = coarse - kernel.own
    return kernel.mixing + float(SingleKernel(change, torch.zeros(kernel.outputs))(image).abs().max())


def _notes(learned: Learned) -> list[str]:
    kernel = kernel_of(learned)
    notes: list[str] = []
    if kernel.own[0].numel() > FLOATS:
        notes.append(f"of kernels with more than {FLOATS} weights Chromium keeps 8 bits of each")
    if kernel.border == "reflect":
        notes.append("SVG knows no mirrored border: at the edge, edge pixels are repeated")
    elif kernel.border == "zeros" and kernel.outside != 0:
        notes.append(f"SVG has 0 outside the image; the run has {kernel.outside:.3g}")
    elif kernel.border is None:
        notes.append("at the edge, edge pixels are repeated; the run has no output there")
    return notes


def _example(learned: Learned, path: Path) -> list[str]:
    return [
        f"<!-- in a page that holds the text of {path.name} -->",
        '<img src="photo.png" style="filter: url(#convexp)">',
    ]


SVG = Format(
    name="svg",
    suffix=".svg",
    what="an SVG filter for web pages",
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
