import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from convexp.errors import ConvexpError
from convexp.exact import gather
from convexp.exact.layer import weights_of
from convexp.exact.statistics import residual


def mean_square(layer, pairs):
    """Of the pixels' errors, in float64 and one by one."""
    errors = []
    for image, target in pairs:
        output = layer.double()(image).detach()
        rows, columns = (min(a, b) for a, b in zip(output.shape[2:], target.shape[2:], strict=True))
        cut = []
        for values in (output, target):
            top, left = (values.shape[2] - rows) // 2, (values.shape[3] - columns) // 2
            cut.append(values[..., top : top + rows, left : left + columns])
        errors.append((cut[0] - cut[1]).flatten())
    return float(torch.cat(errors).square().mean())


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel_size": 3},
        {"kernel_size": (4, 3), "bias": False},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 5, "padding": (2, 1), "padding_mode": "reflect"},
        {"kernel_size": (2, 5), "padding": 2, "padding_mode": "replicate"},
        {"kernel_size": 3, "padding": 3, "padding_mode": "circular"},
        {"kernel_size": (3, 4), "padding": "same"},
        {"kernel_size": 3, "padding": "valid", "dilation": (2, 3)},
        {"kernel_size": 3, "padding": "same", "dilation": 2},
        {"kernel_size": 3, "stride": (2, 3), "padding": 1},
        {"kernel_size": 7, "padding": 3},
        {"kernel_size": 7, "groups": 2},
        {"kernel_size": 1, "groups": 2, "bias": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("lost", [0, 5])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_the_loss_is_that_of_the_pixels(arguments, lost, noise):
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 4, **arguments)
    sizes = [(17, 23), (19, 13)]
    if "stride" in arguments:  # then the whole target has the output's size
        sizes = [layer(torch.zeros(1, 2, *size)).shape[2:] for size in sizes]
        sizes = [(height + lost, width + lost) for height, width in sizes]
        images = [noise(1, 2, 17, 23), noise(2, 2, 19, 13, seed=1)]
    else:
        images = [noise(1, 2, *sizes[0]), noise(2, 2, *sizes[1], seed=1)]
        sizes = [(height - lost, width - lost) for height, width in sizes]
    targets = [noise(len(image), 4, *size, seed=2) for image, size in zip(images, sizes, strict=True)]
    pairs = list(zip(images, targets, strict=True))
    statistics = gather(layer, pairs)
    assert statistics.loss(weights_of(layer)) == pytest.approx(mean_square(layer, pairs), rel=1e-12)
    assert statistics.energy == pytest.approx(statistics.loss(torch.zeros_like(weights_of(layer))), rel=1e-12)


@pytest.mark.parametrize("kernel_size", [3, 7])
def test_strips_change_nothing(kernel_size, noise, monkeypatch):
    layer = nn.Conv2d(2, 1, kernel_size, padding=2, padding_mode="reflect")
    pairs = [(noise(1, 2, 61, 23), noise(1, 1, 61, 23, seed=1))]
    whole = gather(layer, pairs)
    monkeypatch.setattr("convexp.exact.strips.MOST_PIXELS", 17 * 23)
    monkeypatch.setattr("convexp.exact.strips.MOST_VALUES", 20 * 23 * 18)
    cut = gather(layer, pairs)
    assert cut.count == whole.count
    torch.testing.assert_close(cut.uu, whole.uu, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(cut.uy, whole.uy, rtol=1e-12, atol=1e-12)


def test_statistics_of_parts_add_up_in_any_order(noise):
    layer = nn.Conv2d(1, 2, 3)
    pairs = [(noise(1, 1, 17, 11 + index, seed=index), noise(1, 2, 17, 11 + index, seed=9)) for index in range(3)]
    together, parts = gather(layer, pairs), [gather(layer, [pair]) for pair in pairs]
    for order in ((0, 1, 2), (2, 0, 1)):
        added = parts[order[0]] + parts[order[1]] + parts[order[2]]
        assert added.count == together.count
        for ours, theirs in zip((added.gram, added.moments), (together.gram, together.moments), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)


def test_a_batch_is_as_many_images(noise):
    layer = nn.Conv2d(1, 1, 3)
    image, target = noise(3, 1, 11, 13), noise(3, 1, 11, 13, seed=1)
    one_by_one = gather(layer, zip(image[:, None], target[:, None], strict=True))
    torch.testing.assert_close(gather(layer, [(image, target)]).uu, one_by_one.uu)


def test_statistics_of_different_kernels_are_not_added(noise):
    pair = (noise(1, 1, 11, 13), noise(1, 1, 11, 13))
    with pytest.raises(ConvexpError, match="statistics of different convolutions cannot be added"):
        gather(nn.Conv2d(1, 1, 3), [pair]) + gather(nn.Conv2d(1, 1, 5), [pair])


@pytest.mark.parametrize("smaller", [(3, 5), (1, 1), (5, 3)])
def test_statistics_contain_those_of_smaller_kernels(smaller, noise, design):
    image, target = noise(1, 2, 17, 23), noise(1, 1, 13, 19, seed=1)
    part = gather(nn.Conv2d(2, 1, 5), [(image, target)]).restrict(kernel_size=smaller, bias=False)
    top, left = (5 - smaller[0]) // 2, (5 - smaller[1]) // 2
    rows, _ = design(image[..., top : 17 - top, left : 23 - left], smaller)
    np.testing.assert_allclose(part.uu[0], rows.T @ rows, rtol=1e-12)
    np.testing.assert_allclose(part.uy[0], rows.T @ target.numpy().reshape(-1, 1), rtol=1e-12)
    assert part.count == 13 * 19


def test_statistics_contain_those_of_dilated_kernels_elsewhere(noise, design):
    image, target = noise(1, 1, 17, 23), noise(1, 1, 11, 17, seed=1)
    whole = gather(nn.Conv2d(1, 1, 7), [(image, target)])
    part = whole.restrict(kernel_size=(3, 2), at=(2, 1), dilation=(2, 3), bias=False)
    rows, (height, width) = design(image[..., 2:, 1:], (5, 4))
    rows = rows.reshape(height, width, 5, 4)[:11, :17, ::2, ::3].reshape(11 * 17, 6)
    np.testing.assert_allclose(part.uu[0], rows.T @ rows, rtol=1e-12)


def test_statistics_contain_those_of_grouped_channels(noise):
    pair = (noise(1, 4, 11, 13), noise(1, 6, 11, 13, seed=1))
    part = gather(nn.Conv2d(4, 6, 3), [pair]).restrict(groups=2)
    for group in range(2):
        alone = gather(nn.Conv2d(2, 3, 3), [(pair[0][:, 2 * group :][:, :2], pair[1][:, 3 * group :][:, :3])])
        torch.testing.assert_close(part.uu[group], alone.uu[0])
        torch.testing.assert_close(part.uy[group], alone.uy[0])
        torch.testing.assert_close(part.yy[group], alone.yy[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": (4, 3)}, "has not the centre of"),
        ({"kernel_size": (7, 3)}, "is no part of"),
        ({"kernel_size": (3, 3), "at": (3, 0)}, "is no part of"),
        ({"groups": 3}, "2 channels and 2 outputs in 1 groups cannot be taken in 3"),
    ],
)
def test_what_they_do_not_contain(arguments, message, noise):
    statistics = gather(nn.Conv2d(2, 2, 5), [(noise(1, 2, 11, 13), noise(1, 2, 11, 13))])
    with pytest.raises(ConvexpError, match=message):
        statistics.restrict(**arguments)


@pytest.mark.parametrize(("kernel_size", "bias"), [((7, 5), True), ((7, 5), False), ((2, 3), True)])
def test_the_residual_of_large_kernels_is_that_of_the_pixels(kernel_size, bias, noise, design):
    layer = nn.Conv2d(2, 3, kernel_size, bias=bias).double()
    image, target = noise(1, 2, 17, 23), noise(1, 3, 11, 19, seed=1)
    moments, energy = residual(layer, [(image, target)], weights_of(layer))
    assert float(energy.mean()) == pytest.approx(mean_square(layer, [(image, target)]), rel=1e-12)
    output = layer(image).detach()
    rows, columns = min(output.shape[2], 11), min(output.shape[3], 19)
    top, left = (output.shape[2] - rows) // 2, (output.shape[3] - columns) // 2
    rest = target[..., :rows, :columns] - output[..., top : top + rows, left : left + columns]
    read, _ = design(image, kernel_size, bias=bias)
    read = read.reshape(*output.shape[2:], -1)[top : top + rows, left : left + columns].reshape(rows * columns, -1)
    np.testing.assert_allclose(moments[0], read.T @ rest[0].flatten(1).T.numpy() / (rows * columns), atol=1e-13)


def test_the_residual_is_that_of_the_pixels(noise, design):
    layer = nn.Conv2d(2, 2, 3, groups=2, padding=1).double()
    image, target = noise(1, 2, 11, 13), noise(1, 2, 11, 13, seed=1)
    moments, energy = residual(layer, [(image, target)], weights_of(layer))
    rest = target - layer(image).detach()
    torch.testing.assert_close(energy.flatten(), rest.square().mean(dim=(0, 2, 3)))
    for group in range(2):
        rows, _ = design(image[:, group : group + 1], (3, 3), pad=(1, 1), bias=True)
        wanted = rows.T @ rest[0, group].numpy().reshape(-1, 1) / len(rows)
        np.testing.assert_allclose(moments[group], wanted, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e200])
@pytest.mark.parametrize("where", [0, 1])
def test_what_is_not_finite_is_refused(value, where, noise):
    good, bad = [(noise(1, 1, 7, 11), noise(1, 1, 7, 11)) for _ in range(2)]
    bad[where][0, 0, 3, 5] = value
    with pytest.raises(ConvexpError, match=r"^image 2 of \(1, 1, 7, 11\) or its target has NaN or infinite values"):
        gather(nn.Conv2d(1, 1, 3), [good, bad])


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([], "there is no pixel to learn from"),
        ([((1, 1, 2, 9), (1, 1, 2, 9))], "an image's 2 pixels are fewer than the kernel's 3"),
        ([((1, 2, 9, 9), (1, 1, 9, 9))], "do not fit a convolution from 1 to 1 channels"),
        ([((2, 1, 9, 9), (1, 1, 9, 9))], "do not fit a convolution from 1 to 1 channels"),
    ],
)
def test_what_does_not_fit_is_refused(shapes, message, noise):
    with pytest.raises(ConvexpError, match=message):
        gather(nn.Conv2d(1, 1, 3), [(noise(*image), noise(*target)) for image, target in shapes])


@pytest.mark.slow
@pytest.mark.parametrize("kernel_size", [3, 9])
def test_memory_does_not_grow_with_the_image(kernel_size, tmp_path):
    # 16 megapixels in a file against 4; a hundred take no more than 16, but longer.
    program = """
import resource, sys
import torch
from torch import nn
from convexp.exact import gather
rows, kernel_size, place = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
def mapped(name):
    return torch.from_file(f"{place}/{name}", shared=True, size=rows * 4096, dtype=torch.uint8).view(1, 1, rows, 4096)
gather(nn.Conv2d(1, 1, kernel_size), [(mapped("image"), mapped("target"))])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    for name in ("image", "target"):
        (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(4096 * 4096))
    peaks = []
    for rows in (1024, 4096):
        command = [sys.executable, "-c", program, str(rows), str(kernel_size), tmp_path]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True).stdout))
    assert peaks[1] - peaks[0] < 64 * 1024  # KiB: the mapped files themselves, and no more
