"""The numbers that convexp lives by: each is a ratio of two sides measured in turn, the median of several rounds.

python scripts/benchmark.py [--quick] [NAME ...]     (all: three quarters of an hour; --quick: ten minutes)
"""

import argparse
import os
import platform
import warnings
from pathlib import Path

import torch
from measures.applying import applying
from measures.deployment import onnx
from measures.exact import growth
from measures.framework import inspection, lightning_share, start_up
from measures.notebooks import first_notebook, second_notebook
from measures.sweeps import bulk, memory

from convexp.runs.quiet import quiet

MEASURES = {
    measure.__name__: measure
    for measure in (
        *(first_notebook, second_notebook, bulk, memory, lightning_share, start_up, growth, inspection),
        *(applying, onnx),
    )
}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--quick", action="store_true", help="one round instead of three, one seed, fewer steps")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURES)}")
    quiet()
    warnings.filterwarnings("ignore")
    print(f"{_processor()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    print("| what | ratio (range) | wanted | both sides |\n|---|---|---|---|", flush=True)
    for name in arguments.names or MEASURES:
        MEASURES[name](1 if arguments.quick else 3, arguments.quick)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    main()
