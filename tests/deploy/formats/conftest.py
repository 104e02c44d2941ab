"""Models with known weights, and their files in one format."""

import pytest
import torch
from torch import nn

from convexp.deploy.export import FORMATS, compare
from convexp.deploy.learned import Learned
from convexp.models import Standardised


@pytest.fixture
def make():
    """A convolution with weights of about the same size, of which none equals another."""

    def make(inputs=1, outputs=1, size=(3, 3), *, scales=False, name="sharpen-single", **arguments):
        torch.manual_seed(3)
        layer = nn.Conv2d(inputs, outputs, size, **arguments)
        nn.init.uniform_(layer.weight, -0.2, 0.4)
        model = Standardised(layer, mean=0.4, std=0.25, offset=0.1, scale=0.3) if scales else layer
        return Learned.of_model(model.eval().requires_grad_(False), name)

    return make


@pytest.fixture
def write(tmp_path):
    """Writes a format's file, and says where."""

    def write(name, learned):
        path = tmp_path / f"{learned.name}{FORMATS[name].suffix}"
        FORMATS[name].write(learned, path)
        return path

    return write


@pytest.fixture
def compared():
    """Runs a file and compares it with the model, as an export does."""

    def compared(name, learned, path):
        with FORMATS[name].opened(learned, path) as opened:
            return compare(FORMATS[name], learned, opened)

    return compared


@pytest.fixture
def reference():
    """What a model makes of an image (C, H, W), by SciPy: (O, H', W') in float64."""
    from scipy import ndimage

    modes = {"reflect": "mirror", "replicate": "nearest", "zeros": "constant", "circular": "wrap"}

    def reference(learned, image):
        layer, scales = learned.model, None
        if isinstance(layer, Standardised):
            layer, scales = layer.model, layer
            image = (image - scales.mean) / scales.std
        weights = layer.weight.double().numpy()
        same = layer.padding == "same"
        mode = modes[layer.padding_mode]
        per_group = layer.in_channels // layer.groups
        outputs = []
        for o, kernels in enumerate(weights):
            first = o * layer.groups // layer.out_channels * per_group
            planes = image.double().numpy()[first : first + per_group]
            # SciPy has the centre at size // 2, torch pads (size − 1) // 2 before.
            origin = [-1 if side % 2 == 0 else 0 for side in kernels.shape[1:]]
            answer = sum(
                ndimage.correlate(plane, k, mode=mode, cval=0.0, origin=origin)
                for plane, k in zip(planes, kernels, strict=True)
            )
            outputs.append(answer + (0 if layer.bias is None else float(layer.bias[o])))
        output = torch.stack([torch.from_numpy(plane) for plane in outputs])
        if not same:
            rows, columns = ((side - 1) // 2 for side in layer.kernel_size)
            output = output[:, rows : rows + image.shape[1] - layer.kernel_size[0] + 1]
            output = output[..., columns : columns + image.shape[2] - layer.kernel_size[1] + 1]
        return output if scales is None else scales.offset + scales.scale * output

    return reference
