import re
import socket
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
import torch

from convexp.errors import ConvexpError
from convexp.images.samples import TRAINING, VALIDATION, photograph


def test_names():
    assert " ".join(TRAINING) == "chelsea rocket stereo_motorcycle camera coins brick grass gravel moon page text"
    assert VALIDATION == ("coffee", "astronaut")


@pytest.mark.parametrize("name", TRAINING + VALIDATION)
def test_photographs_are_those_of_skimage(name, monkeypatch):
    def no_network(*_):
        raise AssertionError("a photograph must not need the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    image = photograph(name)
    reference = getattr(skimage.data, name)()
    reference = np.atleast_3d(reference[0] if name == "stereo_motorcycle" else reference)
    assert image.dtype == torch.float32
    assert torch.equal(image, torch.from_numpy(reference.copy()).permute(2, 0, 1) / 255)


def test_an_unknown_photograph():
    listed = re.escape(f" (did you mean chelsea?); choose from {', '.join(TRAINING + VALIDATION)}")
    with pytest.raises(ConvexpError, match=f"^there is no photograph 'chelsee'{listed}$"):
        photograph("chelsee")
    with pytest.raises(ConvexpError, match=r"^there is no photograph '7'; choose from chelsea, "):
        photograph("7")


def test_the_room_imports_nothing_heavy():
    heavy = ["skimage", "scipy", "imageio", "torchvision", "matplotlib", "lightning", "hydra"]
    code = f"import sys, convexp.images; print([name for name in {heavy} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
