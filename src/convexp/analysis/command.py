"""`inspect`: a look inside a trained filter, from the command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from convexp.errors import ConvexpError

_DESCRIPTION = """Looks inside what a run has learned: what every layer makes of an image, which stages of the target
can be read from it, what its kernels are, and where it is wrong. Pictures and inspect.json go into RUN/inspect and into
the run's TensorBoard."""


def inspect(arguments: Sequence[str]) -> None:
    """Runs `convexp inspect`; what a user can mend is one line and exit status 1.

    Args:
        arguments: What was typed behind `inspect`.
    """
    parser = argparse.ArgumentParser("convexp inspect", description=_DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    source = "a file, or a photograph as coffee; without, the run's validation images"
    parser.add_argument("image", metavar="IMAGE", nargs="?", help=source)
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which weights")
    pixel = "also show the local kernel at this pixel of the image"
    parser.add_argument("--at", metavar="ROW,COLUMN", type=_pixel, help=pixel)
    trust = "trust a package that the run's operator or model comes from"
    parser.add_argument("--allow", metavar="PACKAGE", action="append", default=[], help=trust)
    typed = parser.parse_args(arguments)

    from convexp.analysis.inspection import inspect_run

    # Not before: what a stranger's folder holds under the name of an optional package would be imported.
    if typed.allow:
        sys.path.append(str(Path.cwd()))  # a user's own operators and models lie where the command is typed
    try:
        found = inspect_run(typed.run, typed.image, checkpoint=typed.checkpoint, allow=typed.allow, at=typed.at)
    except ConvexpError as error:
        sys.exit(f"convexp: {error}")
    first, *more = found.lines
    print(f"\n  {first}\n", *(f"  - {sentence}" for sentence in more), sep="\n")
    print(f"\n  {len(found.pictures)} pictures and inspect.json in {Path(typed.run, 'inspect')}, and in TensorBoard\n")


def _pixel(text: str) -> tuple[int, int]:
    try:
        row, column = map(int, text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: must be two whole numbers, as 120,80") from error
    return row, column
