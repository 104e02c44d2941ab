"""The TensorBoard events of a run: its configuration as text, and its row in the HParams table."""

# pyright: reportAttributeAccessIssue=false
# Protobuf makes its classes at run time.

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import google_crc32c
import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.summary.writer import event_file_writer, record_writer
from torch.utils.tensorboard.summary import hparams

from convexp.runs.record import PLACES


def _masked_crc32c(data: bytes) -> int:
    """The checksum of TFRecord files, https://www.tensorflow.org/tutorials/load_data/tfrecord."""
    checksum = google_crc32c.value(data)
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


# TensorBoard's own is a loop in Python: a tenth of a second a megabyte of pictures, in which no step is taken.
record_writer.masked_crc32c = _masked_crc32c

# A folder's files are read in the order of their names, in which the 10th of a process would come before its 9th.
event_file_writer._global_uid = event_file_writer.AtomicCounter(10**6)  # pyright: ignore[reportPrivateUsage]

#: What stands in the table: the names of the choices, numbers, and what is a category though it may be a number.
CHOICES = ("target", "model", "data", "optimizer", "scheduler", "loss")
NUMBERS = ("optimizer.lr", "trainer.max_steps")
CATEGORIES = ("data.crop_size", "data.batch_size", "data.gray", "seed")

#: TensorBoard opens the table with five columns of each kind; the others are a click away.
FIRST = ("target", "model", "data", "optimizer", "lr")
METRICS = ("val/r2", "val/psnr", "val/ssim", "val/log10_mse", "train/loss")


class Events(TensorBoardLogger):
    """Writes events straight into the run's folder, and nothing else.

    Args:
        folder: The run's folder.
        config: The run's configuration.
        start: The first step to come; what an interrupted run wrote from there on is purged.
    """

    def __init__(self, folder: Path, *, config: Mapping[str, Any], start: int) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False, purge_step=start)
        self._config = config

    @rank_zero_only
    def open(self) -> None:
        """Shows the configuration, and the run in the table, before the first step.

        `SummaryWriter.add_hparams` would write start and end at once, into a run of its own, and leave out R².
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
        if not end:
            writer.add_summary(self._columns())
        writer.add_summary(session_end if end else session_start)

    def _row(self) -> dict[str, str | float]:
        row: dict[str, str | float] = {group: str(self._config["choices"].get(group)) for group in CHOICES}
        typed = [path for path in self._typed() if path not in (*CHOICES, *NUMBERS, *CATEGORIES)]
        for path in (*NUMBERS, *CATEGORIES, *typed):
            value: Any = self._config
            for key in path.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            value = self._config["choices"].get(path, value)  # of a whole group, its choice
            # Categories as text: the table then offers boxes to tick instead of a range.
            number = path in NUMBERS and isinstance(value, int | float)
            row[path.rpartition(".")[2]] = value if number else str(value)
        return row

    def _typed(self) -> list[str]:
        """The keys of the configuration that were typed, by which a sweep's runs differ."""
        keys = [word.partition("=")[0].lstrip("+~") for word in self._config.get("overrides", ())]
        return [key for key in keys if key not in PLACES]

    def _columns(self) -> Any:
        """The table's columns, the same from every run; `differs` puts some of them first."""
        first = {path.rpartition(".")[2] for path in self._typed()}
        first |= set(FIRST[: max(0, len(FIRST) - len(first))])
        kinds = {str: api_pb2.DATA_TYPE_STRING, int: api_pb2.DATA_TYPE_FLOAT64, float: api_pb2.DATA_TYPE_FLOAT64}
        experiment = api_pb2.Experiment(
            hparam_infos=[
                api_pb2.HParamInfo(name=name, type=kinds[type(value)], differs=name in first)
                for name, value in self._row().items()
            ],
            metric_infos=[api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in METRICS],
        )
        content = plugin_data_pb2.HParamsPluginData(experiment=experiment, version=metadata.PLUGIN_DATA_VERSION)
        value = Summary.Value(tag=metadata.EXPERIMENT_TAG, metadata=metadata.create_summary_metadata(content))
        return Summary(value=[value])

    def save(self) -> None:
        """Flushes; Lightning's own also writes an empty hparams.yaml."""
        self.experiment.flush()
