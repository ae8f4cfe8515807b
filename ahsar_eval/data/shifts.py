"""Shifts of an image set: pure functions of a batch, with severities 1 to 5.

Each takes images [N, C, H, W] float32 in [0, 1], a severity and one random generator per sample, and returns images of the same shape
in [0, 1]. Constants of the noises, contrast and blur are CIFAR-10-C's (Hendrycks and Dietterich 2019, make_cifar_c.py); lengths in pixels
scale with side / 32. Rotation and inversion are ours. The constants stand in docs/data.md.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data import randomness
from ahsar_eval.data.split import Indices

Generators = list[np.random.Generator]
SEVERITIES = (1, 2, 3, 4, 5)

_GAUSSIAN_STD = (0.04, 0.06, 0.08, 0.09, 0.10)
_IMPULSE_AMOUNT = (0.01, 0.02, 0.03, 0.05, 0.07)
_BLUR_SIGMA_AT_32 = (0.4, 0.6, 0.7, 0.8, 1.0)
_CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
_ROTATION_DEGREES = (10.0, 20.0, 30.0, 40.0, 50.0)
_INVERSION = (0.2, 0.4, 0.6, 0.8, 1.0)


def gaussian_noise(images: Tensor, severity: int, makers: Generators) -> Tensor:
    """x + σ·N(0, 1), clipped."""
    noise = randomness.normal(tuple(images.shape[1:]), makers)
    return (images + _GAUSSIAN_STD[severity - 1] * noise).clamp(0, 1)


def impulse_noise(images: Tensor, severity: int, makers: Generators) -> Tensor:
    """Salt and pepper in equal parts on a fraction of the values, each channel's on its own."""
    amount = _IMPULSE_AMOUNT[severity - 1]
    draw = randomness.uniform(tuple(images.shape[1:]), makers)
    return torch.where(draw < amount / 2, 0.0, torch.where(draw < amount, 1.0, images))


def gaussian_blur(images: Tensor, severity: int, makers: Generators) -> Tensor:
    """Separable Gaussian of σ·side/32, cut off at four σ, borders replicated (as scipy.ndimage's mode 'nearest')."""
    sigma = _BLUR_SIGMA_AT_32[severity - 1] * min(images.shape[2:]) / 32
    radius = max(1, int(4 * sigma + 0.5))
    kernel = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float64) / sigma) ** 2)
    kernel = (kernel / kernel.sum()).to(images.dtype)
    flat = images.reshape(-1, 1, *images.shape[2:])
    rows = F.conv2d(F.pad(flat, (0, 0, radius, radius), mode="replicate"), kernel.view(1, 1, -1, 1))
    both = F.conv2d(F.pad(rows, (radius, radius, 0, 0), mode="replicate"), kernel.view(1, 1, 1, -1))
    return both.reshape(images.shape).clamp(0, 1)


def contrast(images: Tensor, severity: int, makers: Generators) -> Tensor:
    """(x − mean)·c + mean about each image's mean per channel."""
    means = images.mean(dim=(2, 3), keepdim=True)
    return ((images - means) * _CONTRAST[severity - 1] + means).clamp(0, 1)


def rotation(images: Tensor, severity: int, makers: Generators) -> Tensor:
    """Rotation about the centre by a fixed angle, its sense drawn per sample; bilinear, borders replicated."""
    angle = math.radians(_ROTATION_DEGREES[severity - 1])
    signs = torch.where(randomness.uniform((1,), makers)[:, 0] < 0.5, -1.0, 1.0)
    cos, sin = torch.full_like(signs, math.cos(angle)), signs * math.sin(angle)
    ratio = images.shape[2] / images.shape[3]  # affine_grid works in units of half sides
    zeros = torch.zeros_like(cos)
    matrices = torch.stack([torch.stack([cos, -sin * ratio, zeros], 1), torch.stack([sin / ratio, cos, zeros], 1)], 1)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False).clamp(0, 1)


def inversion(images: Tensor, severity: int, makers: Generators) -> Tensor:
    """(1 − a)·x + a·(1 − x): severity 5 is the negative."""
    amount = _INVERSION[severity - 1]
    return (1 - amount) * images + amount * (1 - images)


@dataclass(frozen=True)
class Shift:
    """A shift, and whether an image keeps its class under it (only then is an accuracy reported)."""

    apply: Callable[[Tensor, int, Generators], Tensor]
    labels_preserved: bool = True
    random: bool = False


SHIFTS = {
    "gaussian_noise": Shift(gaussian_noise, random=True),
    "impulse_noise": Shift(impulse_noise, random=True),
    "gaussian_blur": Shift(gaussian_blur),
    "contrast": Shift(contrast),
    "rotation": Shift(rotation, random=True),
    "inversion": Shift(inversion),
}
ALIASES = {"blur": "gaussian_blur"}


def shifted(images: Tensor, shift: str, severity: int, seed: int, indices: Indices) -> Tensor:
    """Apply a shift of the catalogue to images [N, C, H, W] whose places in their set are `indices`."""
    known = SHIFTS[shift]
    makers = randomness.generators(seed, shift, severity, indices) if known.random else []
    return known.apply(images, severity, makers)
