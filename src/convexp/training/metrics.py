"""How close a model's output is to the target, over whole images."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torchmetrics import MeanSquaredError, Metric, MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio

from convexp.images.alignment import common_center
from convexp.operators.kernels import gaussian


class ExplainedVariance(Metric):
    """R²: the fraction of the target's variance that the output explains, over all pixels of all images.

    R² = 1 − Σ(y − ŷ)² / Σ(y − ȳ)². 1 is perfect, 0 as good as the target's mean, less is worse. Of a constant target
    everything (1) or nothing (0) is explained. torchmetrics' R2Score takes every small error for none.

    Example:
        >>> r2 = ExplainedVariance()
        >>> r2(torch.tensor([0.0, 1.0, 2.0, 4.0]), torch.tensor([0.0, 1.0, 2.0, 3.0]))
        tensor(0.8000)
    """

    full_state_update = False
    count: Tensor
    total: Tensor
    squares: Tensor
    residual: Tensor

    def __init__(self, *, sync_on_compute: bool = True) -> None:
        super().__init__(sync_on_compute=sync_on_compute)
        for name in ("count", "total", "squares", "residual"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, output: Tensor, target: Tensor) -> None:
        """Adds images, (B, C, H, W) or any one shape."""
        self.count += target.numel()
        self.total += target.sum()
        self.squares += target.square().sum()
        self.residual += (target - output).square().sum()

    def compute(self) -> Tensor:
        """R² of everything added so far."""
        variation = self.squares - self.total.square() / self.count
        if variation <= 1e-6 * self.squares:  # float32 tells no smaller variance from none
            return (self.residual <= 1e-6 * self.squares).float()
        return 1 - self.residual / variation


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity of images with peak 1, of each image the mean over its pixels and channels: (B,).

    Wang, Bovik, Sheikh and Simoncelli, Image quality assessment: from error visibility to structural similarity, IEEE
    Transactions on Image Processing 13 (2004), with their Gaussian window (11×11, σ = 1.5). torchmetrics says the same,
    but convolves with the whole window instead of its two factors, which is twenty times slower on a CPU.

    Args:
        output: (B, C, H, W), at least 11×11.
        target: Likewise.
    """
    images, channels = target.shape[:2]
    x, y = output.flatten(0, 1), target.flatten(0, 1)
    # As channels of one image, the last in memory: of the ways to convolve many planes, the fastest on a CPU.
    planes = torch.cat([x, y, x * x, y * y, x * y])[None]
    planes = nn.functional.pad(planes, (5, 5, 5, 5), mode="reflect").contiguous(memory_format=torch.channels_last)
    window = gaussian(11, 1.5).sum(dim=0).to(planes)
    for shape in ((11, 1), (1, 11)):
        weight = window.view(1, 1, *shape).expand(planes.shape[1], 1, *shape)
        planes = nn.functional.conv2d(planes, weight.contiguous(), groups=planes.shape[1])
    mean_x, mean_y, square_x, square_y, product = planes[0].chunk(5)
    covariance = product - mean_x * mean_y
    variance_x, variance_y = (square_x - mean_x**2).clamp_min(0), (square_y - mean_y**2).clamp_min(0)
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
    return (luminance * structure).unflatten(0, (images, channels)).mean(dim=(1, 2, 3))


class Similarity(Metric):
    """SSIM, averaged over the images that are at least as large as its 11×11 window; NaN if none is."""

    full_state_update = False
    total: Tensor
    images: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "images"):
            self.add_state(name, torch.tensor(0.0), dist_reduce_fx="sum")
        self.latest = math.nan  # mean of the images that were added last

    def update(self, output: Tensor, target: Tensor) -> None:
        """Adds images, (B, C, H, W)."""
        self.latest = math.nan
        if min(target.shape[-2:]) >= 11:
            added = ssim(output, target)
            self.latest = float(added.mean())
            self.total += added.sum()
            self.images += len(target)

    def compute(self) -> Tensor:
        """The mean SSIM of everything added so far."""
        return self.total / self.images


def whole_image_metrics(model: nn.Module, pairs: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """MSE (`mse`) and R² (`r2`) of a model's output over all pixels of whole images, on the model's device.

    Args:
        model: Maps (B, C, H, W) to (B, O, H', W').
        pairs: Images and targets, compared on their common centre.
    """
    device = next((weight.device for weight in model.parameters()), torch.device("cpu"))
    measures = {"mse": MeanSquaredError(sync_on_compute=False), "r2": ExplainedVariance(sync_on_compute=False)}
    with torch.no_grad():
        for image, target in pairs:
            output, wanted = common_center(model(image.to(device)), target.to(device))
            for measure in measures.values():
                measure.to(device).update(output.contiguous(), wanted.contiguous())
    return {name: float(measure.compute()) for name, measure in measures.items()}


def of_one_image(output: Tensor, target: Tensor, *, similarity: float) -> list[float]:
    """What `COLUMNS` names, of one image: MSE, R², PSNR with a peak of 1, and the SSIM that is given."""
    mse, r2 = float((output - target).square().mean()), ExplainedVariance(sync_on_compute=False).to(target.device)
    r2.update(output, target)
    return [mse, float(r2.compute()), -10 * math.log10(mse) if mse else math.inf, similarity]


COLUMNS = ("mse", "r2", "psnr", "ssim")


def worst_first(images: Mapping[str, Sequence[float]]) -> list[str]:
    """The names of images, of each of which there is what `COLUMNS` names, the least PSNR first, none before that."""

    def psnr(name: str) -> float:
        value = images[name][COLUMNS.index("psnr")]
        return -math.inf if math.isnan(value) else value

    return sorted(images, key=psnr)


def table(images: Mapping[str, Sequence[float]]) -> str:
    r"""The same as CSV with a row for each image, the worst first.

    >>> table({"cat": [0.01, 0.9, 20, 0.8], "dog": [0.1, 0.5, 10, 0.4]})
    'image,mse,r2,psnr,ssim\ndog,0.1,0.5,10,0.4\ncat,0.01,0.9,20,0.8\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", *COLUMNS))
    writer.writerows((name, *(f"{part:.6g}" for part in images[name])) for name in worst_first(images))
    return text.getvalue()


def image_metrics() -> MetricCollection:
    """MSE, R², PSNR and SSIM of output against target, each (B, C, H, W).

    PSNR and SSIM have a peak of 1, the range of images, whatever the target's own range is.
    """
    return MetricCollection(
        {
            "mse": MeanSquaredError(),
            "r2": ExplainedVariance(),
            "psnr": PeakSignalNoiseRatio(data_range=1.0),
            "ssim": Similarity(),
        },
        compute_groups=False,
    )
