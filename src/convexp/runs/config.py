"""What a configuration may say: every key has one rule, checked before anything slow is imported."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from convexp.errors import ConvexpError


@dataclass(frozen=True)
class Rule:
    """What a value may be, in words and as a test."""

    allowed: str
    accepts: Callable[[object], bool]

    def __or__(self, other: "Rule") -> "Rule":
        return Rule(f"{self.allowed} or {other.allowed}", lambda value: self.accepts(value) or other.accepts(value))


def number(*, above: float = -math.inf, at_least: float = -math.inf, at_most: float = math.inf) -> Rule:
    """A finite real number within bounds."""
    bounds = {">": above, "≥": at_least, "≤": at_most}
    words = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds.items() if math.isfinite(bound))

    def accepts(value: object) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and above < value <= at_most
            and value >= at_least
        )

    return Rule(f"a number {words}".strip(), accepts)


def integer(*, at_least: int, at_most: int = 2**63 - 1) -> Rule:
    """A whole number; more than 63 bits are too many for torch."""
    return Rule(
        f"a whole number ≥ {at_least}" if at_most == 2**63 - 1 else f"a whole number from {at_least} to {at_most}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and at_least <= value <= at_most,
    )


def choice(*names: str | int) -> Rule:
    """One of a few names."""
    return Rule("one of " + ", ".join(str(name) for name in names), lambda value: value in names and value is not True)


def list_of(rule: Rule) -> Rule:
    """A list in which every entry follows a rule."""
    return Rule(
        f"a list, each entry {rule.allowed}", lambda value: isinstance(value, list) and all(map(rule.accepts, value))
    )


def _is_table(value: object) -> bool:
    rows = cast("list[object]", value) if isinstance(value, list) else []
    lengths = {len(cast("list[object]", row)) if isinstance(row, list) else 0 for row in rows}
    return len(lengths) == 1 and 0 not in lengths and all(list_of(number()).accepts(row) for row in rows)


TABLE = Rule("rows of equally many numbers, as [[0,1],[1,0]],", _is_table)
WHOLE = Rule("a whole number", lambda value: isinstance(value, int) and not isinstance(value, bool))
BOOLEAN = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("text", lambda value: isinstance(value, str) and value != "")
NULL = Rule("null", lambda value: value is None)
POSITIVE = number(above=0)
NOT_NEGATIVE = number(at_least=0)
FRACTION = number(at_least=0, at_most=1)
OPEN_FRACTION = Rule("a number > 0 and < 1", lambda value: FRACTION.accepts(value) and value not in (0, 1))
COUNT = integer(at_least=1)
BORDER = choice("reflect", "replicate", "zeros", "circular")

# An argument of one name means one thing everywhere, so that one rule serves every choice that has it.
RULES: Mapping[str, Rule] = {
    # data
    "name": TEXT,
    "train": TEXT,
    "val": TEXT | NULL,
    "inputs": TEXT,
    "targets": TEXT,
    "val_fraction": OPEN_FRACTION | NULL,
    "register": BOOLEAN,
    "centred": BOOLEAN,
    "cache_gb": POSITIVE,
    "workers": integer(at_least=0) | NULL,
    "on_error": choice("skip", "raise"),
    "images": COUNT,
    "gray": BOOLEAN,
    "size": COUNT | NULL,
    "height": COUNT,
    "width": COUNT,
    "crop_size": COUNT | NULL,
    "batch_size": COUNT | NULL,
    "snowman": list_of(integer(at_least=0)) | NULL,
    # target and model
    "kernel_size": COUNT | list_of(COUNT),
    "sigma": POSITIVE,
    "amount": number(),
    "border": BORDER | NULL,
    "channels": choice("each", "sum", "mean"),
    "kernel": TABLE | TEXT,
    "kernels": choice("sobel", "scharr", "prewitt", "edges"),
    "right": WHOLE,
    "down": WHOLE,
    "times": COUNT,
    "angle": number(),
    "phase": number(),
    "wavelength": POSITIVE,
    "aspect": POSITIVE,
    "ratio": number(above=1),
    "norm": choice(1, 2),
    "matrix": TABLE | TEXT,
    "exponent": POSITIVE,
    "sigma_color": POSITIVE,
    "sigma_space": POSITIVE,
    "eps": NOT_NEGATIVE,
    "low": NOT_NEGATIVE,
    "high": NOT_NEGATIVE,
    "hysteresis": integer(at_least=0) | NULL,
    "patch": list_of(integer(at_least=0)),
    "method": choice("plain", "zero_mean", "normalised"),
    "padding": integer(at_least=0) | choice("valid", "same"),
    "bias": BOOLEAN,
    "dilations": list_of(COUNT),
    "slope": NOT_NEGATIVE,
    "adaptive_normalisation": BOOLEAN,
    "inplace": BOOLEAN,
    # optimizer, scheduler, loss
    "lr": POSITIVE,
    "momentum": FRACTION,
    "betas": list_of(FRACTION),
    "weight_decay": NOT_NEGATIVE,
    "max_iter": COUNT,
    "max_eval": COUNT,
    "tolerance_grad": NOT_NEGATIVE,
    "tolerance_change": NOT_NEGATIVE,
    "history_size": COUNT,
    "line_search_fn": choice("strong_wolfe") | NULL,
    "max_lr": POSITIVE,
    "total_steps": COUNT,
    "total_iters": integer(at_least=0),
    "factor": FRACTION,
    "pct_start": FRACTION,
    "cycle_momentum": BOOLEAN,
    "T_max": COUNT,
    "eta_min": NOT_NEGATIVE,
    "delta": POSITIVE,
    # trainer
    "accelerator": choice("auto", "cpu", "gpu", "cuda", "mps", "tpu"),
    "devices": COUNT | choice("auto"),
    "strategy": choice("auto", "ddp", "ddp_spawn"),
    "precision": choice("32-true", "bf16-mixed", "16-mixed"),
    "max_steps": COUNT,
    "gradient_clip_val": POSITIVE | NULL,
    "log_every_n_steps": COUNT,
    "val_check_interval": COUNT,
    # the run
    "seed": integer(at_least=0, at_most=2**32 - 1),
    "standardise": BOOLEAN,
    "initialisation": TEXT | list_of(TEXT) | NULL,
    "objective": choice("auto", "statistics", "pixels"),
    "compile": BOOLEAN,
    "checkpoint_every": COUNT,
    "pictures": integer(at_least=0) | NULL,
    "outputs": TEXT,
    "sweep": TEXT | NULL,
    "resume": TEXT | NULL,
    "allow": list_of(TEXT),
    "_target_": TEXT,
    "_partial_": BOOLEAN,
}

GROUPS = ("data", "target", "loss", "trainer", "scheduler", "optimizer", "model")
SETTINGS = (
    "seed",
    "standardise",
    "initialisation",
    "objective",
    "compile",
    "checkpoint_every",
    "pictures",
    "outputs",
    "sweep",
    "resume",
    "allow",
)
#: What convexp itself reads of the trainer; all else is Lightning's affair.
TRAINER = ("strategy", "max_steps", "log_every_n_steps", "val_check_interval")
#: What a run keeps beside its configuration: the name of every group's choice, what was typed, what identifies it, and
#: which files it was made of.
KEPT = ("choices", "overrides", "identity", "made_of")
#: Their keys are names that a user gives, and follow no rule.
NAMED = ("stages", "blocks")


def checked(config: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """The configuration as plain values, every known key checked.

    Args:
        config: Hydra's, whose interpolations are resolved; or plain values from a folder, in which none is: a
            stranger's could ask for secrets of the environment, or double itself for ever.

    Raises:
        ConvexpError: If a value is missing, breaks its rule or stands under a key that nothing reads.
    """
    try:
        plain = dict(config) if isinstance(config, dict) else _resolved(config)
    except MissingMandatoryValue as error:
        raise ConvexpError(f"{error.full_key} has no value: give one, as {error.full_key}=…") from error
    for key in ("sweep", "pictures"):
        plain.setdefault(key, None)  # runs were made before there were these keys
    for key in plain:
        if key not in (*GROUPS, *SETTINGS, *KEPT):
            raise ConvexpError(f"{key}: nothing reads this key; there are {', '.join((*GROUPS, *SETTINGS))}")
    for key in (*GROUPS, *SETTINGS):
        if key not in plain:
            raise ConvexpError(f"{key} is missing: a run needs it; leave ~{key} out")
    for group in GROUPS:
        node = plain[group]
        if not isinstance(node, dict):
            raise ConvexpError(f"{group}={_shown(node)}: must be one of the group's choices; --help lists them")
        if group != "trainer" and "_target_" not in node:
            raise ConvexpError(
                f"{group} has no _target_: name the class or function to build, as {group}._target_=package.Name"
            )
    for key in TRAINER:
        if key not in plain["trainer"]:
            raise ConvexpError(f"trainer.{key} is missing: a run needs it; leave ~trainer.{key} out")
    _check({key: value for key, value in plain.items() if key not in KEPT}, "")
    total, steps = plain["scheduler"].get("total_steps"), plain["trainer"]["max_steps"]
    if isinstance(total, int) and total < steps:
        raise ConvexpError(f"scheduler.total_steps={total}: must be at least trainer.max_steps={steps}")
    return plain


def _resolved(config: DictConfig) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))


def _check(node: object, path: str, *, free: bool = False) -> None:
    """Checks a part of the configuration; `free` are the arguments of a user's own classes."""
    if isinstance(node, list):
        for index, value in enumerate(cast("list[object]", node)):
            _check(value, f"{path}[{index}]", free=free)
    if not isinstance(node, dict):
        return
    mapping = cast("dict[object, object]", node)
    if "_target_" in mapping:
        free = not str(mapping["_target_"]).startswith(("convexp.", "torch."))
    for key, value in mapping.items():
        where = f"{path}.{key}" if path else str(key)
        rule = RULES.get(str(key))
        own = str(key).startswith("_")  # Hydra's own keys mean the same everywhere
        if rule and (own or not free) and path.rpartition(".")[2] not in NAMED and not rule.accepts(value):
            raise ConvexpError(f"{where}={_shown(value)}: must be {rule.allowed}")
        _check(value, where, free=free)


def _shown(value: object) -> str:
    """A value as it is typed."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)
