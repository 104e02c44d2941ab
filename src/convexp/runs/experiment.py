"""An experiment: the one place that knows all the parts, from the configuration to the metrics."""

import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from convexp.errors import ConvexpError
from convexp.images.tiles import KernelComparison
from convexp.models.blocks import kernels
from convexp.operators.response import impulse_response
from convexp.operators.template import Template
from convexp.operators.verdict import Verdict, verdict
from convexp.runs import advice, report
from convexp.runs.construction import untrusted
from convexp.runs.events import Events
from convexp.runs.filter import read_checkpoint
from convexp.runs.folder import RunFolder
from convexp.runs.objective import Objective
from convexp.runs.parts import make_data, make_task, make_trainer, with_channels
from convexp.runs.processes import in_processes
from convexp.runs.quiet import quiet
from convexp.training.checkpoints import Checkpoints
from convexp.training.curves import Curves
from convexp.training.data import ImageData
from convexp.training.interruption import Interruption, Stop
from convexp.training.metrics import whole_image_metrics
from convexp.training.optimum import OptimumCurves, plain_rate
from convexp.training.pictures import Pictures
from convexp.training.progress import Progress
from convexp.training.quadratic import Quadratic
from convexp.training.stretches import Stretches
from convexp.training.task import ImitationTask

# The processes of one run agree on its folder through their environment.
_FOLDER_VARIABLE = "CONVEXP_RUN_FOLDER"

# A process that a signal ends has an exit status of so much more than the signal's number.
_SIGNALLED = 128


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
    task, objective = make_task(config, data)
    if trainer.is_global_zero:
        folder = RunFolder.create(place)
        folder.write_config(config)
        if isinstance(data.operator, Template) and data.operator.template is not None:
            folder.write_template(data.operator.template)
        os.environ[_FOLDER_VARIABLE] = str(folder.path)
    folder = RunFolder(os.environ[_FOLDER_VARIABLE])
    if config["trainer"]["strategy"] == "ddp_spawn":
        return _spawn(config, folder, trainer.num_devices)
    return _train(config, folder, trainer, task, objective, data)


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
    trainer = make_trainer(config)
    if config["trainer"]["strategy"] == "ddp_spawn":
        return _spawn(config, folder, trainer.num_devices)
    data = make_data(config)
    config = with_channels(config, data)
    return _train(config, folder, trainer, *make_task(config, data), data)


def _spawn(config: Mapping[str, Any], folder: RunFolder, count: int) -> dict[str, Any]:
    status = in_processes(_share, config, folder.path, count=count)
    if status >= _SIGNALLED:
        raise Interrupted(f"stopped; to continue: {_command_to_resume(folder, config)}", status - _SIGNALLED)
    if status:
        raise ConvexpError("one of the run's processes failed and ended the others; it says above why")
    return json.loads(folder.metrics.read_text())


def _share(config: Mapping[str, Any], path: Path) -> None:
    """One process's share of a run: its folder is there, and Lightning finds the other processes."""
    try:
        resume({**config, "trainer": {**config["trainer"], "strategy": "ddp"}}, RunFolder(path))
    except Interrupted as interrupted:
        sys.exit(_SIGNALLED + interrupted.number)


def _train(
    config: Mapping[str, Any],
    folder: RunFolder,
    trainer: L.Trainer,
    task: ImitationTask,
    objective: Objective,
    data: ImageData,
) -> dict[str, Any]:
    with folder.held() if trainer.is_global_zero else nullcontext():
        return _learn(config, folder, trainer, task, objective, data)


def _learn(
    config: Mapping[str, Any],
    folder: RunFolder,
    trainer: L.Trainer,
    task: ImitationTask,
    objective: Objective,
    data: ImageData,
) -> dict[str, Any]:
    every, quadratic = config["trainer"]["log_every_n_steps"], objective.quadratic
    found = verdict(data.operator, next(iter(data.train_pairs.values())).input.shape[1])
    checkpoints = Checkpoints(folder.checkpoints, every=config["checkpoint_every"])
    interruption = Interruption(checkpoints)
    curves = Curves(every=every)
    rate, draw_kernels = None, None
    watchers: list[L.Callback] = [curves]
    if quadratic is not None:
        rate = None if config["trainer"].get("gradient_clip_val") else plain_rate(*task.optimizer_and_scheduler())
        watchers.append(OptimumCurves(quadratic, every=every, rate=rate or quadratic.descent().best_rate))
        response = impulse_response(data.operator, quadratic.layer.in_channels)
        truth = None if response is None else quadratic.of_own_channels(response.kernel)
        beside = KernelComparison(quadratic.kernels()[1], truth=truth)
        draw_kernels = partial(_beside_the_optimum, quadratic, beside)
    pictures = Pictures(
        data.val_pairs, max_steps=trainer.max_steps, draw_kernels=draw_kernels, template=data.template_size
    )
    watchers += [pictures, checkpoints, interruption, Progress()]
    trainer.callbacks += watchers  # pyright: ignore[reportAttributeAccessIssue]  # a list that Lightning leaves untyped
    source: L.LightningDataModule = data
    if objective.on_statistics:
        source = Stretches(
            max_steps=trainer.max_steps,
            validate_every=config["trainer"]["val_check_interval"],
            every=[config["checkpoint_every"]],
            moments=pictures.moments,
            validation=data.val_pairs.values(),
        )
        trainer.val_check_interval, trainer.gradient_clip_val = source.per_validation, None  # the task clips itself
    last = folder.checkpoint("last")
    resuming = last if last.exists() else None
    # Numbers behind the checkpoint were written by the interrupted run, and are written again.
    start = read_checkpoint(last)["global_step"] + 1 if resuming else 0
    trainer.logger = events = Events(folder.path, config=config, start=start)
    events.open()
    metrics: dict[str, Any] = {}
    if trainer.is_global_zero:
        _announce(config, task.model, found, objective, rate)
    try:
        with interruption:
            trainer.fit(task, datamodule=source, ckpt_path=resuming, weights_only=True)
            if task.measured_at != trainer.global_step:
                trainer.validate(task, datamodule=source, verbose=False)
            if trainer.is_global_zero:
                metrics = _finish(config, folder, trainer, task, found, objective, data, curves, checkpoints, rate)
    except Stop as stop:
        if not trainer.is_global_zero:  # one of the processes speaks
            sys.exit(_SIGNALLED + stop.number)
        raise Interrupted(
            f"stopped after {checkpoints.last_step} of {trainer.max_steps} steps; "
            f"to continue: {_command_to_resume(folder, config)}",
            stop.number,
        ) from None
    trainer.strategy.barrier()
    return metrics


def _announce(
    config: Mapping[str, Any], model: nn.Module, found: Verdict | None, objective: Objective, rate: float | None
) -> None:
    target = config["choices"].get("target") or "operator"
    if words := advice.demands(target, found, model):
        hopeless = found is not None and found.hopeless
        print(f"WARNING:{words[1:]}" if hopeless else words, file=sys.stderr if hopeless else sys.stdout)
    if words := advice.opening(objective):
        print(words)
    if objective.quadratic is not None and (danger := advice.too_fast(objective.quadratic, rate)):
        print(danger, file=sys.stderr)


def _beside_the_optimum(quadratic: Quadratic, beside: KernelComparison, model: nn.Module) -> dict[str, Tensor]:
    (name,) = kernels(model)
    return {name: beside.picture(quadratic.kernels()[0])}


def _command_to_resume(folder: RunFolder, config: Mapping[str, Any]) -> str:
    """The command as one types it: a sweep's folder has commas and equals signs, which Hydra reads, or spaces."""
    path, own = str(folder.path), ",".join(sorted(untrusted(dict(config))))
    plain = re.fullmatch(r"[\w./:-]+", path)
    command = f"python train.py resume={path}" if plain else f"python train.py \"resume='{path}'\""
    return f"{command} 'allow=[{own}]'" if own else command


def _finish(
    config: Mapping[str, Any],
    folder: RunFolder,
    trainer: L.Trainer,
    task: ImitationTask,
    found: Verdict | None,
    objective: Objective,
    data: ImageData,
    curves: Curves,
    checkpoints: Checkpoints,
    rate: float | None,
) -> dict[str, Any]:
    """Measures the last and the best weights, and writes pictures and, last of all, the metrics."""
    device = trainer.strategy.root_device
    model, pairs, quadratic = task.model.to(device), data.train_pairs.values(), objective.quadratic
    final = {"step": trainer.global_step, "train/mse": whole_image_metrics(model, pairs)["mse"], **task.val}
    more: dict[str, Any] = {"target": None if found is None else found.facts()}
    more["objective"] = "statistics" if objective.on_statistics else "pixels"
    if quadratic is None:
        more["best_linear_filter"] = advice.yardstick(model, data)
    else:
        more["optimum"] = advice.facts(quadratic, data, rate=rate)
    best = final
    if checkpoints.best_step != trainer.global_step:
        task.load_state_dict(torch.load(checkpoints.best, map_location=device, weights_only=True)["state_dict"])
        mse = whole_image_metrics(model, pairs)["mse"]
        best = {"step": checkpoints.best_step, "train/mse": mse, **checkpoints.best_val}
    facts = report.facts(model, config, steps=trainer.global_step, seconds=curves.seconds, device=str(device))
    metrics = {"final": final, "best": best, **more, **facts}
    least = None if quadratic is None or quadratic.optimum.perfect else quadratic.optimum.loss
    report.save_pictures(folder, model, data.val_pairs, curves.steps, curves.losses, least, template=data.template_size)
    assert isinstance(trainer.logger, Events)
    trainer.logger.close()
    folder.write_metrics(metrics)
    print(report.table(metrics, folder, config["outputs"]))
    if quadratic is None:
        print(advice.comparison(more["best_linear_filter"], best["val/r2"]), end="\n\n")
    else:
        solves = config["choices"].get("optimizer") == "exact"
        print(advice.closing(more["optimum"], steps=trainer.global_step, rate=rate, solves=solves), end="\n\n")
    if warning := report.warning(metrics, config):
        print(warning, file=sys.stderr)
    return metrics
