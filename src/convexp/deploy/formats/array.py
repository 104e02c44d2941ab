"""`.npy`: the kernel as a NumPy array, its constant in a second one."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.formats.linear import kernel_of, own_margin, refused
from convexp.deploy.learned import Learned
from convexp.deploy.single_kernel import SingleKernel

MODES = {"reflect": "reflect", "replicate": "edge", "zeros": "constant", "circular": "wrap"}


def _write(learned: Learned, path: Path) -> None:
    kernel = kernel_of(learned)
    np.save(path, kernel.kernel.numpy())
    np.save(_beside(path), kernel.constant.numpy())  # of zeros too, so that none of another kernel stays beside it


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.stem}-constant.npy")


@contextmanager
def _opened(learned: Learned, path: Path) -> Generator[Opened, None, None]:
    single = kernel_of(learned)
    kernel, constant = np.load(path), np.load(_beside(path))

    def run(image: Tensor) -> Tensor:
        padding = ((0, 0), (0, 0), (single.above, single.below), (single.left, single.right))
        if single.border == "zeros":
            padded = np.pad(image.numpy(), padding, constant_values=single.outside)
        elif single.border is not None:
            padded = np.pad(image.numpy(), padding, mode=MODES[single.border])  # pyright: ignore[reportArgumentType, reportCallIssue]  # one of four literals
        else:
            padded = image.numpy()
        windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[2:], axis=(2, 3))
        output = np.tensordot(windows, kernel, axes=((1, 4, 5), (1, 2, 3))) + constant  # (B, H', W', O)
        return torch.from_numpy(output).movedim(-1, 1)

    yield Opened(f"NumPy {np.__version__}", run)


def _example(learned: Learned, path: Path) -> list[str]:
    kernel = kernel_of(learned)
    axes = ".mean(axis=2)[None]" if kernel.inputs == 1 else ".transpose(2, 0, 1)"
    photo = f'np.asarray(Image.open("photo.png").convert("RGB"), np.float32){axes} / 255'
    constant = f" + np.load({str(_beside(path))!r})[:, None, None]"
    return [
        "import numpy as np",
        "from PIL import Image",
        f"photo = {_padded(kernel, photo)}",
        f"kernel = np.load({str(path)!r})  # (outputs, inputs, rows, columns)",
        "windows = np.lib.stride_tricks.sliding_window_view(photo, kernel.shape[2:], axis=(1, 2))",
        f'output = np.einsum("ihwab,oiab->ohw", windows, kernel, optimize=True){constant}',
    ]


def _padded(kernel: SingleKernel, photo: str) -> str:
    if kernel.border is None:
        return photo
    padding = f"((0, 0), ({kernel.above}, {kernel.below}), ({kernel.left}, {kernel.right}))"
    value = f", constant_values={kernel.outside:.9g}" if kernel.border == "zeros" else ""
    return f'np.pad({photo}, {padding}, "{MODES[kernel.border]}"{value})'


NPY = Format(
    name="npy",
    suffix=".npy",
    what="the kernel as a NumPy array",
    values="float32",
    everywhere=True,
    refusal=refused,
    write=_write,
    opened=_opened,
    example=_example,
    margin=own_margin,
)
