import pytest
import torch
from torch import nn

from convexp.models import Stack, Standardised, receptive_field
from convexp.models.geometry import chain, growth, halo, in_channels
from convexp.models.locality import NotLocalError

MODELS = {
    "one": nn.Conv2d(1, 1, (3, 5)),
    "dilated": nn.Sequential(nn.Conv2d(1, 1, 3, dilation=2), nn.Tanh(), nn.Conv2d(1, 1, (2, 1))),
    "strided": nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.Conv2d(1, 1, (1, 3)), nn.AvgPool2d(2)),
    "deep": Stack(1, 1, blocks={"edges": ["2@2x2"], "blur": ["4@3x3", "out@3x3"]}, activation=nn.Tanh()),
}


@pytest.mark.parametrize("name", MODELS)
def test_it_is_the_region_that_a_gradient_reaches(name: str):
    model = MODELS[name].double()
    image = torch.rand(1, 1, 17, 23, dtype=torch.float64, requires_grad=True)
    model(image)[0, 0, 1, 1].backward()
    assert image.grad is not None
    rows, columns = image.grad[0, 0].nonzero().T
    assert receptive_field(model) == (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1)


def test_a_model_without_windows_sees_one_pixel():
    assert receptive_field(nn.ELU()) == (1, 1)


class Custom(nn.Module):
    """What no list of modules says: a residual block with a mirror as its border."""

    def __init__(self, channels=2):
        super().__init__()
        self.first = nn.Conv2d(channels, 3, 3, dilation=2)
        self.second = nn.Conv2d(3, channels, (2, 1))

    def forward(self, image):
        padded = nn.functional.pad(image, (2, 2, 2, 3), mode="reflect")
        return image + self.second(self.first(padded).relu())


CHAINS = {
    "valid": (nn.Conv2d(2, 1, (3, 4), dilation=(2, 1)), (0, 4), (-4, -3)),
    "padded": (nn.Conv2d(2, 1, 3, padding=1), (1, 1), (0, 0)),
    "same, even": (nn.Conv2d(2, 1, (4, 2), padding="same", padding_mode="replicate"), (1, 2), (0, 0)),
    "more than needed": (nn.Conv2d(2, 1, 3, padding=2), (2, 0), (2, 2)),
    "not local below": (nn.Sequential(nn.Conv2d(2, 4, (5, 1), padding=(4, 0)), nn.ELU()), (4, 0), (4, 0)),
    "pools": (nn.Sequential(nn.MaxPool2d(3, 1, (1, 0)), nn.AvgPool2d((2, 1), 1)), (1, 2), (-1, -2)),
    "stack": (Stack(2, 1, blocks={"a": ["2@2x2", "9@1x1"], "b": ["out@3x3"]}, activation=nn.ELU()), (0, 3), (-3, -3)),
    "scaled": (Standardised(nn.Conv2d(2, 1, 3), mean=0.3, std=2.0, offset=1.0, scale=3.0), (0, 2), (-2, -2)),
    "known pieces": (nn.Sequential(nn.Dropout(), nn.BatchNorm2d(2), nn.Softmax2d(), nn.PReLU()), (0, 0), (0, 0)),
}


@pytest.mark.parametrize("name", CHAINS)
def test_the_rows_that_a_chain_reads(name: str):
    model, read, grown = CHAINS[name]
    links = chain(model.eval())
    assert (halo(links), growth(links)) == (read, grown)
    image = torch.rand(1, 2, 19, 23)
    output = model(image)
    assert output.shape[2:] == (19 + grown[0], 23 + grown[1])
    # What a NaN reaches is what reads it, whatever the weights.
    image[:, :, 9] = torch.nan
    rows = model(image).isnan().any(dim=3)[0].any(dim=0).nonzero()
    assert (int(rows.max()) - 9, 9 - int(rows.min())) == read


def test_a_mirror_reads_as_far_as_it_adds():
    links = chain(nn.Conv2d(1, 1, (4, 1), padding=(1, 0), padding_mode="reflect"))
    assert (halo(links), growth(links)) == ((2, 2), (-1, 0))


def test_the_steps_are_the_model():
    for model, *_ in CHAINS.values():
        image = expected = torch.rand(2, 2, 19, 23)
        for link in chain(model.eval()):
            image = link.run(image)
        assert image.equal(model(expected))


def test_what_is_not_known_is_measured():
    links = chain(nn.Sequential(nn.Conv2d(1, 2, 3), Custom(), nn.Conv2d(2, 5, 1)))
    assert [link.channels for link in links] == [(1, 2), (2, 2), (2, 5)]
    reach = links[1].reach
    assert min(reach.above, reach.below) >= 3
    assert reach.growth == (0, 0)


class Centred(nn.Conv2d):
    """A convolution whose weights are not what it applies."""

    def _conv_forward(self, input, weight, bias):
        return super()._conv_forward(input, weight - weight.mean(), bias)


def test_a_convolution_of_one_s_own_is_not_taken_for_torch_s():
    layer, image = Centred(1, 2, 3), torch.rand(1, 1, 9, 9)
    (link,) = chain(layer)
    assert link.convolution is None
    assert link.run(image).equal(layer(image))


def test_a_hook_is_not_overlooked():
    layer = nn.Conv2d(1, 1, 3)
    layer.register_forward_hook(lambda module, inputs, output: output.cumsum(dim=2))
    with pytest.raises(NotLocalError, match="reaches more than 510 rows"):
        chain(layer)


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (nn.InstanceNorm2d(2), r"it normalises over the whole image \(InstanceNorm2d '1.1'\)"),
        (nn.GroupNorm(1, 2), r"it normalises over the whole image \(GroupNorm '1.1'\)"),
        (nn.BatchNorm2d(2, track_running_stats=False), r"it normalises over the whole image \(BatchNorm2d '1.1'\)"),
        (nn.AdaptiveAvgPool2d(1), r"it pools over the whole image \(AdaptiveAvgPool2d '1.1'\)"),
        (
            nn.Conv2d(2, 1, 3, padding=1, padding_mode="circular"),
            r"it goes on at the opposite side of the image \(Conv2d '1.1'\)",
        ),
    ],
)
def test_what_is_not_local_is_named(module: nn.Module, reason: str):
    with pytest.raises(NotLocalError, match=reason):
        chain(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sequential(nn.ELU(), module)).eval())


def test_moments_kept_from_training_are_local():
    norm = nn.InstanceNorm2d(2, track_running_stats=True)
    assert halo(chain(nn.Sequential(nn.Conv2d(1, 2, 3), norm).eval())) == (0, 2)


def test_the_channels_that_a_model_reads():
    assert in_channels(nn.Sequential(nn.ELU(), nn.Conv2d(3, 7, 1), nn.Conv2d(7, 1, 1))) == 3
    assert in_channels(nn.ELU()) is None
