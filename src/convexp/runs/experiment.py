"""An experiment: the one place that knows all the parts, from the configuration to the metrics."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import lightning as L
import torch

from convexp.errors import ConvexpError
from convexp.operators.template import Template
from convexp.operators.verdict import verdict
from convexp.runs import advice, report
from convexp.runs.events import Events
from convexp.runs.filter import steps_behind
from convexp.runs.folder import RunFolder
from convexp.runs.objective import Objective
from convexp.runs.parts import make_data, make_task, make_trainer, with_channels
from convexp.runs.processes import in_processes
from convexp.runs.quiet import quiet
from convexp.runs.val_images import write_val_images
from convexp.training.checkpoints import Checkpoints
from convexp.training.curves import Curves
from convexp.training.data import ImageData
from convexp.training.interruption import Interruption, Stop
from convexp.training.metrics import whole_image_metrics
from convexp.training.optimum import OptimumCurves, beside_the_optimum
from convexp.training.pictures import Pictures, write_picture
from convexp.training.progress import Progress
from convexp.training.pruning import Pruned
from convexp.training.quadratic import plain_rate
from convexp.training.stretches import Stretches
from convexp.training.task import ImitationTask

# The processes of one run agree on its folder through their environment.
_FOLDER_VARIABLE = "CONVEXP_RUN_FOLDER"

_FEW = 256  # weights, with which 500 steps take a fiftieth of a second
_MOMENTS = 10  # that a run alone shows

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


def run(
    config: Mapping[str, Any],
    place: Path,
    *,
    shelf: Path | None = None,
    callbacks: Sequence[L.Callback] = (),
    gpu: int | None = None,
) -> dict[str, Any]:
    """Trains as a configuration says, and leaves a folder.

    Args:
        config: Plain values, as `convexp.runs.config.checked` gives them.
        place: The folder to make.
        shelf: A folder in which runs on the same images share what was summed over them.
        callbacks: Further ones, called behind convexp's own; they do not reach the processes of `ddp_spawn`.
        gpu: The number of the one to take where there are several; the configuration that is kept does not name it.

    Returns:
        What `metrics.json` holds.

    Raises:
        ConvexpError: If the parts do not fit each other, or the run diverges.
        Interrupted: If a signal stopped it.
        Pruned: If a callback ended it, which the folder then says.
    """
    _require_reached(config, callbacks)
    quiet()
    trainer, data = make_trainer(config, gpu), make_data(config, shelf)
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
        return _spawn(config, folder, shelf, trainer.num_devices)
    return _Experiment(config, folder, trainer, task, objective, data, callbacks).train()


def resume(
    config: Mapping[str, Any],
    folder: RunFolder,
    *,
    shelf: Path | None = None,
    callbacks: Sequence[L.Callback] = (),
    gpu: int | None = None,
) -> dict[str, Any]:
    """Continues an interrupted run, bit for bit as if it had never stopped.

    Args:
        config: The configuration in the folder, checked.
        folder: The run's folder.
        shelf: As for `run`.
        callbacks: As for `run`.
        gpu: As for `run`.

    Returns:
        What `metrics.json` holds.

    Raises:
        ConvexpError: If the run is finished.
        Interrupted: If a signal stops it again.
        Pruned: If a callback ends it.
    """
    _require_reached(config, callbacks)
    folder.require_unfinished()
    quiet()
    trainer = make_trainer(config, gpu)
    if config["trainer"]["strategy"] == "ddp_spawn":
        return _spawn(config, folder, shelf, trainer.num_devices)
    data = make_data(config, shelf)
    config = with_channels(config, data)
    return _Experiment(config, folder, trainer, *make_task(config, data), data, callbacks).train()


def _require_reached(config: Mapping[str, Any], callbacks: Sequence[L.Callback]) -> None:
    if callbacks and config["trainer"]["strategy"] == "ddp_spawn":
        raise ConvexpError("trainer.strategy=ddp_spawn: no callback of yours reaches its processes; use another one")


def _spawn(config: Mapping[str, Any], folder: RunFolder, shelf: Path | None, count: int) -> dict[str, Any]:
    status = in_processes(_share, config, folder.path, shelf, count=count)
    if status >= _SIGNALLED:
        raise Interrupted(f"stopped; to continue: {report.command_to_resume(folder, config)}", status - _SIGNALLED)
    if status:
        raise ConvexpError("one of the run's processes failed and ended the others; it says above why")
    return json.loads(folder.metrics.read_text())


def _share(config: Mapping[str, Any], path: Path, shelf: Path | None) -> None:
    """One process's share of a run: its folder is there, and Lightning finds the other processes."""
    try:
        resume({**config, "trainer": {**config["trainer"], "strategy": "ddp"}}, RunFolder(path), shelf=shelf)
    except Interrupted as interrupted:
        sys.exit(_SIGNALLED + interrupted.number)


class _Experiment:
    """A run with all its parts, which is trained, measured and told of.

    Args:
        config: With the model's channels.
        folder: The run's.
        trainer: Without callbacks and logger.
        task: What is learned.
        objective: What of it is minimised.
        data: Images and targets.
        callbacks: Further ones.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        folder: RunFolder,
        trainer: L.Trainer,
        task: ImitationTask,
        objective: Objective,
        data: ImageData,
        callbacks: Sequence[L.Callback],
    ) -> None:
        self.config, self.folder, self.trainer, self.task, self.data = config, folder, trainer, task, data
        self.on_statistics, self.quadratic = objective.on_statistics, objective.quadratic
        self.objective, self.own_callbacks = objective, callbacks
        self.every = config["trainer"]["log_every_n_steps"]
        self.found = verdict(data.operator, next(iter(data.train_pairs.values())).input.shape[1])
        clips = config["trainer"].get("gradient_clip_val")
        plain = self.quadratic is not None and not clips
        self.rate = plain_rate(*task.optimizer_and_scheduler()) if plain else None
        self.checkpoints = Checkpoints(folder.checkpoints, every=config["checkpoint_every"])
        self.interruption = Interruption(self.checkpoints)
        self.curves = Curves(every=self.every)
        self.pictures = Pictures(
            data.val_pairs,
            max_steps=trainer.max_steps,
            moments=_MOMENTS if config["pictures"] is None else config["pictures"],
            draw_kernels=None if self.quadratic is None else beside_the_optimum(self.quadratic, data.operator),
            template=data.template_size,
        )

    def train(self) -> dict[str, Any]:
        """Takes the steps that are left; returns what `metrics.json` holds, nothing in all processes but the first."""
        with self.folder.held() if self.trainer.is_global_zero else nullcontext():
            return self._train()

    def _train(self) -> dict[str, Any]:
        trainer, task = self.trainer, self.task
        trainer.callbacks += self._callbacks()  # pyright: ignore[reportAttributeAccessIssue]  # a list that Lightning leaves untyped
        source = self._stretches() if self.on_statistics else self.data
        last = self.folder.checkpoint("last")
        resuming = last if last.exists() else None
        # Numbers behind the checkpoint were written by the interrupted run, and are written again.
        start = steps_behind(last) + 1 if resuming else 0
        trainer.logger = events = Events(self.folder.path, config=self.config, start=start)
        events.open()
        metrics: dict[str, Any] = {}
        if trainer.is_global_zero:
            report.opening(self.config, task.model, self.found, self.objective, self.rate, self.data.notes)
        try:
            with self.interruption:
                trainer.fit(task, datamodule=source, ckpt_path=resuming, weights_only=True)
                if task.measured_at != trainer.global_step:
                    trainer.validate(task, datamodule=source, verbose=False)
                for library in (self.data.train_pairs, self.data.val_pairs):
                    library.agree(trainer.strategy)
                if trainer.is_global_zero:
                    metrics = self._finish()
        except Pruned as pruned:
            self.folder.write_pruned(str(pruned), step=trainer.global_step)
            raise
        except Stop as stop:
            if not trainer.is_global_zero:  # one of the processes speaks
                sys.exit(_SIGNALLED + stop.number)
            raise Interrupted(
                f"stopped after {self.checkpoints.last_step} of {trainer.max_steps} steps; "
                f"to continue: {report.command_to_resume(self.folder, self.config)}",
                stop.number,
            ) from None
        trainer.strategy.barrier()
        return metrics

    def _callbacks(self) -> list[L.Callback]:
        callbacks: list[L.Callback] = [self.curves]
        if self.quadratic is not None:
            rate = self.rate or self.quadratic.descent().best_rate
            callbacks.append(OptimumCurves(self.quadratic, every=self.every, rate=rate))
        return [*callbacks, self.pictures, self.checkpoints, self.interruption, *self.own_callbacks, Progress()]

    def _stretches(self) -> Stretches:
        stretches = Stretches(
            max_steps=self.trainer.max_steps,
            validate_every=self.config["trainer"]["val_check_interval"],
            every=[self.config["checkpoint_every"]],
            moments=self.pictures.moments,
            validation=self.data.val_pairs,
            longest=500 if sum(weight.numel() for weight in self.task.model.parameters()) < _FEW else 100,
        )
        # The task clips the gradient itself.
        self.trainer.val_check_interval, self.trainer.gradient_clip_val = stretches.per_validation, None
        return stretches

    def _finish(self) -> dict[str, Any]:
        """Measures the last and the best weights, and writes pictures and, last of all, the metrics."""
        trainer, task, quadratic, checkpoints = self.trainer, self.task, self.quadratic, self.checkpoints
        device = trainer.strategy.root_device
        model, library = task.model.to(device), self.data.train_pairs
        pairs = library.sample() if quadratic is None else library.values()
        final = {"step": trainer.global_step, "train/mse": whole_image_metrics(model, pairs)["mse"], **task.val}
        more: dict[str, Any] = {"target": None if self.found is None else self.found.facts()}
        more["objective"] = "statistics" if self.on_statistics else "pixels"
        if quadratic is None:
            more["best_linear_filter"] = advice.yardstick(model, self.data)
        else:
            more["optimum"] = advice.facts(quadratic, self.data, rate=self.rate)
        best, images = final, task.images
        if checkpoints.best_step != trainer.global_step:
            task.load_state_dict(torch.load(checkpoints.best, map_location=device, weights_only=True)["state_dict"])
            mse = whole_image_metrics(model, pairs)["mse"]
            best = {"step": checkpoints.best_step, "train/mse": mse, **checkpoints.best_val}
            images = checkpoints.best_images
        more |= report.left_out([*self.data.train_pairs.damaged, *self.data.val_pairs.damaged])
        facts = report.facts(
            model, self.config, steps=trainer.global_step, seconds=self.curves.seconds, device=str(device)
        )
        metrics = {"final": final, "best": best, **more, **facts}
        least = None if quadratic is None or quadratic.optimum.perfect else quadratic.optimum.loss
        drawn, template = (self.curves.steps, self.curves.losses, least), self.data.template_size
        report.save_pictures(self.folder, model, self.data.val_pairs, *drawn, template=template)
        assert isinstance(trainer.logger, Events)
        for tag, picture in write_val_images(self.folder, model, self.data.val_pairs, images).items():
            write_picture(trainer.logger.experiment, tag, picture, int(best["step"]))
        trainer.logger.close()
        self.folder.write_metrics(metrics)
        report.closing(metrics, self.folder, self.config, rate=self.rate)
        return metrics
