"""What went wrong with a configuration, in one line."""

import difflib
import re
from collections.abc import Iterable, Sequence

from hydra import compose, initialize_config_module
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError

from convexp.errors import ConvexpError

#: What a user can mend. Anything else that is raised is a defect of convexp and keeps its traceback.
MENDABLE = (ConvexpError, HydraException, OmegaConfBaseException, MarkedYAMLError, OSError)


def explain(error: BaseException, arguments: Sequence[str]) -> str:
    """Says in one line which argument or file is wrong and what is allowed.

    Args:
        error: One of `MENDABLE`.
        arguments: The command line's arguments, to show what was typed.
    """
    if isinstance(error, ConvexpError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        group, _, name = error.missing_cfg_file.rpartition("/")
        options = list(error.options or ())
        typed = f"{group}={name}" if group else name
        return f"{typed}: no such choice{_nearest(name, options)}; there are {', '.join(options) or 'none'}"
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        mark = error.context_mark or error.problem_mark
        return f"{mark.name}, line {mark.line + 1}: not valid YAML: {error.context or ''} {error.problem}".replace(
            "  ", " "
        )
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not understood; write key=value, a list as key=[1,2], and quote what the shell reads"
    if unknown := re.search(r"Could not override '([^']+)'", str(error)):
        key = unknown[1]
        typed = next((argument for argument in arguments if argument.startswith(f"{key}=")), key)
        return f"{typed}: there is no key {key}{_nearest(key, known_keys(arguments))}; --help lists them all"
    if isinstance(error, OSError):
        return f"{error.filename or 'file'}: {error.strerror or error}"
    return next(line for line in str(error).splitlines() if line.strip())


def known_keys(arguments: Iterable[str]) -> list[str]:
    """Every dotted key of the configuration that the choices among `arguments` compose."""
    with initialize_config_module("convexp.configs", version_base="1.3"):
        try:
            config = compose("train", overrides=[word for word in arguments if re.fullmatch(r"[a-z]+=[a-z_]+", word)])
        except (HydraException, OmegaConfBaseException):
            config = compose("train")
    return list(_dotted(config, ""))


def _dotted(config: DictConfig, prefix: str) -> Iterable[str]:
    for key, value in config.items_ex(resolve=False):
        yield f"{prefix}{key}"
        if isinstance(value, DictConfig) and not value._is_none():  # pyright: ignore[reportPrivateUsage]
            yield from _dotted(value, f"{prefix}{key}.")


def _nearest(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
