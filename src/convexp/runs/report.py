"""What a run tells: words before its first step; pictures, metrics, a table and more words after its last."""

import platform
import re
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from convexp.images.alignment import common_center
from convexp.images.curves import loss_curve
from convexp.images.files import write_image
from convexp.images.image_files import some_of
from convexp.images.pictures import comparison
from convexp.images.tiles import kernel_sheet
from convexp.models.blocks import feature_maps, kernels
from convexp.operators.verdict import Verdict
from convexp.runs import advice
from convexp.runs.construction import untrusted
from convexp.runs.folder import RunFolder
from convexp.runs.objective import Objective
from convexp.training.pairs import Pair
from convexp.training.pictures import centre

_VERSIONS = ("convexp", "torch", "lightning", "hydra-core", "numpy", "scikit-image")

#: Below this R² an output tells little more than the target's mean.
POOR = 0.1


_NAMED = 100  # pictures that could not be read

#: Side of the part of an image that is shown: all of a photograph of 12 megapixels would take a minute.
SHOWN = 1024


def opening(
    config: Mapping[str, Any],
    model: nn.Module,
    found: Verdict | None,
    objective: Objective,
    rate: float | None,
    notes: Sequence[str] = (),
) -> None:
    """Prints what is known before the first step: of the target, of a quadratic loss, and of a rate that is too large.

    Args:
        config: The run's configuration.
        model: What learns.
        found: What it takes to imitate the target, if that is known.
        objective: What is minimised.
        rate: Of plain gradient descent, if that is what trains.
        notes: Of the images.
    """
    for note in notes:
        print(f"  {note}")
    target = config["choices"].get("target") or "operator"
    if words := advice.demands(target, found, model):
        hopeless = found is not None and found.hopeless
        print(f"WARNING:{words[1:]}" if hopeless else words, file=sys.stderr if hopeless else sys.stdout)
    if words := advice.opening(objective):
        print(words)
    if objective.quadratic is not None and (danger := advice.too_fast(objective.quadratic, rate)):
        print(danger, file=sys.stderr)


def closing(metrics: Mapping[str, Any], folder: RunFolder, config: Mapping[str, Any], *, rate: float | None) -> None:
    """Prints the table, how close the run came to what is possible, and what to do if it learned next to nothing.

    Args:
        metrics: What `metrics.json` holds.
        folder: The run's folder.
        config: The run's configuration.
        rate: Of plain gradient descent, if that is what trained.
    """
    print(table(metrics, folder, config["outputs"]))
    if "optimum" in metrics:
        solves = config["choices"].get("optimizer") == "exact"
        words = advice.closing(metrics["optimum"], steps=metrics["steps"], rate=rate, solves=solves)
    else:
        words = advice.comparison(metrics["best_linear_filter"], metrics["best"]["val/r2"])
    print(words, end="\n\n")
    if alarm := warning(metrics, config):
        print(alarm, file=sys.stderr)


def command_to_resume(folder: RunFolder, config: Mapping[str, Any]) -> str:
    """The command as one types it: a sweep's folder has commas and equals signs, which Hydra reads, or spaces."""
    path, own = str(folder.path), ",".join(sorted(untrusted(dict(config))))
    plain = re.fullmatch(r"[\w./:-]+", path)
    command = f"python train.py resume={path}" if plain else f"python train.py \"resume='{path}'\""
    return f"{command} 'allow=[{own}]'" if own else command


def save_pictures(
    folder: RunFolder,
    model: nn.Module,
    pairs: Mapping[str, Pair],
    steps: Sequence[int],
    losses: Sequence[float],
    optimum: float | None,
    *,
    template: tuple[int, int] | None = None,
) -> None:
    """Writes `comparison.png` of the first image, `kernels.png` and `loss.png`, with the least loss if it is known.

    The best place of a template of the given size is marked.
    """
    pair = centre(next(iter(pairs.values())), SHOWN)
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    output, _ = feature_maps(model, pair.input.to(device))
    output, target = common_center(output.cpu(), pair.target)
    picture = comparison(pair.input[0], target[0], output[0], size=template)
    lines = {} if optimum is None else {"optimum": optimum}
    with ThreadPoolExecutor(1) as other:  # compressing a photograph takes as long as drawing all else
        written = other.submit(write_image, picture, folder.path / "comparison.png")
        if weights := kernels(model):
            write_image(kernel_sheet(weights), folder.path / "kernels.png")
        loss = loss_curve({"training loss": (steps, losses)}, ylabel="loss", lines=lines)
        write_image(loss, folder.path / "loss.png")
        written.result()


def facts(model: nn.Module, config: Mapping[str, Any], *, steps: int, seconds: float, device: str) -> dict[str, Any]:
    """What else `metrics.json` says of a run."""
    return {
        "steps": steps,
        "seconds": round(seconds, 3),
        "steps_per_second": round(steps / seconds, 3) if seconds else None,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "device": device,
        "seed": config["seed"],
        "versions": dict(_versions()),
    }


def left_out(names: Sequence[str]) -> dict[str, Any]:
    """What `metrics.json` says of pictures that could not be read: nothing if there are none."""
    return {"left_out": {"count": len(names), "names": list(names[:_NAMED])}} if names else {}


@cache  # reading what is installed takes a millisecond for each package
def _versions() -> Mapping[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in _VERSIONS}}


def table(metrics: Mapping[str, Any], folder: RunFolder, outputs: str) -> str:
    """The closing words in the terminal."""
    best, final = metrics["best"], metrics["final"]
    lines = ["", f"{'':16}{'best':>12}{'last':>12}"]
    rows = {"step": "d", "train/mse": ".4e", "val/mse": ".4e", "val/r2": ".4g", "val/psnr": ".2f", "val/ssim": ".4f"}
    lines += [f"  {key:14}{best[key]:12{form}}{final[key]:12{form}}" for key, form in rows.items()]
    if missing := metrics.get("left_out"):
        named = some_of(missing["names"], missing["count"])
        lines += ["", f"  could not be read, left out ({missing['count']}): {named}"]
    lines += [
        "",
        f"  {metrics['steps']} steps in {metrics['seconds']:.1f} s on {metrics['device']}, "
        f"{metrics['steps_per_second']} steps/s, {metrics['parameters']} parameters",
        f"  pictures     {folder.path}/comparison.png, kernels.png, loss.png",
        f"  TensorBoard  tensorboard --logdir {outputs} --samples_per_plugin images=1000",
        "",
    ]
    return "\n".join(lines)


def warning(metrics: Mapping[str, Any], config: Mapping[str, Any]) -> str | None:
    """What to say loudly if the model learned next to nothing, however small its loss is, or forgot what it knew."""
    r2, best = metrics["final"]["val/r2"], metrics["best"]["val/r2"]
    if r2 >= POOR:
        return None
    if best >= POOR or (r2 < -1 and best > r2):
        return (
            f"WARNING: the run has collapsed: R² on validation images was {best:.4g} at step {metrics['best']['step']} "
            f"and is {r2:.4g} at the end. Try a smaller optimizer.lr or trainer.gradient_clip_val=1."
        )
    optimum = metrics.get("optimum")
    solved = optimum is not None and (optimum["gap"] is None or optimum["gap"] <= 0.01)
    untried = [
        advice
        for advice, tried in (
            ("optimizer=exact", optimum is None or solved),
            ("a larger model.kernel_size", not solved),
            ("standardise=true", config["standardise"] or solved),
            ("initialisation=lsuv", config["initialisation"] is not None or solved),
            (
                "scheduler=one_cycle optimizer=adam optimizer.lr=1e-2",
                config["choices"].get("scheduler") == "one_cycle" or optimum is not None,
            ),
            (f"trainer.max_steps={4 * metrics['steps']}", solved),
            ("model=deep", config["choices"].get("model") == "deep"),
        )
        if not tried
    ]
    return (
        f"WARNING: the output explains {100 * max(0, r2):.1f} % of the target's variance on validation images "
        f"(R² = {r2:.4f}): it is little more than a constant, however small the loss. Try {', or '.join(untried)}."
    )
