import pytest
import torch
from scipy import signal

from convexp.operators.fourier import correlate


@pytest.mark.parametrize("size", [(1, 1), (5, 2), (17, 23)])
def test_like_scipy(size):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 17, 23, dtype=torch.float64, generator=generator)
    kernel = torch.rand(4, 3, *size, dtype=torch.float64, generator=generator)
    ours = correlate(image, kernel)
    for number in range(2):
        for output in range(4):
            pairs = zip(image[number], kernel[output], strict=True)
            expected = sum(signal.correlate2d(channel, weight, mode="valid") for channel, weight in pairs)
            torch.testing.assert_close(ours[number, output], torch.from_numpy(expected), rtol=1e-13, atol=1e-13)


def test_gradients_reach_image_and_kernel():
    image, kernel = torch.rand(1, 1, 5, 7, requires_grad=True), torch.rand(1, 1, 2, 3, requires_grad=True)
    correlate(image, kernel).sum().backward()
    torch.testing.assert_close(image.grad[0, 0, 2, 3], kernel.detach().sum())
    torch.testing.assert_close(kernel.grad[0, 0, 0, 0], image.detach()[..., :4, :5].sum())


def test_a_known_spectrum_and_weights_of_nothing_or_the_same():
    image, own = torch.rand(2, 3, 23, 19, dtype=torch.float64), torch.rand(4, 5, dtype=torch.float64)
    kernel = torch.zeros(3, 3, 4, 5, dtype=torch.float64)
    kernel[0, 0], kernel[1, 1], kernel[1, 2] = own, own, 2 * own
    expected = torch.nn.functional.conv2d(image, kernel)
    torch.testing.assert_close(correlate(image, kernel), expected)
    torch.testing.assert_close(correlate(image, kernel, spectrum=torch.fft.rfft2(image)), expected)
    assert not correlate(image, kernel)[:, 2].any()
