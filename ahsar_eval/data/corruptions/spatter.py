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
    separable,
    side_ratio,
)
from ahsar_eval.data.luma import LUMA
from ahsar_eval.data.randomness import Draws

# Mean and std of the liquid, σ of its drops, threshold, strength (water) or σ of the edge (mud),
# whether it is mud.
_SPATTER = (
    (0.62, 0.1, 0.7, 0.7, 0.5, False),
    (0.65, 0.1, 0.8, 0.7, 0.5, False),
    (0.65, 0.3, 1.0, 0.69, 0.5, False),
    (0.65, 0.1, 0.7, 0.69, 0.6, True),
    (0.65, 0.1, 0.5, 0.68, 0.6, True),
)
_WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
_MUD = (63 / 255, 42 / 255, 20 / 255)
_EMBOSS = {
    (-1, -1): -2.0,
    (-1, 0): -1.0,
    (0, -1): -1.0,
    (0, 0): 1.0,
    (0, 1): 1.0,
    (1, 0): 1.0,
    (1, 1): 2.0,
}
_LOW, _HIGH = 50.0, 150.0  # Canny's thresholds
_FARTHEST = 20.0  # distances from an edge are cut off there


def spatter(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Severities 1 to 3 are water, lit at the rims of its drops; 4 and 5 are mud that hides what
    lies below.
    """
    mean, std, sigma, threshold, strength, mud = _SPATTER[severity - 1]
    ratio = side_ratio(images)
    height, width = images.shape[-2:]
    gain = noise_gain(
        (height, width), ratio, lambda size, length: gaussian_matrix(size, length, "nearest"), sigma
    )
    liquid = mean + std * gain * draws.normal(height, width)
    liquid = gaussian(liquid, sigma * ratio)
    liquid = torch.where(liquid < threshold, 0.0, liquid)
    colour = torch.tensor(_MUD if mud else _WATER)
    if images.shape[1] == 1:
        colour = (colour * torch.tensor(LUMA)).sum(0, keepdim=True)
    if mud:
        mask = gaussian((liquid > threshold).float(), strength * ratio)
        mask = torch.where(mask < 0.8, 0.0, mask)[:, None]
        return images * (1 - mask) + colour.view(-1, 1, 1) * mask
    drops = (liquid.clamp(0, 1) * 255).floor()
    lit = drops * rims(drops, ratio)
    largest = lit.amax(dim=(1, 2), keepdim=True)
    mask = (torch.where(largest > 0, lit / largest.clamp(min=1e-12), 0.0) * strength)[:, None]
    return images + mask * colour.view(-1, 1, 1)


def rims(drops: Tensor, ratio: float = 1.0) -> Tensor:
    """How much of the light a drop's surface throws back, from the distance to its edges; levels
    [N, H, W] in 0 … 255.

    Distance to the nearest Canny edge, cut off at 20 pixels, smoothed, its histogram made even,
    embossed from one side, smoothed.
    """
    edges = canny_edges(drops)
    distance = _distances(edges).clamp_(max=_FARTHEST * ratio)
    even = _equalised(
        (_blurred(distance) + 1e-4).floor()
    )  # a mean of whole numbers may lie a rounding below one
    look = _neighbours(F.pad(even[:, None], (1, 1, 1, 1), mode="reflect")[:, 0])
    embossed = torch.zeros_like(even)
    for (dy, dx), weight in _EMBOSS.items():
        embossed.add_(look(dy, dx), alpha=weight)
    return _blurred(embossed.clamp_(0, 255)).round()  # 8 bits before and after, as in OpenCV


def canny_edges(levels: Tensor) -> Tensor:
    """Canny's edges of levels [N, H, W] in 0 … 255, bool: 3×3 Sobel, |gx| + |gy|, thresholds 50 and
    150, as OpenCV's Canny does.
    """
    look = _neighbours(F.pad(levels[:, None], (1, 1, 1, 1), mode="replicate")[:, 0])
    right, left, below, above = look(0, 1), look(0, -1), look(1, 0), look(-1, 0)
    falling, climbing = look(1, 1) - look(-1, -1), look(-1, 1) - look(1, -1)
    gx, gy = 2 * (right - left) + falling + climbing, 2 * (below - above) + falling - climbing
    size = gx.abs() + gy.abs()
    neighbour = _neighbours(F.pad(size, (1, 1, 1, 1)))
    ax, ay = gx.abs(), gy.abs()
    across, along = ay < np.tan(np.pi / 8) * ax, ay > np.tan(3 * np.pi / 8) * ax
    rising = (gx < 0) == (gy < 0)
    before = torch.where(
        across,
        neighbour(0, -1),
        torch.where(
            along, neighbour(-1, 0), torch.where(rising, neighbour(-1, -1), neighbour(-1, 1))
        ),
    )
    after = torch.where(
        across,
        neighbour(0, 1),
        torch.where(along, neighbour(1, 0), torch.where(rising, neighbour(1, 1), neighbour(1, -1))),
    )
    straight = across | along
    ridge = (size > before) & torch.where(straight, size >= after, size > after)
    weak = ridge & (size > _LOW)
    found = ridge & (size > _HIGH)
    while True:  # weak edges that touch a found one are found
        touched = _neighbours(F.pad(found, (1, 1, 0, 0)), rows=False)
        in_row = touched(0, -1) | found | touched(0, 1)
        touched = _neighbours(F.pad(in_row, (0, 0, 1, 1)), columns=False)
        grown = (touched(-1, 0) | in_row | touched(1, 0)) & weak
        if bool((grown == found).all()):
            return found
        found = grown


def _neighbours(
    padded: Tensor, rows: bool = True, columns: bool = True
) -> Callable[[int, int], Tensor]:
    """A function that gives every pixel's neighbour (dy, dx), from an array padded by one in the
    axes that are looked along.
    """
    height, width = padded.shape[-2] - 2 * rows, padded.shape[-1] - 2 * columns
    top, left = int(rows), int(columns)
    return lambda dy, dx: padded[..., top + dy : top + dy + height, left + dx : left + dx + width]


def _distances(edges: Tensor) -> Tensor:
    """Distance in pixels to the nearest edge, [N, H, W] float32; where an image has none, farther
    than any.
    """
    from ahsar_eval.data.kernels import chamfer

    distances = np.empty(edges.shape, dtype=np.float32)
    chamfer(edges.numpy(), distances)
    return torch.from_numpy(distances)


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
    rows, columns = (
        convolution_matrix(size, np.full(3, 1 / 3), "mirror") for size in levels.shape[-2:]
    )
    return separable(levels, rows, columns)
