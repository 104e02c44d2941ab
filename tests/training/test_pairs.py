import numpy as np
import pytest
import torch
from scipy import ndimage

from convexp.errors import ConvexpError
from convexp.operators import GaussianBlur, Gradients, Highpass, Magnitude, Pipeline
from convexp.training.pairs import as_pair, crop, join_sizes, make_pair


@pytest.fixture
def image():
    return torch.rand(3, 37, 43, generator=torch.Generator().manual_seed(0))


def pair_of(height, width, seed=0):
    image = torch.rand(1, height, width, generator=torch.Generator().manual_seed(seed))
    return make_pair("noise", image, Highpass(7, 4.0))


def test_the_operator_sees_the_whole_image_once(image):
    seen = []
    pair = make_pair("noise", image, lambda batch: seen.append(batch.shape) or 2 * batch)
    assert seen == [(1, 3, 37, 43)]
    assert pair.input.equal(image[None])
    assert pair.target.equal(2 * image[None])


def test_pairs_lie_channels_last_and_are_single(image):
    pair = make_pair("noise", image, lambda batch: batch.double())
    assert pair.target.dtype == torch.float32
    for part in pair:
        assert part.is_contiguous(memory_format=torch.channels_last)


def test_no_graph_is_kept(image):
    conv = torch.nn.Conv2d(3, 1, 3)
    assert not make_pair("noise", image, conv).target.requires_grad


@pytest.mark.parametrize(
    "operator",
    [
        Highpass(7, 4.0),
        GaussianBlur(5, 1.0),
        Pipeline({"gradients": Gradients("edges"), "magnitude": Magnitude()}),  # an even kernel
    ],
)
@pytest.mark.parametrize(("top", "left"), [(0, 0), (20, 26), (7, 13)])
def test_a_valid_operator_makes_the_cropped_target_of_the_cropped_image(image, operator, top, left):
    cropped = crop(make_pair("noise", image, operator), top, left, 17, 17)
    assert cropped.input.equal(image[None, :, top : top + 17, left : left + 17])
    torch.testing.assert_close(cropped.target, operator(cropped.input))


def test_a_padded_target_is_that_of_the_whole_image_at_the_crop(image):
    cropped = crop(make_pair("noise", image[:1], GaussianBlur(5, 1.0, border="reflect")), 3, 8, 17, 17)
    blurred = ndimage.gaussian_filter(image[0].numpy(), 1.0, radius=2, mode="mirror")
    assert cropped.target.shape == (1, 1, 17, 17)
    np.testing.assert_allclose(cropped.target[0, 0], blurred[3:20, 8:25], atol=1e-6)


def test_rows_and_columns_may_shrink_differently():
    image = torch.arange(5 * 7, dtype=torch.float32).reshape(1, 5, 7) / 35
    pair = make_pair("ramp", image, lambda batch: batch[..., 1:-1, :])
    cropped = crop(pair, 0, 2, 4, 4)
    assert cropped.input[0, 0].equal(image[0, 0:4, 2:6])
    assert cropped.target[0, 0].equal(image[0, 1:3, 2:6])


def test_crops_need_not_be_square():
    pair = as_pair(torch.rand(1, 17, 23), torch.rand(2, 15, 19))
    cropped = crop(pair, 3, 5, 7, 11)
    assert cropped.input.equal(pair.input[..., 3:10, 5:16])
    assert cropped.target.equal(pair.target[..., 3:8, 5:12])


def test_sizes_are_stacked_in_the_order_in_which_they_come():
    a, b, c = pair_of(17, 23, 0), pair_of(19, 23, 1), pair_of(17, 23, 2)
    tall, wide = join_sizes([a, b, c])
    assert tall.input.equal(torch.cat([a.input, c.input]))
    assert tall.target.equal(torch.cat([a.target, c.target]))
    assert wide.input.equal(b.input)
    assert tall.input.is_contiguous(memory_format=torch.channels_last)


def fails(batch):
    raise ValueError("no red today")


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (fails, r"the target fails on cat \(3, 37, 43\): ValueError: no red today$"),
        (
            lambda batch: batch[0],
            r"the target made \(3, 37, 43\) of cat \(1, 3, 37, 43\); it must return \(1, C, H, W\)",
        ),
        (lambda batch: batch.numpy(), r"the target made ndarray of cat .*; it must return"),
        (lambda batch: batch.repeat(2, 1, 1, 1), r"the target made \(2, 3, 37, 43\) of cat"),
        (
            lambda batch: torch.cat([batch, batch], -1),
            r"the target made 37×86 of cat, 37×43; it may not enlarge or empty an image$",
        ),
        (lambda batch: batch[..., :0], r"the target made 37×0 of cat, 37×43; it may not enlarge or empty"),
        (
            lambda batch: batch / 0,
            r"the target of cat has NaN or infinite values; mend the operator or leave the image",
        ),
        (lambda batch: batch * torch.nan, r"the target of cat has NaN or infinite values"),
    ],
)
def test_operators_that_cannot_be_imitated(image, operator, message):
    with pytest.raises(ConvexpError, match=message):
        make_pair("cat", image, operator)


def test_an_operators_own_clear_message_stays(image):
    def refuse(batch):
        raise ConvexpError("kernel of 47 is too large")

    with pytest.raises(ConvexpError, match=r"^cat: kernel of 47 is too large$"):
        make_pair("cat", image, refuse)
