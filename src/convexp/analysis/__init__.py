"""What was learned: a model's layers, what they hold, and what its kernels are."""

from convexp.analysis.content import content, error_by_content, places
from convexp.analysis.effective_kernel import LocalKernel, effective_kernel, energy_box, local_kernel
from convexp.analysis.layers import constant_channels, layers
from convexp.analysis.naming import Name, nearest
from convexp.analysis.probes import Table, probe, summary
from convexp.analysis.symmetry import Symmetry, describe

__all__ = [
    "LocalKernel",
    "Name",
    "Symmetry",
    "Table",
    "constant_channels",
    "content",
    "describe",
    "effective_kernel",
    "energy_box",
    "error_by_content",
    "layers",
    "local_kernel",
    "nearest",
    "places",
    "probe",
    "summary",
]
