"""What went wrong with a configuration, in one line."""

import errno
import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import cast

from hydra import compose, initialize_config_module
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from convexp.errors import ConvexpError
from convexp.runs.config import GROUPS

_MENDABLE = (ConvexpError, HydraException, OmegaConfBaseException, MarkedYAMLError, OSError)
_NO_NAME = "Config group override must be"  # the one ValueError that Hydra lets through
_NO_SLURM = 'Could not detect "srun"'  # which submitit raises as a RuntimeError

# Launchers of sweeps, and the extra of convexp that installs each.
_EXTRAS = {"ray": "ray", "submitit_slurm": "slurm", "submitit_local": "slurm"}


def mendable(error: Exception) -> bool:
    """Whether a user can mend it. Anything else is a defect of convexp, and keeps its traceback."""
    return isinstance(error, _MENDABLE) or str(error).startswith((_NO_NAME, _NO_SLURM)) or _lost(error)


def explain(error: Exception, arguments: Sequence[str]) -> str:
    """Says in one line which argument or file is wrong and what is allowed.

    Args:
        error: What was raised.
        arguments: The command line's arguments, to show what was typed.

    Example:
        >>> explain(FileNotFoundError(2, "No such file or directory", "cat.png"), [])
        'cat.png: No such file or directory'
    """
    if isinstance(error, ConvexpError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        return _missing(error.missing_cfg_file, list(error.options or ()))
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.context_mark or error.problem_mark
        problem = " ".join(filter(None, (error.context, error.problem)))
        return f"{mark.name}, line {mark.line + 1}: not valid YAML: {problem}"
    if isinstance(error, OverrideParseException):
        return (
            f"{error.override}: not understood; write key=value, a list as key=[1,2], "
            "and a value with special characters in two pairs of quotes, as \"key='a b'\""
        )
    message = str(error)
    if message.startswith(_NO_NAME):
        choosing = re.compile(rf"({'|'.join((*GROUPS, 'experiment'))})?=(null|true|false|[-+.\d]+)?")
        typed = next((word for word in arguments if choosing.fullmatch(word)), "a group")
        return f"{typed}: must be the name of one of the group's choices, as model=deep; --help lists them"
    if unknown := re.search(r"Could not override '([^']+)'", message):
        return f"{_typed(unknown[1], arguments)}: there is no such key{_nearest_key(unknown[1], arguments)}"
    if twice := re.search(r"Multiple values for ([^.]+)\.|An item is already at '([^']+)'", message):
        key = twice[1] or twice[2]
        return f"{_typed(key, arguments)}: {key} has a value already; write {key}=… once, without +"
    if message.startswith(_NO_SLURM):
        return "hydra/launcher=slurm: there is no srun here; type it on a machine that submits to Slurm"
    if _lost(error):
        job = " ".join(message.splitlines()[:2])
        return f"{job}: it was cancelled, or its machine failed; the same command goes on with the sweep"
    if isinstance(error, ConnectionError) and error.errno is None:
        return f"no connection: {message.splitlines()[0]}"
    if isinstance(error, OSError):
        advice = "; free some space, then resume the run" if error.errno == errno.ENOSPC else ""
        return f"{error.filename or 'a file'}: {error.strerror or error}{advice}"
    first = next((line for line in message.splitlines() if line.strip()), "no message")
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{_typed(error.full_key, arguments)}: {first}"
    return first if mendable(error) else f"{type(error).__name__}: {first}"


def _lost(error: Exception) -> bool:
    return type(error).__name__ == "UncompletedJobError"  # submitit's, which need not be installed


def _missing(path: str, options: Sequence[str]) -> str:
    group, _, name = path.rpartition("/")
    typed = f"{group}={name}" if group else name
    if group == "hydra/launcher" and name in _EXTRAS:
        return f"{typed} is not installed: pip install 'convexp[{_EXTRAS[name]}]'"
    if not options:
        return f"{typed}: there is no {path}.yaml in the configuration"
    # An abbreviation, as dog for difference_of_gaussians, or a part, as gaussian, says more than its letters do.
    meant = [
        option for option in options if name in ("".join(word[0] for word in option.split("_")), *option.split("_"))
    ]
    near = meant or get_close_matches(name, options, n=1)
    return f"{typed}: no such choice{_did_you_mean(near)}; there are {', '.join(options)}"


def _typed(key: str, arguments: Sequence[str]) -> str:
    return next((word for word in arguments if word.lstrip("+~").startswith(f"{key}=")), key)


def _nearest_key(key: str, arguments: Iterable[str]) -> str:
    """Suggests the known key whose last part is alike, in the same group if there is such a group."""

    def likeness(known: str) -> float:
        return SequenceMatcher(None, key, known).ratio()

    known = _known_keys(arguments)
    group = key.rpartition(".")[0]
    if group in known:
        known = [name for name in known if name.startswith(f"{group}.")]
    last = {name.rpartition(".")[2] for name in known}
    alike = get_close_matches(key.rpartition(".")[2], last)
    near = max((name for name in known if name.rpartition(".")[2] in alike), key=likeness, default=None)
    return f"{_did_you_mean([near] if near else [])}; --help lists all keys"


def _did_you_mean(near: Sequence[str]) -> str:
    return f"; did you mean {near[0]}?" if near else ""


def _known_keys(arguments: Iterable[str]) -> list[str]:
    """Every dotted key of the configuration that the choices among `arguments` compose."""
    with initialize_config_module("convexp.configs", version_base="1.3"):
        try:
            config = compose("train", overrides=[word for word in arguments if re.fullmatch(r"[a-z]+=[a-z_]+", word)])
        except (HydraException, OmegaConfBaseException):
            config = compose("train")
    return list(_dotted(OmegaConf.to_container(config), ""))


def _dotted(node: object, prefix: str) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in cast("dict[str, object]", node).items():
            yield f"{prefix}{key}"
            yield from _dotted(value, f"{prefix}{key}.")
