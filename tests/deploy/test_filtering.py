import struct

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms
from torch import nn

from convexp.deploy.application import Application
from convexp.deploy.filtering import filter_picture
from convexp.errors import ConvexpError
from convexp.images.decoding import decode
from convexp.images.sink import Layout, sink

HEIGHT, WIDTH = 17, 23
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def convolution(channels_in=3, channels_out=3, *, scale=1.0, **more):
    layer = nn.Conv2d(channels_in, channels_out, 3, **more)
    generator = torch.Generator().manual_seed(0)
    layer.weight.data = torch.rand(layer.weight.shape, generator=generator)
    layer.weight.data *= scale / layer.weight.data.sum(dim=(1, 2, 3), keepdim=True)
    nn.init.zeros_(layer.bias)
    return layer.eval()


def picture(path, *channels, depth="uint8", exif=None, profile=None):
    random = np.random.default_rng(0)
    largest = 1 if depth == "float32" else np.iinfo(depth).max
    values = (largest * random.random((HEIGHT, WIDTH, *channels))).astype(depth)
    with sink(path, Layout(HEIGHT, WIDTH, *(channels or (1,)), depth, exif, profile)) as file:
        file.write(np.atleast_3d(values))
    return path, torch.from_numpy(np.atleast_3d(values / np.float64(largest))).permute(2, 0, 1)[None].float()


def read(path):
    return np.atleast_3d(decode(path).pixels)


def filtered(model, source, destination, **more):
    return filter_picture(Application(model), source, destination, **more)


@pytest.mark.parametrize(
    ("suffix", "depth", "kept"),
    [
        (".png", "uint8", "uint8"),
        (".png", "uint16", "uint16"),
        (".tif", "uint8", "uint8"),
        (".tif", "uint16", "uint16"),
        (".tif", "float32", "float32"),
        (".npy", "float32", "float32"),
        (".webp", "uint8", "uint8"),
        (".bmp", "uint8", "uint8"),
    ],
)
@pytest.mark.parametrize("tile", [None, 4])
def test_a_picture_keeps_its_depth(tmp_path, suffix, depth, kept, tile):
    model = convolution()
    source, image = picture(tmp_path / f"a{suffix}", 3, depth=depth)
    made = filtered(model, source, tmp_path / f"b{suffix}", tile=tile)
    expected = model(image)[0].detach().permute(1, 2, 0).numpy()
    result = read(made.path)
    assert (result.dtype, result.shape) == (kept, (HEIGHT - 2, WIDTH - 2, 3))
    steps = 1e-6 if kept == "float32" else 0.55 / np.iinfo(kept).max
    assert np.abs(result / (1 if kept == "float32" else np.iinfo(kept).max) - expected).max() <= steps
    assert made.clipped == 0


@pytest.mark.parametrize(
    ("depth", "suffix", "kept"),
    [
        ("uint16", ".jpg", "uint8"),
        ("float32", ".png", "uint16"),
        ("uint8", ".npy", "float32"),
        ("uint16", ".tif", "uint16"),
    ],
)
def test_another_format_keeps_what_it_can(tmp_path, depth, suffix, kept):
    source, _ = picture(tmp_path / "a.tif", depth=depth)
    made = filtered(convolution(1, 1), source, tmp_path / f"b{suffix}")
    assert made.layout.depth == kept
    assert read(made.path).shape == (HEIGHT - 2, WIDTH - 2, 1)


def test_gray_pictures_for_a_model_of_colours(tmp_path):
    model = convolution(3, 1)
    source, image = picture(tmp_path / "a.npy", depth="float32")
    made = filtered(model, source, tmp_path / "b.npy")
    np.testing.assert_allclose(read(made.path)[..., 0], model(image.repeat(1, 3, 1, 1))[0, 0].detach(), atol=1e-6)


def test_colours_for_a_model_of_gray_pictures(tmp_path):
    model = convolution(1, 1)
    source, image = picture(tmp_path / "a.npy", 3, depth="float32")
    each = read(filtered(model, source, tmp_path / "b.npy", tile=5).path)
    gray = read(filtered(model, source, tmp_path / "c.npy", gray=True).path)
    expected = model(image.transpose(0, 1)).detach()
    np.testing.assert_allclose(each, expected[:, 0].permute(1, 2, 0), atol=1e-6)
    np.testing.assert_allclose(gray[..., 0], expected.mean(dim=0)[0], atol=1e-6)
    with pytest.raises(ConvexpError, match="makes 2 channels of 1, and the picture has 3; --gray averages them first"):
        filtered(convolution(1, 2), source, tmp_path / "d.npy")


def test_the_mean_for_a_model_of_colours(tmp_path):
    model = convolution()
    source, image = picture(tmp_path / "a.npy", 3, depth="float32")
    made = read(filtered(model, source, tmp_path / "b.npy", gray=True).path)
    expected = model(image.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1))[0].detach()
    np.testing.assert_allclose(made, expected.permute(1, 2, 0), atol=1e-6)


def test_a_model_of_any_channels(tmp_path):
    for channels in ((), (3,)):
        source, image = picture(tmp_path / f"{len(channels)}.npy", *channels, depth="float32")
        made = read(filtered(nn.Sequential(nn.AvgPool2d(3, 1)), source, tmp_path / f"{len(channels)}b.npy").path)
        expected = nn.functional.avg_pool2d(image, 3, 1)[0].permute(1, 2, 0)
        np.testing.assert_allclose(made, expected, atol=1e-6)


def test_what_is_clipped_is_said(tmp_path):
    source, _ = picture(tmp_path / "a.png")
    model = convolution(1, 1)
    nn.init.constant_(model.bias, 0.6)
    made = filtered(model, source, tmp_path / "b.png", border="reflect")
    outside = np.load(filtered(model, source, tmp_path / "b.npy", border="reflect").path) > 1 + 0.5 / 255
    assert 0 < made.clipped == outside.mean() < 1
    said = f"; {100 * made.clipped:.1f} % of the values lay outside [0, 1] and were clipped; --to npy keeps them"
    assert made.line == f"{tmp_path / 'b.png'}  17×23, 1 channel, 8 bits{said}"
    nn.init.constant_(model.bias, -1e-4)
    nn.init.zeros_(model.weight)
    assert filtered(model, source, tmp_path / "c.png").clipped == 0  # rounding, which no picture shows


def test_a_smaller_picture_says_so(tmp_path):
    source, _ = picture(tmp_path / "a.tif", 3, depth="float32")
    line = filtered(convolution(), source, tmp_path / "b.tif").line
    assert line == f"{tmp_path / 'b.tif'}  15×21 of 17×23, 3 channels, floats"


def test_the_camera_and_the_colours_are_kept_and_the_picture_stands_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"  # to be turned by 90°
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif, icc_profile=PROFILE)
    for suffix in (".jpg", ".png", ".tif", ".webp"):
        made = filtered(convolution(), tmp_path / "a.jpg", tmp_path / f"b{suffix}", border="reflect")
        with Image.open(made.path) as image:
            assert image.size == (HEIGHT, WIDTH)
            assert image.info["icc_profile"] == PROFILE
            assert image.getexif()[0x010F] == "Maker"
            assert image.getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_camera_s_small_picture_of_the_unfiltered_one_goes(tmp_path, order):
    first = struct.pack(f"{order}HHHI4s", 1, 0x010F, 2, 4, b"Abc\0")
    second = struct.pack(f"{order}HHHIII", 1, 0x0103, 4, 1, 6, 0)  # packed as a JPEG
    exif = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8) + first
    exif += struct.pack(f"{order}I", 8 + len(first) + 4) + second
    source, _ = picture(tmp_path / "a.jpg", exif=exif)
    for path in (source, filtered(convolution(1, 1), source, tmp_path / "b.jpg").path):
        with Image.open(path) as image:
            assert image.getexif()[0x010F] == "Abc"
            assert bool(image.getexif().get_ifd(ExifTags.IFD.IFD1)) == (path == source)


def test_progress_is_told(tmp_path):
    source, _ = picture(tmp_path / "a.png")
    told = []
    filtered(convolution(1, 1), source, tmp_path / "b.png", tile=4, advance=told.append)
    assert told == pytest.approx([4 / 15, 4 / 15, 4 / 15, 3 / 15])


def test_folders_are_made_when_there_is_something_to_put_into_them(tmp_path):
    source, _ = picture(tmp_path / "a.png")
    with pytest.raises(ConvexpError, match="is too small"):
        filtered(nn.Conv2d(1, 1, 19).eval(), source, tmp_path / "x/y/b.png")
    assert not (tmp_path / "x").exists()
    filtered(convolution(1, 1), source, tmp_path / "x/y/b.png")
    assert (tmp_path / "x/y/b.png").exists()
    with pytest.raises(ConvexpError, match=r"the folder .*a\.png/z cannot be made: Not a directory"):
        filtered(convolution(1, 1), source, tmp_path / "a.png/z/b.png")


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (nn.Conv2d(2, 1, 3), "the model reads 2 channels, a picture has 1 or 3"),
        (nn.Conv2d(1, 2, 3), r"cannot write .*b\.png: a picture has 1 or 3 channels, not 2; \.npy takes any"),
    ],
)
def test_what_can_be_mended_is_one_line(tmp_path, model, line):
    source, _ = picture(tmp_path / "a.png")
    with pytest.raises(ConvexpError, match=line):
        filtered(model.eval(), source, tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_damaged_weights(tmp_path):
    source, _ = picture(tmp_path / "a.png")
    model = convolution(1, 1)
    model.bias.data[0] = torch.nan
    with pytest.raises(
        ConvexpError, match=r"the model makes NaN of .*a\.png: its weights are damaged, or have diverged"
    ):
        filtered(model, source, tmp_path / "b.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
