"""What a trained filter does as kernels: the first layer's, the one it equals, or those it is at single places."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convexp.analysis.content import places
from convexp.analysis.effective_kernel import LocalKernel, effective_kernel, energy_box, local_kernel
from convexp.analysis.findings import Findings
from convexp.analysis.naming import Name, nearest
from convexp.analysis.subject import Subject
from convexp.analysis.symmetry import describe
from convexp.images.alignment import common_center
from convexp.images.spectrum import frequency_response
from convexp.images.tiles import kernel_sheet, kernels_beside
from convexp.models import receptive_field
from convexp.models.blocks import kernels
from convexp.operators.examples import Examples
from convexp.operators.response import Operator, Response, impulse_response, support

UNLIKE = 0.5  # a cosine that is no likeness
MOST = 16  # kernels of the first layer that are named
MOST_SPECTRA = 2  # outputs whose frequency response is shown, for gray images
MOST_PAIRS = 9  # outputs and inputs of an effective kernel that are described


def first_layer(subject: Subject) -> Findings:
    """Names the first layer's kernels by the catalogue's nearest."""
    weights = kernels(subject.model)
    if not weights:
        return Findings(lines=["the model has no convolution whose kernels could be named"])
    layer, weight = next(iter(weights.items()))
    names = [nearest(kernel) for kernel in weight[:MOST]]
    picture = kernel_sheet({f"{n}: {_caption(name)}": weight[n : n + 1] for n, name in enumerate(names)})
    said = "; ".join(f"{n} is {_said(name)}" for n, name in enumerate(names[:4]))
    more = f"; and {len(names) - 4} more" if len(names) > 4 else ""
    facts = {"first_layer": {"layer": layer, "kernels": [vars(name) for name in names]}}
    return Findings(facts, {"first_layer": picture}, [f"kernels of {layer}: {said}{more}"])


def whole_filter(subject: Subject) -> Findings:
    """The kernel that a linear model equals, with its spectrum; of any other model the kernels at typical places."""
    model, channels, field = subject.model, subject.channels, _field(subject)
    effective = effective_kernel(model, channels, field=field)
    facts: dict[str, Any] = {"receptive_field": {"theoretical": list(field)}, "linear": effective is not None}
    found = _one_kernel(subject, effective) if effective is not None else _local_kernels(subject)
    energy = found.facts.pop("energy_99", None)
    facts["receptive_field"]["energy_99"] = energy
    said = f"receptive field {field[0]}×{field[1]}"
    said += f", 99 % of the energy in {energy[0]}×{energy[1]}" if energy else ""
    return Findings(facts, lines=[said]) + found


def _one_kernel(subject: Subject, effective: Response) -> Findings:
    sides = (65, 193, 4 * max(effective.kernel.shape[-2:]) + 17)
    found = (impulse_response(subject.operator, subject.channels, side=side) for side in sides)
    true = next((response for response in found if response is not None), None)
    fits = true is not None and true.kernel.shape[:2] == effective.kernel.shape[:2]
    learned = LocalKernel(effective.kernel, effective.top, effective.left)
    shown = {"learned": learned} | ({"true": LocalKernel(true.kernel, true.top, true.left)} if true and fits else {})
    sides = _sides(subject)
    boxes = _aligned({name: _on_common_centre(part, name, sides) for name, part in shown.items()})
    outputs, inputs = effective.kernel.shape[:2]
    described = [
        {"output": output, "input": channel, **_symmetry(effective.kernel[output, channel])}
        for output in range(outputs)
        for channel in range(inputs)
    ][:MOST_PAIRS]
    facts: dict[str, Any] = {
        "energy_99": list(energy_box(effective.kernel)),
        "effective_kernel": {
            "kernel": effective.kernel.tolist(),
            "top": effective.top,
            "left": effective.left,
            "constant": effective.constant.tolist(),
            "described": described,
        },
    }
    which = f" (of output 0 and input 0; inspect.json has {len(described)})" if outputs * inputs > 1 else ""
    size = "×".join(map(str, effective.kernel.shape[-2:]))
    lines = [f"linear: one {size} kernel equals it; {_in_words(described[0])}{which}"]
    if "true" in boxes:
        distance = float((boxes["learned"] - boxes["true"]).norm() / boxes["true"].norm())
        facts["effective_kernel"]["distance_to_true"] = distance
        lines[0] += f"; it differs from the true one by {_percent(distance)} of its norm"
        if inputs > 1:
            gray = {name: box.sum(dim=1) for name, box in boxes.items()}
            distance = float((gray["learned"] - gray["true"]).norm() / gray["true"].norm())
            facts["effective_kernel"]["distance_to_true_on_gray"] = distance
            lines[0] += f", and on gray images by {_percent(distance)}"
    spectra = {
        name + (f" {output}" if outputs > 1 else ""): box[output].sum(dim=0)
        for output in range(min(outputs, MOST_SPECTRA))
        for name, box in boxes.items()
    }
    pictures = {"effective_kernel": kernels_beside(boxes), "frequency_response": frequency_response(spectra)}
    return Findings(facts, pictures, lines)


def _local_kernels(subject: Subject) -> Findings:
    found = Findings(facts={"local_kernels": {}})
    image = next(iter(subject.pairs.values())).input
    sides = _sides(subject)
    functions: dict[str, Operator] = {"learned": subject.model}
    if not isinstance(subject.operator, Examples):
        functions["true"] = subject.operator
    reaches = {name: support(function, subject.channels) for name, function in functions.items()}
    energies: list[tuple[int, int]] = []
    chosen = places(image, margin=max(_field(subject))) | ({} if subject.at is None else {"chosen": subject.at})
    for content, place in chosen.items():
        known: dict[str, LocalKernel] = {}
        for name, function in functions.items():
            kernel = _local(function, name, image, place, sides, reaches[name])
            if kernel is not None:
                known[name] = _on_common_centre(kernel, name, sides)
        if "learned" not in known:
            continue
        boxes = _aligned(known)
        energies.append(energy_box(boxes["learned"]))
        facts: dict[str, Any] = {"place": list(place), "energy_99": list(energies[-1])}
        if "true" in boxes and boxes["true"].shape == boxes["learned"].shape and boxes["true"].norm() > 0:
            cosine = nn.functional.cosine_similarity(boxes["learned"].flatten(), boxes["true"].flatten(), dim=0)
            facts["cosine_to_true"] = float(cosine)
            where = f"row {place[0]}, column {place[1]}"
            found.lines.append(f"local kernel at {where} ({content}): cosine to the true one {cosine:.3f}")
        found.facts["local_kernels"][content] = facts
        found.pictures[f"local_kernel_{content}"] = kernels_beside(boxes)
    if energies:
        found.facts["energy_99"] = [max(box[axis] for box in energies) for axis in (0, 1)]
    return found


def _field(subject: Subject) -> tuple[int, int]:
    """The receptive field; of a model that convolves without modules, what an experiment tells."""
    field = receptive_field(subject.model)
    if field == (1, 1) and (box := support(subject.model, subject.channels)) is not None:
        return box[1] - box[0] + 1, box[3] - box[2] + 1
    return field


def _sides(subject: Subject) -> dict[str, tuple[int, int]]:
    """Heights and widths of the first image, of what model and operator make of it, and of their common centre."""
    image, target = next(iter(subject.pairs.values()))
    with torch.no_grad():
        output = subject.model(image)
    common, _ = common_center(output, target)
    shapes = {"image": image, "learned": output, "true": target, "common": common}
    return {name: (tensor.shape[-2], tensor.shape[-1]) for name, tensor in shapes.items()}


def _local(
    function: Operator,
    name: str,
    image: Tensor,
    place: tuple[int, int],
    sides: dict[str, tuple[int, int]],
    reach: tuple[int, int, int, int] | None,
) -> LocalKernel | None:
    """The kernel at the pixel of the common centre that lies over a pixel of the image."""
    pixel: list[int] = []
    for at, whole, own, common in zip(place, sides["image"], sides[name], sides["common"], strict=True):
        line = min(max(at - (whole - common) // 2, 0), common - 1)
        pixel.append(line + (own - common) // 2)
    return local_kernel(function, image, (pixel[0], pixel[1]), reach=reach)


def _on_common_centre(kernel: LocalKernel, name: str, sides: dict[str, tuple[int, int]]) -> LocalKernel:
    """A kernel, its place counted from the pixel that lies under the common centre instead of its own output.

    The two differ where one lacks an even and the other an odd number of rows: the loss compares common centres.
    """
    down, right = (
        (own - common) // 2 + (whole - own) // 2 - (whole - common) // 2
        for whole, own, common in zip(sides["image"], sides[name], sides["common"], strict=True)
    )
    return LocalKernel(kernel.kernel, kernel.top + down, kernel.left + right)


def _aligned(found: Mapping[str, LocalKernel]) -> dict[str, Tensor]:
    """Kernels (O, I, kh, kw) filled up with 0 to one box around the same pixel."""
    top, left = min(part.top for part in found.values()), min(part.left for part in found.values())
    bottom = max(part.top + part.kernel.shape[2] for part in found.values())
    right = max(part.left + part.kernel.shape[3] for part in found.values())
    boxes: dict[str, Tensor] = {}
    for name, part in found.items():
        kernel = part.kernel.detach().cpu().double()
        above, before = part.top - top, part.left - left
        below, behind = bottom - part.top - kernel.shape[2], right - part.left - kernel.shape[3]
        boxes[name] = nn.functional.pad(kernel, (before, behind, above, below))
    return boxes


def _symmetry(kernel: Tensor) -> dict[str, float | None]:
    facts = describe(kernel)
    return {
        "dc_gain": facts.dc_gain,
        "rank1_error": facts.rank1_error,
        "left_right": facts.left_right,
        "up_down": facts.up_down,
        "half_turn": facts.half_turn,
        "transpose": facts.transpose,
    }


def _in_words(facts: dict[str, Any]) -> str:
    separable = "separable" if facts["rank1_error"] < 0.01 else f"rank-1 error {facts['rank1_error']:.2g}"
    kinds = {"left_right": "left and right", "up_down": "up and down"}
    even = [words for key, words in kinds.items() if facts[key] < 0.01]
    odd = [words for key, words in kinds.items() if facts[key] > 0.99]
    symmetry = [f"symmetric {' and '.join(even)}"] * bool(even) + [f"antisymmetric {' and '.join(odd)}"] * bool(odd)
    return ", ".join([f"DC gain {facts['dc_gain']:.4g}", separable, *symmetry])


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %" if fraction >= 0.1 else f"{100 * fraction:.2g} %"


def _caption(name: Name) -> str:
    """In letters that the pictures' font has."""
    text = name.name.replace("σ=", "sigma ").replace("λ=", "wavelength ")
    angle = "" if name.angle is None else f", {round(name.angle)}°"
    return f"{text} {name.cosine:.2f}{angle}"


def _said(name: Name) -> str:
    if name.cosine < UNLIKE and name.angle is None:
        return "like none of the catalogue"
    text = f"{name.name} (cosine {name.cosine:.2f})"
    if name.angle is None or name.steered is None:
        return text
    return f"{text}, an edge at {round(name.angle)}° (cosine {name.steered:.2f})"
