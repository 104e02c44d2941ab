"""`filter`: an operator on one image, without training; what is heavy is imported after all checks."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from convexp.runs.composition import composed
from convexp.runs.explanation import explain, mendable

_DESCRIPTION = "Applies a target to an image, to see what a model would have to imitate."
_EPILOG = """examples:
  convexp filter sobel photo.jpg edges.png
  convexp filter edges_blur photo.jpg out.png --stages     a picture for each stage
  convexp filter gabor wavelength=8 angle=45 --kernel      its numbers
  convexp filter kernel coffee out.png 'kernel=[[0,1,0],[1,-4,1],[0,1,0]]'"""


def filter_image(arguments: Sequence[str]) -> None:
    """Runs `convexp filter`; what a user can mend is one line and exit status 1.

    Args:
        arguments: What was typed behind `filter`.
    """
    typed = _parsed(arguments)
    overrides = [f"target={typed.target}", *typed.overrides]
    try:
        target = composed(overrides, typed.config_dir)[0]["target"]

        from convexp.runs.view import View

        # Not before: what lies here under the name of an optional package would be imported.
        if typed.config_dir is not None:
            sys.path.append(str(Path.cwd()))  # a user's own operators lie where the command is typed
        view = View(typed.target, target)
        if typed.files:
            view.write(*typed.files, stages=typed.stages)
        if typed.kernel:
            view.print_kernels()
    except Exception as error:
        if not mendable(error):
            raise
        sys.exit(f"convexp: {explain(error, overrides)}")


def _parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "convexp filter",
        usage="convexp filter TARGET [IMAGE OUT] [KEY=VALUE …] [--stages] [--kernel] [--config-dir DIR]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("target", metavar="TARGET", help="as sobel; python train.py --help lists them")
    parser.add_argument("words", nargs="*", metavar="IMAGE", help="a file, or one of the photographs as coffee")
    parser.add_argument("--stages", action="store_true", help="write OUT-1-stage, OUT-2-stage, …")
    parser.add_argument("--kernel", action="store_true", help="print the kernel, or those of the linear stages")
    parser.add_argument("--config-dir", metavar="DIR", help="a folder with targets of your own")
    typed = parser.parse_intermixed_args(arguments)
    own = [word for word in typed.words if "=" in word]
    typed.overrides = [word if word.startswith("target.") else f"target.{word}" for word in own]
    typed.files = [word for word in typed.words if "=" not in word]
    if len(typed.files) != 2 and not (typed.kernel and not typed.files):
        parser.error("give an IMAGE, and the OUT.png, .jpg or .npy to write; or --kernel alone")
    return typed
