"""Which layer of a model holds what: linear probes of its layers for the stages of an operator."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.alignment import center_crop

INPUT = "input"
FOUND = 0.9  # the R² from which on a layer counts as holding a stage
SQUARE = 16
MOST_PIXELS = 40_000
# Of the largest. float32 has 7 digits: with squared values, what is 1e-10 as large may be rounding.
LEAST_EIGENVALUE = 1e-10
CONSTANT = 1e-6  # of the largest value: what float32 leaves of a constant


@dataclass(frozen=True, eq=False)
class Table:
    """How well each layer's channels, linearly combined at every pixel, give each stage.

    Args:
        layers: Names of the rows, in the order of computation.
        stages: Names of the columns.
        r2: R² on held-out pixels, (layers, stages) float64: 1 is perfect, 0 as good as the mean, less is worse. NaN
            where the stage is constant or the layer has values that are no numbers.
    """

    layers: tuple[str, ...]
    stages: tuple[str, ...]
    r2: Tensor


def probe(
    representations: Mapping[str, Sequence[Tensor]],
    stages: Mapping[str, Sequence[Tensor]],
    *,
    square: int = SQUARE,
    most_pixels: int = MOST_PIXELS,
) -> Table:
    """Tells which layers hold which stages: R² of the least squares from a layer's channels to a stage, pixel by pixel.

    All are cut to the centre that they have in common, so that all cells of the table are of the same pixels. The
    squares of a checkerboard on it are for fitting, the others for scoring: pixels next to each other are alike, and if
    some were for the one and some for the other, the score would be that of the fit. With a constant; channels are
    standardised; combinations of channels whose variance is below 1e-10 of the largest are left out, since in float32
    they cannot be told from rounding.
    Alain and Bengio, Understanding intermediate layers using linear classifier probes, arXiv:1610.01644.

    Args:
        representations: By layer a tensor (1, C, H, W) for each image, as `convexp.analysis.layers` has them.
        stages: By stage a map (1, 1, H', W') for each image; the channels of an operator's stage are several stages.
        square: Side of the checkerboard's squares in pixels.
        most_pixels: Of more pixels to fit or to score, so many are drawn, always the same.

    Raises:
        ConvexpError: If the numbers of images differ or are 0, a stage has several channels, or the images' common
            centre has no square for either half.

    Example:
        >>> image = torch.rand(1, 1, 40, 50, generator=torch.Generator().manual_seed(0))
        >>> table = probe({"input": [image], "squared": [image**2]}, {"negative": [1 - image]})
        >>> [round(value, 2) for value in table.r2[:, 0].tolist()]
        [1.0, 0.94]
    """
    _check(representations, stages)
    sizes = [
        (min(tensor.shape[-2] for tensor in tensors), min(tensor.shape[-1] for tensor in tensors))
        for tensors in zip(*representations.values(), *stages.values(), strict=True)
    ]
    halves = _halves(sizes, square, most_pixels)
    targets = [torch.cat([_pixels(maps, sizes, half) for maps in stages.values()], dim=1) for half in halves]
    rows = [_scores([_pixels(maps, sizes, half) for half in halves], targets) for maps in representations.values()]
    return Table(tuple(representations), tuple(stages), torch.stack(rows))


def summary(table: Table, *, least: float = FOUND) -> str:
    """Which layer is the first to hold each stage, in one sentence.

    Args:
        table: As `probe` returns it. A first layer named ``input`` is the image itself.
        least: The R² that counts as holding it.

    Example:
        >>> table = Table(("input", "edges"), ("edge", "blur"), torch.tensor([[0.2, 0.1], [0.97, 0.62]]))
        >>> summary(table)
        'edge is in edges (R² 0.97); blur is nowhere above R² 0.62 (edges)'
    """
    verdicts = [(name, *_verdict(table, column, least)) for column, name in enumerate(table.stages)]
    return "; ".join(
        _clause(kind, layer, list(members)) for (kind, layer), members in groupby(verdicts, key=itemgetter(1, 2))
    )


def _verdict(table: Table, column: int, least: float) -> tuple[str, str, float]:
    """How a stage is found, in which layer, and its R² there."""
    scores: list[float] = table.r2[:, column].tolist()
    first_layer = int(table.layers[0] == INPUT)
    for row, score in enumerate(scores):
        if score >= least:
            kind = "input" if row < first_layer else "first" if row == first_layer else "later"
            return kind, table.layers[row], score
    known = [row for row, score in enumerate(scores) if not math.isnan(score)]
    if not known:
        return "unknown", "", math.nan
    best = max(known, key=scores.__getitem__)
    return "nowhere", table.layers[best], scores[best]


def _clause(kind: str, layer: str, members: Sequence[tuple[str, str, str, float]]) -> str:
    names = [member[0] for member in members]
    numbers = ", ".join(f"{member[3]:.2f}" for member in members)
    subject = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    be, appear = ("is", "appears") if len(names) == 1 else ("are", "appear")
    predicates = {
        "input": f"{be} already in the input (R² {numbers})",
        "first": f"{be} in {layer} (R² {numbers})",
        "later": f"{appear} in {layer} (R² {numbers})",
        "nowhere": f"{be} nowhere above R² {numbers} ({layer})",
        "unknown": f"{be} constant",
    }
    return f"{subject} {predicates[kind]}"


def _halves(sizes: Sequence[tuple[int, int]], square: int, most_pixels: int) -> list[list[Tensor]]:
    """Of either colour of the checkerboard, for each image the numbers of the pixels, counted row by row."""
    boards = [
        ((torch.arange(height)[:, None] // square + torch.arange(width) // square) % 2).flatten()
        for height, width in sizes
    ]
    halves: list[list[Tensor]] = []
    for colour in (0, 1):
        pixels = [(board == colour).nonzero().flatten() for board in boards]
        counts = [len(numbers) for numbers in pixels]
        if not sum(counts):
            common = " and ".join(f"{height}x{width}" for height, width in sizes)
            raise ConvexpError(
                f"layers and stages have {common} pixels in common, which lie in one square of {square}: none is left "
                "to score, so take a larger image or smaller squares"
            )
        # Drawn, not strided: a stride might see but one column of a mosaic or of a pattern.
        drawn = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(0))[:most_pixels].sort().values
        chosen = torch.zeros(sum(counts), dtype=torch.bool).index_fill(0, drawn, True)
        halves.append([numbers[keep] for numbers, keep in zip(pixels, chosen.split(counts), strict=True)])
    return halves


def _pixels(maps: Sequence[Tensor], sizes: Sequence[tuple[int, int]], half: Sequence[Tensor]) -> Tensor:
    """The channels at the chosen pixels of the common centres, (pixels, C) float64."""
    found: list[Tensor] = []
    for image, (height, width), numbers in zip(maps, sizes, half, strict=True):
        rows, columns = numbers // width, numbers % width
        found.append(center_crop(image.detach().cpu()[0], height, width)[:, rows, columns])
    return torch.cat(found, dim=1).T.double()


def _scores(features: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """R² of every stage; both are two halves, (pixels, C) and (pixels, stages), to fit and to score."""
    (fitted, held), (wanted, unseen) = features, targets
    if not (fitted.isfinite().all() and held.isfinite().all()):
        return unseen.new_full(unseen.shape[1:], math.nan)
    mean, deviation = fitted.mean(dim=0), fitted.std(dim=0, correction=0)
    inverse = (1 / deviation).where(deviation > CONSTANT * fitted.abs().amax(dim=0), 0.0)
    fitted, held = (fitted - mean) * inverse, (held - mean) * inverse

    offset = wanted.mean(dim=0)
    eigenvalues, eigenvectors = torch.linalg.eigh(fitted.T @ fitted)
    inverse = (1 / eigenvalues).where(eigenvalues > LEAST_EIGENVALUE * eigenvalues[-1], 0.0)
    weights = eigenvectors @ (inverse[:, None] * (eigenvectors.T @ (fitted.T @ (wanted - offset))))
    residual = unseen - offset - held @ weights

    centred = unseen - unseen.mean(dim=0)
    constant = centred.abs().amax(dim=0) <= CONSTANT * unseen.abs().amax(dim=0)
    r2 = 1 - residual.square().sum(dim=0) / centred.square().sum(dim=0)
    return r2.masked_fill(constant, math.nan)


def _check(representations: Mapping[str, Sequence[Tensor]], stages: Mapping[str, Sequence[Tensor]]) -> None:
    counts = {len(tensors) for tensors in (*representations.values(), *stages.values())}
    if not representations or not stages or len(counts) != 1 or counts == {0}:
        raise ConvexpError(
            f"there are {len(representations)} layers and {len(stages)} stages, of {sorted(counts)} images: give at "
            "least one of each, all of the same images"
        )
    for name, maps in stages.items():
        for stage in maps:
            if stage.dim() != 4 or stage.shape[:2] != (1, 1):
                raise ConvexpError(
                    f"stage {name!r} has shape {tuple(stage.shape)}; must be (1, 1, H, W): give each of its channels a "
                    "name of its own"
                )
    for name, maps in representations.items():
        for features in maps:
            if features.dim() != 4 or len(features) != 1:
                raise ConvexpError(f"layer {name!r} has shape {tuple(features.shape)}; must be (1, C, H, W): one image")
