"""The filter that a run has learned, from its folder alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.models import Standardised
from convexp.runs.construction import build, complete, require_trust
from convexp.runs.folder import RunFolder


def load_run(
    run_dir: str | Path, *, checkpoint: Literal["best", "last"] = "best", allow: Sequence[str] = ()
) -> nn.Module:
    """The filter that a run has learned: maps (B, C, H, W) images in [0, 1] to the target's units.

    Needs the folder alone, and trusts it with nothing: weights are read as plain tensors, and the model is built from
    classes of `convexp`, `torch.nn` and kornia only.

    Args:
        run_dir: The folder of a run, finished or not.
        checkpoint: The weights with the least validation error, or the last ones.
        allow: Further packages that the model may come from, as `["mypackage"]`.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ConvexpError: If the folder is not a run's, has no such checkpoint, or names a class that is not allowed.
    """
    if checkpoint not in ("best", "last"):
        raise ConvexpError(f"checkpoint={checkpoint!r} must be 'best' or 'last'")
    folder = RunFolder(run_dir)
    config = folder.read_config()
    require_trust(config["model"], allow=allow)
    model = complete(build(config["model"], "model"), "model")
    if not isinstance(model, nn.Module):
        raise ConvexpError(f"{folder.config}: model={config['model']['_target_']} is no torch.nn.Module")
    if config.get("standardise"):
        model = Standardised(model)
    path = folder.checkpoint(checkpoint)
    weights: dict[str, Tensor] = read_checkpoint(path)["state_dict"]
    try:
        model.load_state_dict(
            {name.removeprefix("model."): weight for name, weight in weights.items() if str(name).startswith("model.")}
        )
    except RuntimeError as error:
        raise ConvexpError(f"{path} has the weights of another model: {_brief(error)}") from error
    return model.eval()


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, plain tensors and numbers on the CPU.

    Raises:
        ConvexpError: If there is no such file, it is damaged, or it is not what a run writes.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConvexpError(f"there is no {path}: the run stopped before it wrote one, or it was not copied") from error
    except Exception as error:  # damaged bytes make torch's reader raise nearly anything
        raise ConvexpError(f"{path} is damaged, or no checkpoint: {_brief(error)}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ConvexpError(f"{path} is not the checkpoint of a run: it has no state_dict")
    return cast("dict[str, Any]", checkpoint)


def _brief(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}…"
