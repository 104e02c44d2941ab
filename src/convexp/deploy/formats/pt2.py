"""`.pt2`: a program of `torch.export`, which needs PyTorch but neither convexp nor the model's code."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.learned import Learned
from convexp.deploy.silence import silenced
from convexp.errors import ConvexpError

SPARE = 8, 13  # rows and columns of the traced image beyond the smallest: neither a side nor their equality is special


def program_of(learned: Learned) -> ExportedProgram:
    """The model as a graph of operators, for any batch, height and width.

    Raises:
        ConvexpError: If it cannot be followed, as if it decides by an image's values.
    """
    height, width = (least + spare for least, spare in zip(learned.least, SPARE, strict=True))
    image = torch.rand(2, learned.inputs, height, width, generator=torch.Generator().manual_seed(0))
    sizes = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    try:
        with silenced(), torch.no_grad():
            program = torch.export.export(_Named(learned.model), (image,), dynamic_shapes={"image": sizes})
    except Exception as error:  # torch raises many kinds, and a user's model may raise anything
        reason = " ".join(str(error).split())[:200]
        raise ConvexpError(f"{learned.name}: torch.export cannot follow this model: {reason}") from error
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


class _Named(nn.Module):
    """The model, its input under the name that it has in every format."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image)


def _write(learned: Learned, path: Path) -> None:
    program = program_of(learned)
    program.example_inputs = None  # would be saved, too
    with silenced():
        torch.export.save(program, path)


@contextmanager
def _opened(learned: Learned, path: Path) -> Generator[Opened, None, None]:
    with silenced():
        model = torch.export.load(path).module()
    yield Opened(f"torch.export of PyTorch {torch.__version__}", model)


def _example(learned: Learned, path: Path) -> list[str]:
    gray, axes = (".mean(axis=2)", "[None, None]") if learned.inputs == 1 else ("", ".permute(2, 0, 1)[None]")
    return [
        "import numpy as np, torch",
        "from PIL import Image",
        f'photo = np.asarray(Image.open("photo.png").convert("RGB"), np.float32){gray} / 255',
        f"model = torch.export.load({str(path)!r}).module()",
        f"output = model(torch.from_numpy(photo){axes})",
    ]


PT2 = Format(
    name="pt2",
    suffix=".pt2",
    what="a program of torch.export",
    values="float32",
    everywhere=True,
    refusal=lambda learned: None,
    write=_write,
    opened=_opened,
    example=_example,
)
