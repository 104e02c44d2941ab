"""`evaluate`: how well a run does on other images; what is heavy is imported after the command is understood."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from convexp.errors import ConvexpError
from convexp.terminal import say

if TYPE_CHECKING:
    from convexp.deploy.evaluation import Evaluation

_DESCRIPTION = """Measures a run on images that it has not seen, against its operator or against pictures of what should
come out. Without --data it is measured on its own validation images."""
_EPILOG = """examples:
  convexp evaluate RUN --data photos                       against the run's operator
  convexp evaluate RUN --data before --targets after       against pictures, matched by name
  convexp evaluate RUN --data photos --csv photos.csv      a row for each image"""
_SHOWN = 5


def evaluate_run(arguments: Sequence[str]) -> None:
    """Runs `convexp evaluate`; what a user can mend is one line and exit status 1.

    Args:
        arguments: What was typed behind `evaluate`.
    """
    typed = _parser().parse_args(arguments)
    if typed.allow:
        sys.path.append(str(Path.cwd()))  # a user's own operators and models lie where the command is typed

    import torch
    from tqdm import tqdm

    from convexp.deploy.evaluation import evaluate

    bar = tqdm(unit="image", disable=None if not typed.json else True)

    def advance(done: int, all_: int) -> None:
        bar.total = all_
        bar.update(done - bar.n)

    try:
        with bar:
            found = evaluate(
                typed.run,
                typed.data,
                typed.targets,
                checkpoint=typed.checkpoint,
                allow=typed.allow,
                device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
                advance=advance,
            )
        if typed.json:
            say(_json(found))
        else:
            say(_text(found))
        if typed.csv is not None:  # last, so that what was measured is not lost with it
            _write_table(found, typed.csv)
    except ConvexpError as error:
        sys.exit(f"convexp: {error}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "convexp evaluate",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", metavar="RUN", help="the folder of a run")
    add("--data", metavar="IMAGES", help="a file, a folder, a glob, or a photograph as coffee")
    add("--targets", metavar="IMAGES", help="what they should become, by the same names")
    add("--checkpoint", choices=("best", "last"), default="best", help="which weights")
    add("--csv", metavar="FILE", help="write a row for each image")
    add("--json", action="store_true", help="print everything as JSON")
    add("--allow", metavar="PACKAGE", action="append", default=[], help="trust a package that the run is made of")
    return parser


def _text(found: "Evaluation") -> str:
    count = len(found.images)
    rows = [(f"{count} image{'s' * (count != 1)}", found.overall)]
    rows += [(f"  {name}"[:28], parts) for name, parts in islice(found.images.items(), _SHOWN)]
    lines = ["", f"  {'':28}{'MSE':>12}{'R²':>10}{'PSNR':>9}{'SSIM':>9}"]
    lines += [f"  {name:28}{mse:12.4e}{r2:10.4g}{psnr:9.2f}{ssim:9.4f}" for name, (mse, r2, psnr, ssim) in rows]
    if count > _SHOWN:
        lines.append(f"    … and {count - _SHOWN} better ones; --csv FILE has them all")
    lines += [f"  {note}" for note in found.notes]
    if found.left_out:
        from convexp.images.image_files import some_of

        lines.append(f"  could not be measured, left out ({len(found.left_out)}): {some_of(found.left_out)}")
    return "\n".join([*lines, ""])


def _json(found: "Evaluation") -> str:
    from convexp.training.metrics import COLUMNS

    def named(parts: Sequence[float]) -> dict[str, float | None]:
        # JSON has no infinity, and no NaN.
        return {name: part if math.isfinite(part) else None for name, part in zip(COLUMNS, parts, strict=True)}

    images = {name: named(parts) for name, parts in found.images.items()}
    besides = {"left_out": found.left_out, "notes": found.notes}
    return json.dumps({"overall": named(found.overall), "images": images, **besides})


def _write_table(found: "Evaluation", name: str) -> None:
    from convexp.images.files import expanded
    from convexp.training.metrics import table

    path = expanded(name)
    try:
        path.write_text(table(found.images), encoding="utf-8")
    except OSError as error:
        raise ConvexpError(f"{path} cannot be written ({error.strerror}); name another place") from error
