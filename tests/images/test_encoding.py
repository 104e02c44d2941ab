import io

import numpy as np
import pytest
import torch
from PIL import Image

from convexp.images.encoding import encode

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 17, 23), (3, 17, 23), (3, 1, 500), (3, 300, 1), (1, 700, 800)])
@pytest.mark.parametrize("flat", [False, True])
def test_a_png_is_what_pillow_reads(shape, flat):
    pixels = np.full(shape, 200, np.uint8) if flat else RANDOM.integers(0, 256, shape, np.uint8)
    image = torch.from_numpy(pixels)
    with Image.open(io.BytesIO(encode(image, "PNG"))) as picture:
        picture.verify()  # the checksums
    with Image.open(io.BytesIO(encode(image, "PNG"))) as picture:
        assert picture.mode == ("L" if shape[0] == 1 else "RGB")
        assert np.array_equal(np.atleast_3d(np.asarray(picture)), pixels.transpose(1, 2, 0))


def test_memory_layout_makes_no_difference():
    image = torch.from_numpy(RANDOM.integers(0, 256, (3, 17, 23), np.uint8))
    by_pixels = image.permute(1, 2, 0).contiguous().permute(2, 0, 1)
    assert encode(image, "PNG") == encode(by_pixels, "PNG") == encode(by_pixels.flip(2).flip(2), "PNG")
    assert encode(image, "JPEG") == encode(by_pixels, "JPEG")


def test_flat_colours_take_little():
    picture = torch.full((3, 1000, 1000), 255, dtype=torch.uint8)
    picture[0, 300:600, 200:700] = 38
    assert len(encode(picture, "PNG")) < 0.01 * picture.numel()


def test_jpeg_keeps_thin_coloured_lines():
    picture = torch.full((3, 64, 64), 255, dtype=torch.uint8)
    picture[1:, :, 31] = 0
    with Image.open(io.BytesIO(encode(picture, "JPEG"))) as decoded:
        assert decoded.format == "JPEG"
        shown = np.asarray(decoded).astype(int)
    assert np.abs(shown - picture.permute(1, 2, 0).numpy()).max() < 40
