"""Objects from `_target_` mappings: of all that a user typed, of trusted classes alone in a stranger's folder."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from lightning import LightningDataModule
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from convexp.errors import ConvexpError

#: Packages whose modules, optimizers and schedulers do nothing but compute.
TRUSTED = (
    "convexp",
    "torch.nn",
    "torch.optim",
    "kornia.color",
    "kornia.enhance",
    "kornia.filters",
    "kornia.morphology",
)
#: What these hold fetches weights, offers to install packages, or talks to other processes.
REFUSED = ("kornia.filters.dexined", "kornia.filters.dissolving", "torch.nn.parallel")

LONGEST = 400  # letters of a message that is not convexp's: torch adds a traceback of its own to some

logging.getLogger("hydra.utils").disabled = True  # get_object writes a line of its own before it raises


def build(node: Mapping[str, Any], key: str) -> Any:
    """Makes the object that a node of the configuration describes.

    Args:
        node: `_target_` is the dotted path of a class or function, the other keys are its arguments.
        key: Where the node stands, for messages.

    Raises:
        ConvexpError: If there is no such object, or it does not take these arguments.
    """
    try:
        return instantiate(node, _convert_="all")
    except (InstantiationException, OmegaConfBaseException, TypeError, RecursionError) as error:
        raise _mendable(error, f"{key}={node['_target_']}") from error


def complete(built: Any, key: str, **arguments: object) -> Any:
    """Gives the remaining arguments to what `_partial_: true` left open; a complete object stays as it is.

    Raises:
        ConvexpError: If these arguments are not taken.
    """
    if not isinstance(built, partial):
        return built
    try:
        return built(**arguments)
    except Exception as error:  # its class may be anybody's; Hydra answers for what it builds itself in the same way
        raise _mendable(error, f"{key}={_path(built.func)}") from error


def _mendable(error: BaseException, what: str) -> ConvexpError:
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, ConvexpError):
        return root
    reason = " ".join(str(root).split()) or type(root).__name__
    return ConvexpError(f"{what}: {reason if len(reason) <= LONGEST else reason[:LONGEST] + '…'}")


def _path(built: object) -> str:
    """Where a class or function is defined; for any other object, where its class is."""
    named = built if inspect.isclass(built) or inspect.isroutine(built) else type(built)
    return f"{named.__module__}.{named.__qualname__}"


def untrusted(node: object) -> set[str]:
    """The packages that `allow` has to name before `require_trust` takes a configuration."""
    if isinstance(node, list | tuple):
        return {package for entry in cast("Sequence[object]", node) for package in untrusted(entry)}
    if not isinstance(node, dict):
        return set()
    mapping = cast("dict[str, object]", node)
    path = str(mapping.get("_target_", ""))
    own = {path.partition(".")[0]} if path and not _within(path, TRUSTED) else set[str]()
    return own.union(*(untrusted(value) for value in mapping.values()))


def require_trust(node: object, *, allow: Sequence[str] = ()) -> None:
    """Refuses a configuration that would build anything but classes of trusted packages.

    The name alone is not enough: `torch.nn.modules.module.os.system` begins well. What stands under the name must be
    defined in a trusted package, and be a class that computes: a module, an optimizer, a scheduler, a data module. Of a
    package that the user allows every class and function is taken. Interpolations are refused, since they are resolved
    when objects are built, and could then become anything.

    Args:
        node: Any part of a configuration.
        allow: Further packages, as `["mypackage"]`.

    Raises:
        ConvexpError: If there is an interpolation or an untrusted `_target_`; nothing was built.
    """
    if isinstance(node, str) and "${" in node:
        raise ConvexpError(f"{node} is an interpolation, which no run writes: the configuration is refused")
    if isinstance(node, list | tuple):  # of both makes Hydra objects
        for entry in cast("Sequence[object]", node):
            require_trust(entry, allow=allow)
    if isinstance(node, dict):
        mapping = cast("dict[object, object]", node)
        for value in mapping.values():
            require_trust(value, allow=allow)
        if "_target_" in mapping and not _trusted(str(mapping["_target_"]), allow):
            raise ConvexpError(
                f"_target_: {mapping['_target_']} is refused: it is no module, optimizer, scheduler or data of "
                f"{', '.join(TRUSTED)}; if you know and trust its package, allow it by its name, as allow=[mypackage]"
            )


def _trusted(path: str, allow: Sequence[str]) -> bool:
    if not _within(path, (*TRUSTED, *allow)):  # nothing else is even imported
        return False
    try:
        found = get_object(path) if _within(path, allow) else _defined(path)
    except Exception:  # an import may raise anything; what is not found is not trusted
        return False
    if _within(_path(found), allow):
        return inspect.isclass(found) or inspect.isroutine(found)
    return (
        _within(_path(found), TRUSTED)
        and not _within(_path(found), REFUSED)
        and inspect.isclass(found)
        and issubclass(found, nn.Module | Optimizer | LRScheduler | LightningDataModule)
    )


def _defined(path: str) -> object:
    """What stands under a name in a module, looked up without running anything: an attribute may be computed."""
    module, _, name = path.rpartition(".")
    return vars(import_module(module))[name]


def _within(path: str, packages: Sequence[str]) -> bool:
    return any(path.startswith(f"{package}.") for package in packages)
