"""Where a trained filter is wrong, and in what kind of places."""

import math
from typing import Any

import torch
from torch import Tensor

from convexp.analysis.content import content, error_by_content
from convexp.analysis.findings import Findings
from convexp.analysis.subject import Subject
from convexp.images.alignment import center_crop, common_center
from convexp.images.colours import Scale, tone, visible_limit
from convexp.images.layout import below, grid, line, scale_bar, with_margin
from convexp.images.marks import boxed, worst_places
from convexp.models import receptive_field
from convexp.training.metrics import whole_image_metrics

COUNT = 5
MARGIN, TEXT = 20, 24


def errors(subject: Subject) -> Findings:
    """Boxes the worst places of the first image, and divides the error of all among flat areas, edges and textures."""
    facts: dict[str, dict[str, Any]] = {}
    shares: list[dict[str, dict[str, float]]] = []
    pictures: dict[str, Tensor] = {}
    for name, (image, target) in subject.pairs.items():
        with torch.no_grad():
            output, wanted = common_center(subject.model(image), target)
        error = (output - wanted)[0]
        shares.append(error_by_content(error, content(image)))
        measured = whole_image_metrics(subject.model, [(image, target)])
        facts[name] = {**measured, "rmse": math.sqrt(measured["mse"]), "by_content": shares[-1]}
        if len(shares) == 1:
            side = min(max(16, *receptive_field(subject.model)), 64)
            boxes = worst_places(error.square().mean(dim=0).sqrt(), side=side, count=COUNT)
            pictures["error"] = _picture(center_crop(image, *error.shape[-2:])[0], error, boxes)
            facts[name] |= {"worst_places": [list(box) for box in boxes]}
    said = ", ".join(
        f"{name} {100 * part['share']:.0f} % of the squared error on {100 * part['pixels']:.0f} % of the pixels"
        for name, part in shares[0].items()
    )
    first = next(iter(subject.pairs))
    return Findings({"errors": facts}, pictures, [f"R² {facts[first]['r2']:.4f} on {first}; {said}"])


def _picture(image: Tensor, error: Tensor, boxes: list[tuple[int, int, int, int]]) -> Tensor:
    mean = error.mean(dim=0, keepdim=True)
    scale = Scale.around_zero(visible_limit(mean))
    painted = scale.paint(mean)
    cells = [
        below([line("input", size=TEXT), boxed(tone(image, 0.0, 1.0), boxes)], gap=8),
        below(
            [
                line("error, worst places boxed", size=TEXT),
                boxed(painted, boxes),
                scale_bar(scale, width=painted.shape[2], size=TEXT),
            ],
            gap=8,
        ),
    ]
    columns = 2 if painted.shape[1] > painted.shape[2] // 2 else 1
    return with_margin(grid(cells, columns=columns, gap=MARGIN), MARGIN)
