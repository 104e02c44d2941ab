"""What a run has learned, and what other software has to know of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from convexp.deploy.single_kernel import SingleKernel, single_kernel
from convexp.errors import ConvexpError
from convexp.images.alignment import center_crop
from convexp.images.conversion import to_colour, to_gray
from convexp.images.samples import photograph
from convexp.models import receptive_field
from convexp.models.geometry import border_of, chain, in_channels
from convexp.models.locality import NotLocalError
from convexp.operators.response import support
from convexp.runs.filter import load_run
from convexp.runs.folder import RunFolder, slug

MARGIN = 32  # pixels a side beyond the receptive field, which all models take


@dataclass(frozen=True)
class Learned:
    """A run's model, and what other software has to know of it.

    Args:
        model: On the CPU, in evaluation mode, without gradients.
        name: Of target and model, for files: `sharpen-single`.
        inputs: Channels of its images.
        outputs: Channels of what it makes of them.
        field: Height and width of its receptive field.
        least: Height and width of the smallest image that it takes.
        lost: Rows and columns that its output has fewer than the image.
        border: How the layers that pad continue the image: their names, none for a valid model.
    """

    model: nn.Module
    name: str
    inputs: int
    outputs: int
    field: tuple[int, int]
    least: tuple[int, int]
    lost: tuple[int, int]
    border: tuple[str, ...]

    @classmethod
    def of_run(
        cls, run: str | Path, *, checkpoint: Literal["best", "last"] = "best", allow: Sequence[str] = ()
    ) -> "Learned":
        """Reads it from a run's folder, and tries it.

        Args:
            run: The folder.
            checkpoint: Which weights.
            allow: Packages besides convexp, torch and kornia that the model may come from.

        Raises:
            ConvexpError: If the folder is not a run's, or its model takes no images or changes their scale.
        """
        model = load_run(run, checkpoint=checkpoint, allow=allow).requires_grad_(False)
        config = RunFolder(run).read_config()
        choices: dict[str, Any] = config["choices"]
        name = slug(f"{choices.get('target') or 'target'}-{choices.get('model') or 'model'}")
        return cls.of_model(model, name, channels=config["model"].get("in_channels"))

    @classmethod
    def of_model(cls, model: nn.Module, name: str, *, channels: object = None) -> "Learned":
        """Tries a model.

        Args:
            model: In evaluation mode.
            name: For files.
            channels: Of its images, if they are known.

        Raises:
            ConvexpError: If it takes no images, or changes their scale.
        """
        known = [count for count in (in_channels(model), channels) if isinstance(count, int)]
        counts = known[:1] or [1, 3]
        field = receptive_field(model)
        side = max(field) + MARGIN
        inputs = next((count for count in counts if _answer(model, count, side, side + 6) is not None), None)
        if inputs is None:
            raise ConvexpError(
                f"the model takes no images of {' or '.join(map(str, counts))} channels, {side}×{side + 6}: "
                "nothing can be exported"
            )
        if field == (1, 1) and (box := support(model, inputs)) is not None:  # of a model without such modules
            field = box[1] - box[0] + 1, box[3] - box[2] + 1
        sizes = (side, side + 6), (side + 12, side + 17)
        answers = [_answer(model, inputs, *size) for size in sizes]
        lost = {
            (size[0] - answer.shape[2], size[1] - answer.shape[3])
            for size, answer in zip(sizes, answers, strict=True)
            if answer is not None
        }
        if len(lost) != 1 or answers[0] is None:
            raise ConvexpError("the model changes the scale of images: nothing can be exported; use stride 1")
        if not answers[0].isfinite().all():
            raise ConvexpError("the model's output is not finite: the run has diverged, and nothing can be exported")
        least = _least(model, inputs, side)
        return cls(model, name, inputs, answers[0].shape[1], field, least, lost.pop(), _borders(model))

    @cached_property
    def kernel(self) -> SingleKernel | None:
        """The one kernel that the model equals; None if it is not linear."""
        return single_kernel(self.model, self.inputs, field=self.field)

    @cached_property
    def obstacle(self) -> str | None:
        """Why a part of an image is not filtered as the whole is, as "it normalises over …"; None if it is."""
        try:
            chain(self.model)
        except NotLocalError as reason:
            return str(reason)
        except ConvexpError:  # what it reads cannot be tried
            return None
        return None

    @cached_property
    def span(self) -> tuple[float, float]:
        """The smallest and the largest output on a photograph."""
        return float(self._output.min()), float(self._output.max())

    @cached_property
    def clipped(self) -> float:
        """Which part of the output on a photograph lies outside [0, 1]."""
        return float(((self._output < 0) | (self._output > 1)).double().mean())

    @cached_property
    def _output(self) -> Tensor:
        with torch.no_grad():
            return self.model(self.photo())

    def photo(self, name: str = "coffee", *, most: tuple[int, int] | None = None) -> Tensor:
        """A photograph (1, C, H, W) of 8 bits in [0, 1], as large as the model needs it.

        Args:
            name: Of a photograph.
            most: Height and width of the centre that is enough.
        """
        whole = photograph(name)
        gray = (to_gray(whole) * 255).round() / 255
        image = gray if self.inputs == 1 else to_colour(whole) if self.inputs == 3 else gray.repeat(self.inputs, 1, 1)
        height, width = (max(least, side) for least, side in zip(self.least, most or (0, 0), strict=True))
        times = max(-(-least // side) for least, side in zip(self.least, image.shape[1:], strict=True))
        image = image.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2)
        if most is not None:
            image = center_crop(image, min(height, image.shape[1]), min(width, image.shape[2]))
        return image[None]


@torch.no_grad()
def _answer(model: nn.Module, channels: int, height: int, width: int) -> Tensor | None:
    """What a model makes of an image of this size; None if it fails."""
    try:
        answer = model(torch.zeros(1, channels, height, width))
    except Exception:  # a user's model may raise anything
        return None
    return answer if answer.dim() == 4 and answer.numel() else None


def _least(model: nn.Module, channels: int, enough: int) -> tuple[int, int]:
    """Height and width of the smallest image: halving finds the square, then each side on its own."""
    side = _smallest(lambda side: _answer(model, channels, side, side) is not None, enough)
    height = _smallest(lambda height: _answer(model, channels, height, side) is not None, side)
    width = _smallest(lambda width: _answer(model, channels, height, width) is not None, side)
    return height, width


def _smallest(takes: Callable[[int], bool], enough: int) -> int:
    """The smallest number from 1 to one that is enough, by halving."""
    low, high = 0, enough
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if takes(middle) else (middle, high)
    return high


def _borders(model: nn.Module) -> tuple[str, ...]:
    """The names of the borders of the layers that pad, each once."""
    names: dict[str, None] = {}
    for layer in model.modules():
        border: object = border_of(layer) if isinstance(layer, nn.Conv2d) else vars(layer).get("border")
        if isinstance(border, str):
            names[border] = None
    return tuple(names)
