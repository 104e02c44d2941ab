"""How close a model's output is to the target, over whole images."""

import torch
from torch import Tensor
from torchmetrics import MeanSquaredError, Metric, MetricCollection
from torchmetrics.image import PeakSignalNoiseRatio, StructuralSimilarityIndexMeasure


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

    def __init__(self) -> None:
        super().__init__()
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


class Similarity(StructuralSimilarityIndexMeasure):
    """SSIM, averaged over the images that are at least as large as its 11×11 window; NaN if none is."""

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Adds images, (B, C, H, W)."""
        if min(target.shape[-2:]) >= 11:
            super().update(preds, target)

    def compute(self) -> Tensor:
        """The mean SSIM of everything added so far."""
        if self.total == 0:
            return torch.tensor(torch.nan)
        mean = super().compute()
        assert isinstance(mean, Tensor)  # a pair only if the full image of similarities is asked for
        return mean


def image_metrics() -> MetricCollection:
    """MSE, R², PSNR and SSIM of output against target, each (B, C, H, W).

    PSNR and SSIM are those of torchmetrics with a peak of 1, the range of images, whatever the target's own range is.
    """
    return MetricCollection(
        {
            "mse": MeanSquaredError(),
            "r2": ExplainedVariance(),
            "psnr": PeakSignalNoiseRatio(data_range=1.0),
            "ssim": Similarity(data_range=1.0),
        },
        compute_groups=False,
    )
