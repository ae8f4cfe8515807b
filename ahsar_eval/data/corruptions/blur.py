"""Blurs: Gaussian, defocus, glass, motion, zoom."""

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.corruptions.linear import (
    convolution_matrix,
    gaussian,
    separable,
    side_ratio,
    zoom_matrix,
)
from ahsar_eval.data.randomness import Draws

_GAUSSIAN_SIGMA = (0.4, 0.6, 0.7, 0.8, 1.0)
_DEFOCUS = (
    (0.3, 0.4),
    (0.4, 0.5),
    (0.5, 0.6),
    (1.0, 0.2),
    (1.5, 0.1),
)  # radius of the disk, σ of its smoothed edge
_GLASS = (
    (0.05, 1, 1),
    (0.25, 1, 1),
    (0.4, 1, 1),
    (0.25, 1, 2),
    (0.4, 1, 2),
)  # σ, largest displacement, passes
_MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius, σ
_ZOOM_END = (1.06, 1.11, 1.16, 1.21, 1.26)


def gaussian_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Gaussian of σ·side/32, cut off at four σ, borders repeated."""
    return gaussian(images, _GAUSSIAN_SIGMA[severity - 1] * side_ratio(images))


def defocus_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """A disk whose edge is smoothed, borders mirrored; radius, σ and the reach of the smoothing
    scale with side / 32.

    Below side 32 the kernel of side 32 is brought to the wider pixels.
    """
    radius, sigma = _DEFOCUS[severity - 1]
    ratio = side_ratio(images)
    if ratio < 1:  # a disk smaller than a pixel would be none
        return _filtered(images, _shrunk(_smoothed(_disk(radius), _smoothing(sigma, 1)), ratio))
    smoothing = _smoothing(sigma * ratio, max(1, round(ratio)))
    disk = _disk(radius * ratio)
    if disk.size == 1:  # a disk of one pixel leaves the smoothing alone, which is separable
        rows, columns = (
            convolution_matrix(size, smoothing, "mirror") for size in images.shape[-2:]
        )
        return separable(images, rows, columns)
    return _filtered(images, _smoothed(disk, smoothing))


def glass_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Blurred, every inner pixel replaced by one displaced by −d … d − 1 in each direction, as
    often as there are passes, blurred again.

    The original code means to swap pixels and, through NumPy's views, copies the displaced one; its
    draw leaves out +d. Both are kept: they are what CIFAR-10-C holds. It works in place, pixel by
    pixel; with d = 1 (side 32) no pixel is read after it was written, and the pass is the gather
    done here.
    """
    sigma, delta, passes = _GLASS[severity - 1]
    ratio = side_ratio(images)
    delta = max(1, round(delta * ratio))
    channels, height, width = images.shape[1:]
    blurred = gaussian(images, sigma * ratio).flatten(2)
    places = torch.arange(height * width).view(1, height, width)
    inner = torch.zeros(height, width, dtype=torch.bool)
    inner[delta + 1 : height - delta + 1, delta + 1 : width - delta + 1] = True
    for _ in range(passes):
        moves = draws.integers(-delta, delta, 2, height, width)
        rows = (places // width + moves[:, 0]).clamp_(0, height - 1)
        columns = (places % width + moves[:, 1]).clamp_(0, width - 1)
        source = torch.where(inner, rows * width + columns, places).flatten(1)
        blurred = blurred.gather(2, source[:, None].expand(-1, channels, -1))
    return gaussian(blurred.view(images.shape), sigma * ratio)


def motion_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """One-sided Gaussian along a direction drawn from −45° to 45°, borders repeated."""
    radius, sigma = _MOTION[severity - 1]
    ratio = side_ratio(images)
    return motion(images, radius * ratio, sigma * ratio, draws.uniform(low=-45.0, high=45.0))


def zoom_blur(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Mean of the image and of its enlargements by 1, 1.01, … about the centre."""
    height, width = images.shape[-2:]
    factors = np.arange(1, _ZOOM_END[severity - 1], 0.01)
    # Many factors cut out the same number of pixels and give the same matrices.
    pairs: dict[tuple[bytes, bytes], tuple[int, NDArray[np.float64], NDArray[np.float64]]] = {}
    for factor in factors:
        rows, columns = zoom_matrix(height, float(factor)), zoom_matrix(width, float(factor))
        times = pairs.get((rows.tobytes(), columns.tobytes()), (0, rows, columns))[0]
        pairs[rows.tobytes(), columns.tobytes()] = (times + 1, rows, columns)
    total = images.clone()
    for times, rows, columns in pairs.values():
        total += separable(images, times * rows, columns)
    return total / (len(factors) + 1)


def motion(images: Tensor, radius: float, sigma: float, degrees: Tensor) -> Tensor:
    """Blur of images [N, C, H, W] along `degrees` [N] as ImageMagick's -motion-blur: a half
    Gaussian of 2·radius + 1 steps of a pixel.
    """
    from ahsar_eval.data.kernels import smear

    steps = np.arange(2 * max(1, round(radius)) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights = weights / weights.sum()
    steps, weights = steps[weights > 1e-9], weights[weights > 1e-9]
    angle = np.deg2rad(degrees.double().numpy())[:, None]
    rows = np.ceil(steps * np.sin(angle) - 0.5).astype(np.int64)
    columns = np.ceil(steps * np.cos(angle) - 0.5).astype(np.int64)
    out = np.empty(images.shape, dtype=np.float32)
    smear(np.ascontiguousarray(images.numpy()), rows, columns, weights.astype(np.float32), out)
    return torch.from_numpy(out)


@functools.lru_cache(maxsize=64)
def _disk(radius: float) -> NDArray[np.float64]:
    reach = math.floor(radius)
    across = np.arange(-reach, reach + 1)
    inside = (across[:, None] ** 2 + across[None] ** 2 <= radius**2).astype(np.float64)
    return inside / inside.sum()


def _smoothing(sigma: float, reach: int) -> NDArray[np.float64]:
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return weights / weights.sum()


def _smoothed(disk: NDArray[np.float64], smoothing: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.ndimage import convolve

    return convolve(
        np.pad(disk, len(smoothing) // 2), np.outer(smoothing, smoothing), mode="constant"
    )


def _shrunk(kernel: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
    """A kernel of side 32 on pixels 1 / `ratio` as wide: each takes what it covers of
    the old ones."""
    reach = len(kernel) // 2
    target = math.ceil((reach + 0.5) * ratio - 0.5)
    old, new = np.arange(-reach, reach + 1) * ratio, np.arange(-target, target + 1)[:, None]
    covered = np.minimum(old + ratio / 2, new + 0.5) - np.maximum(old - ratio / 2, new - 0.5)
    share = covered.clip(0) / ratio
    return share @ kernel @ share.T


def _filtered(images: Tensor, kernel: NDArray[np.float64]) -> Tensor:
    """Correlation of every channel with one kernel, borders mirrored (OpenCV's default)."""
    reach = len(kernel) // 2
    height, width = images.shape[-2:]
    if reach <= 2:  # a few shifted sums are faster than a convolution of one channel
        padded = F.pad(images, (reach,) * 4, mode="reflect")
        total = torch.zeros_like(images)
        for (dy, dx), weight in np.ndenumerate(kernel):
            if weight > 1e-12:
                total.add_(padded[..., dy : dy + height, dx : dx + width], alpha=float(weight))
        return total
    weights = torch.from_numpy(kernel).to(images.dtype)[None, None]
    flat = images.reshape(-1, 1, height, width)
    return F.conv2d(F.pad(flat, (reach,) * 4, mode="reflect"), weights).reshape(images.shape)
