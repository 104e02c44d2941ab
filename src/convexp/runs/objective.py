"""What a run minimises: a loss of pixels, or the same loss of their statistics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from convexp.errors import ConvexpError
from convexp.exact import only_convolution
from convexp.training.data import ImageData
from convexp.training.quadratic import Quadratic, why_not_quadratic


@dataclass(frozen=True)
class Objective:
    """What a run minimises.

    Args:
        quadratic: The loss on whole images, if it is a quadratic function of the weights.
        on_statistics: Whether the steps are taken on its statistics.
        reason: Why not, or what is special about it, in words; empty where there is nothing to say.
        surprises: Whether one would have expected statistics: the model is one convolution.
    """

    quadratic: Quadratic | None
    on_statistics: bool
    reason: str
    surprises: bool = False


def choose_objective(
    config: Mapping[str, Any], model: nn.Module, loss: nn.Module, data: ImageData, *, solves: bool
) -> Objective:
    """Chooses, and gathers the statistics where they exist.

    Args:
        config: `objective` asks for one of the two, or leaves it to this function: `auto` takes the statistics where
            the path of the weights is the same.
        model: The model.
        loss: The loss.
        data: Whole images.
        solves: Whether the optimizer is `Exact`, which needs the statistics.

    Raises:
        ConvexpError: If the configuration asks for what there is not.
    """
    wanted, trainer = config["objective"], config["trainer"]
    obstacle = why_not_quadratic(model, loss)
    if obstacle and solves:
        raise ConvexpError(
            f"optimizer=exact solves for the weights of one convolution with loss=mse; here {obstacle}: "
            "use optimizer=adam, or model=single"
        )
    if obstacle and wanted == "statistics":
        raise ConvexpError(f"objective=statistics: {obstacle}; objective=auto trains it on the pixels")
    if wanted == "pixels" and solves:
        raise ConvexpError("optimizer=exact solves the statistics; leave objective=pixels out, or use optimizer=lbfgs")
    own = [f"trainer.precision={trainer['precision']}"] if trainer.get("precision", "32-true") != "32-true" else []
    if trainer.get("accumulate_grad_batches", 1) != 1:
        own.append(f"trainer.accumulate_grad_batches={trainer['accumulate_grad_batches']}")
    if trainer.get("gradient_clip_algorithm") not in (None, "norm"):
        own.append(f"trainer.gradient_clip_algorithm={trainer['gradient_clip_algorithm']}")
    if own and (wanted == "statistics" or solves):
        raise ConvexpError(f"{own[0]} is for training on pixels; leave it out, or use objective=pixels")
    sampled = f"data.crop_size={data.crop_size}" if data.crop_size else f"data.batch_size={data.batch_size}"
    samples = data.crop_size is not None or data.batch_size is not None
    if obstacle:
        one = only_convolution(model) is not None
        return Objective(None, on_statistics=False, reason=obstacle, surprises=one)
    quadratic = Quadratic.of(model, data.train_pairs.values(), shelf=data.shelf)
    if wanted == "statistics" or solves:
        reason = f"not of the samples that {sampled} would take, but of all pixels" if samples else ""
        return Objective(quadratic, on_statistics=True, reason=reason)
    if wanted == "pixels":
        return Objective(quadratic, on_statistics=False, reason="objective=pixels")
    if samples:
        return Objective(quadratic, on_statistics=False, reason=f"{sampled} takes random samples")
    return Objective(quadratic, on_statistics=not own, reason=own[0] if own else "")
