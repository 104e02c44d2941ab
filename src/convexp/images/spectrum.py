"""How much of each spatial frequency a kernel lets pass."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from convexp.errors import ConvexpError
from convexp.images.colours import NOT_FINITE, plain

DEPTH = 60.0  # decibels below the largest gain, a thousandth of it: what is smaller looks like 0
STYLES = ("-", "--", ":", "-.")  # curves that coincide show through each other
PANEL, GAP, LEFT, SCALE = 340, 70, 130, 180  # pixels: a panel, between two, what is left of them and right of them


def response_db(kernel: Tensor, *, side: int) -> Tensor:
    """Compute a kernel's frequency response in decibels: 20 · log₁₀ |DFT| of the kernel padded with zeros.

    0 dB means that a frequency keeps its amplitude, −20 dB that a tenth of it is left. Of a real kernel the magnitude
    depends neither on where the kernel lies nor on whether it is turned by 180°, so that it is the same for convolution
    and cross-correlation.

    Args:
        kernel: (height, width).
        side: Number of frequencies in either direction.

    Returns:
        (side, side) float64. The frequency of row or column i is (i − side // 2) / side cycles per pixel; −inf where
        the kernel stops it altogether.

    Raises:
        ConvexpError: If `kernel` has not two dimensions, holds nothing, or is larger than `side`.

    >>> response_db(torch.full((1, 2), 0.5), side=4)[2].round(decimals=2)  # −1/2, −1/4, 0 and 1/4 cycles per pixel
    tensor([   -inf, -3.0100,  0.0000, -3.0100], dtype=torch.float64)
    """
    if kernel.ndim != 2 or not kernel.numel():
        raise ConvexpError(
            f"response_db: the kernel has shape {tuple(kernel.shape)}; pass one of them, (height, width)"
        )
    if side < max(kernel.shape):
        shape = tuple(kernel.shape)
        raise ConvexpError(f"response_db: side={side} is smaller than the kernel, {shape}; choose {max(shape)} or more")
    spectrum = torch.fft.fft2(plain(kernel).double(), s=(side, side))
    return 20 * torch.fft.fftshift(spectrum.abs()).log10()


def frequency_response(kernels: Mapping[str, Tensor], *, side: int = 256) -> Tensor:
    """Show how much of each spatial frequency some kernels let pass, for example the learned and the true one.

    Above, one panel for each kernel, all on one scale in decibels that ends 60 dB below the largest gain: constant
    images in its middle, the finest stripes at its edges. The vertical frequency grows downwards, as rows do, so that
    stripes across the picture lie in the direction in which they change. Below, the gain along the horizontal and along
    the vertical axis, of all kernels in one plot.

    Args:
        kernels: Name → (height, width).
        side: Number of frequencies in either direction.

    Returns:
        (3, height, width) uint8. Kernels with values that are not finite have a green panel and no curve.

    Raises:
        ConvexpError: If there is no kernel, or one has not two dimensions or is larger than `side`.

    >>> blur, edge = torch.full((3, 3), 1 / 9), torch.tensor([[-1.0, 1.0]])
    >>> frequency_response({"blur": blur, "edge": edge}, side=64).shape
    torch.Size([3, 930, 1060])
    """
    # Imported here, as for the loss curve.
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    if not kernels:
        raise ConvexpError("frequency_response: there is no kernel to show; pass at least one by its name")
    gains = {name: response_db(kernel, side=side) for name, kernel in kernels.items()}
    highest = max((gain[gain.isfinite()].max().item() for gain in gains.values() if gain.isfinite().any()), default=0.0)
    lowest = highest - DEPTH
    # The response repeats from 0.5 cycles per pixel on: one more row and column, so that the axes end there.
    shown = {name: np.pad(gain.clamp(min=lowest).numpy(), (0, 1), mode="wrap") for name, gain in gains.items()}

    content = LEFT + len(kernels) * PANEL + (len(kernels) - 1) * GAP + SCALE
    width, height = max(content, LEFT + 2 * PANEL + GAP + SCALE), 2 * PANEL + 250
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    canvas = FigureCanvasAgg(figure)

    def axes_at(left: int, top: int, wide: int, high: int) -> Axes:
        axes = figure.add_axes((left / width, 1 - (top + high) / height, wide / width, high / height))
        axes.tick_params(labelsize=18)
        return axes

    red, green, blue = NOT_FINITE
    colours = matplotlib.colormaps["magma"].with_extremes(bad=(red / 255, green / 255, blue / 255))
    first, last = (-(side // 2) - 0.5) / side, (side - side // 2 + 0.5) / side  # edges of the outer pixels
    left = (width - content) // 2 + LEFT
    panels = [axes_at(left + number * (PANEL + GAP), 60, PANEL, PANEL) for number in range(len(kernels))]
    for axes, (name, gain) in zip(panels, shown.items(), strict=True):
        axes.imshow(gain, cmap=colours, vmin=lowest, vmax=highest, extent=(first, last, last, first))
        axes.set_title(name, fontsize=22, parse_math=False)
        axes.set(xlim=(-0.5, 0.5), ylim=(0.5, -0.5), xticks=(-0.5, 0, 0.5), yticks=(-0.5, 0, 0.5))
        axes.tick_params(labelleft=axes is panels[0])
    panels[0].set_ylabel("vertical frequency, cycles/pixel", fontsize=18)
    middle = left + (len(kernels) * (PANEL + GAP) - GAP) / 2
    words = "horizontal frequency, cycles/pixel"
    figure.text(middle / width, 1 - (PANEL + 110) / height, words, fontsize=18, ha="center", va="center")
    bar = figure.colorbar(panels[0].images[0], cax=axes_at((width + content) // 2 - SCALE + 30, 60, 30, PANEL))
    bar.set_label("gain, dB", fontsize=18)

    frequencies = np.arange(side // 2 + 1) / side
    wide = (width - LEFT - GAP - 30) // 2
    plots = [axes_at(LEFT + number * (wide + GAP), PANEL + 170, wide, PANEL) for number in range(2)]
    for axes, direction in zip(plots, ("horizontal", "vertical"), strict=True):
        for number, gain in enumerate(shown.values()):
            section = gain[side // 2] if direction == "horizontal" else gain[:, side // 2]
            curve = section[side // 2 :][: side // 2 + 1]
            axes.plot(frequencies, curve, linewidth=3, linestyle=STYLES[number % len(STYLES)], clip_on=False)
        axes.set(xlim=(0, 0.5), ylim=(lowest, highest + 3))
        axes.set_xlabel(f"{direction} frequency, cycles/pixel", fontsize=18)
        axes.yaxis.set_major_locator(MultipleLocator(10))
        axes.grid(color="0.88")
        axes.spines[["top", "right"]].set_visible(False)
    plots[0].set_ylabel("gain, dB", fontsize=18)
    plots[1].tick_params(labelleft=False)
    if len(shown) > 1:
        legend = plots[1].legend(plots[1].lines, [" "] * len(shown), fontsize=18, frameon=False, handlelength=2.5)
        for text, name in zip(legend.get_texts(), shown, strict=True):  # set here: matplotlib leaves out "_names"
            text.set(text=name, parse_math=False)
    canvas.draw()
    return torch.from_numpy(np.asarray(canvas.buffer_rgba())[..., :3].copy()).permute(2, 0, 1).contiguous()
