"""A run that was made before: its model, and what it has learned from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import nn

from convexp.operators.template import Template
from convexp.runs.config import checked
from convexp.runs.construction import require_trust
from convexp.runs.filter import load_run
from convexp.runs.folder import RunFolder
from convexp.runs.parts import describe_data
from convexp.training.data import ImageData


@dataclass(frozen=True)
class FinishedRun:
    """What its folder holds.

    Args:
        folder: Of the run.
        config: Its configuration, checked, whose classes are allowed.
        model: With the run's weights, on the CPU, in evaluation mode.
    """

    folder: RunFolder
    config: Mapping[str, Any]
    model: nn.Module

    @classmethod
    def read(
        cls, run: str | Path, *, checkpoint: Literal["best", "last"] = "best", allow: Sequence[str] = ()
    ) -> "FinishedRun":
        """Reads it.

        Args:
            run: The folder.
            checkpoint: Which weights.
            allow: Packages besides convexp, torch and kornia that its objects may come from.

        Raises:
            ConvexpError: If the folder is not a run's, or a class is not allowed.
        """
        folder = RunFolder(run)
        config = checked(folder.read_config())
        for part in ("model", "target", "data"):
            require_trust(config[part], allow=allow)
        return cls(folder, config, load_run(run, checkpoint=checkpoint, allow=allow))

    def data(self, **parts: Mapping[str, Any]) -> ImageData:
        """Its images and its operator, before any image is read.

        Args:
            parts: What is to stand in the configuration instead, as `data` or `target`.
        """
        data = describe_data({**self.config, **parts})
        if isinstance(data.operator, Template):
            data.operator.template = self.folder.read_template()
        return data
