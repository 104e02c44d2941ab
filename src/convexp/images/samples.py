"""Photographs that lie in scikit-image's wheel: real images without a download."""

import difflib
from functools import cache
from importlib import resources
from pathlib import Path

from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.files import read_image

TRAINING = (
    "chelsea",
    "rocket",
    "stereo_motorcycle",
    "camera",
    "coins",
    "brick",
    "grass",
    "gravel",
    "moon",
    "page",
    "text",
)
"""What is trained on by default."""

VALIDATION = ("coffee", "astronaut")
"""What is never trained on."""

_FILES = {"rocket": "rocket.jpg", "stereo_motorcycle": "motorcycle_left.png"}


def photograph(name: str) -> Tensor:
    """Read one of scikit-image's photographs as a (C, H, W) float32 tensor in [0, 1].

    The file is read from where scikit-image is installed. `skimage.data` itself is not asked: it takes a second to
    import and, where pooch is installed, looks into a cache and may go to the network.

    Args:
        name: one of `TRAINING` and `VALIDATION`, which are the names of `skimage.data`; of the stereo pair the left.

    Raises:
        ConvexpError: the name is another one.

    Example:
        >>> photograph("chelsea").shape
        torch.Size([3, 300, 451])
    """
    names = TRAINING + VALIDATION
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise ConvexpError(f"there is no photograph {name!r}{hint}; choose from {', '.join(names)}")
    return _read(name).clone()


@cache  # the runs of a sweep ask for the same ones
def _read(name: str) -> Tensor:
    return read_image(Path(str(resources.files("skimage") / "data" / _FILES.get(name, f"{name}.png"))))


def find_photograph(source: str) -> Tensor:
    """Read an image file or, where there is no such file, a photograph of that name.

    Args:
        source: A path, or one of `TRAINING` and `VALIDATION`.

    Raises:
        ConvexpError: If it is neither, or the file cannot be read.

    Example:
        >>> find_photograph("coins").shape
        torch.Size([1, 303, 384])
    """
    if source in TRAINING + VALIDATION and not Path(source).exists():
        return photograph(source)
    return read_image(source)
