"""Where training images come from: photographs that are shipped, shapes that are drawn, files that a user names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import lightning as L
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader

from convexp.errors import ConvexpError
from convexp.exact.shelf import NOWHERE, Shelf
from convexp.images import conversion, generated, samples
from convexp.images.files import find_images, read_image
from convexp.operators.template import Template
from convexp.training.pairs import Batches, Pair, make_pair

Images = Mapping[str, Tensor]
"""Images (C, H, W) in [0, 1] by name."""


@dataclass(kw_only=True, eq=False)
class ImageData(L.LightningDataModule):
    """Images, what an operator makes of them, and batches of both; a subclass says which images.

    Args:
        operator: What is imitated; applied once to every whole image.
        seed: Decides every crop and every generated image.
        gray: Average the colours; otherwise gray images get three equal channels.
        size: Resize the shorter side to so many pixels.
        crop_size: Side of the square random crops in pixels; None trains on whole images.
        batch_size: Crops or images a step and process; None takes all whole images at once.
    """

    operator: Callable[[Tensor], Tensor]
    seed: int
    gray: bool = False
    size: int | None = None
    crop_size: int | None = 64
    batch_size: int | None = 4
    train_pairs: dict[str, Pair] = field(default_factory=dict[str, Pair], init=False)
    val_pairs: dict[str, Pair] = field(default_factory=dict[str, Pair], init=False)
    shelf: Shelf = field(default=NOWHERE, init=False)  # where sums over the training pairs are kept

    def __post_init__(self) -> None:
        super().__init__()

    def training_images(self) -> Images:
        """The images to learn from."""
        raise NotImplementedError

    def validation_images(self) -> Images:
        """Images that are never trained on: two photographs, unless a subclass knows better."""
        return {name: samples.photograph(name) for name in samples.VALIDATION}

    def setup(self, stage: str | None = None) -> None:
        """Reads the images and applies the operator, once.

        Raises:
            ConvexpError: If an image cannot be read, is too small, or the operator cannot take it.
        """
        if not self.train_pairs:
            self.cut_template()
            self.train_pairs = self._pairs(self.training_images())
            self.val_pairs = self._pairs(self.validation_images())
            self.batches(start=0)  # says now, not at the first step, that an image is too small

    def cut_template(self) -> None:
        """Cuts the template, if the operator has one, from the first training image.

        Raises:
            ConvexpError: If the image cannot be read, or the patch is not inside it.
        """
        if isinstance(self.operator, Template) and self.operator.template is None:
            self.operator.cut(self.prepared(next(iter(self.training_images().values()))))

    @property
    def template_size(self) -> tuple[int, int] | None:
        """Height and width of the operator's template, if it has one."""
        return self.operator.size if isinstance(self.operator, Template) else None

    def _pairs(self, images: Images) -> dict[str, Pair]:
        return {name: make_pair(name, self.prepared(image), self.operator) for name, image in images.items()}

    def prepared(self, image: Tensor) -> Tensor:
        """An image (C, H, W) in the colours and the size that are trained on."""
        image = conversion.to_gray(image) if self.gray else conversion.to_colour(image)
        return conversion.resize(image, self.size) if self.size else image

    def batches(self, *, start: int) -> Batches:
        """The training batches from a step on, for this process."""
        trainer = self.trainer
        return Batches(
            self.train_pairs,
            crop_size=self.crop_size,
            batch_size=self.batch_size,
            seed=self.seed,
            start=start,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
        )

    def train_dataloader(self) -> DataLoader[list[Pair]]:
        """Endless batches, from the trainer's step on."""
        return DataLoader(self.batches(start=self.trainer.global_step if self.trainer else 0), batch_size=None)

    def val_dataloader(self) -> DataLoader[Pair]:
        """Whole validation images, one a batch."""
        return whole_images(self.val_pairs.values())


def whole_images(pairs: Iterable[Pair]) -> DataLoader[Pair]:
    """A loader of whole images, one a batch."""
    return DataLoader(list(pairs), batch_size=None)  # pyright: ignore[reportArgumentType]  # a list is a map-style dataset


@dataclass(kw_only=True, eq=False)
class Photos(ImageData):
    """The photographs that scikit-image ships, without the two that validate."""

    def training_images(self) -> Images:
        """Eleven photographs."""
        return {name: samples.photograph(name) for name in samples.TRAINING}


@dataclass(kw_only=True, eq=False)
class Photo(ImageData):
    """One of the shipped photographs.

    Args:
        name: Which one.
    """

    name: str = "chelsea"  # pyright: ignore[reportIncompatibleVariableOverride]  # Lightning never uses its own

    def training_images(self) -> Images:
        """One photograph."""
        return {self.name: samples.photograph(self.name)}

    def validation_images(self) -> Images:
        """The two validation photographs, less the one that is trained on."""
        return {name: image for name, image in super().validation_images().items() if name != self.name}


@dataclass(kw_only=True, eq=False)
class Shapes(ImageData):
    """Generated white circles and rectangles on black; other seeds for validation.

    Args:
        height: Height of the image in pixels.
        width: Width of the image in pixels.
        snowman: Top and left of a snowman in the training image, as `[210, 246]`, whom a template can be cut of; those
            in the validation images stand elsewhere.
    """

    gray: bool = True
    height: int = 300
    width: int = 400
    snowman: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.snowman is not None and len(self.snowman) != 2:
            raise ConvexpError(f"data.snowman={list(self.snowman)} must be top and left, as [210,246]")

    def training_images(self) -> Images:
        """One picture of shapes, drawn from the seed."""
        place = None if self.snowman is None else (self.snowman[0], self.snowman[1])
        return {"shapes": generated.shapes(self.height, self.width, seed=self.seed, snowman=place)}

    def validation_images(self) -> Images:
        """Two pictures drawn from seeds that no training uses."""
        return {f"shapes_{letter}": self._other(2**32 + 2 * self.seed + number) for number, letter in enumerate("ab")}

    def _other(self, seed: int) -> Tensor:
        place = None
        if self.snowman is not None:
            random, (height, width) = np.random.default_rng((seed, 1)), generated.SNOWMAN
            room = np.maximum([self.height - height, self.width - width], 0)
            down, right = random.integers(room, endpoint=True)
            place = (int(down), int(right))
        return generated.shapes(self.height, self.width, seed=seed, snowman=place)


@dataclass(kw_only=True, eq=False)
class Files(ImageData):
    """Image files.

    Args:
        train: A file, a folder or a glob.
        val: Likewise; None validates on the shipped photographs.
    """

    train: str
    val: str | None = None

    def training_images(self) -> Images:
        """The images that `train` names."""
        return _read(self.train)

    def validation_images(self) -> Images:
        """The images that `val` names, or two photographs."""
        return super().validation_images() if self.val is None else _read(self.val)


def _read(source: str) -> Images:
    paths = find_images(source)
    if len({path.stem for path in paths}) == len(paths):
        return {path.stem: read_image(path) for path in paths}
    return {str(path): read_image(path) for path in paths}
