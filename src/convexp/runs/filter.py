"""The filter that a run has learned, from its folder alone."""

import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from convexp.errors import ConvexpError
from convexp.models import Standardised
from convexp.runs.construction import build, complete, require_trust, untrusted
from convexp.runs.folder import RunFolder

MOST_STEPS = 20_000  # of torch, to build a model: a convolution takes about ten
SLACK = 2**26  # bytes that no checkpoint holds, as the window of a filter


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
    path = folder.checkpoint(checkpoint)
    weights = _model_weights(path)
    if not untrusted(config["model"]):  # a user's own class may not be built without memory
        with torch.device("meta"), _Sparing(path.stat().st_size) as sparing:
            plan = _model(folder, config)
            _fill(plan, weights, path)
            sparing.require_room(sum(part.nbytes for part in (*plan.parameters(), *plan.buffers())))
    model = _model(folder, config)
    _fill(model, weights, path)
    return model.eval()


def _model(folder: RunFolder, config: Mapping[str, Any]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of arguments that make no model with these weights, which is said then
        model = complete(build(config["model"], "model"), "model")
    if not isinstance(model, nn.Module):
        raise ConvexpError(f"{folder.config}: model={config['model']['_target_']} is no torch.nn.Module")
    return Standardised(model) if config.get("standardise") else model


def _model_weights(path: Path) -> dict[str, Tensor]:
    """Those of the model alone: the task has some of its own."""
    weights: dict[object, object] = read_checkpoint(path)["state_dict"]
    found: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if isinstance(name, str) and name.startswith("model."):
            if not isinstance(weight, Tensor) or not _is_plain(weight):
                raise ConvexpError(f"{path} has the weights of another model: {_brief(name)} is no plain tensor")
            found[name.removeprefix("model.")] = weight
    return found


def _is_plain(weight: Tensor) -> bool:
    on_cpu = weight.layout == torch.strided and weight.device.type == "cpu"
    return on_cpu and torch.can_cast(weight.dtype, torch.float32)


def _fill(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that nothing is copied into a model that takes no memory
            model.load_state_dict(weights)
    except Exception as error:  # a stranger's model may be of any class that is trusted
        raise ConvexpError(f"{path} has the weights of another model: {_brief(error)}") from error


class _Sparing(TorchFunctionMode):
    """Ends the building of a model that would take more memory than its checkpoint can fill, or would take hours.

    Args:
        size: Of the checkpoint, in bytes.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.steps = size, 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Looks at what every function of torch makes, which takes no memory, whatever device is asked for."""
        named = dict(kwargs or {})
        if named.get("device") is not None:
            named["device"] = torch.device("meta")
        made = func(*args, **named)
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise ConvexpError(f"the model takes more than {MOST_STEPS} steps to build, as no run's does")
        if isinstance(made, Tensor) and made.is_meta:
            self.require_room(made.untyped_storage().nbytes())
        return made

    def require_room(self, wanted: int) -> None:
        """Refuses more bytes than the checkpoint can hold.

        Raises:
            ConvexpError: If so many are wanted.
        """
        if wanted > self.size + SLACK:
            raise ConvexpError(
                f"the model takes {wanted} bytes, more than its checkpoint of {self.size} bytes can hold"
            )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, plain tensors and numbers on the CPU.

    Raises:
        ConvexpError: If there is no such file, it is damaged, or it is not what a run writes.
    """
    try:
        _require_plain(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what no run writes, and is refused below
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ConvexpError(f"there is no {path}: the run stopped before it wrote one, or it was not copied") from error
    except Exception as error:  # damaged bytes make torch's reader raise nearly anything
        raise ConvexpError(f"{path} is damaged, or no checkpoint: {_brief(error)}") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise ConvexpError(f"{path} is not the checkpoint of a run: it has no state_dict")
    return cast("dict[str, Any]", checkpoint)


def _require_plain(path: Path) -> None:
    """Refuses what torch never writes: an archive that is damaged, or whose parts would unpack to more than it is.

    Torch looks at neither: a flipped bit would be another weight, and an entry of a few bytes would fill the memory.
    """
    if path.exists() and not path.is_file():
        raise ConvexpError("it is a folder, a pipe or a device")
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
            raise ConvexpError("its parts unpack to more than it holds")
        damaged = archive.testzip()
        if damaged is not None:
            raise ConvexpError(f"its part {damaged} is not what was written")


def steps_behind(path: Path) -> int:
    """How many optimizer steps are behind a checkpoint's weights.

    Raises:
        ConvexpError: As `read_checkpoint`, or if it does not say so.
    """
    steps = read_checkpoint(path).get("global_step")
    if not isinstance(steps, int) or not 0 <= steps < 2**62:
        raise ConvexpError(f"{path} does not say how many steps it is behind: it is no checkpoint of a run")
    return steps


def _brief(error: object) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:200]}…"
