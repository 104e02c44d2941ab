"""What a filter took to lie outside the picture."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from convexp.analysis.identify.observation import Observation
from convexp.analysis.identify.samples import Box
from convexp.operators import Border
from convexp.operators.fourier import correlate

Convention = Literal["valid", "reflect", "replicate", "zeros", "circular", "symmetric", "unfiltered"]

#: What each is called in a sentence.
WORDS: dict[Convention, str] = {
    "valid": "valid: the picture shrinks, no border is invented",
    "reflect": "reflect: mirrored about the outer pixel",
    "replicate": "replicate: the outer pixel goes on",
    "zeros": "zeros: black outside",
    "circular": "circular: the other side goes on",
    "symmetric": "mirrored with the outer pixel repeated, which the catalogue has not",
    "unfiltered": "left as it was, which the catalogue has not",
}
Part = tuple[slice, slice, slice]

_CATALOGUE: tuple[Border, ...] = ("reflect", "replicate", "zeros", "circular")
LEAST = 0.05  # levels that it must leave
CLEAR = 0.5  # of the next best one's variance: the best convention must leave less


@dataclass(frozen=True)
class BorderConvention:
    """How the margin of the second picture was made.

    Args:
        convention: None if that cannot be told.
        residuals: Root mean square of what each one leaves in the margin, in levels of 255.
    """

    convention: Convention | None
    residuals: dict[str, float]

    @property
    def border(self) -> Border | None:
        """As the catalogue calls it; None is valid, or not in the catalogue."""
        return next((border for border in _CATALOGUE if border == self.convention), None)


def border_convention(observation: Observation, kernels: Tensor, box: Box, constant: Tensor) -> BorderConvention:
    """The convention that makes the margin, where the kernel reads from outside, what it is.

    Args:
        observation: The pictures.
        kernels: (O, I, kh, kw), which explain the inside.
        box: Their offsets from the aligned pixel.
        constant: (O,), what is added.
    """
    before, after = observation.whole_before, observation.whole_after
    if before.shape[1:] != after.shape[1:]:
        spare = [whole - part for whole, part in zip(before.shape[1:], after.shape[1:], strict=True)]
        reads = (box[1] - box[0], box[3] - box[2])
        valid = all(margin >= read for margin, read in zip(spare, reads, strict=True))
        return BorderConvention("valid" if valid else None, {})
    pads = (max(-box[2], 0), max(box[3], 0), max(-box[0], 0), max(box[1], 0))  # left, right, top, bottom
    if not any(pads) or max(pads) >= min(before.shape[1:]) // 2:
        return BorderConvention(None, {})
    residuals: dict[str, float] = {}
    lost = 0.0
    parts = _margins(before, pads)
    for convention in (*_CATALOGUE, "symmetric", "unfiltered"):
        if convention == "unfiltered" and len(before) != len(after):
            continue
        whole = before if convention == "unfiltered" else _continued(before, pads, convention)
        made = [
            whole[part].double() if convention == "unfiltered" else _filtered(whole, kernels, constant, pads, box, part)
            for part in parts
        ]
        residuals[convention], own = _residual(observation, made, parts)
        lost = max(lost, own)
    (best, least), (_, next_one) = sorted(residuals.items(), key=lambda pair: pair[1])[:2]
    floor = max(lost, 255 * observation.noise**0.5, 0.3)
    clear = least**2 <= CLEAR * next_one**2 and next_one > LEAST
    return BorderConvention(best if clear and least <= 1.2 * floor else None, residuals)  # pyright: ignore[reportArgumentType]  # its keys are conventions


def _residual(observation: Observation, made: list[Tensor], parts: list[Part]) -> tuple[float, float]:
    """Root mean square, in levels, of the second picture less what is written of margins, and of what is lost then."""
    after, recording = observation.whole_after, observation.recording
    if recording.compression is not None:  # its blocks reach into the picture
        whole = after.double()
        for part, values in zip(parts, made, strict=True):
            whole[part] = values
        whole = recording.written(whole)
        written = [whole[part] for part in parts]
    else:
        written = [recording.written(values) for values in made]
    count = max(sum(values.numel() for values in made), 1)
    left = sum(float((values - after[part]).square().sum()) for part, values in zip(parts, written, strict=True))
    lost = sum(float((values - own.clamp(0, 1)).square().sum()) for values, own in zip(written, made, strict=True))
    return 255 * (left / count) ** 0.5, 255 * (lost / count) ** 0.5


def _continued(image: Tensor, pads: tuple[int, int, int, int], convention: str) -> Tensor:
    if convention != "symmetric":
        mode = "constant" if convention == "zeros" else convention
        return nn.functional.pad(image[None], pads, mode=mode)[0]
    left, right, top, bottom = pads
    rows, columns = torch.arange(-top, image.shape[1] + bottom), torch.arange(-left, image.shape[2] + right)
    return image[:, _mirrored(rows, image.shape[1])][:, :, _mirrored(columns, image.shape[2])]


def _mirrored(index: Tensor, side: int) -> Tensor:
    index = torch.where(index < 0, -1 - index, index)
    return torch.where(index >= side, 2 * side - 1 - index, index)


def _margins(image: Tensor, pads: tuple[int, int, int, int]) -> list[Part]:
    """Where a kernel reads from outside: above, below, left and right, without overlap."""
    (left, right, top, bottom), (height, width) = pads, image.shape[1:]
    every, inner = slice(None), slice(top, height - bottom)
    found = [
        (every, slice(0, top), every),
        (every, slice(height - bottom, height), every),
        (every, inner, slice(0, left)),
        (every, inner, slice(width - right, width)),
    ]
    return [part for part, pad in zip(found, (top, bottom, left, right), strict=True) if pad]


def _filtered(
    whole: Tensor,
    kernels: Tensor,
    constant: Tensor,
    pads: tuple[int, int, int, int],
    box: Box,
    part: Part,
) -> Tensor:
    left, _, top, _ = pads
    height, width = whole.shape[1] - pads[2] - pads[3], whole.shape[2] - pads[0] - pads[1]
    first, last, _ = part[1].indices(height)
    start, end, _ = part[2].indices(width)
    region = whole[:, first + top + box[0] : last + top + box[1], start + left + box[2] : end + left + box[3]]
    return correlate(region[None].double(), kernels)[0] + constant[:, None, None]
