"""What made the results in a folder, so that those of two runs are not taken for one."""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from convexp.deploy.destinations import Destinations
from convexp.errors import ConvexpError
from convexp.images.image_files import some_of
from convexp.images.sink import suffixes
from convexp.images.unfinished import unfinished

NOTE = ".convexp-apply.json"
_OTHER, _UNKNOWN, _STALE = "other", "unknown", "stale"

Provenance = Mapping[str, Any]


@dataclass
class Note:
    """What a folder says of the results that lie directly in it.

    Args:
        made_by: What has made all of them but the exceptions.
        exceptions: By name, the results that another run has made ("other"), of which that is not known ("unknown"),
            and that were to be made anew and are not yet ("stale").
    """

    made_by: Provenance
    exceptions: dict[str, str]

    def is_of(self, made_by: Provenance) -> bool:
        """Whether it is the same that makes the results; a note of before there was more to say says less."""
        return all(made_by[key] == value for key, value in self.made_by.items())


def provenance(checkpoint: Path, config: Mapping[str, Any], *, border: str | None, gray: bool) -> Provenance:
    """All that a result depends on but the picture, and the software.

    Args:
        checkpoint: The file with the weights.
        config: The run's configuration, which says what model they are of.
        border: What lies outside a picture.
        gray: Whether channels were averaged first.

    Raises:
        ConvexpError: If the file cannot be read; one that is not there is missed when the model is loaded.
    """
    try:
        weights = checkpoint.read_bytes() if checkpoint.is_file() else b""
    except OSError as error:
        raise ConvexpError(f"{checkpoint} cannot be read ({error.strerror})") from error
    model = json.dumps([config["model"], bool(config.get("standardise"))], sort_keys=True, default=str)
    digests = {"weights": weights, "model": model.encode()}
    return {name: hashlib.sha256(part).hexdigest() for name, part in digests.items()} | {"border": border, "gray": gray}


def going_on(places: Destinations, made_by: Provenance) -> Destinations:
    """The same places, with what an interrupted --force has left among the pictures to be filtered.

    Without a note results are taken as they are.

    Args:
        places: If they are to be written over, or it is a file that was named, nothing is asked.
        made_by: As `provenance` gives it.

    Raises:
        ConvexpError: If other weights or another border have made what is there.
    """
    if places.overwrite or places.folder is None:
        return places
    notes = {folder: note for folder in places.folders if (note := _read(folder)) is not None}
    advice = "name another folder, as -o second, or write over it with --force"
    for folder, note in notes.items():
        if not note.is_of(made_by):
            raise ConvexpError(f"{folder} holds what another run, or another border, has made; {advice}")
    kinds = {path: notes[path.parent].exceptions.get(path.name) for _, path in places.kept if path.parent in notes}
    if others := [path.name for path, kind in kinds.items() if kind == _OTHER]:
        what = f"{places.folder} holds what another run, or another border, has made: {some_of(others)}"
        raise ConvexpError(f"{what}; {advice}")
    stale = frozenset(path for path, kind in kinds.items() if kind == _STALE)
    kept = [pair for pair in places.kept if pair[1] not in stale]
    todo = places.todo + [pair for pair in places.kept if pair[1] in stale]
    return replace(places, todo=todo, kept=kept, stale=stale)


@contextmanager
def noted(places: Destinations, made_by: Provenance) -> Generator[Callable[[Path], None], None, None]:
    """Notes in folders what makes the results in them; wherever the work ends, no note says more than is true.

    Args:
        places: Of the results; folders are made. A file that was named becomes no folder's, but an exception of one.
        made_by: As `provenance` gives it.

    Yields:
        What is to be told of each result that was made.

    Raises:
        ConvexpError: If a folder cannot be written into.
    """
    notes: dict[Path, Note] = {}
    for folder in {path.parent for _, path in places.todo}:
        names, before = {path.name for _, path in places.todo if path.parent == folder}, _read(folder)
        if places.folder is not None or (before is not None and before.is_of(made_by)):
            notes[folder] = _begun(folder, names, made_by, before)
            _write(folder, notes[folder])
        elif before is not None:
            _write(folder, Note(before.made_by, before.exceptions | dict.fromkeys(names, _OTHER)))

    def made(path: Path) -> None:
        if path.parent in notes:
            notes[path.parent].exceptions.pop(path.name, None)

    try:
        yield made
    finally:
        for folder, note in notes.items():
            with suppress(ConvexpError):  # the one that stands says less
                _write(folder, note)


def _begun(folder: Path, names: set[str], made_by: Provenance, before: Note | None) -> Note:
    """The note as it is true before any of these results is made."""
    try:
        there = {path.name for path in folder.iterdir() if path.suffix.lower() in suffixes()}
    except OSError:  # it is not there yet, or cannot be listed
        there = set[str]()
    if before is not None and before.is_of(made_by):
        exceptions = before.exceptions
    else:
        exceptions = dict.fromkeys(there, _UNKNOWN if before is None else _OTHER)
    return Note(made_by, exceptions | dict.fromkeys(there & names, _STALE))


def _read(folder: Path) -> Note | None:
    path = folder / NOTE
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        made_by = {key: found[key] for key in ("weights", "border", "gray")}
        made_by |= {key: found[key] for key in ("model",) if key in found}  # older ones do not say it
        return Note(made_by, {**found.get("exceptions", {})})
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):  # none yet, or damaged
        return None


def _write(folder: Path, note: Note) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished(folder / NOTE) as beside:
            beside.write_text(json.dumps({**note.made_by, "exceptions": note.exceptions}), encoding="utf-8")
            beside.replace(folder / NOTE)
    except OSError as error:
        raise ConvexpError(f"{folder} cannot be written into ({error.strerror}); name another place with -o") from error
