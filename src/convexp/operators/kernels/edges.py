"""Small kernels of whole numbers, most of them derivatives; none is normalised."""

import torch
from torch import Tensor


def sobel_x() -> Tensor:
    """Return Sobel's 3×3 horizontal derivative, positive where the image grows brighter to the right.

    Not normalised: on a ramp that grows by s a pixel it answers 8 s.

    Example:
        >>> sobel_x()
        tensor([[-1.,  0.,  1.],
                [-2.,  0.,  2.],
                [-1.,  0.,  1.]])
    """
    return torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])


def sobel_y() -> Tensor:
    """Return Sobel's 3×3 vertical derivative, positive where the image grows brighter downwards.

    Example:
        >>> sobel_y()
        tensor([[-1., -2., -1.],
                [ 0.,  0.,  0.],
                [ 1.,  2.,  1.]])
    """
    return sobel_x().T


def scharr_x() -> Tensor:
    """Return Scharr's 3×3 horizontal derivative, whose answer depends less on an edge's direction; 32 s on a ramp.

    Scharr, Optimale Operatoren in der digitalen Bildverarbeitung, dissertation, Heidelberg 2000.

    Example:
        >>> scharr_x()
        tensor([[ -3.,   0.,   3.],
                [-10.,   0.,  10.],
                [ -3.,   0.,   3.]])
    """
    return torch.tensor([[-3.0, 0.0, 3.0], [-10.0, 0.0, 10.0], [-3.0, 0.0, 3.0]])


def scharr_y() -> Tensor:
    """Return Scharr's 3×3 vertical derivative.

    Example:
        >>> scharr_y()
        tensor([[ -3., -10.,  -3.],
                [  0.,   0.,   0.],
                [  3.,  10.,   3.]])
    """
    return scharr_x().T


def prewitt_x() -> Tensor:
    """Return Prewitt's 3×3 horizontal derivative: differences, summed over three rows; 6 s on a ramp.

    Example:
        >>> prewitt_x()
        tensor([[-1.,  0.,  1.],
                [-1.,  0.,  1.],
                [-1.,  0.,  1.]])
    """
    return torch.tensor([[-1.0, 0.0, 1.0]]).repeat(3, 1)


def prewitt_y() -> Tensor:
    """Return Prewitt's 3×3 vertical derivative.

    Example:
        >>> prewitt_y()
        tensor([[-1., -1., -1.],
                [ 0.,  0.,  0.],
                [ 1.,  1.,  1.]])
    """
    return prewitt_x().T


def vertical_edge() -> Tensor:
    """Return the 2×2 difference that answers to vertical edges, positive where it grows brighter to the right.

    Example:
        >>> vertical_edge()
        tensor([[-1.,  1.],
                [-1.,  1.]])
    """
    return torch.tensor([[-1.0, 1.0], [-1.0, 1.0]])


def horizontal_edge() -> Tensor:
    """Return the 2×2 difference that answers to horizontal edges, positive where it grows brighter downwards.

    Example:
        >>> horizontal_edge()
        tensor([[-1., -1.],
                [ 1.,  1.]])
    """
    return vertical_edge().T


def laplacian() -> Tensor:
    """Return the sum of both second derivatives over the four neighbours.

    Example:
        >>> laplacian()
        tensor([[ 0.,  1.,  0.],
                [ 1., -4.,  1.],
                [ 0.,  1.,  0.]])
    """
    return torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def laplacian_8() -> Tensor:
    """Return the Laplacian over all eight neighbours.

    Example:
        >>> laplacian_8()
        tensor([[ 1.,  1.,  1.],
                [ 1., -8.,  1.],
                [ 1.,  1.,  1.]])
    """
    kernel = torch.ones(3, 3)
    kernel[1, 1] = -8
    return kernel


def emboss() -> Tensor:
    """Return the kernel of a relief that is lit from the upper left; it sums to 1, so that flat areas stay.

    Example:
        >>> emboss()
        tensor([[-2., -1.,  0.],
                [-1.,  1.,  1.],
                [ 0.,  1.,  2.]])
    """
    return torch.tensor([[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
