"""The parts of a run, each made from the configuration: trainer, data, task."""

import os
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from convexp.errors import ConvexpError
from convexp.exact import Shelf
from convexp.images.alignment import common_center
from convexp.models import Standardised, receptive_field
from convexp.models.initialisation import contrast, handmade, lsuv
from convexp.models.standardised import standardised
from convexp.operators.kernels import FIXED
from convexp.runs.construction import build, complete
from convexp.runs.objective import Objective, choose_objective
from convexp.training.data import ImageData
from convexp.training.exact import Exact
from convexp.training.pairs import join_sizes
from convexp.training.quadratic_task import QuadraticTask
from convexp.training.task import ImitationTask


def make_trainer(config: Mapping[str, Any], gpu: int | None = None) -> L.Trainer:
    """A trainer without callbacks and logger, on the GPU of this number if one is given."""
    # A GPU then repeats itself bit for bit, as the CPU does.
    torch.backends.cudnn.deterministic = True
    if not torch.cuda.is_available():
        # Lightning sets it, and each of Adam's steps, which asks for a GPU, would look for a driver in vain: 0.07 ms.
        os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
    arguments = dict(config["trainer"])
    if gpu is not None:
        arguments["devices"] = [gpu]
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


def make_data(config: Mapping[str, Any], shelf: Path | None = None) -> ImageData:
    """Images and what the target makes of them; sums over them are kept in the folder `shelf`, if there is one."""
    data = describe_data(config)
    data.shelf = Shelf(shelf)
    data.setup()
    return data


def describe_data(config: Mapping[str, Any]) -> ImageData:
    """The images and the operator, before any image is read."""
    operator = build(config["target"], "target")
    data = complete(build(config["data"], "data"), "data", operator=operator, seed=config["seed"])
    if not isinstance(data, ImageData):
        raise ConvexpError(f"data={config['data']['_target_']} is no convexp.training.ImageData")
    return data


def with_channels(config: Mapping[str, Any], data: ImageData) -> dict[str, Any]:
    """The configuration with the model's channels, as data and target have them, unless the model is complete."""
    node = config["model"]
    if node.get("_partial_"):
        pair = next(iter(data.train_pairs.values()))
        node = {"in_channels": pair.input.shape[1], "out_channels": pair.target.shape[1], **node}
    return {**config, "model": node}


def make_task(config: Mapping[str, Any], data: ImageData) -> tuple[ImitationTask, Objective]:
    """The initialised model with its loss, optimizer and schedule; and what of it is minimised."""
    torch.manual_seed(config["seed"])
    model = complete(build(config["model"], "model"), "model")
    if not isinstance(model, nn.Module):
        raise ConvexpError(f"model={config['model']['_target_']} is no torch.nn.Module")
    if config["standardise"]:
        model = standardised(model, data.train_pairs.sample())
    check_fit(model, data)
    _initialise(model, config["initialisation"], data)
    if config["compile"]:
        model.compile()

    def optimizer(weights: Iterable[nn.Parameter]) -> Optimizer:
        return complete(build(config["optimizer"], "optimizer"), "optimizer", params=weights)

    def scheduler(optimizer: Optimizer) -> LRScheduler:
        return complete(build(config["scheduler"], "scheduler"), "scheduler", optimizer=optimizer)

    loss, trial = build(config["loss"], "loss"), optimizer(model.parameters())
    if isinstance(scheduler(trial), ReduceLROnPlateau):  # says what is wrong with them before there is a folder
        raise ConvexpError("scheduler=ReduceLROnPlateau waits for a metric; take one that counts steps, as cosine")
    objective = choose_objective(config, model, loss, data, solves=isinstance(trial, Exact))
    kind = ImitationTask
    if objective.quadratic is not None and objective.on_statistics:
        clip = config["trainer"].get("gradient_clip_val")
        every = config["trainer"]["log_every_n_steps"]
        kind = partial(QuadraticTask, quadratic=objective.quadratic, every=every, gradient_clip_val=clip)
    scale = float(model.scale) if isinstance(model, Standardised) and config["standardise"] else 1.0
    task = kind(model, loss=loss, optimizer=optimizer, scheduler=scheduler, scale=scale, seed=config["seed"])
    return task, objective


def _initialise(model: nn.Module, method: str | list[str] | None, data: ImageData) -> None:
    if method is None:
        return
    if method not in ("lsuv", "contrast"):
        handmade(model, [_kernel(name) for name in ([method] if isinstance(method, str) else method)])
    batches = data.batches(start=0)
    image, target = join_sizes(pair for step in range(4 if data.crop_size else 1) for pair in batches.batch(step))[0]
    inner = model
    if isinstance(model, Standardised):
        inner, image, target = model.model, model.standardised_input(image), model.standardised_target(target)
    if method == "contrast":
        contrast(inner, image, target)
    else:
        lsuv(inner, image, skip=0 if method == "lsuv" else 1)


def _kernel(name: str) -> Tensor:
    if name not in FIXED:
        near = get_close_matches(name, [start for start in ("lsuv", "contrast", *FIXED) if start != name], n=1)
        suggestion = f"; did you mean {near[0]}?" if near else ""
        raise ConvexpError(
            f"initialisation={name}: no such start{suggestion}; there are lsuv, contrast, null, and the kernels "
            f"{', '.join(FIXED)}"
        )
    return FIXED[name]()


def check_fit(model: nn.Module, data: ImageData) -> None:
    """Runs the model on the smallest images that it will meet.

    Raises:
        ConvexpError: If they are too small for it, it changes their scale, or its output does not fit the target.
    """
    met = [data.val_pairs.smallest()]
    if data.crop_size:
        met.append((f"a crop of data.crop_size={data.crop_size}", data.batches(start=0).batch(0)[0]))
    else:
        met.append(data.train_pairs.smallest())
    name, pair = min(met, key=lambda item: min(item[1].input.shape[-2:]))
    height, width = pair.input.shape[-2:]
    try:
        with torch.no_grad():
            output = model(pair.input[:1])
            twice = model(torch.cat([pair.input[:1]] * 2, dim=2))
    except ConvexpError:
        raise
    except Exception as error:  # a user's model may raise anything
        field = receptive_field(model)
        if height < field[0] or width < field[1]:
            raise ConvexpError(
                f"{name} is {height}×{width}, smaller than the model's receptive field of {field[0]}×{field[1]}; "
                "use larger images or crops, or a smaller model"
            ) from error
        raise ConvexpError(
            f"the model fails on {name}, {tuple(pair.input.shape)}: {' '.join(str(error).split())}"
        ) from error
    if twice.shape[2] - output.shape[2] != height:
        raise ConvexpError(
            f"the model makes {output.shape[2]} rows of {height} and {twice.shape[2]} of {2 * height}: it changes the "
            "scale, and its output cannot be laid over the target; use stride 1 and no pooling"
        )
    common_center(output, pair.target[:1])  # says what to do if the channels differ
