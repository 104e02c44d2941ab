"""Where a trained filter goes: onto any image, and into other software."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convexp.deploy.application import apply

__all__ = ["apply"]


def __getattr__(name: str) -> object:
    # The command line passes through here before it imports torch, which takes seconds.
    if name == "apply":
        from convexp.deploy.application import apply

        return apply
    raise AttributeError(f"module 'convexp.deploy' has no attribute '{name}'")
