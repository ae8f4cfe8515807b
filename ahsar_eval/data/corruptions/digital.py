"""Pixelate, JPEG compression, elastic transform."""

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.corruptions.linear import box_matrix, gaussian_matrix, separable, side_ratio
from ahsar_eval.data.randomness import Draws

_PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)  # of the side, rounded down: 30, 28, 27, 24, 20 of 32
_ELASTIC = (
    (0.0, 0.0, 2.56),
    (1.6, 6.4, 2.24),
    (2.56, 1.92, 1.92),
    (3.2, 1.28, 1.6),
    (3.2, 0.96, 0.96),
)  # α, σ, affine, in pixels


def pixelate(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Made smaller and larger again with Pillow's box filter."""
    height, width = images.shape[-2:]
    both = []
    for size in (height, width):
        small = max(1, int(size * _PIXELATE[severity - 1]))
        both.append(box_matrix(small, size) @ box_matrix(size, small))
    return separable(images, both[0], both[1])


def elastic_transform(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """An affine map of three corners of a central square, displaced at random, then a smooth random
    displacement of every pixel.
    """
    alpha, sigma, reach = (constant * side_ratio(images) for constant in _ELASTIC[severity - 1])
    height, width = images.shape[-2:]
    bent = _sampled(
        images,
        *_affine(height, width, draws.uniform(3, 2, low=-reach, high=reach)),
        border="mirror",
    )
    if alpha == 0:
        return bent
    noise = draws.uniform(2, height, width, low=-1.0, high=1.0)
    smooth = (
        separable(
            noise,
            gaussian_matrix(height, sigma, "reflect", 3.0),
            gaussian_matrix(width, sigma, "reflect", 3.0),
        )
        * alpha
    )
    y, x = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    return _sampled(bent, y + smooth[:, 1], x + smooth[:, 0], border="reflect")


def _affine(height: int, width: int, moves: Tensor) -> tuple[Tensor, Tensor]:
    """Places (y, x), each [N, H, W], that an affine map of three points by `moves` [N, 3, 2] brings
    to every pixel.

    The points are three corners of a square of a third of the side about the centre, as (x, y).
    """
    across, down = height // 2, width // 2  # the original code takes them in this order
    reach = min(height, width) // 3
    corners = torch.tensor(
        [
            [across + reach, down + reach],
            [across + reach, down - reach],
            [across - reach, down - reach],
        ]
    ).double()
    source = torch.cat([corners, torch.ones(3, 1)], 1).expand(len(moves), 3, 3)
    moved = torch.cat([corners + moves.double(), torch.ones(len(moves), 3, 1)], 2)
    back = torch.linalg.solve(moved, source)  # rows (x, y, 1) · back = (x', y', 1)
    y, x = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    places = [
        back[:, 0, axis, None, None] * x
        + back[:, 1, axis, None, None] * y
        + back[:, 2, axis, None, None]
        for axis in (1, 0)
    ]
    return places[0].float(), places[1].float()


def _sampled(images: Tensor, y: Tensor, x: Tensor, border: str) -> Tensor:
    """Bilinear values of images [N, C, H, W] at places (y, x), each [N, H, W], borders mirrored
    about the edge or the last pixel.
    """
    height, width = images.shape[-2:]
    about_centres = border == "mirror"
    if about_centres:
        grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    else:
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
    return F.grid_sample(
        images, grid, mode="bilinear", padding_mode="reflection", align_corners=about_centres
    )


_QUALITY = (80, 65, 58, 50, 40)
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


def jpeg_compression(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """What a baseline JPEG of that quality loses: 8-bit YCbCr, chroma at half size, 8×8 cosine
    transform, quantisation, and back.

    Entropy coding loses nothing and is left out. Rounding follows libjpeg, whose own result differs
    by a grey level here and there.
    """
    quality = _QUALITY[severity - 1]
    levels = (images.clamp(0, 1) * 255).round()
    height, width = images.shape[-2:]
    if images.shape[1] == 1:
        return _coded(levels, _table(_LUMINANCE, quality))[..., :height, :width] / 255
    red, green, blue = levels.unbind(1)
    luma = (0.299 * red + 0.587 * green + 0.114 * blue).round()
    chroma = torch.stack(
        [
            -0.168735892 * red - 0.331264108 * green + 0.5 * blue + 128,
            0.5 * red - 0.418687589 * green - 0.081312411 * blue + 128,
        ],
        1,
    ).round()
    luma = _coded(luma[:, None], _table(_LUMINANCE, quality))[:, 0, :height, :width]
    # libjpeg fills a row of whole blocks before it halves, a column after.
    even = (
        F.pad(chroma, (0, -width % 16, 0, height % 2), mode="replicate")
        if height % 2 or width % 16
        else chroma
    )
    # Four pixels are added and divided with rounding; libjpeg alternates the bias 1, 2 along a row.
    bias = torch.tensor([1.0, 2.0]).repeat(-(-even.shape[-1] // 4))[: even.shape[-1] // 2]
    halved = torch.floor((F.avg_pool2d(even, 2) * 4 + bias) / 4)
    small_height, small_width = halved.shape[-2], (width + 1) // 2
    decoded = _coded(halved, _table(_CHROMINANCE, quality))[..., :small_height, :small_width]
    blue_chroma, red_chroma = (_doubled(decoded)[..., :height, :width] - 128).unbind(1)
    colour = [
        luma + (1.402 * red_chroma).round(),
        luma + (-0.344136286 * blue_chroma - 0.714136286 * red_chroma).round(),
        luma + (1.772 * blue_chroma).round(),
    ]
    return torch.stack(colour, 1).clamp(0, 255) / 255


def _coded(levels: Tensor, table: NDArray[np.float64]) -> Tensor:
    """Levels [N, C, h, w] after cosine transform, quantisation and back; sides padded to multiples
    of 8 by repeating the edge.
    """
    height, width = levels.shape[-2:]
    padded = (
        F.pad(levels, (0, -width % 8, 0, -height % 8), mode="replicate")
        if height % 8 or width % 8
        else levels
    )
    rows, columns = (_cosines(size) for size in padded.shape[-2:])
    steps = torch.from_numpy(np.tile(table, (padded.shape[-2] // 8, padded.shape[-1] // 8))).float()
    # libjpeg's transform gives whole eighths, so that the edge between two steps is hit often: its
    # side is decided here.
    frequencies = (separable(padded - 128, rows, columns) * 8).round_() / (8 * steps)
    quantised = torch.trunc(frequencies + 0.5 * torch.sign(frequencies)) * steps
    # Halves are frequent too (a flat block is a multiple of step / 8) and are rounded up, whatever
    # float32's last bits say.
    return separable(quantised, rows.T, columns.T).add_(128.5 + 1e-4).floor_().clamp_(0, 255)


@functools.lru_cache(maxsize=32)
def _cosines(size: int) -> NDArray[np.float64]:
    """[size, size]: the orthonormal cosine transform of every block of eight."""
    block = np.array(
        [
            [
                math.sqrt((1 if k == 0 else 2) / 8) * math.cos(math.pi * (2 * n + 1) * k / 16)
                for n in range(8)
            ]
            for k in range(8)
        ]
    )
    return np.kron(np.eye(size // 8), block)


def _table(text: str, quality: int) -> NDArray[np.float64]:
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    base = np.array([int(word) for word in text.split()]).reshape(8, 8)
    return ((base * scale + 50) // 100).clip(1, 255).astype(np.float64)


def _doubled(small: Tensor) -> Tensor:
    """Twice the size by libjpeg's triangle filter: 3/4 of the nearer and 1/4 of the farther
    neighbour, rounded as it does.
    """

    def triangle(values: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        size = values.shape[axis]
        before = torch.cat([values.narrow(axis, 0, 1), values.narrow(axis, 0, size - 1)], axis)
        after = torch.cat(
            [values.narrow(axis, 1, size - 1), values.narrow(axis, size - 1, 1)], axis
        )
        return 3 * values + before, 3 * values + after

    rows = torch.stack(triangle(small, -2), dim=-2).flatten(-3, -2)
    left, right = triangle(rows, -1)
    return torch.stack(
        [torch.floor((left + 8) / 16), torch.floor((right + 7) / 16)], dim=-1
    ).flatten(-2)
