"""Objects from `_target_` mappings: of all that a user typed, of trusted classes alone in a stranger's folder."""

import inspect
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

from hydra.errors import InstantiationException
from hydra.utils import get_object, instantiate
from lightning import LightningDataModule
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


def build(node: Mapping[str, Any], key: str) -> Any:
    """Makes the object that a node of the configuration describes.

    Args:
        node: `_target_` is the dotted path of a class or function, the other keys are its arguments.
        key: Where the node stands, for messages.

    Raises:
        ConvexpError: If there is no such object, or it does not take these arguments.
    """
    if "_target_" not in node:
        raise ConvexpError(
            f"{key} has no _target_: name the class or function to build, as {key}._target_=torch.nn.Conv2d"
        )
    try:
        return instantiate(node, _convert_="all")
    except InstantiationException as error:
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
    except (TypeError, ValueError, RuntimeError) as error:
        raise _mendable(error, f"{key}={built.func.__module__}.{built.func.__qualname__}") from error


def _mendable(error: BaseException, what: str) -> ConvexpError:
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    if isinstance(root, ConvexpError):
        return root
    return ConvexpError(f"{what}: {' '.join(str(root).split())}")


def require_trust(node: object, *, allow: Sequence[str] = ()) -> None:
    """Refuses a configuration that would build anything but classes of trusted packages.

    The name alone is not enough: `torch.nn.modules.module.os.system` begins well. What stands under the name must be a
    class that a trusted package defines, and one that computes: a module, an optimizer, a scheduler, a data class.

    Args:
        node: Any part of a configuration.
        allow: Further packages, of which every class and function is taken.

    Raises:
        ConvexpError: If a `_target_` is not trusted; nothing of it was imported or called.
    """
    if isinstance(node, list):
        for entry in cast("list[object]", node):
            require_trust(entry, allow=allow)
    if not isinstance(node, dict):
        return
    mapping = cast("dict[str, object]", node)
    for value in mapping.values():
        require_trust(value, allow=allow)
    if "_target_" in mapping:
        path = str(mapping["_target_"])
        if not _within(path, allow) and not (_within(path, TRUSTED) and _computes(path)):
            raise ConvexpError(
                f"_target_: {path} is not from a trusted package ({', '.join((*TRUSTED, *allow))}); "
                f"if you trust it, allow its package: {path.partition('.')[0]}"
            )


def _within(path: str, packages: Sequence[str]) -> bool:
    return any(path.startswith(f"{package}.") for package in packages)


def _computes(path: str) -> bool:
    try:
        found = get_object(path)
    except (ImportError, ValueError, AttributeError):
        return False
    return (
        inspect.isclass(found)
        and _within(f"{found.__module__}.", TRUSTED)
        and issubclass(found, nn.Module | Optimizer | LRScheduler | LightningDataModule)
    )
