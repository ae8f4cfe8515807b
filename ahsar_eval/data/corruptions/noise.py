"""Noise: Gaussian, shot, impulse, speckle."""

import torch
from torch import Tensor

from ahsar_eval.data.randomness import Draws

_GAUSSIAN_STD = (0.04, 0.06, 0.08, 0.09, 0.10)
_SHOT_PHOTONS = (500.0, 250.0, 100.0, 75.0, 50.0)
_IMPULSE_AMOUNT = (0.01, 0.02, 0.03, 0.05, 0.07)
_SPECKLE_STD = (0.06, 0.1, 0.12, 0.16, 0.2)


def gaussian_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """x + σ·N(0, 1)."""
    return draws.normal(*images.shape[1:]).mul_(_GAUSSIAN_STD[severity - 1]).add_(images)


def shot_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Poisson(x·c) / c: c photons for a white pixel."""
    photons = _SHOT_PHOTONS[severity - 1]
    return draws.poisson(images * photons).div_(photons)


def impulse_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Salt and pepper in equal parts on a fraction of the values, each channel's on its own."""
    amount = _IMPULSE_AMOUNT[severity - 1]
    draw = draws.uniform(*images.shape[1:])
    return torch.where(draw < amount / 2, 0.0, torch.where(draw < amount, 1.0, images))


def speckle_noise(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """x + x·σ·N(0, 1)."""
    return draws.normal(*images.shape[1:]).mul_(_SPECKLE_STD[severity - 1]).add_(1).mul_(images)
