import kornia
import pytest
import torch
from torch import nn

from convexp.errors import ConvexpError
from convexp.models.locality import NotLocalError, Reach, reach_of, size_of


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, image):
        return self.function(image)


def halved_and_doubled(image):
    return nn.functional.interpolate(nn.functional.avg_pool2d(image, 2, ceil_mode=True), image.shape[2:])


def shifted_by_place(image):
    return image * torch.arange(image.shape[2]).view(-1, 1)


@pytest.mark.parametrize(
    ("module", "reads", "grows"),
    [
        (nn.Conv2d(2, 3, (5, 3), dilation=(2, 1)), (0, 8), (-8, -2)),
        (nn.MaxPool2d((3, 5), stride=1), (0, 2), (-2, -4)),
        (Function(torch.square), (0, 0), (0, 0)),
        (Function(lambda image: image[:, :, 2:-3]), (0, 5), (-5, 0)),
        (Function(lambda image: torch.zeros_like(image)), (0, 0), (0, 0)),
    ],
)
def test_what_is_read(module, reads, grows):
    reach, channels = reach_of(module, "layer", 2)
    assert reach == Reach(*reads, grows)
    assert channels == (2, 3 if isinstance(module, nn.Conv2d) else 2)


def test_a_weight_of_zero_reads_too():
    layer = nn.Conv2d(1, 1, 5, padding=2)
    nn.init.zeros_(layer.weight)
    assert reach_of(layer, "", 1)[0] == Reach(2, 2, (0, 0))


def test_a_border_is_read_from_both_sides():
    reach, _ = reach_of(nn.Conv2d(1, 1, (4, 1), padding=(1, 0), padding_mode="reflect"), "", 1)
    assert min(reach.above, reach.below) >= 2


def test_far_sight():
    far = nn.Conv2d(1, 1, 3, dilation=100, padding=100, padding_mode="replicate")
    reach, _ = reach_of(far, "", 1)
    assert (reach.above, reach.below, reach.growth) == (100, 100, (0, 0))
    assert size_of(nn.Conv2d(1, 1, (150, 1)), 1) == ((-149, 0), 1)


def test_filters_of_another_library():
    assert reach_of(kornia.filters.MedianBlur(5), "", None)[0].above == 2
    assert reach_of(kornia.filters.GaussianBlur2d((3, 7), (1.0, 1.0)), "", None) == (Reach(1, 1, (0, 0)), None)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda image: image - image.mean(), r"reaches more than 510 rows far \(Function 'layer'\)"),
        (lambda image: image.cumsum(dim=2), "reaches more than 510 rows far"),
        (lambda image: image.flip(2), "reaches more than 510 rows far|something else of a part than of the whole"),
        (shifted_by_place, "something else of a part than of the whole"),
        (halved_and_doubled, "something else of a part than of the whole"),
        (lambda image: image + torch.rand_like(image), "reaches more than 510 rows far"),
        (lambda image: nn.functional.avg_pool2d(image, 2), "changes the scale"),
        (lambda image: torch.fft.ifft2(torch.fft.fft2(image)).real, "reaches more than 510 rows far"),
    ],
)
def test_what_is_not_local(function, reason):
    with pytest.raises(NotLocalError, match=reason):
        reach_of(Function(function), "layer", 1)


def test_what_fails_always():
    with pytest.raises(ConvexpError, match=r"the model fails on noise of 1021×1021 \(Conv2d 'c'\): .*channels"):
        reach_of(nn.Conv2d(3, 1, 3), "c", 2)


def test_nothing_is_changed():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    reach_of(Function(lambda image: image.mul_(2)), "", 1)
    assert torch.get_rng_state().equal(before)


def test_the_rows_of_a_part():
    reach = Reach(2, 1, (0, 0))
    assert [reach.rows(*part, 10) for part in ((0, 3), (5, 6), (9, 10))] == [(0, 4), (3, 7), (7, 10)]


def test_what_halves_and_doubles_keeps_the_size_of_some_images():
    halving = nn.Sequential(nn.Conv2d(1, 4, 2, stride=2), nn.ELU(), nn.ConvTranspose2d(4, 1, 2, stride=2))
    assert size_of(halving, 1) == ((0, 0), 1)
    with pytest.raises(NotLocalError, match="it makes something else of a part than of the whole"):
        reach_of(halving, "", 1)
    with pytest.raises(NotLocalError, match="it changes the scale of an image"):
        size_of(nn.Conv2d(1, 1, 2, stride=2), 1)
