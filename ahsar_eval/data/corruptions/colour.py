"""Brightness, saturation, contrast and our inversion and channel shuffle."""

import numpy as np
import torch
from torch import Tensor

from ahsar_eval.data.randomness import Draws

_BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
_CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
_SATURATE = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
_INVERSION = (0.2, 0.4, 0.6, 0.8, 1.0)
_SHUFFLE = (0.2, 0.4, 0.6, 0.8, 1.0)
_ORDERS = torch.tensor(
    [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
)  # every order of three but the first


def brightness(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """V + c in HSV: all channels of a pixel are scaled so that the largest grows by c, black
    becomes grey.
    """
    value = images.amax(dim=1, keepdim=True)
    raised = (value + _BRIGHTNESS[severity - 1]).clamp(max=1)
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-12)), raised)


def saturate(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """S·a + b in HSV, clipped. A grey pixel has hue 0 and turns reddish where b > 0, as in the
    original code.
    """
    factor, offset = _SATURATE[severity - 1]
    value, least = images.amax(dim=1, keepdim=True), images.amin(dim=1, keepdim=True)
    spread = value - least
    saturation = spread / value.clamp(min=1e-12)
    wanted = (saturation * factor + offset).clamp(0, 1)
    # A channel lies below V by V·S·f, where f depends on the hue alone; of a grey pixel red is the
    # largest.
    red = torch.tensor([0.0, 1.0, 1.0]).view(1, 3, 1, 1)
    below = torch.where(spread > 0, (value - images) / spread.clamp(min=1e-12), red)
    return value - value * wanted * below


def contrast(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """(x − mean)·c + mean about each image's mean per channel."""
    factor = _CONTRAST[severity - 1]
    # NumPy's sum of a plane does not depend on how many planes there are; torch's does, with
    # several threads.
    means = torch.from_numpy(
        images.numpy().reshape(*images.shape[:2], -1).mean(axis=2, dtype=np.float64)
    ).float()
    return torch.add(means[:, :, None, None] * (1 - factor), images, alpha=factor)


def inversion(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """(1 − a)·x + a·(1 − x): severity 5 is the negative."""
    amount = _INVERSION[severity - 1]
    return (1 - amount) * images + amount * (1 - images)


def channel_shuffle(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """(1 − a)·x + a·x with its colour channels in another order, drawn per sample."""
    order = _ORDERS[draws.integers(0, len(_ORDERS))]
    shuffled = images.gather(1, order[:, :, None, None].expand(images.shape))
    return torch.lerp(images, shuffled, _SHUFFLE[severity - 1])
