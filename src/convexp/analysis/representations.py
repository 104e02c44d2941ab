"""Every intermediate representation, and which stage of the operator can be read from which."""

import math
from collections.abc import Sequence

from torch import Tensor

from convexp.analysis.findings import Findings
from convexp.analysis.layers import constant_channels, layers
from convexp.analysis.probes import Table, probe, summary
from convexp.analysis.subject import Subject
from convexp.errors import ConvexpError
from convexp.images.heat_map import heat_map
from convexp.images.tiles import feature_tiles
from convexp.operators import Gradients, Pipeline
from convexp.operators.linear import GRADIENTS
from convexp.runs.folder import slug

MOST_MAPS = 256  # of a layer, that are shown
MOST_CHANNELS = 8  # of a stage, that are probed for


def representations(subject: Subject) -> Findings:
    """Shows what each layer makes of the first image, names constant channels, and probes for the operator's stages."""
    images = [pair.input for pair in subject.pairs.values()]
    made = [layers(subject.model, image) for image in images]
    found = Findings(facts={"layers": {}})
    for number, (name, features) in enumerate(made[0].items(), 1):
        # On all images: a channel may be silent on one alone.
        known = [constant_channels(maps[name]) for maps in made]
        values = {channel: known[0][channel] for channel in sorted(set.intersection(*map(set, known)))}
        found.facts["layers"][name] = {"shape": list(features.shape[1:]), "constant_channels": values}
        caption = name
        if values:
            said = _constants(name, values, features.shape[1])
            found.lines.append(said)
            caption = f"{name}, {len(values)} constant"
        found.pictures[f"layers/{number:02}-{slug(name)}"] = feature_tiles(features[0], caption=caption, most=MOST_MAPS)
    return found + _probed(subject, images, made)


def _constants(name: str, values: dict[int, float], channels: int) -> str:
    if len(values) == channels:
        return f"{name}: all {channels} channels are constant: nothing passes through this layer"
    each = ", ".join(f"{channel} ({'dead, 0' if value == 0 else f'{value:.3g}'})" for channel, value in values.items())
    return f"{name}: {len(values)} of {channels} channels are constant: {each}"


def _probed(subject: Subject, images: Sequence[Tensor], made: Sequence[dict[str, Tensor]]) -> Findings:
    stages = [_stages(subject, pair.input, pair.target) for pair in subject.pairs.values()]
    # A pixel of another scale lies over no single pixel of a stage.
    same = [name for name, maps in made[0].items() if 2 * min(maps.shape[-2:]) > min(images[0].shape[-2:])]
    held = {"input": list(images)} | {name: [maps[name] for maps in made] for name in same}
    wanted = {name: [maps[name] for maps in stages] for name in stages[0]}
    try:
        table = probe(held, wanted)
    except ConvexpError as error:  # an image may be too small
        return Findings(lines=[f"no probes: {error}"])
    picture = heat_map(
        table.r2, rows=table.layers, columns=table.stages, title="R² of stages, read from layers", best=True
    )
    lines = [summary(table)]
    if len(same) < len(made[0]):
        lines.append(f"of another scale, and not probed: {', '.join(name for name in made[0] if name not in same)}")
    return Findings({"probes": _plain(table)}, {"probes": picture}, lines)


def _stages(subject: Subject, image: Tensor, target: Tensor) -> dict[str, Tensor]:
    """The operator's stages on an image, (1, 1, H, W) each; of several channels each is one."""
    operator = subject.operator
    if not isinstance(operator, Pipeline):
        return _channels(subject.name, target, operator)
    found: dict[str, Tensor] = {}
    for name, stage, output in zip(operator.names, operator.stages, operator.intermediate(image).values(), strict=True):
        found |= _channels(name, output, stage)
    return found


def _channels(name: str, output: Tensor, stage: object) -> dict[str, Tensor]:
    output = output.detach().float()[:, :MOST_CHANNELS]
    if output.shape[1] == 1:
        return {name: output}
    names = [f"{name} {number}" for number in range(output.shape[1])]
    if isinstance(stage, Gradients):
        names = list(GRADIENTS[stage.kernels])
    return dict(zip(names, output.split(1, dim=1), strict=True))


def _plain(table: Table) -> dict[str, object]:
    r2 = [[None if math.isnan(value) else round(value, 6) for value in row] for row in table.r2.tolist()]
    return {"layers": list(table.layers), "stages": list(table.stages), "r2": r2, "summary": summary(table)}
