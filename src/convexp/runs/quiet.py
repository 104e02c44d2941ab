"""Silence for what Lightning and TensorBoard say and a user of convexp need not hear."""

import logging
import threading
import warnings


def quiet() -> None:
    """Turns remarks off that do not apply here, or come twice."""
    for package in ("lightning.pytorch", "lightning.fabric"):  # hardware found, processes joined, tips
        logging.getLogger(package).setLevel(logging.ERROR)
    for message in (
        "The '.*_dataloader' does not have many workers",  # cutting a crop is faster than handing it over
        "The `.*_dataloader` does not have many workers",
        "`isinstance\\(treespec, LeafSpec\\)` is deprecated",  # Lightning's own use of torch
    ):
        warnings.filterwarnings("ignore", message)
    threading.excepthook = _report


def _report(arguments: threading.ExceptHookArgs) -> None:
    # TensorBoard's writing thread prints that the disk is full, and raises the same where the run can stop.
    if not isinstance(arguments.exc_value, OSError):
        threading.__excepthook__(arguments)
