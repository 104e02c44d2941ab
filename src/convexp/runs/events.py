"""The TensorBoard events of a run: its configuration as text, and its row in the HParams table."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard.summary import hparams

#: What stands in the table: the chosen names, and a few numbers under their short names.
CHOICES = ("target", "model", "data", "optimizer", "scheduler", "loss")
NUMBERS = ("optimizer.lr", "trainer.max_steps", "data.crop_size", "data.batch_size", "data.gray", "seed")


class Events(TensorBoardLogger):
    """Writes events straight into the run's folder, and nothing else.

    Args:
        folder: The run's folder.
        config: The run's configuration.
        start: What an interrupted run wrote from this step on is purged; None purges nothing.
    """

    def __init__(self, folder: Path, *, config: Mapping[str, Any], start: int | None) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False, purge_step=start)
        self._config = config

    @rank_zero_only
    def open(self) -> None:
        """Shows the configuration, and the run in the table, before the first step.

        `SummaryWriter.add_hparams` would write start and end at once, into a run of its own, and fix the columns.
        """
        text = yaml.safe_dump(dict(self._config), sort_keys=False, width=120)
        self.experiment.add_text("config", "".join(f"    {line}\n" for line in text.splitlines()))
        self._add_session(end=False)

    @rank_zero_only
    def close(self) -> None:
        """Completes the row of a finished run."""
        self._add_session(end=True)
        self.experiment.close()

    def _add_session(self, *, end: bool) -> None:
        _, session_start, session_end = hparams(self._row(), {})
        writer = self.experiment._get_file_writer()  # the only way to write one of the two
        writer.add_summary(session_end if end else session_start)

    def _row(self) -> dict[str, str | float]:
        row: dict[str, str | float] = {group: str(self._config["choices"].get(group)) for group in CHOICES}
        for path in NUMBERS:
            value: Any = self._config
            for key in path.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            # Booleans, null and seeds as text: the table then offers boxes to tick instead of a range.
            number = isinstance(value, int | float) and not isinstance(value, bool) and path != "seed"
            row[path.rpartition(".")[2]] = value if number else str(value)
        return row

    def save(self) -> None:
        """Flushes; Lightning's own also writes an empty hparams.yaml."""
        self.experiment.flush()
