"""Images that are drawn, as data of a run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images import generated
from convexp.images.dead_leaves import dead_leaves
from convexp.training.data import ImageData, Images
from convexp.training.pairs import Pair

FIRST_FRESH = 2**32  # seeds behind those of the leaves that are measured on


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
class DeadLeaves(ImageData):
    """Discs that hide each other, with the statistics of photographs, validated on two of these.

    Crops are cut from images that are drawn as they are needed, without end. Whole images, and all that is measured on
    training images, are of a fixed number of them.

    Args:
        height: Height of an image in pixels.
        width: Width of an image in pixels.
        images: How many there are, where their number is fixed.
    """

    height: int = 256
    width: int = 256
    images: int = 16

    def training_images(self) -> Images:
        """So many images, drawn from the seed."""
        first = self.seed * self.images
        return {f"leaves_{number}": self._leaves(first + number) for number in range(self.images)}

    @property
    def endless(self) -> bool:
        """Crops are of new images."""
        return True

    def fresh_pair(self, number: int) -> Pair:
        """Leaves that no other number has, and no training image."""
        return self.pair(f"leaves_{self.images + number}", self._leaves((self.seed + 1) * FIRST_FRESH + number))

    def _leaves(self, seed: int) -> Tensor:
        return dead_leaves(self.height, self.width, seed=seed)
