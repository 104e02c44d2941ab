import errno
import os
import struct
import zlib
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from convexp.errors import ConvexpError
from convexp.images.files import find_images, read_image, read_picture, write_image

H, W = 17, 23
RANDOM = np.random.default_rng(0)
COLOUR = RANDOM.integers(0, 256, (H, W, 3), np.uint8)
GRAY = RANDOM.integers(0, 256, (H, W), np.uint8)
DEEP = RANDOM.integers(0, 2**16, (H, W), np.uint16)


def chw(pixels):
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def save(folder, picture, name="image.png", **options):
    picture.save(folder / name, **options)
    return folder / name


def save_npy(folder, array):
    np.save(folder / "image.npy", array)
    return folder / "image.npy"


def png(width, height, bits, colour_type, rows=b""):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def error_of(call, *arguments):
    with pytest.raises(ConvexpError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("name", "options"), [("a.png", {}), ("a.tiff", {}), ("a.webp", {"lossless": True}), ("a.bmp", {}), ("a.PNG", {})]
)
def test_colour_is_read_exactly_from_lossless_formats(tmp_path, name, options):
    image = read_image(save(tmp_path, Image.fromarray(COLOUR), name, **options))
    assert image.dtype == torch.float32
    assert image.is_contiguous()
    assert torch.equal(image, chw(COLOUR) / 255)


def test_the_path_may_be_a_string_and_begin_at_home(tmp_path, monkeypatch):
    save(tmp_path, Image.fromarray(GRAY))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert torch.equal(read_image("~/image.png"), chw(GRAY) / 255)
    assert [path.name for path in find_images("~/*.png")] == ["image.png"]


def test_jpeg_is_read_closely(tmp_path):
    smooth = np.broadcast_to(np.arange(W, dtype=np.uint8)[None, :, None] * 10, (H, W, 3))
    image = read_image(save(tmp_path, Image.fromarray(smooth.copy()), "a.jpg", quality=95))
    assert image.shape == (3, H, W)
    assert (image - chw(smooth.copy()) / 255).abs().max() < 0.02


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_16_bit_gray_keeps_its_precision(tmp_path, name):
    image = read_image(save(tmp_path, Image.fromarray(DEEP), name))
    assert torch.equal(image, torch.from_numpy(DEEP.astype(np.float32))[None] / 65535)


def test_1_bit_is_black_and_white(tmp_path):
    image = read_image(save(tmp_path, Image.fromarray(GRAY > 127)))
    assert torch.equal(image, torch.from_numpy(GRAY > 127).float()[None])


def test_palette_becomes_rgb(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    assert read_image(save(tmp_path, picture)).tolist() == [[[1, 0]], [[0, 0]], [[0, 1]]]


def test_a_transparent_palette_colour_becomes_white(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putdata([0, 1])
    assert read_image(save(tmp_path, picture, transparency=1)).tolist() == [[[1, 1]], [[0, 1]], [[0, 1]]]


def test_alpha_is_composited_over_white(tmp_path):
    red = np.array([[[255, 0, 0, 255], [255, 0, 0, 51], [255, 0, 0, 0]]], np.uint8)  # opacity 1, 1/5, 0
    image = read_image(save(tmp_path, Image.fromarray(red)))
    torch.testing.assert_close(image, torch.tensor([[[1, 1, 1]], [[0, 0.8, 1]], [[0, 0.8, 1]]]))
    assert image.max() <= 1


def test_gray_with_alpha_stays_gray(tmp_path):
    image = read_image(save(tmp_path, Image.fromarray(np.array([[[0, 255], [0, 51]]], np.uint8), "LA")))
    torch.testing.assert_close(image, torch.tensor([[[0, 0.8]]]))


def test_opaque_alpha_changes_nothing(tmp_path):
    opaque = np.dstack([COLOUR, np.full((H, W), 255, np.uint8)])
    assert torch.equal(read_image(save(tmp_path, Image.fromarray(opaque))), chw(COLOUR) / 255)


def test_cmyk_becomes_rgb(tmp_path):
    picture = Image.new("CMYK", (1, 1), (255, 0, 0, 0))
    assert read_image(save(tmp_path, picture, "a.tif")).flatten().tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("orientation", "upright"), [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1))]
)
@pytest.mark.parametrize("pixels", [COLOUR, DEEP])
def test_exif_orientation_is_applied(tmp_path, orientation, upright, pixels):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = read_image(save(tmp_path, Image.fromarray(pixels), exif=exif))
    full = np.iinfo(pixels.dtype).max
    assert torch.equal(image, chw(upright(pixels).astype(np.float32)) / full)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (GRAY, GRAY / 255),
        (GRAY[..., None], GRAY / 255),
        (COLOUR, COLOUR / 255),
        (DEEP, DEEP / 65535),
        (DEEP.astype(">u2"), DEEP / 65535),
        (COLOUR / 255, COLOUR / 255),
        (np.asfortranarray(COLOUR / 255), COLOUR / 255),
        ((GRAY > 127).astype(np.float16), GRAY > 127),
    ],
)
def test_npy(tmp_path, array, expected):
    image = read_image(save_npy(tmp_path, array))
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, chw(expected).float(), rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0.5, np.nan]]), "holds NaN or infinite values"),
        (np.array([[0.5, -np.inf]]), "holds NaN or infinite values"),
        (np.array([[0.0, 255.0]]), r"values from 0 to 255; floats must lie in \[0, 1\]"),
        (np.array([[-0.5, 1.0]]), r"values from -0.5 to 1; floats must lie in \[0, 1\]"),
        (np.zeros((3, H, W)), rf"has shape \(3, {H}, {W}\); allowed are \(H, W\), \(H, W, 1\) and \(H, W, 3\)"),
        (np.zeros((H, W, 4)), rf"has shape \({H}, {W}, 4\); allowed are"),
        (np.zeros(H), rf"has shape \({H},\); allowed are"),
        (np.zeros((H, W), int), "holds int64; allowed are uint8, uint16 and floats"),
        (np.zeros((H, W), np.uint32), "holds uint32; allowed are uint8, uint16 and floats"),
        (np.zeros((0, W)), rf"is empty: its shape is \(0, {W}\)"),
        (np.array([{}]), "Python objects in dtype"),
    ],
)
def test_npy_that_is_no_image(tmp_path, array, message):
    path = save_npy(tmp_path, array)
    with pytest.raises(ConvexpError, match=message):
        read_image(path)


def test_npy_damaged(tmp_path):
    path = save_npy(tmp_path, COLOUR)
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    assert "image.npy cannot be read as a .npy array: mmap length is greater than file size" in error_of(
        read_image, path
    )
    path.write_bytes(data[:20] + b"(" + data[21:])
    assert "image.npy cannot be read as a .npy array" in error_of(read_image, path)
    path.write_bytes(b"PK\x03\x04 no array")
    assert "the magic string is not correct" in error_of(read_image, path)


def test_npy_too_large(tmp_path):
    path = tmp_path / "large.npy"
    np.lib.format.open_memmap(path, "w+", np.uint8, (25_000, 20_001))  # sparse: takes no space on the disk
    assert "(25000, 20001), more than 500000000 pixels" in error_of(read_image, path)


def test_a_missing_file_names_the_nearest(tmp_path):
    save(tmp_path, Image.fromarray(GRAY), "holiday.png")
    assert error_of(read_image, tmp_path / "hollyday.png").endswith("does not exist; did you mean holiday.png?")
    assert error_of(read_image, tmp_path / "x.bmp").endswith("x.bmp does not exist")
    assert error_of(read_image, tmp_path / "no" / "x.png").endswith(f"nor does the folder {tmp_path / 'no'}")


@pytest.mark.parametrize("name", ["a" * 300 + ".png", "a/" * 3000 + "a.png", "a\0b.png"], ids=["long", "deep", "null"])
def test_a_name_that_no_file_can_have_is_missing(tmp_path, name):
    for call in (read_image, find_images):
        assert "does not exist" in error_of(call, tmp_path / name)


@pytest.mark.parametrize("call", [read_image, read_picture])
def test_what_is_no_file_is_not_waited_for(tmp_path, call):
    os.mkfifo(tmp_path / "a.png")
    assert error_of(call, tmp_path / "a.png").endswith(
        "a.png is a folder, a pipe or a device; an image is read from a file"
    )


def test_too_little_memory_is_said(tmp_path, monkeypatch):
    path = save(tmp_path, Image.fromarray(COLOUR))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", Mock(side_effect=MemoryError))
    assert "image.png cannot be decoded: there is too little memory for it" in error_of(read_image, path)


def test_a_folder_is_no_image(tmp_path):
    assert "is a folder, not an image" in error_of(read_image, tmp_path)


def test_a_text_is_no_image(tmp_path):
    for content in (b"", b"just words"):
        (tmp_path / "a.png").write_bytes(content)
        assert "a.png is no image, or damaged at its start; readable are PNG" in error_of(
            read_image, tmp_path / "a.png"
        )


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
def test_truncated_files_are_refused(tmp_path, suffix):
    path = save(tmp_path, Image.fromarray(COLOUR), f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert f"a.{suffix} cannot be decoded: " in error_of(read_image, path)


def test_a_closed_format_never_reaches_its_decoder(tmp_path):
    path = save(tmp_path, Image.fromarray(COLOUR), "a.eps")
    assert "is no image" in error_of(read_image, path)


def test_32_bit_integers_have_no_range(tmp_path):
    path = save(tmp_path, Image.fromarray(GRAY.astype(np.int32)), "a.tif")
    assert "holds int32; allowed are" in error_of(read_image, path)


@pytest.mark.filterwarnings("default")  # of Pillow's two answers the first is a warning, which must not do
@pytest.mark.parametrize(("width", "height"), [(30_000, 20_000), (60_000, 40_000)])
def test_too_many_pixels_are_refused_before_decoding(tmp_path, width, height):
    before = Image.MAX_IMAGE_PIXELS
    (tmp_path / "bomb.png").write_bytes(png(width, height, 8, 0))
    message = error_of(read_image, tmp_path / "bomb.png")
    assert f"({width * height} pixels) is above the limit of 500000000 pixels" in message
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("limit", [H * W // 3, H * W - 1])
def test_pillows_own_limit_neither_refuses_nor_warns(tmp_path, monkeypatch, limit):
    path = save(tmp_path, Image.fromarray(COLOUR))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)  # an error above twice this, a warning below
    with pytest.raises((Image.DecompressionBombError, Image.DecompressionBombWarning)):
        Image.open(path)
    assert torch.equal(read_image(path), chw(COLOUR) / 255)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_find_images(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "folder.png").mkdir()
    for name in ("b.PNG", "a.jpg", "c.npy", ".hidden.png", "notes.txt", "inside/d.tif"):
        (tmp_path / name).touch()

    def names(source):
        return [str(path.relative_to(tmp_path)) for path in find_images(source)]

    assert names(tmp_path) == ["a.jpg", "b.PNG", "c.npy"]
    assert names(str(tmp_path / "[ab].*")) == ["a.jpg", "b.PNG"]
    assert names(tmp_path / "**" / "*") == ["a.jpg", "b.PNG", "c.npy", "inside/d.tif"]
    assert names(tmp_path / "notes.txt") == ["notes.txt"]


def test_find_images_takes_brackets_in_a_name_literally(tmp_path):
    (tmp_path / "[1].png").touch()
    assert find_images(tmp_path / "[1].png") == [tmp_path / "[1].png"]


def test_find_images_finds_nothing(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert error_of(find_images, tmp_path / "note.txt").endswith("does not exist; did you mean notes.txt?")
    looked_for = "holds no image; looked for the suffixes .png, .jpg, .jpeg, .tif, .tiff, .webp, .bmp, .npy"
    assert error_of(find_images, tmp_path) == f"the folder {tmp_path} {looked_for}"
    assert error_of(find_images, tmp_path / "*") == f"the pattern {tmp_path / '*'} {looked_for}"


@pytest.mark.parametrize("pixels", [GRAY, COLOUR])
def test_write_then_read(tmp_path, pixels):
    for image in (chw(pixels), chw(pixels) / 255, (chw(pixels) / 255).double().requires_grad_()):
        write_image(image, tmp_path / "a.png")
        assert torch.equal(read_image(tmp_path / "a.png"), chw(pixels) / 255)


@pytest.mark.parametrize("pixels", [GRAY, COLOUR])
def test_a_picture_is_read_as_bytes_of_three_channels(tmp_path, pixels):
    write_image(chw(pixels), tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.dtype == torch.uint8
    assert torch.equal(picture, chw(pixels).expand(3, -1, -1))


def test_what_is_no_picture_is_named(tmp_path):
    assert "b.png cannot be decoded: No such file" in error_of(read_picture, tmp_path / "b.png")
    deep = save(tmp_path, Image.fromarray(DEEP))
    assert error_of(read_picture, deep).endswith("image.png holds uint16, not 8 bits")


def test_write_clips_and_rounds(tmp_path):
    write_image(torch.tensor([[[-1.0, 0.4 / 255, 0.6 / 255, 2.0]]]), tmp_path / "a.png")
    assert np.asarray(Image.open(tmp_path / "a.png")).tolist() == [[0, 0, 1, 255]]


def test_write_jpeg(tmp_path):
    gray = chw(GRAY) / 255
    write_image(gray, str(tmp_path / "a.JPG"))
    assert (read_image(tmp_path / "a.JPG") - gray).abs().max() < 0.05
    with Image.open(tmp_path / "a.JPG") as picture:
        assert picture.format == "JPEG"
        assert picture.size == (W, H)


def test_a_written_file_has_the_usual_permissions(tmp_path):
    (tmp_path / "usual").touch()
    write_image(torch.zeros(1, 4, 5), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    ("image", "name", "message"),
    [
        (torch.zeros(1, 4, 5), "a.gif", "a.gif: the suffix must be .png, .jpg or .jpeg"),
        (torch.zeros(4, 5), "a.png", r"a.png: shape \(4, 5\) is not \(C, H, W\) with C = 1 or 3"),
        (torch.zeros(2, 4, 5), "a.png", r"shape \(2, 4, 5\) is not"),
        (torch.zeros(1, 0, 5), "a.png", r"shape \(1, 0, 5\) is not"),
        (torch.zeros(1, 4, 5, dtype=torch.int64), "a.png", "torch.int64 is neither a float"),
        (torch.full((1, 4, 5), torch.nan), "a.png", "the image holds NaN"),
    ],
)
def test_write_refuses(tmp_path, image, name, message):
    with pytest.raises(ConvexpError, match=message):
        write_image(image, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_write_where_nothing_can_be(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    black = torch.zeros(1, 4, 5)
    assert error_of(write_image, black, tmp_path / "file" / "a.png").endswith("a.png: Not a directory")
    assert error_of(write_image, black, tmp_path / "no" / "a.png").endswith("a.png: No such file or directory")
    assert error_of(write_image, black, tmp_path / "folder.png").endswith("folder.png: Is a directory")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.png"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    write_image(torch.zeros(1, H, W), tmp_path / "a.png")

    def write_half(path, data):
        with path.open("wb") as file:
            file.write(bytes(data)[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    assert error_of(write_image, torch.ones(1, H, W), tmp_path / "a.png").endswith("a.png: No space left on device")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert torch.equal(read_image(tmp_path / "a.png"), torch.zeros(1, H, W))


def test_a_write_that_the_kernel_cuts_short_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = torch.from_numpy(RANDOM.random((3, 64, 64)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        message = error_of(write_image, noise, tmp_path / "a.png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert message.endswith("a.png: File too large")
    assert list(tmp_path.iterdir()) == []
