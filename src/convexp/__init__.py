"""convexp learns convolutions: a model imitates an image operator, and you see how close it comes."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convexp.runs.filter import load_run

__all__ = ["load_run"]


def __getattr__(name: str) -> object:
    # Torch takes seconds to import, and the command line answers many questions without it.
    if name == "load_run":
        from convexp.runs.filter import load_run

        return load_run
    raise AttributeError(f"module 'convexp' has no attribute '{name}'")
