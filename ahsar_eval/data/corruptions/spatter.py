"""Spatter: drops of water or splashes of mud on the lens."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.corruptions.linear import (
    convolution_matrix,
    gaussian,
    gaussian_matrix,
    noise_gain,
    on_both_axes,
    side_ratio,
)
from ahsar_eval.data.corruptions.values import grey
from ahsar_eval.data.randomness import Draws

_WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
_MUD = (63 / 255, 42 / 255, 20 / 255)
# Rows and columns from one above and left of the pixel to one below and right of it.
_EMBOSS = np.array([[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
_LOW, _HIGH = 50.0, 150.0  # Canny's thresholds
_FARTHEST = 20.0  # distances from an edge are cut off there


def spatter(
    images: Tensor, splash: tuple[float, float, float, float, float, bool], draws: Draws
) -> Tensor:
    """Severities 1 to 3 are water, lit at the rims of its drops; 4 and 5 are mud that hides what
    lies below.
    """
    mean, std, sigma, threshold, strength, mud = splash
    ratio = side_ratio(images)
    gain = noise_gain(images, gaussian_matrix, sigma)
    liquid = gaussian(mean + std * gain * draws.normal(*images.shape[-2:]), sigma * ratio)
    liquid = torch.where(liquid < threshold, 0.0, liquid)
    colour = torch.tensor(_MUD if mud else _WATER).view(3, 1, 1)
    if images.shape[1] == 1:
        colour = grey(colour)
    if mud:
        mask = gaussian((liquid > threshold).float(), strength * ratio)
        mask = torch.where(mask < 0.8, 0.0, mask)[:, None]
        return images * (1 - mask) + colour * mask
    drops = (liquid.clamp(0, 1) * 255).floor()
    lit = drops * rims(drops, ratio)
    largest = lit.amax(dim=(1, 2), keepdim=True)
    mask = (torch.where(largest > 0, lit / largest.clamp(min=1e-12), 0.0) * strength)[:, None]
    return images + mask * colour


def rims(drops: Tensor, ratio: float = 1.0) -> Tensor:
    """How much of the light a drop's surface throws back, from the distance to its edges; levels
    [N, H, W] in 0 … 255.

    Distance to the nearest Canny edge, cut off at 20 pixels, smoothed, its histogram made even,
    embossed from one side, smoothed.
    """
    from ahsar_eval.data.kernels import chamfer

    edges = canny_edges(drops).numpy()
    distances = np.empty(edges.shape, dtype=np.float32)
    chamfer(edges, distances)
    distance = torch.from_numpy(distances).clamp_(max=_FARTHEST * ratio)
    # A mean of whole numbers may lie a rounding below one.
    even = _equalised((_blurred(distance) + 1e-4).floor())
    look = _neighbours(F.pad(even[:, None], (1, 1, 1, 1), mode="reflect")[:, 0])
    embossed = torch.zeros_like(even)
    for (row, column), weight in np.ndenumerate(_EMBOSS):
        embossed.add_(look(row - 1, column - 1), alpha=float(weight))
    return _blurred(embossed.clamp_(0, 255)).round()  # 8 bits before and after, as in OpenCV


def canny_edges(levels: Tensor) -> Tensor:
    """Canny's edges of levels [N, H, W] in 0 … 255, bool: 3×3 Sobel, |gx| + |gy|, thresholds 50 and
    150, as OpenCV's Canny does.
    """
    look = _neighbours(F.pad(levels[:, None], (1, 1, 1, 1), mode="replicate")[:, 0])
    falling, climbing = look(1, 1) - look(-1, -1), look(-1, 1) - look(1, -1)
    gx = 2 * (look(0, 1) - look(0, -1)) + falling + climbing
    gy = 2 * (look(1, 0) - look(-1, 0)) + falling - climbing
    ax, ay = gx.abs(), gy.abs()
    size = ax + ay
    across, along = ay < np.tan(np.pi / 8) * ax, ay > np.tan(3 * np.pi / 8) * ax
    rising = (gx < 0) == (gy < 0)
    neighbour = _neighbours(F.pad(size, (1, 1, 1, 1)))

    def beside(step: int) -> Tensor:
        """The neighbour one step along the gradient: right (1) or left (−1) of an upright edge."""
        slanted = torch.where(rising, neighbour(step, step), neighbour(step, -step))
        upright = torch.where(along, neighbour(step, 0), slanted)
        return torch.where(across, neighbour(0, step), upright)

    before, after = beside(-1), beside(1)
    ridge = (size > before) & ((size > after) | ((across | along) & (size == after)))
    weak, found = ((ridge & (size > threshold)).float() for threshold in (_LOW, _HIGH))
    while True:  # weak edges that touch a found one are found
        grown = F.max_pool2d(found, 3, stride=1, padding=1) * weak
        if torch.equal(grown, found):
            return found > 0
        found = grown


def _neighbours(padded: Tensor) -> Callable[[int, int], Tensor]:
    """A function that gives every pixel's neighbour (dy, dx), from an array padded by one."""
    height, width = (size - 2 for size in padded.shape[-2:])
    return lambda dy, dx: padded[..., 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]


def _equalised(levels: Tensor) -> Tensor:
    """Levels [N, H, W] (whole, 0 … 255) with an even histogram, as OpenCV's equalizeHist; an image
    of one level stays.
    """
    count = levels[0].numel()
    flat = levels.long().flatten(1)
    histogram = torch.zeros(len(flat), 256).scatter_add_(
        1, flat, torch.ones_like(flat, dtype=torch.float32)
    )
    lowest = flat.amin(1, keepdim=True)
    at_lowest = histogram.gather(1, lowest)
    cumulated = histogram.cumsum(1) - at_lowest
    table = (cumulated * (255.0 / (count - at_lowest).clamp(min=1))).round().clamp(0, 255)
    table = torch.where(at_lowest == count, lowest.float(), table)
    return table.gather(1, flat).view(levels.shape)


def _blurred(levels: Tensor) -> Tensor:
    """Mean of 3×3 pixels, borders mirrored."""
    third = np.full(3, 1 / 3)
    return on_both_axes(levels, lambda size: convolution_matrix(size, third, "reflect"))
