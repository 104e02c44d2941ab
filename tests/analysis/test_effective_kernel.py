import numpy as np
import pytest
import torch
from scipy.signal import convolve2d
from torch import nn

from convexp.analysis.effective_kernel import effective_kernel, energy_box, local_kernel
from convexp.errors import ConvexpError
from convexp.models import Stack, Standardised, receptive_field
from convexp.operators import Blur, Gradients, Highpass, Magnitude, Pipeline
from convexp.operators.response import support


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(module):
    """Give a module weights that are always the same."""
    for number, weight in enumerate(module.parameters()):
        weight.data = noise(*weight.shape, seed=number) - 0.5
    return module


def stack(channels=1, outputs=1):
    return seeded(
        Stack(
            channels,
            outputs,
            blocks={"edges": ["2@2x2", "5@1x1"], "blur": ["3@3x5", "out@2x3"]},
            activation=nn.ELU(inplace=True),
        )
    )


def close(actual, expected, tolerance=1e-6):
    torch.testing.assert_close(actual.double(), torch.as_tensor(expected).double(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("size", [(3, 3), (2, 2), (4, 7), (1, 6)])
def test_a_convolution_s_local_kernel_is_its_weight(size):
    model = seeded(nn.Conv2d(3, 2, size))
    found = local_kernel(model, noise(1, 3, 17, 23), (5, 7))
    assert found.kernel.equal(model.weight.double())
    assert (found.top, found.left) == (-((size[0] - 1) // 2), -((size[1] - 1) // 2))


def test_small_weights_are_not_rounding():
    model = nn.Conv2d(1, 1, 3).double()
    model.weight.data[0, 0] = torch.tensor([[1e-12, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = local_kernel(model, noise(1, 1, 9, 11), (2, 3))
    assert found.kernel.equal(model.weight.data[..., :2, :2])
    assert (found.top, found.left) == (-1, -1)


@pytest.mark.parametrize("operator", [Highpass(), Gradients("edges"), Blur(border="reflect")])
def test_boxes_are_those_of_the_operator_s_support(operator):
    found = local_kernel(operator, noise(1, 3, 19, 23), (8, 9))
    height, width = found.kernel.shape[-2:]
    assert (found.top, found.top + height - 1, found.left, found.left + width - 1) == support(operator, 3)


def test_at_the_border_a_kernel_is_cut_or_folded():
    model = seeded(nn.Conv2d(1, 1, 3, padding=1, bias=False))
    found = local_kernel(model, noise(1, 1, 17, 23), (0, 22))
    close(found.kernel, model.weight[..., 1:, :2].detach())
    assert (found.top, found.left) == (0, -1)
    folded = local_kernel(Blur(border="reflect"), noise(1, 1, 17, 23), (0, 11)).kernel[0, 0]
    close(273 * folded[:, 2], [41, 2 * 26, 2 * 7])


def test_the_magnitude_s_local_kernel_by_hand():
    # √(gx² + gy²) with gx = 3, gy = 4: (3 · vertical edge + 4 · horizontal edge) / 5.
    image = torch.zeros(1, 1, 5, 7)
    image[..., 2:4, 3:5] = torch.tensor([[0.0, 0.0], [0.5, 3.5]])
    operator = Pipeline({"edges": Gradients("edges"), "magnitude": Magnitude()})
    found = local_kernel(operator, image, (2, 3))
    close(found.kernel, [[[[-1.4, -0.2], [0.2, 1.4]]]])
    assert (found.top, found.left) == (0, 0)


def test_a_stack_s_local_kernel_is_what_small_changes_do():
    model, image = stack(2, 3), noise(1, 2, 11, 13, dtype=torch.float64)
    found = local_kernel(model, image, (3, 4))
    exact, step = stack(2, 3).double().requires_grad_(False), 1e-6
    for channel in range(2):
        for row, column in [(4, 6), (3, 4), (7, 11), (5, 7)]:
            outputs = []
            for sign in (1, -1):
                changed = image.clone()
                changed[0, channel, row, column] += sign * step
                outputs.append(exact(changed)[0, :, 3, 4])
            slope = (outputs[0] - outputs[1]) / (2 * step)
            # The output (7, 6) has lost 4 rows and 7 columns: its pixel (3, 4) lies on (5, 7).
            inside = found.kernel[:, channel, row - 5 - found.top, column - 7 - found.left]
            close(inside, slope, 1e-8)
            assert slope.abs().max() > 1e-4


def there_and_back():
    """Looks further on the way than in the end."""
    away, back = nn.Conv2d(1, 1, 11, padding=5), nn.Conv2d(1, 1, 11, padding=5)
    for layer, place in ((away, 0), (back, 10)):
        nn.init.zeros_(layer.weight)
        layer.weight.data[0, 0, place, place] = 1.0
    return nn.Sequential(away, nn.Tanh(), back)


def mosaic(image):
    """Depends on where in the image a pixel lies, as cameras' colours do."""
    rows, columns = (torch.arange(side, dtype=image.dtype) % 8 for side in image.shape[-2:])
    return nn.functional.conv2d(image * (1 + rows[:, None] + columns / 10), torch.ones(1, 1, 3, 3, dtype=image.dtype))


@pytest.mark.parametrize(
    ("function", "reach"),
    [
        (stack(), None),
        (Standardised(stack(), mean=0.5, std=0.25, offset=1.0, scale=3.0), None),
        (seeded(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ELU(), nn.Conv2d(2, 1, (4, 5), padding=2))), None),
        (seeded(nn.Sequential(nn.Conv2d(1, 2, 5, padding=7), nn.Tanh(), nn.Conv2d(2, 1, 2))), None),
        (nn.Sequential(nn.ZeroPad2d(-12), nn.Tanh()), (0, 0, 0, 0)),
        (lambda image: image[..., 12:, 12:].sin(), (6, 6, 6, 6)),
        (lambda image: image.roll((-40, -35), (2, 3)).sin(), (40, 40, 35, 35)),
        (there_and_back(), (0, 0, 0, 0)),
        (mosaic, (-1, 1, -1, 1)),
        (nn.Sequential(nn.AvgPool2d(4), nn.Upsample(scale_factor=4)), (-3, 3, -3, 3)),
        (seeded(nn.Conv2d(1, 1, 5, padding=2, padding_mode="circular")), (-2, 2, -2, 2)),
    ],
)
def test_a_window_of_the_image_is_enough(function, reach):
    image = noise(1, 1, 191, 167)
    reach = reach or support(function, 1)
    seen = []

    def counted(image):
        if image.requires_grad:
            seen.append(image.numel())
        return function(image.to(torch.float32) if isinstance(function, nn.Module) else image)

    height, width = function(image).shape[-2:]
    for place in [(90, 80), (77, 93), (0, 0), (height - 1, width - 1), (3, 80), (90, width - 4)]:
        expected = local_kernel(function, image, place)
        found = local_kernel(function, image, place, reach=reach)
        close(found.kernel, expected.kernel, 1e-12)
        assert (found.top, found.left) == (expected.top, expected.left)
    local_kernel(counted, image, (90, 80), reach=reach)
    assert max(seen) < 0.5 * image.numel()


def test_a_function_without_gradients_has_no_local_kernel():
    def through_numpy(image):
        return torch.from_numpy(np.sort(image.numpy(), axis=-1))

    def threshold(image):
        return (image > 0.5).float()

    thresholded = nn.Sequential(nn.Conv2d(1, 1, 3))
    thresholded.register_forward_pre_hook(lambda _module, inputs: (inputs[0] > 0.5).to(inputs[0]))
    for function in (through_numpy, threshold, thresholded):
        assert local_kernel(function, noise(1, 1, 9, 11), (2, 3)) is None


def test_where_nothing_changes_the_kernel_is_zero():
    found = local_kernel(nn.ReLU(), -noise(1, 2, 9, 11), (2, 3))
    assert found.kernel.equal(torch.zeros(2, 2, 1, 1).double())
    assert (found.top, found.left) == (0, 0)


def test_errors_of_the_function_are_not_swallowed():
    with pytest.raises(RuntimeError, match="expected input"):
        local_kernel(nn.Conv2d(3, 1, 3), noise(1, 1, 9, 11), (2, 3))


@pytest.mark.parametrize("reach", [None, (-1, 1, -1, 1)])
@pytest.mark.parametrize("place", [(7, 0), (0, 9), (-1, 0)])
def test_a_place_outside_is_refused(place, reach):
    with pytest.raises(ConvexpError, match=r"not in the output, which is 7x9 \(HxW\): choose a row from 0 to 6"):
        local_kernel(nn.Conv2d(1, 1, 3), noise(1, 1, 9, 11), place, reach=reach)


def test_what_works_in_float32_only_is_asked_in_float32():
    kernel = noise(1, 1, 3, 3)

    def single(image):
        return nn.functional.conv2d(image, kernel)

    found = local_kernel(single, noise(1, 1, 9, 11), (2, 3))
    assert found.kernel.dtype == torch.float32
    close(found.kernel, kernel)


def test_a_model_that_cannot_be_copied_is_asked_itself():
    class Fixed(nn.Conv2d):
        def __deepcopy__(self, memo):
            raise TypeError("one of a kind")

    model = nn.Sequential(seeded(Fixed(1, 1, 3)), nn.Dropout()).train()
    close(local_kernel(model, noise(1, 1, 9, 11), (2, 3)).kernel, model[0].weight.detach())
    close(effective_kernel(model, 1, field=(3, 3)).kernel, model[0].weight.detach())
    assert model[1].training


def test_looking_changes_nothing():
    model = seeded(nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1), nn.Dropout(0.5))).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    image = noise(1, 1, 9, 11)
    with torch.no_grad():
        found = local_kernel(model, image, (2, 3))
    assert found.kernel.abs().max() > 0
    assert effective_kernel(model, 1, field=(3, 3)) is not None
    assert model.training
    assert not image.requires_grad
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("sizes", [((3, 3), (5, 5)), ((2, 3), (4, 6)), ((1, 7), (2, 1))])
def test_two_convolutions_are_scipy_s_full_convolution(sizes):
    model = seeded(nn.Sequential(*(nn.Conv2d(1, 1, size, bias=False) for size in sizes)))
    found = effective_kernel(model, 1, field=receptive_field(model))
    # Cross-correlation with one kernel, then the other, is that with their convolution.
    expected = convolve2d(*(layer.weight[0, 0].detach().double().numpy() for layer in model))
    close(found.kernel[0, 0], expected, 1e-7)
    assert (found.top, found.left) == tuple(-((side - 1) // 2) for side in expected.shape)
    assert found.constant.item() == 0


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: Standardised(model, mean=0.4, std=0.2, scale=3.0)])
def test_many_channels_with_biases_are_one_convolution(wrap):
    model = wrap(seeded(nn.Sequential(nn.Conv2d(3, 5, (3, 2)), nn.Conv2d(5, 4, 3), nn.Conv2d(4, 2, (2, 5)))))
    found = effective_kernel(model, 3, field=receptive_field(model))
    assert found.box == (-2, 3, -3, 4)
    image = noise(1, 3, 17, 23, dtype=torch.float64)
    with torch.no_grad():
        expected = model.double()(image)
    found = nn.functional.conv2d(image, found.kernel.double(), found.constant.double())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_padding_is_left_out_of_account():
    model = seeded(nn.Sequential(*(nn.Conv2d(1, 1, 7, padding=3, padding_mode="reflect") for _ in range(3))))
    found = effective_kernel(model, 1, field=receptive_field(model))
    assert found.box == (-9, 9, -9, 9)


def test_activations_make_a_model_more_than_a_kernel():
    assert effective_kernel(stack(), 1, field=(5, 8)) is None
    assert effective_kernel(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Identity()), 1, field=(3, 3)) is not None


def test_energy_boxes_by_hand():
    kernel = torch.zeros(2, 3, 5, 7)
    kernel[0, 1, 1, 2], kernel[1, 2, 3, 4], kernel[0, 0, 2, 3] = 3.0, 1.0, 0.5
    assert energy_box(kernel, 1.0) == (3, 3)
    # Of 10.25, the row with the 1 goes first, then its column has nothing left.
    assert energy_box(kernel, 0.9) == (2, 2)
    assert energy_box(kernel, 0.87) == (1, 1)
    assert energy_box(-1e-6 * kernel, 0.9) == (2, 2)


def test_energy_boxes_of_a_gaussian_and_of_nothing():
    y, x = torch.meshgrid(torch.arange(-7.0, 8), torch.arange(-7.0, 8), indexing="ij")
    gaussian = torch.exp(-(x**2 + 4 * y**2) / 8)[None, None]
    # Of the energy, 0.5 % lie in the columns ±4 each and 1 % in the rows ±2 each, and next to nothing beyond.
    assert energy_box(gaussian) == (5, 8)
    assert energy_box(gaussian, 0.985) == (5, 7)
    assert energy_box(torch.zeros(1, 1, 3, 3)) == (1, 1)
    assert energy_box(torch.ones(1, 1, 4, 6)) == (4, 6)
    assert energy_box(torch.full((1, 1, 3, 4), torch.nan)) == (3, 4)
