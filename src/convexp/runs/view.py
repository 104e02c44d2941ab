"""An operator on one image: what it makes of it, and its kernel."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.display import display
from convexp.images.files import write_array, write_image
from convexp.images.layout import beside
from convexp.images.marks import Box, boxed
from convexp.images.samples import find_photograph
from convexp.operators import Pipeline
from convexp.operators.listing import listing
from convexp.operators.response import impulse_response
from convexp.operators.template import Template, best_place
from convexp.operators.verdict import verdict
from convexp.runs.construction import build
from convexp.runs.folder import slug
from convexp.training.pairs import make_pair

SIDE = 193  # of the images that show a kernel: it may be half as large
GAP = 8


class View:
    """Shows a target without training.

    Args:
        name: Of the target.
        config: Its part of the configuration.

    Raises:
        ConvexpError: If it cannot be built, or is nothing that an image can be given to.
    """

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.name, self.channels = name, 3
        self.operator: Callable[[Tensor], Tensor] = build(config, "target")
        if not callable(self.operator):  # pyright: ignore[reportUnnecessaryComparison]  # YAML may build anything
            raise ConvexpError(f"target={config['_target_']} is nothing that an image can be given to")

    def write(self, source: str, out: str, *, stages: bool = False) -> None:
        """Writes what it makes of an image, or its stages, and prints on which scale.

        Args:
            source: An image file, or the name of a photograph.
            out: The file; of stages `out-1-first.png`, `out-2-second.png`, ….
            stages: Whether each stage is written.

        Raises:
            ConvexpError: If the image cannot be read, the operator fails on it, or a file cannot be written.
        """
        image, path = find_photograph(source), Path(out)
        self.channels = len(image)
        if isinstance(self.operator, Template):
            self.operator.cut(image)
        output = make_pair(source, image, self.operator).target[0]
        if not stages:
            self._write(output, path, image)
            return
        made = {self.name: output}
        if isinstance(self.operator, Pipeline):
            with torch.no_grad():
                made = {name: values[0] for name, values in self.operator.intermediate(image[None]).items()}
        for number, (stage, values) in enumerate(made.items(), 1):
            self._write(values, path.with_stem(f"{path.stem}-{number}-{slug(stage)}"), image)

    def print_kernels(self) -> None:
        """Prints the kernel, if it is linear, else what it is, and the kernels of its linear stages."""
        operator, channels = self.operator, self.channels
        if isinstance(operator, Template) and operator.template is None:
            raise ConvexpError("a template is cut from an image: give an IMAGE and an OUT, too")
        response = impulse_response(operator, channels, side=SIDE)
        if response is not None:
            print(f"{self.name}: {listing(response)}")
            return
        print(f"{self.name}: {verdict(operator, channels) or 'what it does to an impulse is no kernel'}")
        if not isinstance(operator, Pipeline):
            return
        made = operator.intermediate(torch.rand(1, channels, SIDE, SIDE))
        last, shown = "", ""
        for name, stage in zip(operator.names, operator.stages, strict=True):
            response = impulse_response(stage, channels, side=SIDE)
            text = "not linear" if response is None else listing(response)
            print(f"{self.name}, {name}: {f'as {last}' if text == shown else text}")
            last, shown, channels = last if text == shown else name, text, made[name].shape[1]

    def _write(self, values: Tensor, path: Path, image: Tensor) -> None:
        channels, height, width = values.shape
        size = f"{path}  {height}×{width}, {channels} channel{'s' * (channels != 1)}"
        if path.suffix.lower() == ".npy":
            write_array(values, path)
            print(f"{size}, float32 values")
            return
        picture, words = display(values)
        if isinstance(self.operator, Template):
            box = _match(values, self.operator.size, image.shape[-2:])
            picture = _marked(image, picture, box)
            words += f"; best at rows {box[0]} to {box[1]}, columns {box[2]} to {box[3]} of the image"
        write_image(picture, path)
        print(f"{size}, {words}")


def _match(response: Tensor, size: tuple[int, int], sides: Sequence[int]) -> Box:
    """Where in the image the template matches best, if image and response have a common centre."""
    place = best_place(response)
    top, left = (
        at + (whole - part) // 2 - (length - 1) // 2
        for at, whole, part, length in zip(place, sides, response.shape[-2:], size, strict=True)
    )
    return top, top + size[0], left, left + size[1]


def _marked(image: Tensor, response: Tensor, box: Box) -> Tensor:
    """The image beside the response, with the best place in both."""
    down, right = ((whole - part) // 2 for whole, part in zip(image.shape[-2:], response.shape[-2:], strict=True))
    there = (box[0] - down, box[1] - down, box[2] - right, box[3] - right)
    return beside([boxed(_bytes(image), [box], labels=[""]), boxed(_bytes(response), [there], labels=[""])], gap=GAP)


def _bytes(picture: Tensor) -> Tensor:
    """A picture (1 or 3, H, W) of floats in [0, 1] or bytes as (3, H, W) uint8."""
    picture = picture if picture.dtype == torch.uint8 else picture.mul(255).round().to(torch.uint8)
    return picture.expand(3, -1, -1)
