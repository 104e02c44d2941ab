"""Pictures of the learning, into TensorBoard."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
from torch import Tensor, nn
from torch.utils.tensorboard.writer import SummaryWriter

from convexp.images.alignment import common_center
from convexp.images.encoding import encode
from convexp.images.pictures import Comparison
from convexp.images.tiles import feature_tiles, kernel_tiles
from convexp.models.blocks import feature_maps, kernels
from convexp.training.pairs import Pair, crop
from convexp.training.task import ImitationTask

SHOWN = 4  # images; more would hide the other pictures


class Pictures(L.Callback):
    """Shows comparisons, kernels and feature maps at a few moments, the first and the last among them.

    Args:
        pairs: The images to show, by name; never trained on. The centres of the first four are shown.
        max_steps: The last moment.
        moments: How many moments there are at most, spread evenly over the logarithm of the steps; one is the last.
        side: Of the shown centre, in pixels.
        draw_kernels: Makes the pictures of a model's kernels, by name.
        template: Height and width of the template that is looked for, whose best place is marked then.
    """

    def __init__(
        self,
        pairs: Mapping[str, Pair],
        *,
        max_steps: int,
        moments: int = 10,
        side: int = 256,
        draw_kernels: Callable[[nn.Module], Mapping[str, Tensor]] | None = None,
        template: tuple[int, int] | None = None,
    ) -> None:
        self.template = template
        self.draw_kernels = _kernel_tiles if draw_kernels is None else draw_kernels
        self.pairs = {name: centre(pair, side) for name, pair in islice(pairs.items(), SHOWN)}
        spread = np.geomspace(1, max_steps, max(moments - 1, 3)).round().astype(int).tolist()
        self.moments = {0, *spread[1 - moments :]} if moments > 1 else {max_steps} if moments else set[int]()
        self._drawn: dict[str, Comparison] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Shows the start."""
        if trainer.global_step == 0:
            self._show(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Shows a moment when it comes."""
        if trainer.global_step in self.moments:
            self._show(trainer, pl_module)

    def _show(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ImitationTask)
        if not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                shown = pictures(
                    pl_module.model,
                    self.pairs,
                    draw_kernels=self.draw_kernels,
                    drawn=self._drawn,
                    template=self.template,
                )
                for tag, picture in shown.items():
                    write_picture(logger.experiment, tag, picture, trainer.global_step)


def write_picture(writer: SummaryWriter, tag: str, picture: Tensor, step: int) -> None:
    """As `SummaryWriter.add_image`, which makes a PNG, four times as large and in ten times the time."""
    _, height, width = picture.shape
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=encode(picture, "JPEG"))
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    writer._get_file_writer().add_summary(summary, step)  # pyright: ignore[reportPrivateUsage]  # the only way to write one


def centre(pair: Pair, side: int) -> Pair:
    """The middle of a pair, at most so many pixels high and wide."""
    height, width = pair.input.shape[-2:]
    rows, columns = min(side, height), min(side, width)
    return crop(pair, (height - rows) // 2, (width - columns) // 2, rows, columns)


def pictures(
    model: nn.Module,
    pairs: Mapping[str, Pair],
    *,
    draw_kernels: Callable[[nn.Module], Mapping[str, Tensor]] | None = None,
    drawn: dict[str, Comparison] | None = None,
    template: tuple[int, int] | None = None,
) -> dict[str, Tensor]:
    """All pictures of a model: comparisons on images, feature maps on the first of them, and the kernels.

    The scales depend on the targets alone, so that pictures of different moments compare.

    Args:
        model: Any module on (B, C, H, W) images.
        pairs: Images and their targets by name, each with B = 1.
        draw_kernels: Makes the pictures of its kernels, by name; the tiles of every convolution if None.
        drawn: Keeps what is the same at every moment.
        template: Height and width of the template that is looked for, whose best place is marked then.

    Returns:
        (3, H, W) uint8 pictures by TensorBoard tag.
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    shown: dict[str, Tensor] = {}
    drawn = {} if drawn is None else drawn
    for name, pair in pairs.items():
        output, maps = feature_maps(model, pair.input.to(device))
        output, target = common_center(output.cpu(), pair.target)
        if name not in drawn:
            drawn[name] = Comparison(pair.input[0], target[0], error_limit=_deviation(target), size=template)
        shown[f"comparison/{name}"] = drawn[name].picture(output[0])
        if name == next(iter(pairs)):
            shown |= {f"features/{block}": feature_tiles(features[0]) for block, features in maps.items()}
    draw = _kernel_tiles if draw_kernels is None else draw_kernels
    return shown | {f"kernels/{name}": picture for name, picture in draw(model).items()}


def _kernel_tiles(model: nn.Module) -> dict[str, Tensor]:
    return {name: kernel_tiles(weight) for name, weight in kernels(model).items()}


def _deviation(target: Tensor) -> float:
    return float(target.std()) or 1.0
