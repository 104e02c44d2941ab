"""The folder of a run: all that remains of it, and all that is needed to use it."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, cast

import torch
import yaml
from torch import nn

from convexp.errors import ConvexpError
from convexp.models import Standardised
from convexp.runs.construction import build, complete, require_trust


class RunFolder:
    """Names of the things in a run's folder, and how they are read and written.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.json"
        self.checkpoints = self.path / "checkpoints"

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """Makes a new folder, called `path` or, where that is taken, `path`-2, `path`-3, ….

        Raises:
            ConvexpError: If it cannot be made.
        """
        candidate, number = path, 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    candidate.mkdir()
                    break
                except FileExistsError:
                    number += 1
                    candidate = path.with_name(f"{path.name}-{number}")
            folder = cls(candidate)
            folder.checkpoints.mkdir()
        except OSError as error:
            raise ConvexpError(
                f"{path} cannot be made ({error.strerror}); name another place, as outputs=runs"
            ) from error
        return folder

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.metrics.exists()

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the resolved configuration."""
        self._write(self.config, yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=120))

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics, last of all: they mark a finished run. JSON has no NaN, so that it becomes null."""
        self._write(self.metrics, json.dumps(_finite(metrics), indent=2) + "\n")

    def _write(self, path: Path, text: str) -> None:
        partial = path.with_name(f"{path.name}.partial")
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ConvexpError(f"{path} cannot be written ({error.strerror}); free some space, then resume") from error

    def read_config(self) -> dict[str, Any]:
        """The resolved configuration as plain values.

        Raises:
            ConvexpError: If there is none, or it is not what a run writes.
        """
        try:
            config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise ConvexpError(f"{self.path} is not the folder of a run: it has no config.yaml") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConvexpError(f"{self.config} cannot be read: {' '.join(str(error).split())}") from error
        if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
            raise ConvexpError(f"{self.config} is not the configuration of a run: it names no model")
        return cast("dict[str, Any]", config)

    def checkpoint(self, name: Literal["best", "last"]) -> Path:
        """The path of a checkpoint, which need not exist."""
        return self.checkpoints / f"{name}.ckpt"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in cast("Mapping[str, Any]", value).items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
    folder = RunFolder(run_dir)
    config = folder.read_config()
    require_trust(config["model"], allow=allow)
    model: nn.Module = complete(build(config["model"], "model"), "model")
    if config.get("standardise"):
        model = Standardised(model)
    path = folder.checkpoint(checkpoint)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        weights = {name.removeprefix("model."): weight for name, weight in state.items() if name.startswith("model.")}
        model.load_state_dict(weights)
    except FileNotFoundError as error:
        raise ConvexpError(
            f"{run_dir} has no checkpoint {path.name} yet: the run stopped before it wrote one"
        ) from error
    except (OSError, UnpicklingError, RuntimeError, KeyError, TypeError, EOFError) as error:
        raise ConvexpError(f"{path} is damaged or belongs to another model: {' '.join(str(error).split())}") from error
    return model.eval()
