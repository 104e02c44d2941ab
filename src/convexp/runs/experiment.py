"""An experiment: the one place that knows all the parts, from the configuration to the metrics."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from convexp.errors import ConvexpError
from convexp.images.alignment import common_center
from convexp.models import Standardised, receptive_field
from convexp.models.initialisation import contrast, lsuv
from convexp.models.standardised import mean_and_std
from convexp.runs import report
from convexp.runs.construction import build, complete
from convexp.runs.events import Events
from convexp.runs.filter import read_checkpoint
from convexp.runs.folder import RunFolder
from convexp.runs.quiet import quiet
from convexp.training.callbacks import Curves, Pictures
from convexp.training.checkpoints import Checkpoints
from convexp.training.data import ImageData
from convexp.training.interruption import Interruption, Stop
from convexp.training.pairs import join_sizes
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
    trainer, data = make_trainer(config), make_data(config)
    config = with_channels(config, data)
    task = make_task(config, data)
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
    folder.require_unfinished()
    quiet()
    trainer, data = make_trainer(config), make_data(config)
    return _train(config, folder, trainer, make_task(config, data), data)


def make_trainer(config: Mapping[str, Any]) -> L.Trainer:
    """A trainer without callbacks and logger."""
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
        machine = " ".join(f"trainer.{key}={arguments.get(key)}" for key in ("accelerator", "devices", "precision"))
        message = " ".join(str(error).split())
        raise ConvexpError(f"{machine}: {message}; trainer=auto takes what this machine has") from error


def make_data(config: Mapping[str, Any]) -> ImageData:
    """Images and what the target makes of them."""
    operator = build(config["target"], "target")
    data = complete(build(config["data"], "data"), "data", operator=operator, seed=config["seed"])
    if not isinstance(data, ImageData):
        raise ConvexpError(f"data={config['data']['_target_']} is no convexp.training.ImageData")
    data.setup()
    return data


def with_channels(config: Mapping[str, Any], data: ImageData) -> dict[str, Any]:
    """The configuration with the model's channels, as data and target have them, unless the model is complete."""
    node = config["model"]
    if node.get("_partial_"):
        pair = next(iter(data.train_pairs.values()))
        node = {"in_channels": pair.input.shape[1], "out_channels": pair.target.shape[1], **node}
    return {**config, "model": node}


def make_task(config: Mapping[str, Any], data: ImageData) -> ImitationTask:
    """The initialised model with its loss, optimizer and schedule."""
    torch.manual_seed(config["seed"])
    model = complete(build(config["model"], "model"), "model")
    if not isinstance(model, nn.Module):
        raise ConvexpError(f"model={config['model']['_target_']} is no torch.nn.Module")
    scale = 1.0
    if config["standardise"]:
        pairs = data.train_pairs.values()
        mean, std = mean_and_std(pair.input for pair in pairs)
        _, scale = mean_and_std(pair.target for pair in pairs)
        offset = min(pair.target.min().item() for pair in pairs)
        model = Standardised(model, mean=mean, std=std, offset=offset, scale=scale)
    _initialise(model, config["initialisation"], data)
    if config["compile"]:
        model.compile()

    def optimizer(weights: Iterable[nn.Parameter]) -> Optimizer:
        return complete(build(config["optimizer"], "optimizer"), "optimizer", params=weights)

    def scheduler(optimizer: Optimizer) -> LRScheduler:
        return complete(build(config["scheduler"], "scheduler"), "scheduler", optimizer=optimizer)

    scheduler(optimizer(model.parameters()))  # says what is wrong with them before there is a folder
    return ImitationTask(
        model,
        loss=build(config["loss"], "loss"),
        optimizer=optimizer,
        scheduler=scheduler,
        scale=scale,
        seed=config["seed"],
    )


def _initialise(model: nn.Module, method: str | None, data: ImageData) -> None:
    if method is None:
        return
    batches = data.batches(start=0)
    image, target = join_sizes(pair for step in range(4 if data.crop_size else 1) for pair in batches.batch(step))[0]
    inner = model
    if isinstance(model, Standardised):
        inner, image, target = model.model, model.standardised_input(image), model.standardised_target(target)
    if method == "lsuv":
        lsuv(inner, image)
    else:
        contrast(inner, image, target)


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
    start = read_checkpoint(last)["global_step"] + 1 if resuming else 0
    trainer.logger = events = Events(folder.path, config=config, start=start)
    events.open()
    metrics: dict[str, Any] = {}
    try:
        with interruption:
            trainer.fit(task, datamodule=data, ckpt_path=resuming, weights_only=True)
            if task.measured_at != trainer.global_step:
                trainer.validate(task, datamodule=data, verbose=False)
            if trainer.is_global_zero:
                metrics = _finish(config, folder, trainer, task, data, curves, checkpoints)
    except Stop as stop:
        if not trainer.is_global_zero:  # one of the processes speaks
            sys.exit(128 + stop.number)
        raise Interrupted(
            f"stopped after {checkpoints.last_step} of {trainer.max_steps} steps; "
            f"to continue: python train.py {_pasteable(f'resume={folder.path}')}",
            stop.number,
        ) from None
    trainer.strategy.barrier()
    return metrics


def _pasteable(argument: str) -> str:
    """An override as one types it: a sweep's folder has commas and equals signs, which Hydra reads, or spaces."""
    key, _, value = argument.partition("=")
    return argument if re.fullmatch(r"[\w./:-]+", value) else f"\"{key}='{value}'\""


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
