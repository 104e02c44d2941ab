"""An experiment: the one place that knows all the parts, from the configuration to the metrics."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from convexp.errors import ConvexpError
from convexp.images.alignment import common_center
from convexp.models import Standardised, receptive_field
from convexp.models.initialisation import lsuv
from convexp.models.standardised import mean_and_std
from convexp.runs import report
from convexp.runs.construction import build, complete
from convexp.runs.events import Events
from convexp.runs.folder import RunFolder
from convexp.runs.quiet import quiet
from convexp.training.callbacks import Curves, Pictures
from convexp.training.checkpoints import Checkpoints
from convexp.training.data import ImageData
from convexp.training.interruption import Interruption
from convexp.training.progress import Progress
from convexp.training.task import ImitationTask

# The processes of one run agree on its folder through their environment.
_FOLDER_VARIABLE = "CONVEXP_RUN_FOLDER"


class Interrupted(KeyboardInterrupt):
    """A signal ended the run early, with a checkpoint; not an Exception, so that it ends a sweep too.

    Args:
        message: How to go on.
        number: The signal.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


def run(config: Mapping[str, Any], place: Path) -> dict[str, Any]:
    """Trains as a configuration says, and leaves a folder.

    Args:
        config: Plain values, as `convexp.runs.config.checked` gives them.
        place: The folder to make.

    Returns:
        What `metrics.json` holds.

    Raises:
        ConvexpError: If the parts do not fit each other, or the run diverges.
        Interrupted: If a signal stopped it.
    """
    quiet()
    trainer, data = _trainer(config), _data(config)
    config = {**config, "model": _with_channels(config["model"], data)}
    task = _task(config, data)
    _check_fit(task.model, data)
    if trainer.is_global_zero:
        folder = RunFolder.create(place)
        folder.write_config(config)
        os.environ[_FOLDER_VARIABLE] = str(folder.path)
    folder = RunFolder(os.environ[_FOLDER_VARIABLE])
    return _train(config, folder, trainer, task, data)


def resume(config: Mapping[str, Any], folder: RunFolder) -> dict[str, Any]:
    """Continues an interrupted run, bit for bit as if it had never stopped.

    Args:
        config: The configuration in the folder, checked.
        folder: The run's folder.

    Returns:
        What `metrics.json` holds.

    Raises:
        ConvexpError: If the run is finished.
        Interrupted: If a signal stops it again.
    """
    if folder.finished:
        raise ConvexpError(f"{folder.path} is finished: there is nothing to resume; its result is in {folder.metrics}")
    quiet()
    trainer, data = _trainer(config), _data(config)
    return _train(config, folder, trainer, _task(config, data), data)


def _trainer(config: Mapping[str, Any]) -> L.Trainer:
    # A GPU then repeats itself bit for bit, as the CPU does.
    torch.backends.cudnn.deterministic = True
    arguments = dict(config["trainer"])
    arguments["val_check_interval"] = min(arguments["val_check_interval"], arguments["max_steps"])
    try:
        return L.Trainer(
            **arguments,
            max_epochs=-1,
            check_val_every_n_epoch=None,
            num_sanity_val_steps=-1,  # measures the start, too
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        message = " ".join(str(error).split())
        raise ConvexpError(f"trainer.accelerator={arguments.get('accelerator')}: {message}") from error


def _data(config: Mapping[str, Any]) -> ImageData:
    operator = build(config["target"], "target")
    data = complete(build(config["data"], "data"), "data", operator=operator, seed=config["seed"])
    if not isinstance(data, ImageData):
        raise ConvexpError(f"data={config['data']['_target_']} is no convexp.training.ImageData")
    data.setup()
    return data


def _with_channels(node: Mapping[str, Any], data: ImageData) -> dict[str, Any]:
    """The model's node with the channels that data and target have, if the node leaves anything open."""
    if not node.get("_partial_"):
        return dict(node)
    pair = next(iter(data.train_pairs.values()))
    return {"in_channels": pair.input.shape[1], "out_channels": pair.target.shape[1], **node}


def _task(config: Mapping[str, Any], data: ImageData) -> ImitationTask:
    torch.manual_seed(config["seed"])
    model = complete(build(config["model"], "model"), "model")
    if not isinstance(model, nn.Module):
        raise ConvexpError(f"model={config['model']['_target_']} is no torch.nn.Module")
    scale = 1.0
    if config["standardise"]:
        pairs = data.train_pairs.values()
        input_mean, input_std = mean_and_std(pair.input for pair in pairs)
        target_mean, scale = mean_and_std(pair.target for pair in pairs)
        model = Standardised(
            model, input_mean=input_mean, input_std=input_std, target_mean=target_mean, target_std=scale
        )
    if config["initialisation"] == "lsuv":
        lsuv(model, data.batches(start=0).batch(0)[0].input)
    if config["compile"]:
        model.compile()
    return ImitationTask(
        model,
        loss=build(config["loss"], "loss"),
        optimizer=lambda weights: complete(build(config["optimizer"], "optimizer"), "optimizer", params=weights),
        scheduler=lambda optimizer: complete(build(config["scheduler"], "scheduler"), "scheduler", optimizer=optimizer),
        scale=scale,
        seed=config["seed"],
    )


def _check_fit(model: nn.Module, data: ImageData) -> None:
    """Runs the model on the smallest images that it will meet, before anything is written."""
    whole = {**data.val_pairs, **({} if data.crop_size else data.train_pairs)}
    met = list(whole.items())
    if data.crop_size:
        met.append((f"a crop of data.crop_size={data.crop_size}", data.batches(start=0).batch(0)[0]))
    name, pair = min(met, key=lambda item: min(item[1].input.shape[-2:]))
    height, width = pair.input.shape[-2:]
    try:
        with torch.no_grad():
            output = model(pair.input[:1])
    except RuntimeError as error:
        field = receptive_field(model)
        if height < field[0] or width < field[1]:
            raise ConvexpError(
                f"{name} is {height}×{width}, smaller than the model's receptive field of {field[0]}×{field[1]}; "
                "use larger images or crops, or a smaller model"
            ) from error
        raise ConvexpError(
            f"the model fails on {name}, {tuple(pair.input.shape)}: {' '.join(str(error).split())}"
        ) from error
    common_center(output, pair.target[:1])  # says what to do if the channels differ


def _train(
    config: Mapping[str, Any], folder: RunFolder, trainer: L.Trainer, task: ImitationTask, data: ImageData
) -> dict[str, Any]:
    checkpoints = Checkpoints(folder.checkpoints, every=config["checkpoint_every"])
    interruption = Interruption(checkpoints)
    curves = Curves(every=config["trainer"]["log_every_n_steps"])
    pictures = Pictures(data.val_pairs, max_steps=trainer.max_steps)
    trainer.callbacks += [  # pyright: ignore[reportAttributeAccessIssue]  # a list that Lightning leaves untyped
        curves,
        pictures,
        checkpoints,
        interruption,
        Progress(),
    ]
    last = folder.checkpoint("last")
    resuming = last if last.exists() else None
    # Numbers behind the checkpoint were written by the interrupted run, and are written again.
    start = torch.load(last, weights_only=True)["global_step"] + 1 if resuming else None
    trainer.logger = events = Events(folder.path, config=config, start=start)
    events.open()
    trainer.fit(task, datamodule=data, ckpt_path=resuming, weights_only=True)
    if interruption.signal is not None:
        raise Interrupted(
            f"stopped after {trainer.global_step} of {trainer.max_steps} steps; "
            f"to continue: python train.py resume={folder.path}",
            interruption.signal,
        )
    if task.measured_at != trainer.global_step:
        trainer.validate(task, datamodule=data, verbose=False)
    metrics: dict[str, Any] = {}
    if trainer.is_global_zero:
        metrics = _finish(config, folder, trainer, task, data, curves, checkpoints)
    trainer.strategy.barrier()
    return metrics


def _finish(
    config: Mapping[str, Any],
    folder: RunFolder,
    trainer: L.Trainer,
    task: ImitationTask,
    data: ImageData,
    curves: Curves,
    checkpoints: Checkpoints,
) -> dict[str, Any]:
    """Measures the last and the best weights, and writes pictures and, last of all, the metrics."""
    device = trainer.strategy.root_device
    model, pairs = task.model.to(device), data.train_pairs.values()
    final = {"step": trainer.global_step, "train/mse": report.train_mse(model, pairs), **task.val}
    best = final
    if checkpoints.best_step != trainer.global_step:
        task.load_state_dict(torch.load(checkpoints.best, map_location=device, weights_only=True)["state_dict"])
        best = {"step": checkpoints.best_step, "train/mse": report.train_mse(model, pairs), **checkpoints.best_val}
    facts = report.facts(model, config, steps=trainer.global_step, seconds=curves.seconds, device=str(device))
    metrics = {"final": final, "best": best, **facts}
    report.save_pictures(folder, model, data.val_pairs, curves.steps, curves.losses)
    assert isinstance(trainer.logger, Events)
    trainer.logger.close()
    folder.write_metrics(metrics)
    print(report.table(metrics, folder, config["outputs"]))
    if warning := report.warning(metrics, config):
        print(warning, file=sys.stderr)
    return metrics
