"""`export`: a run's filter for other software, from the command line; what is heavy is imported after all checks."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from convexp.errors import ConvexpError
from convexp.terminal import say

_INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it

_DESCRIPTION = """Writes what a run has learned in the formats of other software: every model as onnx and pt2, one that
is a single kernel also as npy, c, opencv, ffmpeg, svg and glsl. Each file is run on a photograph and compared with the
run before it gets its name; where nothing is installed that could run it, that is said."""
_EPILOG = """examples:
  convexp export outputs/edges_blur-deep/2026-11-22_09-30-00 --to onnx
  convexp export RUN --to npy,c,svg -o exported
  convexp export RUN --to all                 whatever can hold the filter, and why the others cannot"""


def export_run(arguments: Sequence[str]) -> None:
    """Runs `convexp export`; what a user can mend is one line and exit status 1.

    Args:
        arguments: What was typed behind `export`.
    """
    typed = _parsed(arguments)
    try:
        _export(typed)
    except ConvexpError as error:
        sys.exit(f"convexp: {error}")
    except KeyboardInterrupt:
        print("convexp: interrupted; nothing unfinished is left", file=sys.stderr)
        sys.exit(_INTERRUPTED)


def _export(typed: argparse.Namespace) -> None:
    from convexp.deploy.card import card
    from convexp.deploy.export import Refusal, export

    # Not before: what a stranger's folder holds under the name of an optional package would be imported.
    if typed.allow:
        sys.path.append(str(Path.cwd()))  # a user's own models lie where the command is typed
    failures: list[str] = []
    options = {"output": typed.output, "checkpoint": typed.checkpoint, "allow": typed.allow, "force": typed.force}
    for result in export(typed.run, typed.to, **options):
        if isinstance(result, Refusal) and result.failed:
            failures.append(result.reason)
        elif isinstance(result, Refusal):
            say(f"{result.format.name}: not written, as {result.reason}\n")
        else:
            say(card(result))
    if failures:
        raise ConvexpError("; ".join(failures))


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "convexp export",
        usage="convexp export RUN --to FORMAT[,FORMAT …] [-o PATH] [--force]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="the folder of a run")
    formats = "onnx, pt2, npy, c, opencv, ffmpeg, svg, glsl, or all; several with commas, or --to again"
    parser.add_argument("--to", metavar="FORMAT", action="append", required=True, help=formats)
    place = "a file, for a single format, or a folder; without, RUN/export"
    parser.add_argument("-o", "--output", metavar="PATH", help=place)
    parser.add_argument("--force", action="store_true", help="replace files that are there")
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best", help="which weights")
    trust = "trust a package that the run's model comes from"
    parser.add_argument("--allow", metavar="PACKAGE", action="append", default=[], help=trust)
    typed = parser.parse_args(arguments)
    typed.to = [name for word in typed.to for name in word.split(",") if name]
    if not typed.to:
        parser.error(f"--to needs a format: {formats}")
    return typed
