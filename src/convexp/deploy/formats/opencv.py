"""OpenCV: a Python file around `cv2.filter2D`."""

import importlib.util
import runpy
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.formats.linear import border_in_words, kernel_of, lines_of, numbers, own_margin, refused
from convexp.deploy.learned import Learned
from convexp.deploy.programs import UnverifiedError
from convexp.deploy.single_kernel import SingleKernel

BORDERS = {
    "reflect": "cv2.BORDER_REFLECT_101",
    "replicate": "cv2.BORDER_REPLICATE",
    "zeros": "cv2.BORDER_CONSTANT",
    "circular": "cv2.BORDER_WRAP",
}


def source(learned: Learned) -> str:
    """The Python file."""
    kernel = kernel_of(learned)
    weights = "\n".join(f"        {line}" for line in lines_of(kernel))
    shape = ", ".join(map(str, kernel.kernel.shape))
    plane, constant = ("image", "delta=float(CONSTANT[0]), ") if kernel.outputs == kernel.inputs == 1 else ("plane", "")
    prepared, call, cut = _call(kernel, plane, constant)
    if plane == "image":
        body = f"{prepared}    return {call.replace('WEIGHTS', 'KERNEL[0, 0]')}{cut}"
    else:
        returned = f"cv2.merge(outputs){cut}" if kernel.outputs > 1 else f"outputs[0]{cut}"
        body = f"""{prepared}    planes = cv2.split(image)
    outputs = []
    for constant, weights in zip(CONSTANT, KERNEL):
        outputs.append(constant + sum({call.replace("WEIGHTS", "w")} for plane, w in zip(planes, weights)))
    return {returned}"""
    channels = "(H, W)" if kernel.inputs == 1 else f"(H, W, {kernel.inputs}), {_order(kernel.inputs)}"
    return f'''"""{_quoted(learned.name)}, learned by convexp. Border: {border_in_words(kernel)}."""

import cv2
import numpy as np

# (outputs, inputs, rows, columns); filter2D does not flip it, and neither does convexp.
KERNEL = np.array(
    [
{weights}
    ],
    np.float32,
).reshape({shape})
CONSTANT = np.array([{", ".join(numbers(kernel.constant))}], np.float32)


def filter_image(image):
    """Filters float32 values in [0, 1]: {channels}."""
{body}
'''


def _call(kernel: SingleKernel, plane: str, constant: str) -> tuple[str, str, str]:
    """What comes before the call of filter2D, the call, and what is cut out of its result."""
    height, width = kernel.size
    rows, columns = (f":-{side - 1}" if side > 1 else ":" for side in (height, width))
    call = f"cv2.filter2D({plane}, cv2.CV_32F, WEIGHTS, {constant}"
    if not kernel.padded:
        return "", f"{call}anchor=(0, 0))", _cut(rows, columns)
    border = BORDERS[str(kernel.border)]
    # filter2D knows neither BORDER_WRAP nor another constant than 0, and its output is as large as its input.
    direct = kernel.growth == (0, 0) and kernel.border != "circular" and kernel.outside == 0
    if direct:
        return "", f"{call}anchor=({kernel.left}, {kernel.above}), borderType={border})", ""
    value = f", value=({', '.join(numbers([kernel.outside] * 4))})" if kernel.border == "zeros" else ""
    sides = f"{kernel.above}, {kernel.below}, {kernel.left}, {kernel.right}"
    prepared = f"    image = cv2.copyMakeBorder(image, {sides}, {border}{value})\n"
    return prepared, f"{call}anchor=(0, 0))", _cut(rows, columns)


def _cut(rows: str, columns: str) -> str:
    return "" if (rows, columns) == (":", ":") else f"[{rows}, {columns}]"


def _order(channels: int) -> str:
    return "in the order red, green, blue (cv2.imread gives blue first)" if channels == 3 else "as trained"


def _quoted(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'")


def _write(learned: Learned, path: Path) -> None:
    path.write_text(source(learned), encoding="utf-8")


@contextmanager
def _opened(learned: Learned, path: Path) -> Generator[Opened, None, None]:
    if importlib.util.find_spec("cv2") is None:
        raise UnverifiedError("OpenCV is not installed (pip install opencv-python-headless)")
    names = runpy.run_path(str(path))
    filter_image, version = names["filter_image"], names["cv2"].__version__
    gray = learned.inputs == 1

    def run(images: Tensor) -> Tensor:
        outputs = [
            filter_image(np.ascontiguousarray((image[0] if gray else image.permute(1, 2, 0)).numpy()))
            for image in images
        ]
        return torch.from_numpy(np.stack([np.atleast_3d(output) for output in outputs])).permute(0, 3, 1, 2)

    yield Opened(f"OpenCV {version}", run)


def _example(learned: Learned, path: Path) -> list[str]:
    channels = ".mean(axis=2)" if learned.inputs == 1 else "[..., ::-1]"  # OpenCV has blue first
    return [
        "import runpy, cv2, numpy as np",
        f'photo = cv2.imread("photo.png").astype(np.float32){channels} / 255',
        f"filter_image = runpy.run_path({str(path)!r})['filter_image']  # or a copy of the function",
        "output = filter_image(photo)",
    ]


OPENCV = Format(
    name="opencv",
    suffix=".py",
    what="Python around cv2.filter2D",
    values="float32",
    everywhere=True,
    refusal=refused,
    write=_write,
    opened=_opened,
    example=_example,
    margin=own_margin,
)
