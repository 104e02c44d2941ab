"""The photographs that scikit-image ships, as data of a run."""

from dataclasses import dataclass

from convexp.images import samples
from convexp.training.data import ImageData, Images


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
