"""Image files of a folder, read one by one when they are asked for."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.decoding import probe
from convexp.images.files import find_images, read_image

NAMED = 5  # files that a message names; of more, it says how many there are


class ImageFiles(Mapping[str, Tensor]):
    """Images (C, H, W) in [0, 1] by name: the file's without its suffix or, where these are not unique, with folders.

    Args:
        source: A file, a folder or a glob.

    Raises:
        ConvexpError: If there is none.

    Example:
        >>> from importlib.resources import files
        >>> coins = ImageFiles(f"{files('skimage')}/data/coin*.png")
        >>> list(coins), coins["coins"].shape
        (['coins'], torch.Size([1, 303, 384]))
    """

    def __init__(self, source: str) -> None:
        self.paths = _named(find_images(source))

    def __getitem__(self, name: str) -> Tensor:
        return read_image(self.paths[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)

    def only(self, names: Iterable[str]) -> "ImageFiles":
        """Some of them."""
        some = object.__new__(ImageFiles)
        some.paths = {name: self.paths[name] for name in names}
        return some

    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Height, width and channels of those whose header can be read, by it alone."""
        found: dict[str, tuple[int, int, int]] = {}
        for name, path in self.paths.items():
            try:
                found[name] = probe(path)
            except ConvexpError:  # reading it will say so
                continue
        return found

    def twins(self) -> list[str]:
        """Those of one folder that nothing but their suffixes tells apart, as `after/ok.jpg and after/ok.png`."""
        alike: dict[Path, list[str]] = {}
        for path in self.paths.values():
            alike.setdefault(path.with_suffix(""), []).append(_printable(str(path)))
        return [" and ".join(paths) for paths in alike.values() if len(paths) > 1]


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    top = Path(os.path.commonpath([path.parent for path in paths]))
    for names in (
        [path.stem for path in paths],
        [str(path.relative_to(top).with_suffix("")) for path in paths],
        [str(path) for path in paths],
    ):
        if len(set(names)) == len(paths):
            break
    return dict(zip(map(_printable, names), paths, strict=True))


def _printable(name: str) -> str:
    """A name that tables, terminals and TensorBoard take: what is no text, or steers a terminal, as an escape."""
    name = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in name)


def held_out(files: Mapping[str, Path], fraction: float) -> set[str]:
    """The names of a fraction of all, one at least and not all, chosen by digests of the files' own names.

    So it is the same fraction each time, wherever the folder lies, and stays nearly so when files are added.

    Args:
        files: Two or more, by name.
        fraction: From 0 to 1.

    Example:
        >>> sorted(held_out({name: Path(f"photos/{name}.png") for name in "abcde"}, 0.4))
        ['c', 'd']
    """
    count = min(max(round(fraction * len(files)), 1), len(files) - 1)

    def digest(name: str) -> tuple[bytes, Path]:  # without the suffix, so that two formats of a picture stay together
        return hashlib.sha256(os.fsencode(files[name].stem)).digest(), files[name]

    return set(sorted(files, key=digest)[:count])


def some_of(names: Iterable[str], count: int | None = None) -> str:
    """The first five names, and how many more there are of so many.

    >>> some_of("abcdefg")
    'a, b, c, d, e and 2 more'
    """
    names = list(names)
    rest = (len(names) if count is None else count) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")
