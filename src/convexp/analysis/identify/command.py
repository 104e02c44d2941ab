"""`identify`: which filter it was, from the command line."""

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convexp.errors import ConvexpError
from convexp.terminal import say

if TYPE_CHECKING:
    from convexp.analysis.identify.identification import Identification

_DESCRIPTION = """Tells which filter made one picture of another: a kernel, with its name and parameters if it is in the
catalogue, a curve, a local operator that is not linear, or one of the whole picture; and the command that learns it.
The second picture may be smaller, around the same centre."""
_EPILOG = """examples:
  convexp identify before.png after.png
  convexp identify before.jpg after.jpg --kernel kernel.npy --plot kernel.png
  convexp identify before.png after.png --json"""


def identify_pair(arguments: Sequence[str]) -> None:
    """Runs `convexp identify`; what a user can mend is one line and exit status 1.

    Args:
        arguments: What was typed behind `identify`.
    """
    parser = argparse.ArgumentParser(
        "convexp identify",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", metavar="BEFORE", help="the picture before the filter")
    parser.add_argument("after", metavar="AFTER", help="the same picture after it")
    parser.add_argument("--json", action="store_true", help="print all numbers as JSON instead")
    parser.add_argument("--kernel", metavar="FILE.npy", help="write the kernel, if it is one")
    parser.add_argument("--plot", metavar="FILE.png", help="write a picture of it")
    typed = parser.parse_args(arguments)
    if typed.kernel is not None and not typed.kernel.endswith(".npy"):
        parser.error(f"--kernel {typed.kernel}: the name must end in .npy")
    try:
        _run(typed)
    except ConvexpError as error:
        sys.exit(f"convexp: {error}")


def _run(typed: argparse.Namespace) -> None:
    from convexp.analysis.identify.identification import identify
    from convexp.analysis.identify.recording import compression_of
    from convexp.images.files import read_image, write_array, write_image

    before, after = read_image(typed.before), read_image(typed.after)
    first, second = compression_of(typed.before), compression_of(typed.after)
    found = identify(before, after, compression=second, first_compression=first)
    _print(found, typed)
    kernel = found.kernel
    if kernel is None and (typed.kernel is not None or typed.plot is not None):
        missing = "--kernel" if typed.kernel is not None else "--plot"
        print(f"convexp: {missing}: there is no kernel to write, since it is not linear", file=sys.stderr)
    if kernel is not None and typed.kernel is not None:
        write_array(kernel[None], typed.kernel)
    if kernel is not None and typed.plot is not None:
        from convexp.images.colours import Scale

        side = max(1, 256 // max(kernel.shape))
        painted = Scale.around_zero(float(kernel.abs().max())).paint(kernel[None])
        write_image(painted.repeat_interleave(side, 1).repeat_interleave(side, 2), typed.plot)


def _print(found: "Identification", typed: argparse.Namespace) -> None:
    from convexp.analysis.identify.facts import facts
    from convexp.analysis.identify.recipe import commands
    from convexp.analysis.identify.sentences import sentences

    if typed.json:
        say(json.dumps(facts(found, typed.before, typed.after), indent=2, ensure_ascii=False))
        return
    first, *more = sentences(found, typed.before, typed.after)
    text = f"\n  {first}\n" + "".join("\n  - " + sentence.replace("\n", "\n    ") for sentence in more) + "\n"
    lines = commands(found, typed.before, typed.after)
    say(text + ("\n  learn it:" + "".join(f"\n    {line}" for line in lines) + "\n" if lines else ""))
