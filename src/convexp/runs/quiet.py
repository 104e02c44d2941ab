"""Silence for what Lightning says and a user of convexp need not hear."""

import logging
import warnings


def quiet() -> None:
    """Turns Lightning's remarks off that do not apply here."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # hardware found, tips, and what stopped training
    for message in (
        "The '.*_dataloader' does not have many workers",  # cutting a crop is faster than handing it over
        "The `.*_dataloader` does not have many workers",
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning's own use of torch
    ):
        warnings.filterwarnings("ignore", message)
