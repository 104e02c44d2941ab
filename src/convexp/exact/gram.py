"""Sums of products of image patches: Σ u uᵀ and Σ u yᵀ over the pixels of a rectangle, in two ways."""

import torch
from torch import Tensor

MOST_DIRECT = 24  # weights of a kernel, up to which multiplying all patches is faster than going by their structure


def goes_by_structure(kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]) -> bool:
    """Whether `sums` is `structured_sums`."""
    return stride == dilation == (1, 1) and kernel_size[0] * kernel_size[1] > MOST_DIRECT


def sums(
    region: Tensor, target: Tensor, *, kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Σ u uᵀ and Σ u yᵀ over all positions of a kernel in a rectangle.

    Args:
        region: (C, H, W) float64, all that the kernel reads; u is what it reads at one position, in the order of a
            `Conv2d`'s weights: P = C·kh·kw values.
        target: (O, h, w) float64, y at each position.
        kernel_size: kh, kw.
        stride: Distance of two positions in pixels, down and right.
        dilation: Distance of two weights in pixels, down and right.

    Returns:
        (P, P) and (P, O).

    Example:
        >>> uu, uy = sums(torch.ones(1, 4, 5), torch.ones(1, 4, 4), kernel_size=(1, 2), stride=(1, 1), dilation=(1, 1))
        >>> uu.tolist(), uy.tolist()
        ([[16.0, 16.0], [16.0, 16.0]], [[16.0], [16.0]])
    """
    if goes_by_structure(kernel_size, stride, dilation):
        return structured_sums(region, target, kernel_size=kernel_size)
    return direct_sums(region, target, kernel_size=kernel_size, stride=stride, dilation=dilation)


def direct_sums(
    region: Tensor, target: Tensor, *, kernel_size: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """As `sums`: multiplies the matrix of all patches by itself. Time ~ h·w·P², memory ~ h·w·P."""
    (kh, kw), (height, width), (channels, rows, columns) = kernel_size, target.shape[1:], region.stride()
    patches = region.as_strided(
        (len(region), kh, kw, height, width),
        (channels, rows * dilation[0], columns * dilation[1], rows * stride[0], columns * stride[1]),
    ).reshape(-1, height * width)
    return patches @ patches.T, patches @ target.reshape(len(target), -1).T


def structured_sums(region: Tensor, target: Tensor, *, kernel_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """As `sums` with stride and dilation 1, in time ~ h·w·log(h·w) + (h + w)·P².

    G[i, j] = Σₚ x[p + i]·x[p + j] depends on the offset j − i alone, but for the rectangle's edges: from (i, j) to
    (i + 1, j + 1) the sum moves on by one row (or column), so that one row's products leave it and one row's enter.
    What starts these recursions, with i or j at the first row and column, are correlations, computed by FFT. Such a
    matrix is said to have low displacement rank: Kailath, Kung and Morf, Displacement ranks of matrices and linear
    equations, Journal of Mathematical Analysis and Applications 68 (1979).
    """
    (kh, kw), (height, width) = kernel_size, target.shape[1:]
    channels, size = len(region), fast_size(region)
    everything = spectrum(region, size)
    uy = _correlation(spectrum(target, size), everything, size)[..., :kh, :kw].permute(1, 2, 3, 0)

    # first[c, ix, d, jy, jx] is G of (c, 0, ix) and (d, jy, jx).
    first = region.new_empty(channels, kw, channels, kh, kw)
    inside = spectrum(region[:, :height, :width], size)
    first[:, 0] = _correlation(inside, everything, size)[..., :kh, :kw]
    above, left_of = spectrum(region[:, :height], size), spectrum(region[..., :width], size)
    backwards = _correlation(above, left_of, size)[..., :kh, :]
    lags = -torch.arange(kw, device=region.device) % size[1]
    first[..., 0] = backwards[..., lags].permute(0, 3, 1, 2)
    left, right = region[..., : kw - 1], region[..., width:]
    change = _column_products(right, height, kh) - _column_products(left, height, kh)
    for ix in range(kw - 1):
        first[:, ix + 1, ..., 1:] = first[:, ix, ..., :-1] + change[:, ix]

    uu = region.new_empty(channels, kh, kw, channels, kh, kw)
    uu[:, :, :, :, 0] = first.permute(2, 3, 4, 0, 1)
    uu[:, 0] = first
    change = _row_products(region[:, height:], width) - _row_products(region[:, : kh - 1], width)
    for iy in range(kh - 1):
        uu[:, iy + 1, :, :, 1:] = uu[:, iy, :, :, :-1] + change[:, iy]
    return uu.reshape(channels * kh * kw, -1), uy.reshape(channels * kh * kw, -1)


def _column_products(columns: Tensor, height: int, kh: int) -> Tensor:
    """Σ_y x_c[y, ix]·x_d[y + jy, jx] over `height` rows: (C, columns, C, kh, columns)."""
    return torch.einsum("cyi,djky->cidjk", columns[:, :height], columns.unfold(1, height, 1))


def _row_products(rows: Tensor, width: int) -> Tensor:
    """Σ_x x_c[iy, ix + x]·x_d[jy, jx + x] over `width` columns: (C, rows, kw, C, rows, kw)."""
    shifted = rows.unfold(2, width, 1)  # (C, rows, kw, width)
    flat = shifted.reshape(-1, width)
    return (flat @ flat.T).reshape(*shifted.shape[:3], *shifted.shape[:3])


def structured_residual(region: Tensor, target: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """What a kernel leaves of the target, and its products with what the kernel reads, by FFT.

    Args:
        region: (C, H, W) float64.
        target: (O, h, w).
        kernel: (O, C, kh, kw).

    Returns:
        r = y − Σ kernel · region, (O, h, w), and Σ u rᵀ in the kernel's shape.
    """
    size, (height, width), (kh, kw) = fast_size(region), target.shape[1:], kernel.shape[2:]
    everything = spectrum(region, size)
    weighted = torch.einsum("ocyx,cyx->oyx", spectrum(kernel, size).conj(), everything)
    rest = target - torch.fft.irfft2(weighted, s=size)[:, :height, :width]
    return rest, _correlation(spectrum(rest, size), everything, size)[..., :kh, :kw]


def spectrum(values: Tensor, size: tuple[int, int]) -> Tensor:
    """The Fourier transform of values (..., h, w), laid into zeros of a size."""
    return torch.fft.rfft2(values, s=size)


def fast_size(region: Tensor) -> tuple[int, int]:
    """The smallest size that holds a region, and is fast to transform."""
    return _fast_length(region.shape[-2]), _fast_length(region.shape[-1])


def _correlation(a: Tensor, b: Tensor, size: tuple[int, int]) -> Tensor:
    """Σ_q a[q]·b[q + lag], of their spectra, for each channel of a with each of b: (channels, channels, *size)."""
    return torch.fft.irfft2(a.conj()[:, None] * b, s=size)


def _fast_length(least: int) -> int:
    """The smallest length with no prime factor above 5."""
    length = least
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
