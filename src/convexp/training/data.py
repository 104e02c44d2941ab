"""The data of a run: images, what an operator makes of them, and batches of both."""

import os
import signal
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import lightning as L
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from convexp.errors import ConvexpError
from convexp.exact.shelf import NOWHERE, Shelf
from convexp.images import conversion, samples
from convexp.operators.template import Template
from convexp.training.batches import LANES, Batches, Failure
from convexp.training.library import SAMPLE, Library
from convexp.training.pairs import Pair, Whole, make_pair

Images = Mapping[str, Tensor]
"""Images (C, H, W) in [0, 1] by name."""

WORKERS = (1, 2, 4)  # that may be started; a user may ask for others


@dataclass(kw_only=True, eq=False)
class ImageData(L.LightningDataModule):
    """Images, what an operator makes of them, and batches of both; a subclass says which images.

    Args:
        operator: What is imitated; applied once to every whole image.
        seed: Decides every crop and every generated image.
        gray: Average the colours; otherwise gray images get three equal channels.
        size: Resize the shorter side to so many pixels.
        crop_size: Side of the square random crops in pixels; None trains on whole images.
        batch_size: Crops or images a step and process; None takes all whole images at once.
        workers: Processes that make batches, which are the same for any number; None takes none where all images are in
            memory, else up to four.
    """

    operator: Callable[[Tensor], Tensor]
    seed: int
    gray: bool = False
    size: int | None = None
    crop_size: int | None = 64
    batch_size: int | None = 4
    workers: int | None = None
    train_pairs: Library = field(default_factory=lambda: Library.of({}), init=False)
    val_pairs: Library = field(default_factory=lambda: Library.of({}), init=False)
    shelf: Shelf = field(default=NOWHERE, init=False)  # where sums over the training pairs are kept
    notes: list[str] = field(default_factory=list[str], init=False)  # what a user should know of the images

    def __post_init__(self) -> None:
        super().__init__()

    def training_images(self) -> Images:
        """The images to learn from."""
        raise NotImplementedError

    def validation_images(self) -> Images:
        """Images that are never trained on: two photographs, unless a subclass knows better."""
        return {name: samples.photograph(name) for name in samples.VALIDATION}

    def setup(self, stage: str | None = None) -> None:
        """Reads the images and applies the operator, once.

        Raises:
            ConvexpError: If an image cannot be read, is too small, or the operator cannot take it.
        """
        if not self.train_pairs:
            self.cut_template()
            self.train_pairs, self.val_pairs = self.libraries()
            if len(self.train_pairs.sample()) < len(self.train_pairs):
                self.notes.append(
                    f"{len(self.train_pairs)} images do not fit into data.cache_gb; what is measured on them, as "
                    f"train/mse, is of {SAMPLE}"
                )
            self.batches(start=0)  # says now, not at the first step, that an image is too small

    def libraries(self) -> tuple[Library, Library]:
        """The pairs to learn from, and those to validate on."""
        return self.library(self.training_images()), self.validation()

    def validation(self) -> Library:
        """The pairs to validate on alone."""
        return self.library(self.validation_images())

    def library(self, images: Images) -> Library:
        """Images in memory, and what the operator makes of them."""
        return Library(list(images), images.__getitem__, self.pair)

    def cut_template(self) -> None:
        """Cuts the template, if the operator has one, from the first training image.

        Raises:
            ConvexpError: If the image cannot be read, or the patch is not inside it.
        """
        if isinstance(self.operator, Template) and self.operator.template is None:
            self.operator.cut(self.prepared(next(iter(self.training_images().values()))))

    @property
    def template_size(self) -> tuple[int, int] | None:
        """Height and width of the operator's template, if it has one."""
        return self.operator.size if isinstance(self.operator, Template) else None

    def pair(self, name: str, image: Tensor) -> Pair:
        """An image (C, H, W) as it is trained on, and what the operator makes of it."""
        return make_pair(name, self.prepared(image), self.operator)

    def prepared(self, image: Tensor) -> Tensor:
        """An image (C, H, W) in the colours and the size that are trained on."""
        image = conversion.to_gray(image) if self.gray else conversion.to_colour(image)
        return conversion.resize(image, self.size) if self.size else image

    def fresh_pair(self, number: int) -> Pair:
        """A new pair of any number, where there is no end of them: `endless` says so."""
        raise NotImplementedError

    @property
    def endless(self) -> bool:
        """Whether batches are of new images, instead of those of `train_pairs`."""
        return False

    def batches(self, *, start: int) -> Batches:
        """The training batches from a step on, for this process."""
        trainer = self.trainer
        return Batches(
            self.train_pairs,
            crop_size=self.crop_size,
            batch_size=self.batch_size,
            seed=self.seed,
            start=start,
            rank=trainer.global_rank if trainer else 0,
            world_size=trainer.world_size if trainer else 1,
            fresh=self.fresh_pair if self.endless else None,
        )

    def train_dataloader(self) -> DataLoader[list[Pair]]:
        """Endless batches, from the trainer's step on."""
        workers = self.workers
        if workers is None:
            idle = self.train_pairs.held and not self.endless
            cores = os.cpu_count() or 1
            workers = 0 if idle else max((count for count in WORKERS if count < cores), default=1)
        ahead = LANES // workers + 1 if workers else None
        batches = self.batches(start=self.trainer.global_step if self.trainer else 0)
        with _as_many_as_wished():
            return _Loader(
                batches,  # pyright: ignore[reportArgumentType]  # what a worker could not do goes no further than that
                batch_size=None,
                num_workers=workers,
                prefetch_factor=ahead,
                worker_init_fn=_leave_signals,
            )

    def val_dataloader(self) -> DataLoader[Whole]:
        """Whole validation images, one a batch."""
        return whole_images(self.val_pairs)


def whole_images(pairs: Mapping[str, Pair]) -> DataLoader[Whole]:
    """A loader of whole images, one a batch."""
    return DataLoader(_Wholes(pairs), batch_size=None)


class _Wholes(IterableDataset[Whole]):
    def __init__(self, pairs: Mapping[str, Pair]) -> None:
        self.pairs = pairs

    def __iter__(self) -> Iterator[Whole]:
        return (Whole(*pair, name) for name, pair in self.pairs.items())


class _Loader(DataLoader[list[Pair]]):
    """Raises here what a worker could not do."""

    def __iter__(self) -> Iterator[list[Pair]]:  # pyright: ignore[reportIncompatibleMethodOverride]  # torch's own class
        with _as_many_as_wished():
            batches = super().__iter__()
        failure: Failure | None = None
        for batch in batches:
            if isinstance(batch, Failure):
                failure = batch
                break
            yield batch
        del batches  # so that its workers end now, and not when the error's traceback is forgotten
        if failure is not None:
            raise ConvexpError(failure.message)


def _leave_signals(_worker: int) -> None:
    """The process that trains notes them; its workers go on until it has finished its step."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _as_many_as_wished() -> Generator[None, None, None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than there are cores
        yield
