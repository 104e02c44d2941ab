"""The kernel of a linear operator as text."""

import torch
from torch import Tensor

from convexp.operators.response import Response


def listing(response: Response) -> str:
    """Write a kernel's numbers in rows, once for all channels that it treats alike.

    Args:
        response: What `impulse_response` found.

    Example:
        >>> from convexp.operators import Filter
        >>> from convexp.operators.response import impulse_response
        >>> print(listing(impulse_response(Filter("sobel_x", channels="mean"), 3)))
        3×3, each of 3 channels alike:
          -0.3333  0  0.3333
          -0.6667  0  0.6667
          -0.3333  0  0.3333
    """
    kernel = response.kernel
    outputs, inputs, height, width = kernel.shape
    tolerance = 1e-6 * kernel.abs().max()
    apart = kernel[:1, :1] * torch.eye(outputs, inputs)[..., None, None]
    if inputs == outputs > 1 and (kernel - apart).abs().max() <= tolerance:
        parts = [("each channel on its own", kernel[0, 0])]
    else:
        parts: list[tuple[str, Tensor]] = []
        for output, own in enumerate(kernel):
            words = [f"output {output}"] if outputs > 1 else []
            if (own - own[:1]).abs().max() <= tolerance:
                words += [f"each of {inputs} channels alike"] if inputs > 1 else []
                parts.append((", ".join(words), own[0]))
            else:
                parts += [(", ".join([*words, f"channel {number}"]), part) for number, part in enumerate(own)]
    size, offset = f"{height}×{width}", ""
    if (response.top, response.left) != (-((height - 1) // 2), -((width - 1) // 2)):
        offset = f", its first weight at row {response.top:+d}, column {response.left:+d} from the pixel"
    texts = [f"{', '.join(filter(None, (size, what)))}{offset}:\n{_rows(part)}" for what, part in parts]
    if response.constant.abs().max() > tolerance:
        texts.append(f"plus {', '.join(_number(value) for value in response.constant.tolist())}")
    return "\n".join(texts)


def _rows(kernel: Tensor) -> str:
    texts = [[_number(value) for value in row] for row in kernel.tolist()]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return "\n".join("  " + "  ".join(map(str.rjust, row, widths)) for row in texts)


def _number(value: float) -> str:
    return f"{value:.4g}" if abs(value) >= 1e-7 else "0"
