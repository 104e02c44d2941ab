"""The validation images of a run one by one: a table of all, and pictures of the worst."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from convexp.images.alignment import common_center
from convexp.images.files import write_image
from convexp.images.layout import below, line
from convexp.images.pictures import Comparison
from convexp.models.blocks import feature_maps
from convexp.runs.folder import RunFolder
from convexp.training.library import Library
from convexp.training.metrics import table, worst_first
from convexp.training.pictures import centre

WORST = 3  # are shown
SIDE = 384  # of the part of them that is shown, in pixels
_TITLE, _GAP = 20, 12


def write_val_images(
    folder: RunFolder, model: nn.Module, pairs: Library, images: Mapping[str, Sequence[float]]
) -> dict[str, Tensor]:
    """Writes `val_images.csv`, the worst image first, and `worst.png` where there are more images than that shows.

    Args:
        folder: The run's.
        model: With the weights that were measured.
        pairs: The validation images.
        images: Of each by name the metrics that `COLUMNS` names.

    Returns:
        The centres of the worst images by TensorBoard tag, where they are shown.

    Raises:
        ConvexpError: If a file cannot be written.
    """
    folder.write_val_images(table(images))
    if len(images) <= WORST:
        return {}
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    shown: dict[str, Tensor] = {}
    for name in worst_first(images):
        whole = pairs.get(name)
        if whole is None:  # removed since, from a run that goes on
            continue
        pair = centre(whole, SIDE)
        output, target = common_center(feature_maps(model, pair.input.to(device))[0].cpu(), pair.target)
        picture = Comparison(pair.input[0], target[0]).picture(output[0])
        shown[f"worst/{len(shown) + 1}"] = below([line(name, size=_TITLE), picture], gap=_GAP // 2)
        if len(shown) == WORST:
            break
    write_image(below(list(shown.values()), gap=_GAP), folder.path / "worst.png")
    return shown
