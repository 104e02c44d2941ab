"""How a chain of convolutions starts: from the data that it will see."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convexp.errors import ConvexpError
from convexp.images.alignment import center_crop, common_center

_CONTRAST = 5.0  # of the features beside an image that is to pass: their deviation when it is white noise of 1
_MIXTURE = 0.02  # of them with each other, from one convolution to the next
_THRESHOLD = 0.2  # deviation of their biases


@torch.no_grad()
def handmade(model: nn.Module, kernels: Sequence[Tensor]) -> None:
    """Gives the first convolution kernels, one for each output, that are the same for every input channel.

    A convolution alone is then the operator of these kernels.

    Args:
        model: Its first convolution is the one that is registered first.
        kernels: (kh, kw) each; a smaller one stands in the middle of the convolution's, as common centres do.

    Raises:
        ConvexpError: If there is no convolution, it has not as many outputs, or is too small.
    """
    layer = next(iter(_convolutions(model)), None)
    if layer is None:
        raise ConvexpError("initialisation=[…] sets the kernels of the first convolution, and the model has none")
    if len(kernels) != layer.out_channels:
        raise ConvexpError(
            f"initialisation has {len(kernels)} kernel{'s' * (len(kernels) != 1)}, the first convolution "
            f"{layer.out_channels} output{'s' * (layer.out_channels != 1)}: name as many, as [sobel_x,sobel_y]"
        )
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    height, width = layer.weight.shape[-2:]
    for output, kernel in enumerate(kernels):
        rows, columns = kernel.shape
        if rows > height or columns > width:
            raise ConvexpError(
                f"initialisation: a {rows}×{columns} kernel does not fit into the first convolution's, {height}×{width}"
            )
        top, left = (height - rows) // 2, (width - columns) // 2
        layer.weight[output, :, top : top + rows, left : left + columns] = kernel.to(layer.weight)


@torch.no_grad()
def lsuv(model: nn.Module, images: Tensor, *, skip: int = 0) -> None:
    """Layer-sequential unit variance: orthogonal weights, scaled to unit variance of each convolution's output.

    Mishkin and Matas, All you need is a good init, arXiv:1511.06422. No biases.

    Args:
        model: A chain of convolutions in the order of their registration, with anything between them.
        images: (B, C, H, W), as the model gets them.
        skip: So many convolutions stay as they are.
    """
    for layer in _convolutions(model)[skip:]:
        nn.init.orthogonal_(layer.weight)
        _set_output(layer, _input_of(layer, model, images))


@torch.no_grad()
def contrast(model: nn.Module, images: Tensor, targets: Tensor) -> None:
    """LSUV for a chain that is to find edges first: it starts as a rectifier of contrast, fitted to the target.

    What a one-channel bottleneck loses, no later layer brings back; from random weights, finding the magnitude of a
    gradient there is luck. So

    - the first convolution whitens the contrast of its patches: random rotations of their principal components. Its
      output is so small that the activation after it is linear, the second's so large that it bends sharply;
    - a convolution with one output averages its inputs, and rectified contrasts of all directions become a magnitude;
    - all others are as in `lsuv`, with biases that centre the output on 1, where ELU and ReLU are linear;
    - the last one is the ridge regression of the target on its inputs.

    Args:
        model: A chain of convolutions in the order of their registration, with anything between them.
        images: (B, C, H, W), as the model gets them.
        targets: (B, C', H', W'), in the units of the model's output, around the same centres.

    Raises:
        ConvexpError: If the model is no chain of at least three plain convolutions.
    """
    layers = _convolutions(model)
    if len(layers) < 3 or any(layer.groups != 1 or isinstance(layer.padding, str) for layer in layers):
        raise ConvexpError(
            "initialisation=contrast needs a chain of three or more convolutions without groups and named padding; "
            "use initialisation=lsuv, or null for PyTorch's own"
        )
    for layer in layers:
        inputs = _input_of(layer, model, images)
        if layer is layers[-1]:
            _regress(layer, inputs, targets)
        elif layer is layers[0]:
            _whiten(layer, inputs)
            _set_output(layer, inputs, std=0.1, mean=0.0)
        elif layer is layers[1]:
            nn.init.orthogonal_(layer.weight)
            _set_output(layer, inputs, std=10.0, mean=0.0)
        else:
            if layer.out_channels == 1:
                nn.init.ones_(layer.weight)
            else:
                nn.init.orthogonal_(layer.weight)
            _set_output(layer, inputs, mean=1.0)


@torch.no_grad()
def identity(model: nn.Module) -> None:
    """Lets images pass through a chain unchanged, beside features that its output does not read yet.

    The first channels of each convolution are those before it; where the last one makes another number of channels,
    each is their mean. Images that are not negative also pass through ReLU and its kin. From this alone, no gradient
    would ever reach a further channel, which is why it begins as a contrast — a random kernel without a mean in the
    first convolution — and passes through the next ones with a little of all others at the same pixel. Its biases are
    random, so that the activations bend at many strengths of contrast. Every other weight begins, and stays where all
    that it ever reads is a border of zeros, at 0.

    Chen, Xu and Koltun, Fast image processing with fully-convolutional networks, arXiv:1709.00643, start from the
    identity too, but read it at random.

    Args:
        model: A chain of convolutions in the order of their registration, none of fewer channels than the images, with
            anything between them that keeps what is not negative.
    """
    layers = _convolutions(model)
    first, last, channels = layers[0], layers[-1], layers[0].in_channels
    for layer in layers:
        nn.init.dirac_(layer.weight)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
        row, column = (size // 2 for size in layer.kernel_size)
        if layer is last:
            if layer.out_channels != channels:
                nn.init.zeros_(layer.weight)
                layer.weight[:, :channels, row, column] = 1 / channels
            continue
        if layer.bias is not None:
            nn.init.normal_(layer.bias[channels:], std=_THRESHOLD)
        if layer is first:
            features = torch.randn_like(layer.weight[channels:])
            features -= features.mean(dim=(2, 3), keepdim=True)
            layer.weight[channels:] = _CONTRAST * features / (channels * layer.weight[0, 0].numel()) ** 0.5
        else:
            mixture = torch.randn_like(layer.weight[channels:, :, row, column])
            layer.weight[channels:, :, row, column] += _MIXTURE * mixture


def _convolutions(model: nn.Module) -> list[nn.Conv2d]:
    return [module for module in model.modules() if isinstance(module, nn.Conv2d)]


def _input_of(layer: nn.Module, model: nn.Module, images: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model(images)
    handle.remove()
    return seen[0]


def _set_output(layer: nn.Conv2d, inputs: Tensor, *, std: float = 1.0, mean: float | None = None) -> None:
    """Scales weights until the channels' mean variance is std², and sets biases so that each channel has the mean."""
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    outputs = layer(inputs)
    actual = outputs.var(dim=(0, 2, 3)).mean().sqrt()
    gain = std / actual if actual > 1e-6 else 1.0  # constant images say nothing about scale
    layer.weight *= gain
    if layer.bias is not None and mean is not None:
        layer.bias += mean - gain * outputs.mean(dim=(0, 2, 3))


def _whiten(layer: nn.Conv2d, inputs: Tensor) -> None:
    """Filters of equal response to every strong direction of contrast: U (Λ + ε)^-½ of the patches less their means."""
    patches = F.unfold(inputs, layer.kernel_size).transpose(1, 2).flatten(0, 1)  # (patches, channels · height · width)
    patches = patches.unflatten(1, (layer.in_channels, -1))
    patches = (patches - patches.mean(dim=2, keepdim=True)).flatten(1).double()
    variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
    count = min(layer.out_channels, len(variances))
    filters = (directions[:, -count:] * (variances[-count:].clamp_min(0) + 1e-4).rsqrt()).T.to(layer.weight)
    rotation = nn.init.orthogonal_(layer.weight.new_empty(layer.out_channels, count))
    layer.weight.copy_((rotation @ filters).view_as(layer.weight))


def _regress(layer: nn.Conv2d, inputs: Tensor, targets: Tensor) -> None:
    """Ridge regression of the targets on the layer's inputs; the ridge is 1 % of their mean variance."""
    outputs, targets = common_center(layer(inputs), targets)
    assert isinstance(layer.padding, tuple)
    patches = F.unfold(inputs, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
    patches = patches.unflatten(2, layer(inputs).shape[-2:])  # (B, channels · height · width, H', W')
    patches = center_crop(patches, *outputs.shape[-2:]).transpose(0, 1).flatten(1).double()
    values = targets.transpose(0, 1).flatten(1).double()  # (outputs, pixels)
    patch_mean, value_mean = patches.mean(dim=1, keepdim=True), values.mean(dim=1, keepdim=True)
    patches = patches - patch_mean
    gram = patches @ patches.T / patches.shape[1]
    ridge = 0.01 * gram.diagonal().mean() + 1e-8
    gram += ridge * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    weight = torch.linalg.solve(gram, patches @ (values - value_mean).T / patches.shape[1]).T
    layer.weight.copy_(weight.view_as(layer.weight))
    if layer.bias is not None:
        layer.bias.copy_((value_mean - weight @ patch_mean).flatten())
