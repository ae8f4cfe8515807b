"""Corruptions of values: noise, brightness, saturation, contrast, inversion and channel shuffle.

Each of the shifts takes images [N, C, H, W] in [0, 1], its constant of `shifts.SHIFTS` and the
random numbers of the samples, as do those of the other files here.
"""

import numpy as np
import torch
from torch import Tensor

from ahsar_eval.data.randomness import Draws

LUMA = (0.299, 0.587, 0.114)
_ORDERS = torch.tensor(
    [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
)  # every order of three but the first


def grey(images: Tensor) -> Tensor:
    """ITU-R BT.601 luma of images [..., C, H, W], [..., 1, H, W], as in Pillow's convert("L") and
    OpenCV's COLOR_RGB2GRAY; images of one channel as they are.
    """
    if images.shape[-3] == 1:
        return images
    return (images * images.new_tensor(LUMA).view(3, 1, 1)).sum(-3, keepdim=True)


def gaussian_noise(images: Tensor, std: float, draws: Draws) -> Tensor:
    """x + σ·N(0, 1)."""
    return draws.normal(*images.shape[1:]).mul_(std).add_(images)


def shot_noise(images: Tensor, photons: float, draws: Draws) -> Tensor:
    """Poisson(x·c) / c: c photons for a white pixel."""
    return draws.poisson(images * photons).div_(photons)


def impulse_noise(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """Salt and pepper in equal parts on a fraction of the values, each channel's on its own."""
    draw = draws.uniform(*images.shape[1:])
    return torch.where(draw < amount / 2, 0.0, torch.where(draw < amount, 1.0, images))


def speckle_noise(images: Tensor, std: float, draws: Draws) -> Tensor:
    """x + x·σ·N(0, 1)."""
    return draws.normal(*images.shape[1:]).mul_(std).add_(1).mul_(images)


def brightness(images: Tensor, more: float, draws: Draws) -> Tensor:
    """V + c in HSV: all channels of a pixel are scaled so that the largest grows by c, black
    becomes grey.
    """
    value = images.amax(dim=1, keepdim=True)
    raised = (value + more).clamp(max=1)
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-12)), raised)


def saturate(images: Tensor, line: tuple[float, float], draws: Draws) -> Tensor:
    """S·a + b in HSV, clipped. A grey pixel has hue 0 and turns reddish where b > 0, as in the
    original code.
    """
    factor, offset = line
    value, least = images.amax(dim=1, keepdim=True), images.amin(dim=1, keepdim=True)
    spread = value - least
    wanted = (spread / value.clamp(min=1e-12) * factor + offset).clamp(0, 1)
    # A channel lies below V by V·S·f, where f depends on the hue alone; of a grey pixel red is the
    # largest.
    red = torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    below = torch.where(spread > 0, (value - images) / spread.clamp(min=1e-12), red)
    return value - value * wanted * below


def contrast(images: Tensor, factor: float, draws: Draws) -> Tensor:
    """(x − mean)·c + mean about each image's mean per channel."""
    # NumPy's sum of a plane does not depend on how many planes there are; torch's does, with
    # several threads.
    means = images.flatten(2).numpy().mean(axis=2, dtype=np.float64)
    return torch.add(
        torch.from_numpy(means).float()[:, :, None, None] * (1 - factor), images, alpha=factor
    )


def inversion(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """(1 − a)·x + a·(1 − x): severity 5 is the negative."""
    return (1 - amount) * images + amount * (1 - images)


def channel_shuffle(images: Tensor, amount: float, draws: Draws) -> Tensor:
    """(1 − a)·x + a·x with its colour channels in another order, drawn per sample."""
    order = _ORDERS[draws.integers(0, len(_ORDERS))]
    shuffled = images.gather(1, order[:, :, None, None].expand(images.shape))
    return torch.lerp(images, shuffled, amount)
