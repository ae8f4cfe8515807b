"""Shifts of place and size, ours: rotation, translation, scale, resolution, patch occlusion."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.corruptions.linear import bilinear_matrix, separable
from ahsar_eval.data.randomness import Draws

_ROTATION_DEGREES = (10.0, 20.0, 30.0, 40.0, 50.0)
_TRANSLATION = (0.05, 0.1, 0.15, 0.2, 0.25)  # of the side
_SCALE = (1.1, 1.2, 1.3, 1.4, 1.5)
_RESOLUTION = (0.75, 0.5, 0.375, 0.25, 0.1875)  # of the side
_OCCLUSION = (0.05, 0.1, 0.2, 0.3, 0.4)  # of the area


def rotation(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Rotation about the centre by a fixed angle, its sense drawn per sample; bilinear, borders
    repeated.
    """
    angle = math.radians(_ROTATION_DEGREES[severity - 1])
    signs = torch.where(draws.uniform() < 0.5, -1.0, 1.0)
    return _moved(images, torch.full_like(signs, math.cos(angle)), signs * math.sin(angle))


def translation(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Shifted by a fixed part of the side in a direction drawn per sample; bilinear, borders
    repeated.
    """
    direction = draws.uniform(high=2 * math.pi)
    reach = _TRANSLATION[severity - 1] * min(images.shape[-2:])
    one, zero = torch.ones_like(direction), torch.zeros_like(direction)
    return _moved(images, one, zero, reach * torch.cos(direction), reach * torch.sin(direction))


def scale(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Enlarged or made smaller about the centre by a fixed factor, which of the two drawn per
    sample; bilinear, borders repeated.
    """
    factor = _SCALE[severity - 1]
    factors = torch.where(draws.uniform() < 0.5, factor, 1 / factor)
    return _moved(images, factors, torch.zeros_like(factors))


def resolution(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """Made smaller (antialiased) and larger again, bilinear."""
    both = []
    for size in images.shape[-2:]:
        small = max(1, round(size * _RESOLUTION[severity - 1]))
        both.append(bilinear_matrix(small, size) @ bilinear_matrix(size, small))
    return separable(images, both[0], both[1])


def patch_occlusion(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """A grey square (0.5) of a fixed part of the area, at a place drawn per sample, all of it
    inside.
    """
    height, width = images.shape[-2:]
    side = min(round(math.sqrt(_OCCLUSION[severity - 1] * height * width)), height, width)
    corner = draws.uniform(2)
    top = (corner[:, 0] * (height - side + 1)).long().view(-1, 1, 1)
    left = (corner[:, 1] * (width - side + 1)).long().view(-1, 1, 1)
    y, x = torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)
    hidden = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)
    return torch.where(hidden[:, None], 0.5, images)


def _moved(
    images: Tensor,
    cos: Tensor,
    sin: Tensor,
    right: Tensor | None = None,
    down: Tensor | None = None,
) -> Tensor:
    """Images seen through the inverse of a turn (and enlargement) about the centre and a shift in
    pixels, all [N].
    """
    height, width = images.shape[-2:]
    shift_x, shift_y = (
        torch.zeros_like(cos) if shift is None else shift for shift in (right, down)
    )
    # Inverse of [cos −sin; sin cos]: divided by its squared length, so that a length other than 1
    # enlarges.
    length = cos**2 + sin**2
    cos, sin = (cos / length).view(-1, 1, 1), (sin / length).view(-1, 1, 1)
    y = torch.arange(height).view(1, -1, 1) - (height - 1) / 2 - shift_y.view(-1, 1, 1)
    x = torch.arange(width).view(1, 1, -1) - (width - 1) / 2 - shift_x.view(-1, 1, 1)
    seen_x, seen_y = cos * x - sin * y, sin * x + cos * y
    grid = torch.stack([2 * seen_x / width, 2 * seen_y / height], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
