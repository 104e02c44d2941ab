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


def integer(*, at_least: int) -> Rule:
    """A whole number."""
    return Rule(
        f"a whole number ≥ {at_least}",
        lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= at_least,
    )


def choice(*names: str | int) -> Rule:
    """One of a few names."""
    return Rule("one of " + ", ".join(str(name) for name in names), lambda value: value in names and value is not True)


def list_of(rule: Rule) -> Rule:
    """A list in which every entry follows a rule."""
    return Rule(
        f"a list, each entry {rule.allowed}", lambda value: isinstance(value, list) and all(map(rule.accepts, value))
    )


BOOLEAN = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("text", lambda value: isinstance(value, str) and value != "")
NULL = Rule("null", lambda value: value is None)
POSITIVE = number(above=0)
NOT_NEGATIVE = number(at_least=0)
FRACTION = number(at_least=0, at_most=1)
COUNT = integer(at_least=1)
BORDER = choice("reflect", "replicate", "zeros", "circular")

# An argument of one name means one thing everywhere, so that one rule serves every choice that has it.
RULES: Mapping[str, Rule] = {
    # data
    "name": TEXT,
    "train": TEXT,
    "val": TEXT | NULL,
    "gray": BOOLEAN,
    "size": COUNT | NULL,
    "height": COUNT,
    "width": COUNT,
    "crop_size": COUNT | NULL,
    "batch_size": COUNT | NULL,
    # target and model
    "kernel_size": COUNT | list_of(COUNT),
    "sigma": POSITIVE,
    "amount": number(),
    "border": BORDER | NULL,
    "kernels": choice("sobel", "edges"),
    "padding": integer(at_least=0) | choice("valid", "same"),
    "bias": BOOLEAN,
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
    "precision": choice("32-true", "64-true", "bf16-mixed", "16-mixed", "bf16-true"),
    "max_steps": COUNT,
    "gradient_clip_val": POSITIVE | NULL,
    "log_every_n_steps": COUNT,
    "val_check_interval": COUNT,
    # the run
    "seed": integer(at_least=0),
    "standardise": BOOLEAN,
    "initialisation": choice("lsuv") | NULL,
    "compile": BOOLEAN,
    "checkpoint_every": COUNT,
    "outputs": TEXT,
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
    "compile",
    "checkpoint_every",
    "outputs",
    "resume",
    "allow",
    "choices",
)


def checked(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain values: interpolations resolved, every known key checked.

    Raises:
        ConvexpError: If a value is missing, breaks its rule or stands under a key that nothing reads.
    """
    try:
        plain = cast("dict[str, Any]", OmegaConf.to_container(config, resolve=True, throw_on_missing=True))
    except MissingMandatoryValue as error:
        raise ConvexpError(f"{error.full_key} has no value: give one, as {error.full_key}=…") from error
    for key, value in plain.items():
        if key not in (*GROUPS, *SETTINGS):
            raise ConvexpError(f"{key}: nothing reads this key; there are {', '.join((*GROUPS, *SETTINGS))}")
        if key in GROUPS and not isinstance(value, dict):
            raise ConvexpError(
                f"{key}={_shown(value)}: must be a mapping with a _target_, or one of the group's choices"
            )
    _check(plain, "")
    return plain


def _check(node: object, path: str) -> None:
    if isinstance(node, list):
        for index, value in enumerate(cast("list[object]", node)):
            _check(value, f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    mapping = cast("dict[str, object]", node)
    foreign = not str(mapping.get("_target_", "torch.")).startswith(("convexp.", "torch."))
    for key, value in mapping.items():
        where = f"{path}.{key}" if path else key
        rule = RULES.get(key)
        if rule and not foreign and not rule.accepts(value):
            raise ConvexpError(f"{where}={_shown(value)}: must be {rule.allowed}")
        _check(value, where)


def _shown(value: object) -> str:
    return (
        {None: "null", True: "true", False: "false"}.get(value, str(value))
        if isinstance(value, bool | None)
        else str(value)
    )
