"""`apply`: what a run has learned, on any pictures; what is heavy is imported after the command is understood."""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convexp.errors import ConvexpError

if TYPE_CHECKING:
    import torch

    from convexp.deploy.filtering import Filtered

_DESCRIPTION = """Filters pictures of any size with what a run has learned. Each keeps its format, bit depth, EXIF and
colour profile. Without -o they go into the folder "filtered". The same command again goes on where it stopped."""
_EPILOG = """examples:
  convexp apply RUN photo.jpg -o edges.png
  convexp apply RUN photos -o filtered --border reflect    every picture of a folder, in its own size
  convexp apply RUN 'photos/**/*' -o filtered              those of its subfolders, too, into subfolders
  convexp apply RUN 'scans/*.tif' --to npy                 the values themselves, unclipped"""
_BORDERS = ("reflect", "replicate", "zeros", "circular")
_FORMATS = ("png", "tif", "tiff", "jpg", "jpeg", "webp", "bmp", "npy")


def apply_run(arguments: Sequence[str]) -> None:
    """Runs `convexp apply`; what a user can mend is one line and exit status 1.

    Args:
        arguments: What was typed behind `apply`.
    """
    typed = _parser().parse_intermixed_args(arguments)
    if typed.allow:
        sys.path.append(str(Path.cwd()))  # a user's own models lie where the command is typed
    try:
        _apply(typed)
    except ConvexpError as error:
        sys.exit(f"convexp: {error}")
    except KeyboardInterrupt:
        print("convexp: stopped before the first picture", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "convexp apply",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a run")
    add("images", metavar="IMAGES", nargs="+", help="files, folders without their subfolders, or patterns")
    add("-o", "--output", metavar="OUT", help="a folder or, for one picture, a file")
    add("--to", choices=_FORMATS, help="the format of the results; .npy keeps the values themselves")
    add("--border", choices=_BORDERS, help="what lies outside a picture, so that the result is not smaller")
    add("--gray", action="store_true", help="average the channels first")
    add("--force", action="store_true", help="make anew what is there already")
    add("--checkpoint", choices=("best", "last"), default="best", help="which weights")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where it is computed")
    add("--tile", metavar="ROWS", type=_positive, help="rows at a time; without, the memory decides")
    add("--whole", action="store_true", help="no tiles: each picture at once, whatever memory it takes")
    add("--allow", metavar="PACKAGE", action="append", default=[], help="trust a package that the model comes from")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number ≥ 1")
    return int(text)


def _apply(typed: argparse.Namespace) -> None:
    from convexp.runs.folder import RunFolder

    config = RunFolder(typed.run).read_config()  # whether it is a run at all, before torch is imported
    if typed.whole and typed.tile is not None:
        raise ConvexpError("--whole and --tile contradict each other; leave one of them out")

    from convexp.deploy.batch import filter_all, summary
    from convexp.deploy.destinations import Destinations
    from convexp.deploy.provenance import going_on, noted, provenance
    from convexp.images.files import pattern_of
    from convexp.images.unfinished import remove_unfinished

    places = Destinations.of(typed.images, typed.output, to=typed.to, run=typed.run, overwrite=typed.force)
    weights = RunFolder(typed.run).checkpoint(typed.checkpoint)
    made_by = provenance(weights, config, border=typed.border, gray=typed.gray)
    places = going_on(places, made_by)
    for folder in places.folders:
        remove_unfinished(folder)
    for folder in places.shallow:
        print(f"{folder} has subfolders with pictures, which are left out; {pattern_of(folder)} takes them, too")
    if not places.todo:
        print(summary([], places))
        return

    import torch

    from convexp.deploy.application import Application
    from convexp.deploy.filtering import filter_picture
    from convexp.runs.filter import load_run

    device = _device(typed.device)
    model = load_run(typed.run, checkpoint=typed.checkpoint, allow=typed.allow)
    application = Application(model, whole=typed.whole)
    channels = application.channels[1]
    if channels not in (None, 1, 3) and any(path.suffix.lower() != ".npy" for _, path in places.todo):
        raise ConvexpError(f"the model makes {channels} channels, a picture has 1 or 3; --to npy keeps them all")
    if application.reason is not None:
        reason = f"this model is not local: {application.reason}"
        if typed.tile is not None:
            raise ConvexpError(f"--tile {typed.tile}: {reason}; tiles would differ; leave --tile out")
        print(f"{reason}; tiles would differ, so each picture is filtered at once")
    if min(application.growth) < 0 and typed.border is None:
        rows, columns = (-side for side in application.growth)
        smaller = f"{rows} rows and {columns} columns smaller than the picture"
        print(f"the model invents no border: a result is {smaller}; --border reflect keeps the size")
    # The ignore: torch's stubs leave this form of the call out.
    model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    with noted(places, made_by) as made:

        def work(source: Path, destination: Path, advance: Callable[[float], None]) -> "Filtered":
            filtered = filter_picture(
                application,
                source,
                destination,
                border=typed.border,
                gray=typed.gray,
                tile=typed.tile,
                overwrite=places.overwrite or destination in places.stale,
                device=device,
                advance=advance,
            )
            made(destination)
            return filtered

        filter_all(places, work)


def _device(wish: str) -> "torch.device":
    import torch

    if wish == "cuda" and not torch.cuda.is_available():
        raise ConvexpError("--device cuda: torch finds no GPU here; take --device cpu")
    # A tile and the whole image are otherwise rounded differently, to ten bits.
    torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if wish != "cpu" and torch.cuda.is_available() else "cpu")
