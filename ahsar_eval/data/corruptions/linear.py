"""Separable linear operations as two matrix products: borders and sampling are part of the
matrices.
"""

import functools
import math
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.split import Indices

Matrix = NDArray[np.float64]
# How `numpy.pad` continues a border: repeated, mirrored about the edge, or about its centre.
Border = Literal["edge", "symmetric", "reflect"]


def side_ratio(images: Tensor) -> float:
    """Shorter side / 32: what the constants of CIFAR-10-C that are lengths in pixels are multiplied
    by.
    """
    return min(images.shape[-2:]) / 32


def separable(images: Tensor, rows: Matrix, columns: Matrix) -> Tensor:
    """rows · image · columnsᵀ for images [..., H, W]: matrices [H', H] and [W', W]; float32, the
    same bits for any batch size.

    A BLAS takes other routes for other batch sizes, and its last bits differ; the matrices are
    sparse, and a plain loop is as fast.
    """
    from ahsar_eval.data.kernels import sandwich

    planes = np.ascontiguousarray(images.to(torch.float32).numpy().reshape(-1, *images.shape[-2:]))
    out = np.empty((len(planes), len(rows), len(columns)), dtype=np.float32)
    sandwich(planes, _sparse(rows), _sparse(columns), out)
    return torch.from_numpy(out).view(*images.shape[:-2], len(rows), len(columns))


def on_both_axes(images: Tensor, matrix_of: Callable[[int], Matrix]) -> Tensor:
    """`separable` with the matrices of both sides, each a function of the side alone."""
    rows, columns = map(matrix_of, images.shape[-2:])
    return separable(images, rows, columns)


def _sparse(matrix: Matrix) -> tuple[Indices, Indices, NDArray[np.float32]]:
    """Where each row's weights start [rows + 1], their columns and the weights themselves, float32,
    zeros left out.
    """
    weights = matrix.astype(np.float32)
    row, column = np.nonzero(weights)
    return np.searchsorted(row, np.arange(len(matrix) + 1)), column, weights[row, column]


def noise_gain(images: Tensor, matrix_of: Callable[[int, float], Matrix], length: float) -> float:
    """What white noise of the images' size is multiplied by, so that after `matrix_of(size, length
    · ratio)` along each axis it spreads as at side 32.

    A smoothing as long as the side is larger flattens the noise of single pixels: thresholds meant
    for side 32 would never be reached.
    """
    gain, ratio = 1.0, side_ratio(images)
    for size in images.shape[-2:]:
        at_32, here = matrix_of(round(size / ratio), length), matrix_of(size, length * ratio)
        gain *= math.sqrt((at_32**2).sum(1).mean() / (here**2).sum(1).mean())
    return gain


@functools.lru_cache(maxsize=256)
def gaussian_matrix(
    size: int, sigma: float, border: Border = "edge", truncate: float = 4.0
) -> Matrix:
    """[size, size]: convolution with a Gaussian cut off at `truncate` σ."""
    radius = int(truncate * sigma + 0.5)
    weights = bell(radius, sigma) if sigma > 0 else np.ones(1)
    return convolution_matrix(size, weights / weights.sum(), border)


def bell(radius: int, sigma: float) -> Matrix:
    """exp(−i² / 2σ²) at the whole numbers i from −`radius` to `radius`."""
    return np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Images [..., H, W] smoothed by a Gaussian cut off at four σ, borders repeated."""
    return on_both_axes(images, lambda size: gaussian_matrix(size, sigma))


def convolution_matrix(size: int, kernel: Matrix, border: Border) -> Matrix:
    """[size, size]: Σ_j kernel[j] · x[i + j − radius] the border continued as `border`."""
    source = np.pad(np.arange(size), len(kernel) // 2, mode=border)
    matrix = np.zeros((size, size))
    for j, weight in enumerate(kernel):
        matrix[np.arange(size), source[j : j + size]] += weight
    return matrix


@functools.lru_cache(maxsize=256)
def zoom_matrix(size: int, factor: float) -> Matrix:
    """[size, size]: the centre 1 / factor of a line, enlarged to the whole of it by linear
    interpolation.

    As the original code does with scipy.ndimage.zoom (order 1): a whole number of pixels is cut
    out, brought to round(pixels · factor), and trimmed to the size. Factors below 1 are taken as 1.
    """
    factor = max(factor, 1.0)
    cut = int(np.ceil(size / factor))
    start, enlarged = (size - cut) // 2, round(cut * factor)
    trimmed = (enlarged - size) // 2
    places = np.linspace(0.0, cut - 1.0, enlarged)[trimmed : trimmed + size]
    lower = np.floor(places).astype(int).clip(0, max(cut - 2, 0))
    matrix = np.zeros((size, size))
    matrix[np.arange(size), start + lower] = 1 - (places - lower)
    if cut > 1:
        matrix[np.arange(size), start + lower + 1] = places - lower
    return matrix


@functools.lru_cache(maxsize=64)
def box_matrix(size: int, target: int) -> Matrix:
    """[target, size]: Pillow's BOX filter, the mean of the pixels whose centre lies within a target
    pixel.
    """
    scale, places = size / target, np.arange(size)
    width = max(scale, 1.0)
    centres = (np.arange(target)[:, None] + 0.5) * scale
    offsets = (places + 0.5 - centres) / width
    # Pillow's own bounds: a centre on the border of a target pixel falls by their rounding.
    first, end = (np.floor(centres + reach + 0.5) for reach in (-0.5 * width, 0.5 * width))
    inside = (places >= first) & (places < end) & (offsets > -0.5) & (offsets <= 0.5)
    return inside / inside.sum(axis=1, keepdims=True)


@functools.lru_cache(maxsize=64)
def bilinear_matrix(size: int, target: int) -> Matrix:
    """[target, size]: bilinear resizing between pixel centres, with a triangle as wide as a target
    pixel where it shrinks (antialiased).
    """
    scale = size / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distances = np.abs(np.arange(size) - centres[:, None]) / max(scale, 1.0)
    weights = np.maximum(0.0, 1 - distances)
    return weights / weights.sum(axis=1, keepdims=True)
