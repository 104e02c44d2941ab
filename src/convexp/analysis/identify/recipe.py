"""The commands that go on with a filter that was identified: to learn it, or to have it from the catalogue."""

import shlex
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convexp.analysis.identify.identification import Identification
from convexp.analysis.identify.match import Match
from convexp.operators.colour import GRAYSCALE, SEPIA

TYPED = 9  # side of the largest kernel that fits into a command
_POINTWISE = ("grayscale", "sepia", "colour_matrix", "identity", "gamma")


@dataclass(frozen=True)
class Operator:
    """An operator of the catalogue as a command names it.

    Args:
        target: Name of the choice under `configs/target`.
        overrides: Its configuration.
    """

    target: str
    overrides: dict[str, Any]

    @property
    def words(self) -> list[str]:
        """As they are typed."""
        return [f"target={self.target}", *(f"target.{key}={_typed(value)}" for key, value in self.overrides.items())]


def operator(found: Identification) -> Operator | None:
    """The operator of the catalogue that does the same, or None."""
    if found.curve is not None:
        if found.curve.kind == "gamma":
            return Operator("gamma", {"exponent": found.curve.exponent})
        if found.curve.kind in ("autocontrast", "equalize") and found.curve.agreement.explained:
            return Operator(found.curve.kind, {})
        return None
    if found.nonlinear is not None:
        fit = found.nonlinear
        return (
            Operator(fit.candidate.target, fit.candidate.overrides) if (fit.gain, fit.constant) == (1.0, 0.0) else None
        )
    if found.kind != "linear" or (found.moved != (0, 0) and not only_moved(found)):
        return None
    if only_moved(found):
        return Operator("shift", {"right": found.moved[1], "down": found.moved[0]})
    return _of_kernel(found)


def commands(found: Identification, before: str, after: str) -> list[str]:
    """The command lines that go on: to learn the filter, and to have it from the catalogue."""
    if found.kind in ("unknown", "global"):
        return []
    pictures = [
        "python train.py data=pairs",
        f"data.inputs={_quoted(before)}",
        f"data.targets={_quoted(after)}",
        *(["data.centred=true"] if _smaller(found) else []),
    ]
    if found.kind == "linear" and found.linear is not None:
        height, width = _learnable(found)
        size = str(height) if height == width else f"[{height},{width}]"
        bias = ["model.bias=true"] if _adds(found) else []
        learn = [*pictures, "model=single", shlex.quote(f"model.kernel_size={size}"), *bias, "optimizer=exact"]
    else:
        learn = [*pictures, "model=deep"]
    own = operator(found)
    lines = [" ".join(learn)]
    if own is not None:
        border = found.border.border if found.border is not None else None
        extra = [f"target.border={border}"] if border is not None and own.target not in _POINTWISE else []
        model = "model=single" if found.kind == "linear" else "model=deep"
        if found.kind == "linear":
            height, width = _learnable(found)
            model += " " + shlex.quote(f"model.kernel_size={height if height == width else f'[{height},{width}]'}")
        words = [shlex.quote(word) for word in [*own.words, *extra]]
        lines.append(" ".join(["python train.py", *words, model]))
    return lines


def _of_kernel(found: Identification) -> Operator | None:
    match, linear = found.match, found.linear
    if match is None or linear is None:
        return _typed_kernel(found)
    fit, kind = match.fit, linear.mixing.kind
    matrix = colour_matrix(match)
    if fit.family.target == "identity" and matrix is not None and kind in ("luma", "mixed", "equal"):
        if float(match.constant.abs().max()) > 2e-3:
            return None
        for target, rows in (("grayscale", GRAYSCALE), ("sepia", SEPIA)):
            if matrix.shape == (len(rows), 3) and float((matrix - matrix.new_tensor(rows)).abs().max()) < 3e-3:
                return Operator(target, {})
        if matrix.shape[1] == 3:
            return Operator(
                "colour_matrix", {"matrix": [[round(value, 4) for value in row] for row in matrix.tolist()]}
            )
    if not fit.natural or kind in ("luma", "mixed"):
        return _typed_kernel(found)
    channels = "each" if kind in ("gray", "each") else "sum" if fit.gain == 3 else "mean"
    if fit.family.channels not in (None, channels) and kind != "gray":
        return _typed_kernel(found)
    values = {
        parameter.key: round(value, 5) for parameter, value in zip(fit.family.parameters, fit.values, strict=True)
    }
    overrides = {**fit.family.overrides(fit.size), **values}
    if fit.family.channels is None and kind != "gray":
        overrides["channels"] = channels
    return Operator(fit.family.target, overrides)


def _typed_kernel(found: Identification) -> Operator | None:
    """Any kernel, as its numbers, where it is small, lies as the catalogue has it, and nothing is added."""
    linear, match = found.linear, found.match
    if linear is None or _adds(found):
        return None
    kernel, box = (linear.fit.kernel, linear.fit.box) if match is None else (match.fit.kernel, match.box)
    height, width = kernel.shape
    centred = box[0] == -((height - 1) // 2) and box[2] == -((width - 1) // 2)
    if not centred or max(height, width) > TYPED or linear.mixing.kind in ("luma", "mixed"):
        return None
    rows = [[float(f"{value:.4g}") for value in row] for row in kernel.tolist()]
    channels = {} if linear.mixing.kind == "gray" else {"channels": "each" if linear.mixing.kind == "each" else "mean"}
    return Operator("kernel", {"kernel": rows, **channels})


def _adds(found: Identification) -> bool:
    if found.match is not None:
        return not found.match.fit.natural and float(found.match.constant.abs().max()) > 2e-3
    return found.linear is not None and float(found.linear.constant.abs().max()) > 4e-3


def _smaller(found: Identification) -> bool:
    return found.observation.whole_before.shape[1:] != found.observation.whole_after.shape[1:]


def _learnable(found: Identification) -> tuple[int, int]:
    """The size of a convolution that holds the kernel: around the pixel as the catalogue has it, or centred."""
    if found.linear is None:
        return 1, 1
    box = found.linear.fit.box if found.match is None else found.match.box
    down, right = found.moved
    box = (box[0] - down, box[1] - down, box[2] - right, box[3] - right)
    sizes: list[int] = []
    for first, last in (box[:2], box[2:]):
        length = last - first + 1
        sizes.append(length if first == -((length - 1) // 2) else 2 * max(-first, last) + 1)
    return sizes[0], sizes[1]


def _typed(value: object) -> str:
    return str(value).replace(" ", "") if isinstance(value, list) else f"{value}"


def _quoted(path: str) -> str:
    """A path as Hydra and a shell take it."""
    plain = all(sign.isalnum() or sign in "_-./" for sign in path)
    return path if plain else shlex.quote("'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'")


def only_moved(found: Identification) -> bool:
    """Whether the content was moved, further than kernels reach, and nothing else."""
    match = found.match
    return found.moved != (0, 0) and match is not None and match.fit.family.target == "identity" and match.fit.natural


def colour_matrix(match: Match) -> Tensor | None:
    """The matrix of colours, (O, I), if the kernel is a single pixel at the centre."""
    return match.kernels[..., 0, 0] if match.kernels.shape[2:] == (1, 1) and match.box == (0, 0, 0, 0) else None
