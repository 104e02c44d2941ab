"""Image files that a user names, as data of a run: folders of any size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Literal, NamedTuple

from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images import conversion
from convexp.images.image_files import ImageFiles, held_out, some_of
from convexp.images.registration import moved, offset
from convexp.operators.examples import Examples
from convexp.training.data import ImageData, Images
from convexp.training.library import Library
from convexp.training.pairs import Pair, as_pair, crop

Shape = tuple[int, int, int]

FLOAT = 4  # bytes
MEASURED = 8  # pairs in which a shift is looked for
SHIFTED = 0.2  # pixels of it that are worth a word


class Part(NamedTuple):
    """What a library is made of: names, the shapes that belong to them as far as these are known, and how to read."""

    names: list[str]
    shapes: Mapping[str, Shape]
    read: Callable[[str], Any]


def _part(files: ImageFiles) -> Part:
    return Part(list(files), files.shapes(), files.__getitem__)


@dataclass(kw_only=True, eq=False)
class Folder(ImageData):
    """Image files; a subclass says which.

    Args:
        val_fraction: The part of the files that is validated on, the same ones each time.
        cache_gb: Gigabytes that images and targets may take in memory, in each process that trains. Where they do not
            fit, they are read anew when they are needed, and an image gives 16 crops each time, or as many as take no
            more memory than that once more; else every crop is drawn from all images.
        on_error: `skip` leaves out what cannot be read, and says so; `raise` stops.
    """

    val_fraction: float | None = None
    cache_gb: float = 4.0
    on_error: Literal["skip", "raise"] = "skip"

    def _libraries(
        self, parts: Sequence[Part], make: Callable[[str, Any], Pair], *, lenient: bool = False
    ) -> list[Library]:
        """One of each part: all in memory if all fit, else each with its share of the room."""
        sizes = [{name: self._prepared(*shape[:2]) for name, shape in part.shapes.items()} for part in parts]
        pixels = [sum(height * width for height, width in known.values()) for known in sizes]
        needed = [2 * FLOAT * (1 if self.gray else 3) * count for count in pixels]  # of images, and targets like them
        room = self.cache_gb * 1e9 / (1 if sum(needed) <= self.cache_gb * 1e9 else len(parts))
        tolerant = self.on_error == "skip"
        return [
            Library(
                part.names, part.read, make, sizes=known, nbytes=nbytes, room=room, tolerant=tolerant, lenient=lenient
            )
            for part, known, nbytes in zip(parts, sizes, needed, strict=True)
        ]

    def _prepared(self, height: int, width: int) -> tuple[int, int]:
        return (height, width) if self.size is None else conversion.resized(height, width, self.size)


@dataclass(kw_only=True, eq=False)
class Files(Folder):
    """Image files, and what the operator makes of them.

    Args:
        train: A file, a folder or a glob.
        val: Likewise; None validates on `val_fraction` of `train` or, without that, on the shipped photographs.
    """

    train: str
    val: str | None = None

    def training_images(self) -> Images:
        """The images that `train` names, less those that are held out."""
        return self._files()[0]

    def validation_images(self) -> Images:
        """The images that `val` names, or those that are held out, or two photographs."""
        return self._files()[1] or super().validation_images()

    def libraries(self) -> tuple[Library, Library]:
        """The pairs to learn from, and those to validate on."""
        parts = [_part(files) for files in self._files() if files is not None]
        train, *val = self._libraries(parts, self.pair)
        return train, val[0] if val else super().validation()

    def validation(self) -> Library:
        """The pairs to validate on alone."""
        val = self._files()[1]
        return super().validation() if val is None else self._libraries([_part(val)], self.pair)[0]

    def everything(self) -> Library:
        """The pairs of all files that `train` names, less those of which none can be made."""
        return self._libraries([_part(ImageFiles(self.train))], self.pair, lenient=True)[0]

    def _files(self) -> tuple[ImageFiles, ImageFiles | None]:
        train = ImageFiles(self.train)
        if self.val is not None:
            if self.val_fraction is not None:
                raise ConvexpError("data.val and data.val_fraction both say what is validated on; leave one out")
            return train, ImageFiles(self.val)
        if self.val_fraction is None:
            return train, None
        if len(train) == 1:
            raise ConvexpError(
                f"data.val_fraction={self.val_fraction:g}: {self.train} is one file, of which none can be held out; "
                "leave it out, or name more files"
            )
        out = held_out(train.paths, self.val_fraction)
        return train.only(name for name in train if name not in out), train.only(name for name in train if name in out)


@dataclass(kw_only=True, eq=False)
class Pairs(Folder):
    """Pictures before and after an operator, of which nothing else is known.

    Of several pairs some are validated on, of a single one its lowest rows.

    Args:
        inputs: A file, a folder or a glob.
        targets: Likewise, with the same names, whatever the suffixes; two single files belong together.
        register: Move each target by whole pixels over its input.
        centred: Let targets be smaller than their inputs, around the same centre, as those of a filter without border.
    """

    inputs: str
    targets: str
    val_fraction: float | None = 0.2
    register: bool = False
    centred: bool = False
    _inputs: ImageFiles = field(init=False)
    _targets: ImageFiles = field(init=False)
    _colours: int = field(init=False)  # of the targets
    _moved: dict[str, tuple[float, float]] = field(init=False, default_factory=dict[str, tuple[float, float]])

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.operator, Examples):
            raise ConvexpError("data=pairs has its target in the pictures; leave target=… out")

    def training_images(self) -> Images:
        """The pictures before."""
        self._match()
        return self._inputs

    def libraries(self) -> tuple[Library, Library]:
        """The pairs to learn from, and those to validate on.

        Raises:
            ConvexpError: If a picture has no partner or one of another size, the targets' channels differ, or there is
                nothing to validate on.
        """
        everything = self._everything()
        if len(everything.names) == 1:
            train, val = self._rows_of(everything, lower=False), self._rows_of(everything, lower=True)
        else:
            train, val = self._libraries([self._of(everything, held=held) for held in (False, True)], self._made)
        self._note_shift(train, "; data.register=true corrects whole pixels")
        return train, val

    def validation(self) -> Library:
        """The pairs to validate on alone."""
        everything = self._everything()
        if len(everything.names) == 1:
            return self._rows_of(everything, lower=True)
        return self._libraries([self._of(everything, held=True)], self._made)[0]

    def everything(self) -> Library:
        """All pairs, whole ones, less those of which none can be made."""
        (library,) = self._libraries([self._everything()], self._made, lenient=True)
        self._note_shift(library, ", which all numbers include")
        return library

    @property
    def _fraction(self) -> float:
        return 0.2 if self.val_fraction is None else self.val_fraction

    def _everything(self) -> Part:
        self._match()
        return Part(list(self._inputs), self._agreeing(self._inputs.shapes(), self._targets.shapes()), self._read)

    def _of(self, everything: Part, *, held: bool) -> Part:
        """Those that are held out, or the others."""
        out = held_out(self._inputs.only(everything.names).paths, self._fraction)
        names = [name for name in everything.names if (name in out) is held]
        return Part(names, {name: everything.shapes[name] for name in names if name in everything.shapes}, self._read)

    def _rows_of(self, everything: Part, *, lower: bool) -> Library:
        """The lower rows of a single pair, or the upper ones."""
        return Library(everything.names, self._read, partial(self._rows, lower))

    def _match(self) -> None:
        inputs, targets = ImageFiles(self.inputs), ImageFiles(self.targets)
        if twins := [*inputs.twins(), *targets.twins()]:
            raise ConvexpError(f"{some_of(twins)} have one name; keep one of them")
        if len(inputs) == len(targets) == 1:
            targets.paths = dict(zip(inputs.paths, targets.paths.values(), strict=True))
        alone = [name for name in inputs if name not in targets.paths]
        without = [name for name in targets if name not in inputs.paths]
        if alone or without:
            lacking = [f"{len(alone)} inputs have no target: {some_of(alone)}"] if alone else []
            lacking += [f"{len(without)} targets have no input: {some_of(without)}"] if without else []
            raise ConvexpError(
                f"data.inputs={self.inputs} and data.targets={self.targets} are matched by name; {'; '.join(lacking)}"
            )
        self._inputs, self._targets = inputs, targets

    def _agreeing(self, inputs: Mapping[str, Shape], targets: Mapping[str, Shape]) -> dict[str, Shape]:
        """The inputs' shapes, once they are found to fit those of the targets."""
        both = {name: (inputs[name], targets[name]) for name in inputs if name in targets}
        other = [
            f"{name} {before[0]}×{before[1]} and {after[0]}×{after[1]}"
            for name, (before, after) in both.items()
            if (before[0] < after[0] or before[1] < after[1] if self.centred else before[:2] != after[:2])
        ]
        if other:
            advice = "larger than their inputs" if self.centred else "of another size than their inputs"
            hint = "" if self.centred else "; data.centred=true takes smaller ones, as of a filter without border"
            raise ConvexpError(f"{len(other)} of {len(both)} targets are {advice}: {some_of(other)}{hint}")
        if self.size is not None and any(before[:2] != after[:2] for before, after in both.values()):
            raise ConvexpError(f"data.size={self.size} would scale targets otherwise than their larger inputs")
        gray = [name for name, (_, after) in both.items() if after[2] == 1]
        if gray and len(gray) < len(both) and not self.gray:
            colour = [name for name in both if name not in gray]
            fewer, what = (gray, "gray") if len(gray) <= len(colour) else (colour, "in colour")
            raise ConvexpError(
                f"{len(fewer)} of {len(both)} targets are {what}, the others are not: {some_of(fewer)}; make them "
                "alike, or use data.gray=true"
            )
        self._colours = 1 if gray else 3
        return {name: before for name, (before, _) in both.items()}

    def _read(self, name: str) -> tuple[Tensor, Tensor]:
        return self._inputs[name], self._targets[name]

    def _made(self, name: str, pictures: tuple[Tensor, Tensor]) -> Pair:
        image, target = self.prepared(pictures[0]), self.prepared(pictures[1])[: self._colours]
        if self.register and (shift := offset(image, target)) is not None:
            self._moved[name] = shift
            image, target = moved(image, target, down=round(shift[0]), right=round(shift[1]))
            if self.crop_size is not None and self.crop_size > min(target.shape[-2:]):
                height, width = image.shape[-2:]
                raise ConvexpError(
                    f"{name}, cut to what lies over its target, is {height}×{width}, smaller than "
                    f"data.crop_size={self.crop_size}; use smaller crops"
                )
        return as_pair(image.contiguous(), target.contiguous())

    def _rows(self, lower: bool, name: str, pictures: tuple[Tensor, Tensor]) -> Pair:
        pair = self._made(name, pictures)
        height, width = pair.input.shape[-2:]
        cut = height - min(max(round(self._fraction * height), 1), height - 1)
        top, rows = (cut, height - cut) if lower else (0, cut)
        image, target = crop(pair, top, 0, rows, width)
        if 0 in target.shape:
            raise ConvexpError(f"{name} is {height}×{width}: too few rows to learn from some and validate on others")
        return as_pair(image[0], target[0])

    def _note_shift(self, library: Library, advice: str) -> None:
        some = [offset(pair.input[0], pair.target[0]) for pair in islice(library.sample(), MEASURED)]
        before = [self._moved.get(name) for name in library.names]  # at least of those that were just made
        found = [shift for shift in (before if self.register else some) if shift is not None]
        if not found:
            return
        down, right = (sorted(parts)[len(parts) // 2] for parts in zip(*found, strict=True))
        if max(abs(down), abs(right)) < SHIFTED:
            return
        pixels = [f"{abs(part):g} pixel{'s' * (abs(part) != 1)}" for part in (down, right)]
        vertical = f"{pixels[0]} {'lower' if down > 0 else 'higher'}"
        sideways = f"{pixels[1]} further {'right' if right > 0 else 'left'}"
        words = " and ".join(part for part, size in ((vertical, down), (sideways, right)) if abs(size) >= SHIFTED)
        lie, advice = ("lay", ", and were moved by whole pixels") if self.register else ("lie", advice)
        count = f"{len(found)} pair{'s' * (len(found) != 1)}"
        self.notes.append(f"the targets {lie} {words} than their inputs (median of {count}){advice}")
