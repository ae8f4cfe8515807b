"""Corruptions of values: noise, brightness, saturation, contrast, inversion, channel shuffle, and
what a baseline JPEG loses.

Each of the shifts takes images [N, C, H, W] in [0, 1], its constant of `shifts.SHIFTS` and the
random numbers of the samples, as do those of the other files here.
"""

import functools
import itertools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.corruptions.linear import Matrix, on_both_axes
from ahsar_eval.data.randomness import Draws

_ORDERS = torch.tensor([*itertools.permutations(range(3))][1:])  # all but the images' own
# ITU-T T.81, tables K.1 and K.2: quantisation of luminance and chrominance.
_LUMINANCE = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112
100 103 99
"""
_CHROMINANCE = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
"""


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


def jpeg_compression(images: Tensor, quality: int, draws: Draws) -> Tensor:
    """What a baseline JPEG of that quality loses: 8-bit YCbCr, chroma at half size, 8×8 cosine
    transform, quantisation, and back.

    Entropy coding loses nothing and is left out. Rounding follows libjpeg, whose own result differs
    by a grey level here and there.
    """
    levels = (images.clamp(0, 1) * 255).round()
    height, width = images.shape[-2:]
    if images.shape[1] == 1:
        return _coded(levels, _table(_LUMINANCE, quality)) / 255
    red, green, blue = levels.unbind(1)
    luma = (0.299 * red + 0.587 * green + 0.114 * blue).round()
    luma = _coded(luma[:, None], _table(_LUMINANCE, quality))[:, 0]
    chroma = torch.stack(
        [
            -0.168735892 * red - 0.331264108 * green + 0.5 * blue + 128,
            0.5 * red - 0.418687589 * green - 0.081312411 * blue + 128,
        ],
        1,
    ).round()
    # libjpeg fills a row of whole blocks before it halves, a column after.
    even = F.pad(chroma, (0, -width % 16, 0, height % 2), mode="replicate")
    # Four pixels are added and divided with rounding; libjpeg alternates the bias 1, 2 along a row.
    bias = torch.tensor([1.0, 2.0]).repeat(-(-even.shape[-1] // 4))[: even.shape[-1] // 2]
    halved = torch.floor((F.avg_pool2d(even, 2) * 4 + bias) / 4)
    decoded = _coded(halved, _table(_CHROMINANCE, quality))
    doubled = _doubled(decoded[..., : (width + 1) // 2])
    blue_chroma, red_chroma = (doubled[..., :height, :width] - 128).unbind(1)
    colour = [
        luma + (1.402 * red_chroma).round(),
        luma + (-0.344136286 * blue_chroma - 0.714136286 * red_chroma).round(),
        luma + (1.772 * blue_chroma).round(),
    ]
    return torch.stack(colour, 1).clamp(0, 255) / 255


def _coded(levels: Tensor, table: Matrix) -> Tensor:
    """Levels [N, C, h, w] after cosine transform, quantisation and back; sides padded to multiples
    of 8 by repeating the edge.
    """
    height, width = levels.shape[-2:]
    padded = F.pad(levels, (0, -width % 8, 0, -height % 8), mode="replicate")
    steps = torch.from_numpy(np.tile(table, [size // 8 for size in padded.shape[-2:]])).float()
    # libjpeg's transform gives whole eighths, so that the edge between two steps is hit often: its
    # side is decided here.
    frequencies = (on_both_axes(padded - 128, _cosines) * 8).round_() / (8 * steps)
    quantised = torch.trunc(frequencies + 0.5 * torch.sign(frequencies)) * steps
    # Halves are frequent too (a flat block is a multiple of step / 8) and are rounded up, whatever
    # float32's last bits say.
    restored = on_both_axes(quantised, lambda size: _cosines(size).T)
    return restored.add_(128.5 + 1e-4).floor_().clamp_(0, 255)[..., :height, :width]


@functools.lru_cache(maxsize=32)
def _cosines(size: int) -> Matrix:
    """[size, size]: the orthonormal cosine transform of every block of eight."""
    from scipy.fft import dct

    return np.kron(np.eye(size // 8), dct(np.eye(8), axis=0, norm="ortho")).astype(np.float64)


def _table(text: str, quality: int) -> Matrix:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array(text.split(), dtype=np.int64).reshape(8, 8)
    return ((base * scale + 50) // 100).clip(1, 255).astype(np.float64)


def _doubled(small: Tensor) -> Tensor:
    """Twice the size by libjpeg's triangle filter: 3/4 of the nearer and 1/4 of the farther
    neighbour, in whole sixteenths and rounded as it does.
    """
    sixteenths = F.interpolate(small, scale_factor=2, mode="bilinear") * 16
    bias = torch.tensor([8.0, 7.0]).repeat(small.shape[-1])
    return torch.floor((sixteenths + bias) / 16)
