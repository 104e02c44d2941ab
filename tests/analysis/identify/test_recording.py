import numpy as np
import pytest
import torch
from PIL import Image

from convexp.analysis.identify.recording import Compression, Recording, compression_of
from convexp.images import photograph, read_image


def written_by_pillow(pixels, path, **options):
    Image.fromarray(pixels).save(path, **options)
    return read_image(path)


def test_steps_are_told_from_the_values():
    generator = torch.Generator().manual_seed(0)
    eight = torch.randint(0, 256, (1, 17, 23), generator=generator) / 255
    sixteen = torch.randint(0, 65536, (1, 17, 23), generator=generator) / 65535
    assert Recording.of(eight) == Recording(1 / 255)
    assert Recording.of(sixteen).step == 1 / 65535
    assert Recording.of(torch.rand(1, 17, 23, generator=generator) ** 3).step == 0
    assert (Recording(1 / 255).words, Recording(0.0).words) == ("rounding to 8 bits", "float precision")


def test_rounding_adds_a_twelfth_of_a_step_squared():
    values = torch.rand(1, 300, 301, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    recording = Recording(1 / 255)
    error = recording.written(values) - values
    assert abs(float(error.square().mean()) / recording.rounding - 1) < 0.02
    assert recording.written(torch.tensor([[[-1.0, 2.0]]])).tolist() == [[[0, 1]]]
    assert Recording(0.0).written(values).equal(values)


def test_a_jpeg_is_predicted_to_the_bit(tmp_path):
    for name, crop in (("coffee", (slice(0, 97), slice(0, 113))), ("camera", (slice(90, 187), slice(180, 293)))):
        image = photograph(name)[:, *crop]
        pixels = np.squeeze((255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy())
        for options in ({"quality": 90}, {"quality": 75}, {"quality": 95, "subsampling": 0}):
            file = tmp_path / "picture.jpg"
            read = written_by_pillow(pixels, file, **options)
            predicted = Recording.of(read, compression_of(file)).written(image)
            assert predicted.float().equal(read)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_is_predicted_to_the_bit(orientation, tmp_path):
    """Also of a part, whose blocks are those of the file."""
    image = photograph("coffee")[:, 50:157, 60:185]
    pixels = (255 * image).round().to(torch.uint8).permute(1, 2, 0).numpy()
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "picture.jpg"
    read = written_by_pillow(pixels, file, quality=80, exif=exif)
    recording = Recording.of(read, compression_of(file))
    upright = turned(image, orientation)
    assert recording.written(upright).float().equal(read)
    rows, columns = read.shape[1:]
    y, x = recording.middle(rows, 64, axis=1), recording.middle(columns, 48, axis=2)
    part = recording.written(upright[:, y : y + 64, x : x + 48]).float()
    # At the edges of a part, its colours are not interpolated with those beyond.
    assert part[:, 2:-2, 2:-2].equal(read[:, y + 2 : y + 62, x + 2 : x + 46])


def turned(image, orientation):
    """What https://www.exiftool.org/TagNames/EXIF.html says of the orientations 1 to 8."""
    quarter = {6: -1, 8: 1, 3: 2, 5: 1, 7: -1, 4: 2}.get(orientation, 0)
    image = image.flip(2) if orientation in (2, 4, 5, 7) else image
    return image.rot90(quarter, (1, 2))


def test_gray_in_three_channels_is_predicted_as_one(tmp_path):
    gray = photograph("camera")[:, 90:187, 180:293]
    pixels = (255 * gray).round().to(torch.uint8).expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    file = tmp_path / "picture.jpg"
    read = written_by_pillow(pixels, file, quality=90)
    assert Recording.of(read, compression_of(file)).written(gray).float().equal(read[:1])


def test_what_is_no_jpeg_has_no_compression(tmp_path):
    written_by_pillow(np.zeros((17, 23), np.uint8), tmp_path / "picture.png")
    np.save(tmp_path / "picture.npy", np.zeros((17, 23), np.uint8))
    assert compression_of(tmp_path / "picture.png") is None
    assert compression_of(tmp_path / "picture.npy") is None
    written_by_pillow(np.zeros((17, 23, 3), np.uint8), tmp_path / "picture.jpg", quality=90)
    found = compression_of(tmp_path / "picture.jpg")
    assert isinstance(found, Compression)
    assert found.subsampling == 2
    assert found.tables[0][0] == 3  # 16 · 20 % of the standard's table
