"""Which picture goes where."""

import glob
import os
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from convexp.errors import ConvexpError
from convexp.images.decoding import format_of
from convexp.images.files import expanded, find_images, images_below
from convexp.images.sink import suffixes

FOLDER = "filtered"
MOST_NAMED = 3


@dataclass(frozen=True)
class Destinations:
    """Where pictures go.

    Args:
        todo: Pictures and the files that they become.
        kept: Likewise, of the results that are there already, and stay.
        folder: That the results go into; None if there is one file, which was named.
        overwrite: Whether results that are there are made anew.
        stale: Of `todo`, results that are there and are made anew all the same.
        shallow: Folders that were named and have subfolders with pictures, which are not among these.
    """

    todo: list[tuple[Path, Path]]
    kept: list[tuple[Path, Path]]
    folder: Path | None
    overwrite: bool = False
    stale: frozenset[Path] = frozenset()
    shallow: Sequence[Path] = ()

    @property
    def there(self) -> int:
        """How many results are there already, and stay."""
        return len(self.kept)

    @property
    def folders(self) -> set[Path]:
        """Where results are, or will be."""
        return {path.parent for _, path in self.todo + self.kept}

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
            to: The format of the results, as `png`; None keeps that of each picture, which its contents tell where its
                suffix is none of a picture.
            run: A folder that nothing may be written into.
            overwrite: Whether results that are there are made anew.

        Raises:
            ConvexpError: If there is no picture, two would become one file, or a file may not be written over.
        """
        pictures: dict[Path, Path] = {}
        for source in sources:
            pictures |= {path: name for path, name in _found(source).items() if path not in pictures}
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
        pairs = [(path, target if named else target / _typed(name, path, to)) for path, name in pictures.items()]
        _check(pairs, target.parent if named else target, None if run is None else Path(run))
        if named and not overwrite and target.exists():
            raise ConvexpError(f"{target} is there already; --force writes over it")
        there = {path for _, path in pairs if not overwrite and path.exists()}
        todo, kept = ([pair for pair in pairs if (pair[1] in there) is stays] for stays in (False, True))
        there_is_more = {path for path in map(expanded, sources) if path.is_dir() and _has_more(path, pictures, target)}
        return cls(todo, kept, None if named else target, overwrite, shallow=sorted(there_is_more))


def _found(source: str) -> dict[Path, Path]:
    """Pictures, and their names among the results: of a pattern with `**` with the folders below its fixed part."""
    pattern, found = expanded(source), find_images(source)
    if "**" not in pattern.parts or found == [pattern]:
        return {path: Path(path.name) for path in found}
    top = Path(*takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    return {path: path.relative_to(top) for path in found}


def _has_more(folder: Path, pictures: Container[Path], target: Path) -> bool:
    """Whether there are pictures in subfolders that are neither to be filtered nor results."""
    out = target.resolve()
    return any(path not in pictures and not path.resolve().is_relative_to(out) for path in images_below(folder))


def _typed(name: Path, path: Path, to: str | None) -> Path:
    """The name with the suffix of the result."""
    if to is None and name.suffix.lower() not in suffixes():
        with suppress(ConvexpError):  # reading it will say so
            to = {"JPEG": "jpg", "TIFF": "tif"}.get(kind := format_of(path), kind.lower())
    return name if to is None else name.with_name(f"{name.stem}.{to}")


def _check(pairs: Sequence[tuple[Path, Path]], folder: Path, run: Path | None) -> None:
    sources = {path.resolve() for path, _ in pairs}
    taken: dict[Path, Path] = {}
    for source, destination in pairs:
        place = destination.resolve()
        if not destination.parent.resolve().is_relative_to(folder.resolve()):
            raise ConvexpError(f"{destination} is not inside {folder}; name another folder, as -o {FOLDER}")
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
