"""What the formats of single kernels share: which filters they hold, and numbers as text."""

from collections.abc import Iterable

from torch import Tensor

from convexp.deploy.learned import Learned
from convexp.deploy.single_kernel import SingleKernel

CLIPPED = 0.99  # a picture that is black or white all over says nothing
MIXED = 0.25 / 255  # what is left out of other channels stays below a quarter of a level


def kernel_of(learned: Learned) -> SingleKernel:
    """The kernel of a filter that a format has not refused."""
    assert learned.kernel is not None
    return learned.kernel


def refused(learned: Learned) -> str | None:
    """Why a filter is no kernel."""
    return "the filter is not linear, so that no one kernel equals it" if learned.kernel is None else None


def refused_on_image(learned: Learned) -> str | None:
    """Why a filter is none of kernels for each channel, whose output is laid over the image."""
    if learned.kernel is None:
        return refused(learned)
    kernel = learned.kernel
    if kernel.outputs not in (1, 3):
        return f"it makes {kernel.outputs} channels, a picture has 1 or 3"
    if kernel.mixing > MIXED:
        return f"its kernel mixes channels ({kernel.inputs} in, {kernel.outputs} out)"
    if kernel.anchor is None:
        return "its output is larger than the image"
    if learned.clipped > CLIPPED:
        return f"{100 * learned.clipped:.3g} % of its output on coffee lies outside [0, 1], where 8 bits end"
    return None


def own_margin(learned: Learned) -> tuple[int, int]:
    """Where a format with the kernel's own border differs from the run: nowhere, or where no kernel has its border."""
    kernel = kernel_of(learned)
    return (0, 0) if kernel.exact_border else kernel.reach


def on_output(answer: Tensor, kernel: SingleKernel) -> Tensor:
    """The part of an answer (B, C, H, W) as large as the image that lies over the run's output."""
    anchor = kernel.anchor
    assert anchor is not None
    rows, columns = (side + grown for side, grown in zip(answer.shape[2:], kernel.growth, strict=True))
    top, left = anchor[0] - kernel.above, anchor[1] - kernel.left
    return answer[..., top : top + rows, left : left + columns]


def numbers(values: Tensor | Iterable[float], suffix: str = "") -> list[str]:
    """Values with the nine digits that a float32 needs, each with a decimal point."""
    texts: list[str] = []
    for value in values.flatten().tolist() if isinstance(values, Tensor) else values:
        text = f"{value:.9g}"
        texts.append((text if any(sign in text for sign in ".e") else f"{text}.0") + suffix)
    return texts


def lines_of(kernel: SingleKernel, suffix: str = "") -> list[str]:
    """The weights in the order of memory, a kernel's row in a line, with commas."""
    width = kernel.size[1]
    texts = numbers(kernel.kernel, suffix)
    return [", ".join(texts[start : start + width]) + "," for start in range(0, len(texts), width)]


def border_in_words(kernel: SingleKernel) -> str:
    """What stands for the pixels outside the image."""
    if kernel.border is None:
        return "valid, none is invented"
    words = {
        "reflect": "the image mirrored about its edge pixels",
        "replicate": "the nearest edge pixel",
        "zeros": f"the value {kernel.outside:.9g}",
        "circular": "the image again",
    }
    return f"{kernel.border}, outside is {words[kernel.border]}"
