"""A sweep: runs in one folder, which the same command finds again, continues and completes."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, cast

from convexp.errors import ConvexpError
from convexp.runs.config import GROUPS, SETTINGS
from convexp.runs.folder import RunFolder, slug
from convexp.runs.record import PLACES, Record, canonical, read_record

#: What is to be done for one configuration of a sweep.
Todo = Literal["nothing", "go on", "begin"]

#: What decides what a run learns; where it lies, what it is allowed to load, and how often it is shown, does not.
DECISIVE = tuple(key for key in (*GROUPS, *SETTINGS) if key not in (*PLACES, "allow", "pictures"))


def sweep_name(words: Sequence[str], given: str | None = None) -> str:
    """The name of a sweep's folder: the given one, or else the typed target and model.

    >>> sweep_name(["model=single,deep", "seed=range(3)"]), sweep_name(["seed=1"], "mine")
    ('highpass-single,deep', 'mine')
    >>> sweep_name(["data=pairs", "data.inputs=before", "data.targets=after"])
    'examples-single'
    """
    if given is not None:
        return slug(given)
    typed = dict(word.lstrip("+").split("=", 1) for word in words if "=" in word)
    if "experiment" in typed and not {"target", "model"} & set(typed):
        return slug(typed["experiment"])
    usual = "examples" if typed.get("data") == "pairs" else "highpass"
    return slug(f"{typed.get('target', usual)}-{typed.get('model', 'single')}")


def run_name(varied: Sequence[str]) -> str:
    """The name of a run's folder: the overrides that tell the sweep's runs apart, their keys as short as they may be.

    >>> run_name(["optimizer=adam", "optimizer.lr=0.01", "seed=0"])
    'optimizer=adam,lr=0.01,seed=0'
    >>> run_name(["data.size=64", "model.size=3"])
    'data.size=64,model.size=3'
    """
    keys = [word.partition("=")[0] for word in varied]
    last = [key.rpartition(".")[2] for key in keys]
    short = [
        word.removeprefix(key[: -len(end)]) if last.count(end) == 1 else word
        for word, key, end in zip(varied, keys, last, strict=True)
    ]
    return slug(",".join(short))


def identity(config: Mapping[str, Any]) -> str:
    """A digest that two runs share if they learn the same: of their resolved configuration, not of its place."""
    decisive = {key: config[key] for key in DECISIVE if key in config}
    return hashlib.sha256(canonical(decisive).encode()).hexdigest()[:16]


def made_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Digests of the files that a run's result depends on: of the code, and of the images that a user names.

    Of images, names, sizes and times count, since there may be many. What cannot be read counts as nothing; the run
    itself will say so.
    """
    packages = {"convexp", *_packages(config)}
    code = [path for package in sorted(packages) for path in _sources(package)]
    images = [path for key in ("train", "val", "inputs", "targets") for path in _files(config["data"].get(key))]
    return {
        "code": _digest(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in code),
        "data": _digest(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in images),
    }


class Sweep:
    """The folder of a sweep.

    Args:
        path: The folder; it need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.shelf = self.path / "statistics"

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Keeps other commands away while this one works on the sweep.

        Raises:
            ConvexpError: If another command works on it, or the folder cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / "sweep.lock").open("w")
        except OSError as error:
            raise ConvexpError(f"{self.path} cannot be made ({error.strerror}); name another place") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConvexpError(
                    f"another command works on the sweep {self.path}; wait for it, or name another one, as sweep=second"
                ) from error
            yield

    @contextmanager
    def alone(self, identity: str) -> Generator[None, None, None]:
        """Lets processes that are about one run go one after the other: the second finds what the first has made.

        Args:
            identity: Of the run's configuration.
        """
        with (self.path / "runs.lock").open("wb") as file:
            place = 1, int(identity, 16) % 2**62  # each run has a byte, which need not be there
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, *place)
            except BlockingIOError:
                print(f"{self.path}: another process works on this run; waiting for it", flush=True)
                fcntl.lockf(file, fcntl.LOCK_EX, *place)
            yield

    def records(self) -> list[Record]:
        """Its runs, by path."""
        return [read_record(path.parent) for path in sorted(self.path.glob("*/config.yaml"))]

    def find(self, digest: str) -> Record | None:
        """The run of this identity; a finished one, if there are several. What is damaged is left alone."""
        configs = sorted(self.path.glob("*/config.yaml"))
        same = [read_record(config.parent) for config in configs if _identity_in(config) == digest]
        same = [record for record in same if record.status != "unreadable"]
        return next((record for record in same if record.status == "finished"), same[0] if same else None)

    def take(self, config: Mapping[str, Any], varied: Sequence[str]) -> tuple[Todo, Path]:
        """Decides what is to be done for a configuration, and where.

        What a failed run has left, or one that was stopped before its first checkpoint, is removed.

        Args:
            config: With its `identity`.
            varied: The overrides that tell the sweep's runs apart.

        Returns:
            `nothing` of a finished or pruned run, or of one that another process works on; `go on` of an interrupted
            one; else `begin`, and the folder to make.
        """
        found = self.find(config["identity"])
        if found is None:
            return "begin", self.path / run_name(varied)
        if found.status in ("finished", "pruned", "running"):
            return "nothing", found.path
        folder = RunFolder(found.path)
        if found.status == "interrupted" and folder.checkpoint("last").exists():
            return "go on", found.path
        if found.path.is_symlink():
            raise ConvexpError(f"{found.path} is a link: what a failed run has left is not removed through it")
        shutil.rmtree(found.path)
        return "begin", found.path

    def note_failure(self, config: Mapping[str, Any], varied: Sequence[str], reason: str) -> None:
        """Notes why a run failed, in its folder, which is made if it failed before it had one."""
        found = self.find(config["identity"])
        if found is None:
            folder = RunFolder.create(self.path / run_name(varied))
            folder.write_config(config)
        else:
            folder = RunFolder(found.path)
        if not folder.finished:
            folder.write_failure(reason)


def _identity_in(config: Path) -> object:
    try:
        status = config.stat()
    except OSError:  # another process of the sweep has just removed what a failed run left
        return None
    return _identity_written(config, status.st_mtime_ns, status.st_ino)


@cache  # else a sweep's last run would read the configurations of all others once more
def _identity_written(config: Path, time: int, inode: int) -> object:
    return read_record(config.parent).config.get("identity")


def _packages(node: object) -> set[str]:
    """The packages of users' own classes and functions in a configuration."""
    if isinstance(node, list):
        return {package for entry in cast("list[object]", node) for package in _packages(entry)}
    if not isinstance(node, dict):
        return set()
    mapping = cast("dict[str, object]", node)
    own = {str(mapping.get("_target_", "")).partition(".")[0]} - {"", "convexp", "torch", "torchvision", "kornia"}
    return own.union(*(_packages(value) for value in mapping.values()))


def _sources(package: str) -> list[Path]:
    try:
        found = find_spec(package)
    except (ImportError, ValueError):
        return []
    if found is None or found.origin is None:
        return []
    origin = Path(found.origin)
    return sorted(origin.parent.rglob("*.py")) if found.submodule_search_locations else [origin]


def _files(source: object) -> list[Path]:
    if not isinstance(source, str):
        return []
    path = Path(os.path.expanduser(source))  # noqa: PTH111  # as images/files does
    found = [path] if path.is_file() else path.rglob("*") if path.is_dir() else path.parent.glob(path.name)
    return sorted(file for file in found if file.is_file())


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
