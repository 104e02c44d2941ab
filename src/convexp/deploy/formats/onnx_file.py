"""ONNX: the model for ONNX Runtime and all that reads the format."""

import importlib.metadata
import importlib.util
import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convexp.deploy.formats.format import Format, Opened
from convexp.deploy.formats.pt2 import program_of
from convexp.deploy.learned import Learned
from convexp.deploy.silence import silenced
from convexp.errors import ConvexpError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def _refusal(learned: Learned) -> str | None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    return f"it needs {' and '.join(missing)}: pip install 'convexp[export]'" if missing else None


def _write(learned: Learned, path: Path) -> None:
    import onnx

    program = program_of(learned)
    try:
        with silenced():
            exported = torch.onnx.export(
                program, dynamo=True, input_names=["image"], output_names=["output"], verbose=False
            )
            assert exported is not None
            model = exported.model_proto
    except Exception as error:  # the exporter raises many kinds
        reason = " ".join(str(error).split())[:200]
        raise ConvexpError(f"{learned.name}: torch.onnx cannot write this model: {reason}") from error
    _tidy(model, learned)
    with silenced():
        onnx.save(model, path)
        onnx.checker.check_model(str(path), full_check=True)


def _tidy(model: Any, learned: Learned) -> None:
    """Names the axes, says what the model needs, and takes away what the exporter notes, as this machine's folders."""
    for value, lost in ((model.graph.input[0], (0, 0)), (model.graph.output[0], learned.lost)):
        del value.metadata_props[:]
        batch, _, height, width = value.type.tensor_type.shape.dim
        batch.dim_param, height.dim_param, width.dim_param = "batch", _less("height", lost[0]), _less("width", lost[1])
    del model.graph.value_info[:]
    for part in (*model.graph.node, *model.graph.initializer, *model.functions, model.graph):
        del part.metadata_props[:]
        part.doc_string = ""
    version = importlib.metadata.version("convexp")
    model.doc_string = f"{learned.name}, learned by convexp: images (N, C, H, W) in [0, 1] to the target's units"
    model.producer_name, model.producer_version = "convexp", version
    facts = {
        "convexp": version,
        "name": learned.name,
        "input_range": json.dumps([0, 1]),
        "receptive_field": json.dumps(learned.field),
        "minimum_size": json.dumps(learned.least),
        "border": " ".join(learned.border) or "valid",
    }
    del model.metadata_props[:]
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=value)


def _less(name: str, lost: int) -> str:
    return f"{name} {'-' if lost > 0 else '+'} {abs(lost)}" if lost else name


@contextmanager
def _opened(learned: Learned, path: Path) -> Generator[Opened, None, None]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(image: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["output"], {"image": image.numpy()})[0])

    yield Opened(f"ONNX Runtime {onnxruntime.__version__}", run)


def _example(learned: Learned, path: Path) -> list[str]:
    gray, axes = (".mean(axis=2)", "[None, None]") if learned.inputs == 1 else ("", ".transpose(2, 0, 1)[None]")
    return [
        "import numpy as np, onnxruntime",
        "from PIL import Image",
        f'photo = np.asarray(Image.open("photo.png").convert("RGB"), np.float32){gray} / 255',
        f"session = onnxruntime.InferenceSession({str(path)!r})",
        f'output = session.run(None, {{"image": photo{axes}}})[0]',
    ]


ONNX = Format(
    name="onnx",
    suffix=".onnx",
    what="a model for ONNX Runtime and others",
    values="float32",
    everywhere=True,
    refusal=_refusal,
    write=_write,
    opened=_opened,
    example=_example,
)
