"""The folder of a run: the names of what it holds, and how that is read and written."""

import fcntl
import json
import math
import os
import re
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, cast

import yaml

from convexp.errors import ConvexpError

if TYPE_CHECKING:
    from torch import Tensor

ATTEMPTS = 20  # at a lock
DEEPEST = 50  # mappings and lists in each other
MOST_ENTRIES = 200_000  # of a configuration: a kernel of 400×400
MOST_BYTES = 2**24  # of a text in a run's folder

# The one in C takes an eighth of the time, where PyYAML was built with it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RunFolder:
    """Names of the things in a run's folder, and how they are read and written.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(os.path.expanduser(path))  # noqa: PTH111  # Path's own raises where there is no such user
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.json"
        self.val_images = self.path / "val_images.csv"
        self.failure = self.path / "failure.json"
        self.pruned = self.path / "pruned.json"
        self.checkpoints = self.path / "checkpoints"
        self.inspection = self.path / "inspect"
        self.template = self.path / "template.npy"

    @classmethod
    def create(cls, path: Path) -> "RunFolder":
        """Makes a new folder, called `path` or, where that is taken, `path`-2, `path`-3, ….

        Raises:
            ConvexpError: If it cannot be made.
        """
        candidate, number = path, 1
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            while True:
                try:
                    candidate.mkdir()
                    break
                except FileExistsError:
                    number += 1
                    candidate = path.with_name(f"{path.name}-{number}")
            folder = cls(candidate)
            folder.checkpoints.mkdir()
        except OSError as error:
            raise ConvexpError(
                f"{path} cannot be made ({error.strerror}); name another place, as outputs=runs"
            ) from error
        return folder

    @contextmanager
    def held(self) -> Generator[None, None, None]:
        """Marks the run as being worked on, until the process ends, however it does.

        Raises:
            ConvexpError: If another process works on it, or the folder cannot be written into.
        """
        path = self.path / "run.lock"
        try:
            file = open(path, "a", opener=_open_itself)  # noqa: SIM115  # Path.s own takes no opener
        except OSError as error:
            raise ConvexpError(
                f"{path} cannot be opened ({error.strerror}): no run can go on in this folder"
            ) from error
        try:
            with file:
                _lock(file, f"another process works on {self.path}; wait for it, or stop it")
                yield
        finally:
            if self.finished:
                path.unlink(missing_ok=True)

    def write_template(self, template: "Tensor") -> None:
        """Keeps the template (C, h, w) that the operator looks for: the image it was cut from may not stay.

        Raises:
            ConvexpError: If it cannot be written.
        """
        from convexp.images.files import write_array  # torch takes seconds to import

        write_array(template, self.template)

    def read_template(self) -> "Tensor":
        """The template (C, h, w) that the operator looks for.

        Raises:
            ConvexpError: If there is none, or it is damaged.
        """
        from convexp.images.files import read_image

        return read_image(self.template)

    def write_failure(self, reason: str) -> None:
        """Notes why the run failed, in one line.

        Raises:
            ConvexpError: If it cannot be written.
        """
        self._write(self.failure, _json({"reason": reason}), advice="free some space, then start again")

    def write_pruned(self, reason: str, *, step: int) -> None:
        """Notes why a search ended the run early, in one line, and at which step.

        Raises:
            ConvexpError: If it cannot be written; the run then counts as interrupted.
        """
        self._write(self.pruned, _json({"reason": reason, "step": step}), advice="free some space, then start again")

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.metrics.exists()

    def require_unfinished(self) -> None:
        """Refuses to touch a finished run.

        Raises:
            ConvexpError: If the run is finished.
        """
        if self.finished:
            raise ConvexpError(f"{self.path} is finished: there is nothing to resume; its result is in {self.metrics}")

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes the resolved configuration.

        Raises:
            ConvexpError: If it cannot be written.
        """
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=120)
        self._write(self.config, text, advice="free some space, then start again")

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes the metrics, last of all: they mark a finished run. JSON has no NaN, so that it becomes null.

        Raises:
            ConvexpError: If they cannot be written; the run then counts as unfinished.
        """
        self._write(self.metrics, _json(metrics), advice=f"free some space, then resume={self.path}")

    def write_val_images(self, table: str) -> None:
        """Writes the table of the validation images.

        Raises:
            ConvexpError: If it cannot be written.
        """
        self._write(self.val_images, table, advice=f"free some space, then resume={self.path}")

    def write_inspection(self, facts: Mapping[str, Any]) -> None:
        """Writes what an inspection found, into its folder, which is there.

        Raises:
            ConvexpError: If it cannot be written.
        """
        self._write(self.inspection / "inspect.json", _json(facts), advice="free some space, then inspect again")

    def _write(self, path: Path, text: str, *, advice: str) -> None:
        partial = path.with_name(f"{path.name}.partial")
        try:
            partial.unlink(missing_ok=True)  # else a link in a stranger's folder would lead the text elsewhere
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise ConvexpError(f"{path} cannot be written ({error.strerror}); {advice}") from error

    def read_config(self) -> dict[str, Any]:
        """The resolved configuration as plain values.

        Raises:
            ConvexpError: If there is none, or it is not what a run writes.
        """
        try:
            config = _plain_yaml(read_text(self.config))
        except FileNotFoundError as error:
            raise ConvexpError(f"{self.path} is not the folder of a run: it has no config.yaml") from error
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            raise ConvexpError(f"{self.config} cannot be read: {' '.join(str(error).split())[:300]}") from error
        parts = config if isinstance(config, dict) else {}
        if (
            not all(isinstance(parts.get(part), dict) for part in ("model", "choices"))
            or "_target_" not in parts["model"]
        ):
            raise ConvexpError(f"{self.config} is not the configuration of a run: it names no model")
        return cast("dict[str, Any]", config)

    def checkpoint(self, name: Literal["best", "last"]) -> Path:
        """The path of a checkpoint, which need not exist."""
        return self.checkpoints / f"{name}.ckpt"


def read_text(path: Path) -> str:
    """A text in the folder of a run, which a stranger may have made: anything else than a small file is refused.

    Raises:
        OSError: If it is none, a pipe or a device, which would be read without an end, or large.
        UnicodeDecodeError: If it is no text.
    """
    if path.exists() and not path.is_file():
        raise OSError("it is a folder, a pipe or a device")
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(f"it is larger than {MOST_BYTES} bytes, as no run's is")
    return content.decode("utf-8")


def _open_itself(path: str, flags: int) -> int:
    """Opens no link, which in a stranger's folder may lead to a file of the user's, and waits for no pipe."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)


def _lock(file: IO[str], refusal: str) -> None:
    for _ in range(ATTEMPTS):
        with suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(0.01)  # one that looks whether the run is worked on holds it for an instant
    raise ConvexpError(refusal)


def slug(text: str) -> str:
    """A readable name of at most 100 characters for a file or folder: one that leads nowhere else.

    >>> slug("model=deep,data.train=/home/a b/*.png"), slug("../../x")
    ('model=deep,data.train=-home-a-b-.png', '-..-x')
    """
    return re.sub(r"[^\w=.,+-]+", "-", text).lstrip(".")[:100] or "default"


def _plain_yaml(text: str) -> object:
    """What a run writes: plain values, neither nested deeply nor with aliases, by which a few lines fill any memory.

    Nor with tags, by which a value is of a type that nobody expects: a list of pairs (`!!omap`), a set, bytes.
    """
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_Loader)):
        if count > MOST_ENTRIES:
            raise yaml.YAMLError(f"it has more than {MOST_ENTRIES} entries, as no run's has")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if getattr(event, "tag", None) is not None:
            raise yaml.YAMLError(f"it has a tag ({event.tag}), which no run writes")
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*name), which no run writes")
        if depth > DEEPEST:
            raise yaml.YAMLError(f"it is nested more than {DEEPEST} times, as no run's is")
    return yaml.load(text, _Loader)  # a SafeLoader


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(_finite(facts), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value
