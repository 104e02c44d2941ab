"""Two pictures, one above the other, and how well a prediction of the second one agrees with it."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from convexp.analysis.identify.recording import BLOCK, Recording
from convexp.analysis.identify.samples import Box
from convexp.errors import ConvexpError
from convexp.operators.fourier import correlate

LUMA = (0.299, 0.587, 0.114)
MOST_PIXELS = 150_000  # beyond, a part from the middle is looked at
BORDER = 64  # pixels of the first picture kept around that part, for kernels to read
SMALLEST = 24  # side of a picture: of smaller ones, kernels of several names explain all pixels
ADMITTED = 1.2  # of the expected variance: more is not explained
SAME = 0.5  # of what JPEG loses: two predictions that agree are nearer than that to each other


@dataclass(frozen=True)
class Agreement:
    """How near a prediction comes to the second picture.

    Args:
        left: Variance of the second picture less the clipped prediction.
        expected: Variance of what writing the prediction to such a file does to it.
        mismatch: Variance of the second picture less the written prediction, or `left` if that is less.
        exact: Fraction of the values that are the written prediction's.
        r2: 1 − left / variance of the second picture.
        compressed: Whether two predictions that agree are nearer to each other than to what is lost: in a JPEG.
        step: Distance of two values that the file can hold.
        inherited: The part of `expected` that the first picture's file has lost.
    """

    left: float
    expected: float
    mismatch: float
    exact: float
    r2: float
    compressed: bool
    step: float
    inherited: float = 0.0

    @property
    def explained(self) -> bool:
        """Whether nothing is left but what the file loses by itself."""
        within = self.left <= ADMITTED * self.expected + 1e-3 * self.step**2 + 1e-12
        # Of a first picture that was compressed later, the second one's file has not lost the same.
        alike = not self.compressed or self.inherited > 0 or self.mismatch <= SAME * self.expected + 1e-12
        return within and alike and self.r2 > 0.5


@dataclass(frozen=True, eq=False)
class Observation:
    """The pictures, float64, gray ones with one channel.

    Args:
        before: (I, H, W).
        after: (O, h, w).
        recording: Of the second picture.
        offset: Row and column of `before` that lie under the first pixel of `after`.
        whole_before: Without anything cut off, float32.
        whole_after: Likewise.
        origin: Row and column of `whole_after` that are the first ones of `after`.
        noise: Variance that something unknown adds to the second picture.
        inherited: Variance of what the filter makes of what the first picture's own file has lost.
    """

    before: Tensor
    after: Tensor
    recording: Recording
    offset: tuple[int, int]
    whole_before: Tensor
    whole_after: Tensor
    origin: tuple[int, int] = (0, 0)
    noise: float = 0.0
    inherited: float = 0.0

    @property
    def floor(self) -> float:
        """Variance that no prediction is expected to get below."""
        return self.recording.rounding + self.noise

    @classmethod
    def of(cls, before: Tensor, after: Tensor, recording: Recording) -> "Observation":
        """Lays two pictures (C, H, W) over each other; the second may be smaller, around the same centre.

        Raises:
            ConvexpError: If the second one is larger, or they are too small or of other channels.
        """
        for name, picture in (("before", before), ("after", after)):
            if picture.ndim != 3 or len(picture) not in (1, 3):
                raise ConvexpError(f"{name} has shape {tuple(picture.shape)}; must be (C, H, W) with C = 1 or 3")
        (height, width), (rows, columns) = before.shape[1:], after.shape[1:]
        if rows > height or columns > width:
            raise ConvexpError(
                f"the second picture, {rows}×{columns}, is larger than the first, {height}×{width}; give the picture "
                "before the filter first, and both at one scale"
            )
        if rows < height / 2 or columns < width / 2:
            raise ConvexpError(
                f"the second picture, {rows}×{columns}, is less than half of the first, {height}×{width}: it was "
                "scaled or cut out; give both at one scale, around one centre"
            )
        if min(rows, columns) < SMALLEST:
            raise ConvexpError(f"{rows}×{columns} pixels tell nothing; both sides must be at least {SMALLEST}")
        before, after = _gray_if_gray(before.float()), _gray_if_gray(after.float())
        top, left = (height - rows) // 2, (width - columns) // 2
        whole, origin = (before, after), (0, 0)
        if rows * columns > MOST_PIXELS:
            side = MOST_PIXELS**0.5
            tall, wide = min(rows, max(side, MOST_PIXELS / columns)), min(columns, max(side, MOST_PIXELS / rows))
            tall, wide = int(tall) // BLOCK * BLOCK, int(wide) // BLOCK * BLOCK
            origin = y, x = recording.middle(rows, tall, axis=1), recording.middle(columns, wide, axis=2)
            after = after[:, y : y + tall, x : x + wide]
            first, start = max(y + top - BORDER, 0), max(x + left - BORDER, 0)
            before = before[:, first : y + top + tall + BORDER, start : x + left + wide + BORDER]
            top, left = y + top - first, x + left - start
        return cls(before.double(), after.double(), recording, (top, left), *whole, origin)

    def predicted(self, kernel: Tensor, box: Box, constant: Tensor) -> tuple[Tensor, Box]:
        """What a kernel makes of the first picture, where it reads nothing from outside.

        Args:
            kernel: (O, I, kh, kw) float64.
            box: Its offsets from the aligned pixel.
            constant: (O,).

        Returns:
            (O, h', w') and the rows and columns of `after` that it is for: first, behind the last, likewise.
        """
        (top, left), (height, width), (rows, columns) = self.offset, self.before.shape[1:], self.after.shape[1:]
        # A kernel that lies to one side is looked at on neither margin, as filters leave both of them as they were.
        down, right = max(-box[0], box[1]), max(-box[2], box[3])
        first, last = max(0, down - top), min(rows, height - top - down)
        start, end = max(0, right - left), min(columns, width - left - right)
        whole = correlate(self.before[None], kernel, spectrum=self._spectrum)[0]
        y, x = first + top + box[0], start + left + box[2]
        made = whole[:, y : y + last - first, x : x + end - start] + constant[:, None, None]
        return made, (first, last, start, end)

    @cached_property
    def _spectrum(self) -> Tensor:
        return torch.fft.rfft2(self.before[None])

    def agreement(self, made: Tensor, place: Box) -> Agreement:
        """How near a prediction (O, h', w') of a part of `after` comes to it."""
        first, last, start, end = place
        wanted = self.after[:, first:last, start:end]
        if self.recording.compression is None:
            written = self.recording.written(made)
        else:  # its blocks lie as those of the picture do
            whole = self.after.clone()
            whole[:, first:last, start:end] = made
            written = self.recording.written(whole)[:, first:last, start:end]
        clipped = made.clamp(0, 1)
        left = float((wanted - clipped).square().mean())
        away = (wanted - written).abs()
        energy = float((wanted - wanted.mean(dim=(1, 2), keepdim=True)).square().mean())
        return Agreement(
            left,
            float((written - clipped).square().mean()) + self.noise + self.inherited,
            min(float(away.square().mean()), left),  # it may be that nothing was lost by writing
            float((away < max(self.recording.step, 1e-5) / 2).double().mean()),
            1 - left / max(energy, 1e-12),
            self.recording.compression is not None and not self.noise,
            self.recording.step,
            self.inherited,
        )

    def cleaned(self, made: Tensor, place: Box) -> Tensor:
        """`after` less what writing does to a prediction: nearer to what was computed, if the prediction is right.

        Where a file holds exactly what it would hold of the prediction, it says no more than that: the prediction
        itself is put there.
        """
        first, last, start, end = place
        whole = self.after.clone()
        whole[:, first:last, start:end] = made
        error = (whole - self.recording.written(whole))[:, first:last, start:end]
        whole = self.after.clone()
        whole[:, first:last, start:end] += error
        return whole


def _gray_if_gray(picture: Tensor) -> Tensor:
    """One channel, where all three are the same."""
    same = len(picture) == 3 and bool((picture[0] == picture[1]).all()) and bool((picture[0] == picture[2]).all())
    return picture[:1] if same else picture


def luma(picture: Tensor) -> Tensor:
    """(H, W) of a picture (C, H, W): ITU-R BT.601, or its one channel."""
    if len(picture) == 1:
        return picture[0]
    return torch.einsum("chw,c->hw", picture, picture.new_tensor(LUMA))
