"""Blurs: Gaussian, defocus, glass, motion, zoom."""

import functools
import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.corruptions.linear import (
    Matrix,
    bell,
    convolution_matrix,
    gaussian,
    on_both_axes,
    separable,
    side_ratio,
    zoom_matrix,
)
from ahsar_eval.data.randomness import Draws


def gaussian_blur(images: Tensor, sigma: float, draws: Draws) -> Tensor:
    """Gaussian of σ·side/32, cut off at four σ, borders repeated."""
    return gaussian(images, sigma * side_ratio(images))


def defocus_blur(images: Tensor, lens: tuple[float, float], draws: Draws) -> Tensor:
    """A disk whose edge is smoothed, borders mirrored; radius, σ and the reach of the smoothing
    scale with side / 32.

    Below side 32 the kernel of side 32 is brought to the wider pixels.
    """
    radius, sigma = lens
    ratio = side_ratio(images)
    at = max(ratio, 1.0)  # a disk smaller than a pixel would be none
    smoothing = bell(max(1, round(at)), sigma * at)
    smoothing = smoothing / smoothing.sum()
    disk = _disk(radius * at)
    if ratio >= 1 and disk.size == 1:  # one pixel leaves the smoothing alone, which is separable
        return on_both_axes(images, lambda size: convolution_matrix(size, smoothing, "reflect"))
    from scipy.ndimage import convolve

    kernel = convolve(
        np.pad(disk, len(smoothing) // 2), np.outer(smoothing, smoothing), mode="constant"
    )
    return filtered(images, _shrunk(kernel, ratio) if ratio < 1 else kernel)


def glass_blur(images: Tensor, glass: tuple[float, int, int], draws: Draws) -> Tensor:
    """Blurred, every inner pixel replaced by one displaced by −d … d − 1 in each direction, as
    often as there are passes, blurred again.

    The original code means to swap pixels and, through NumPy's views, copies the displaced one; its
    draw leaves out +d. Both are kept: they are what CIFAR-10-C holds. It works in place, pixel by
    pixel; with d = 1 (side 32) no pixel is read after it was written, and the pass is the gather
    done here.
    """
    sigma, delta, passes = glass
    ratio = side_ratio(images)
    delta = max(1, round(delta * ratio))
    channels, height, width = images.shape[1:]
    blurred = gaussian(images, sigma * ratio).flatten(2)
    places = torch.arange(height * width).view(height, width)
    inner = torch.zeros_like(places)
    inner[delta + 1 : height - delta + 1, delta + 1 : width - delta + 1] = 1
    for _ in range(passes):
        down, right = draws.integers(-delta, delta, 2, height, width).unbind(1)
        source = (places + inner * (down * width + right)).flatten(1)
        blurred = blurred.gather(2, source[:, None].expand(-1, channels, -1))
    return gaussian(blurred.view(images.shape), sigma * ratio)


def motion_blur(images: Tensor, streak: tuple[float, float], draws: Draws) -> Tensor:
    """One-sided Gaussian along a direction drawn from −45° to 45°, borders repeated."""
    return motion(images, streak, draws.uniform(low=-45.0, high=45.0), side_ratio(images))


def zoom_blur(images: Tensor, end: float, draws: Draws) -> Tensor:
    """Mean of the image and of its enlargements by 1, 1.01, … about the centre."""
    factors = np.arange(1, end, 0.01)
    # Many factors cut out the same number of pixels and give the same matrices.
    alike: dict[bytes, list[list[Matrix]]] = {}
    for factor in factors:
        pair = [zoom_matrix(size, float(factor)) for size in images.shape[-2:]]
        alike.setdefault(b"".join(matrix.tobytes() for matrix in pair), []).append(pair)
    total = images.clone()
    for pairs in alike.values():
        rows, columns = pairs[0]
        total += separable(images, len(pairs) * rows, columns)
    return total / (len(factors) + 1)


def motion(images: Tensor, streak: tuple[float, float], degrees: Tensor, ratio: float) -> Tensor:
    """Blur of images [N, C, H, W] along `degrees` [N] as ImageMagick's -motion-blur: a half
    Gaussian of 2·radius + 1 steps of a pixel, radius and σ (`streak`) times `ratio`.
    """
    from ahsar_eval.data.kernels import smear

    radius, sigma = (length * ratio for length in streak)
    steps = np.arange(2 * max(1, round(radius)) + 1)
    weights = np.exp(-0.5 * (steps / sigma) ** 2)
    weights = weights / weights.sum()
    steps, weights = steps[weights > 1e-9], weights[weights > 1e-9]
    angle = np.deg2rad(degrees.double().numpy())[:, None]
    rows, columns = (
        np.ceil(steps * side - 0.5).astype(np.int64) for side in (np.sin(angle), np.cos(angle))
    )
    out = np.empty(images.shape, dtype=np.float32)
    smear(np.ascontiguousarray(images.numpy()), rows, columns, weights.astype(np.float32), out)
    return torch.from_numpy(out)


@functools.lru_cache(maxsize=64)
def _disk(radius: float) -> Matrix:
    reach = math.floor(radius)
    across = np.arange(-reach, reach + 1)
    inside = (across[:, None] ** 2 + across[None] ** 2 <= radius**2).astype(np.float64)
    return inside / inside.sum()


def _shrunk(kernel: Matrix, ratio: float) -> Matrix:
    """A kernel of side 32 on pixels 1 / `ratio` as wide: each takes what it covers of
    the old ones."""
    reach = len(kernel) // 2
    target = math.ceil((reach + 0.5) * ratio - 0.5)
    old, new = np.arange(-reach, reach + 1) * ratio, np.arange(-target, target + 1)[:, None]
    covered = np.minimum(old + ratio / 2, new + 0.5) - np.maximum(old - ratio / 2, new - 0.5)
    share = covered.clip(0) / ratio
    return share @ kernel @ share.T


def filtered(images: Tensor, kernel: Matrix) -> Tensor:
    """Correlation of every channel with one kernel, borders mirrored (OpenCV's default)."""
    reach = len(kernel) // 2
    height, width = images.shape[-2:]
    padded = F.pad(images, (reach,) * 4, mode="reflect")
    if reach > 2:
        weights = torch.from_numpy(kernel).to(images.dtype)[None, None]
        return F.conv2d(padded.flatten(0, 1)[:, None], weights).view(images.shape)
    total = torch.zeros_like(images)  # a few shifted sums are faster
    for (dy, dx), weight in np.ndenumerate(kernel):
        if abs(weight) > 1e-12:
            total.add_(padded[..., dy : dy + height, dx : dx + width], alpha=float(weight))
    return total
