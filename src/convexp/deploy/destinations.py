"""Which picture goes where."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from convexp.errors import ConvexpError
from convexp.images.files import expanded, find_images
from convexp.images.sink import suffixes

FOLDER = "filtered"
MOST_NAMED = 3


@dataclass(frozen=True)
class Destinations:
    """Where pictures go.

    Args:
        todo: Pictures and the files that they become.
        there: How many results are there already, and stay.
        folder: That the results go into; None if there is one file, which was named.
    """

    todo: list[tuple[Path, Path]]
    there: int
    folder: Path | None

    @classmethod
    def of(
        cls,
        sources: Sequence[str],
        output: str | None = None,
        *,
        to: str | None = None,
        run: str | Path | None = None,
        overwrite: bool = False,
    ) -> "Destinations":
        """Decides where pictures go, and touches nothing.

        Args:
            sources: Files, folders and patterns.
            output: A folder or, for a single file, a file; None is the folder `filtered`.
            to: The format of the results, as `png`; None keeps that of each picture.
            run: A folder that nothing may be written into.
            overwrite: Whether results that are there are made anew.

        Raises:
            ConvexpError: If there is no picture, two would become one file, or a file may not be written over.
        """
        pictures = list(dict.fromkeys(path for source in sources for path in find_images(source)))
        target = expanded(output or FOLDER)
        single = len(sources) == 1 and not expanded(sources[0]).is_dir() and len(pictures) == 1
        folder = target.is_dir() or (output or "").endswith(os.sep)
        named = single and bool(target.suffix) and not folder
        if named and target.suffix.lower() not in suffixes():
            raise ConvexpError(
                f"cannot write {target}: a picture's suffix is {', '.join(suffixes())}; a folder ends in /"
            )
        if named and to is not None and target.suffix.lower() != f".{to}":
            raise ConvexpError(f"--to {to} and -o {target} are two formats; leave one of them out")
        if not named and (target.exists() and not target.is_dir()):
            raise ConvexpError(f"{target} is a file; {len(pictures)} pictures need a folder: -o {FOLDER}")
        if not named and target.suffix.lower() in suffixes() and not folder:
            several = f"{len(pictures)} pictures" if len(pictures) > 1 else "the pictures of a folder"
            raise ConvexpError(f"{target} is the name of one file, for {several}; give a folder: -o {FOLDER}")
        pairs = [(path, target if named else target / _name(path, to)) for path in pictures]
        _check(pairs, None if run is None else Path(run))
        if named and not overwrite and target.exists():
            raise ConvexpError(f"{target} is there already; --force writes over it")
        todo = [pair for pair in pairs if overwrite or not pair[1].exists()]
        return cls(todo, len(pairs) - len(todo), None if named else target)


def _name(path: Path, to: str | None) -> str:
    return path.name if to is None else f"{path.stem}.{to}"


def _check(pairs: Sequence[tuple[Path, Path]], run: Path | None) -> None:
    sources = {path.resolve() for path, _ in pairs}
    taken: dict[Path, Path] = {}
    for source, destination in pairs:
        place = destination.resolve()
        if place in sources:
            raise ConvexpError(
                f"{destination} is one of the pictures to be filtered; name another folder, as -o {FOLDER}"
            )
        if run is not None and place.is_relative_to(run.resolve()):
            raise ConvexpError(
                f"{destination} is in the run's folder, where only the run writes; name another one with -o"
            )
        if place in taken and taken[place].resolve() != source.resolve():
            raise ConvexpError(
                f"{taken[place]} and {source} would both become {destination}; filter them into two folders"
            )
        taken[place] = source
