"""Corruptions of place and size: rotation, translation, scale, elastic transform, pixelate,
resolution, patch occlusion.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data.corruptions.linear import (
    Matrix,
    bilinear_matrix,
    box_matrix,
    gaussian_matrix,
    on_both_axes,
    side_ratio,
)
from ahsar_eval.data.randomness import Draws


def rotation(images: Tensor, degrees: float, draws: Draws) -> Tensor:
    """Rotation about the centre by a fixed angle, its sense drawn per sample; bilinear, borders
    repeated.
    """
    angle = math.radians(degrees)
    signs = torch.where(draws.uniform() < 0.5, -1.0, 1.0)
    return _moved(images, math.cos(angle), signs * math.sin(angle))


def translation(images: Tensor, part: float, draws: Draws) -> Tensor:
    """Shifted by a fixed part of the side in a direction drawn per sample; bilinear, borders
    repeated.
    """
    direction = draws.uniform(high=2 * math.pi)
    reach = part * min(images.shape[-2:])
    return _moved(images, right=reach * torch.cos(direction), down=reach * torch.sin(direction))


def scale(images: Tensor, factor: float, draws: Draws) -> Tensor:
    """Enlarged or made smaller about the centre by a fixed factor, which of the two drawn per
    sample; bilinear, borders repeated.
    """
    return _moved(images, torch.where(draws.uniform() < 0.5, factor, 1 / factor))


def elastic_transform(images: Tensor, bend: tuple[float, float, float], draws: Draws) -> Tensor:
    """An affine map of three corners of a central square, displaced at random, then a smooth random
    displacement of every pixel.
    """
    alpha, sigma, reach = (constant * side_ratio(images) for constant in bend)
    height, width = images.shape[-2:]
    moves = draws.uniform(3, 2, low=-reach, high=reach)
    bent = _sampled(images, *_affine(height, width, moves), about_centres=True)
    if alpha == 0:
        return bent
    noise = draws.uniform(2, height, width, low=-1.0, high=1.0)
    smooth = on_both_axes(noise, lambda size: gaussian_matrix(size, sigma, "symmetric", 3.0))
    y, x = _places(height, width)
    smooth = smooth * alpha
    return _sampled(bent, y + smooth[:, 1], x + smooth[:, 0], about_centres=False)


def pixelate(images: Tensor, part: float, draws: Draws) -> Tensor:
    """Made smaller and larger again with Pillow's box filter."""
    return _there_and_back(images, box_matrix, lambda size: int(size * part))


def resolution(images: Tensor, part: float, draws: Draws) -> Tensor:
    """Made smaller (antialiased) and larger again, bilinear."""
    return _there_and_back(images, bilinear_matrix, lambda size: round(size * part))


def patch_occlusion(images: Tensor, area: float, draws: Draws) -> Tensor:
    """A grey square (0.5) of a fixed part of the area, at a place drawn per sample, all of it
    inside.
    """
    height, width = images.shape[-2:]
    side = min(round(math.sqrt(area * height * width)), height, width)
    corner = draws.uniform(2)
    free = torch.tensor([height - side + 1, width - side + 1])
    top, left = (corner * free).long()[..., None, None].unbind(1)
    y, x = _places(height, width)
    hidden = (y >= top) & (y < top + side) & (x >= left) & (x < left + side)
    return torch.where(hidden[:, None], 0.5, images)


def _there_and_back(
    images: Tensor, resizing: Callable[[int, int], Matrix], smaller: Callable[[int], int]
) -> Tensor:
    def both(size: int) -> Matrix:
        small = max(1, smaller(size))
        return resizing(small, size) @ resizing(size, small)

    return on_both_axes(images, both)


def _places(height: int, width: int) -> tuple[Tensor, Tensor]:
    """y [1, H, 1] and x [1, 1, W] of every pixel."""
    return torch.arange(height).view(1, -1, 1), torch.arange(width).view(1, 1, -1)


def _moved(
    images: Tensor,
    cos: Tensor | float = 1.0,
    sin: Tensor | float = 0.0,
    right: Tensor | float = 0.0,
    down: Tensor | float = 0.0,
) -> Tensor:
    """Images turned and enlarged about their centre by [cos −sin; sin cos], then moved by pixels;
    each number is one for all or one per sample [N]. Bilinear, borders repeated.
    """
    cos, sin, right, down = (
        torch.as_tensor(number).view(-1, 1, 1) for number in (cos, sin, right, down)
    )
    height, width = images.shape[-2:]
    # The inverse is divided by the squared length, so that a length other than 1 enlarges.
    length = cos**2 + sin**2
    cos, sin = cos / length, sin / length
    y, x = _places(height, width)
    y, x = y - (height - 1) / 2 - down, x - (width - 1) / 2 - right
    grid = torch.stack([2 * (cos * x - sin * y) / width, 2 * (sin * x + cos * y) / height], dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _affine(height: int, width: int, moves: Tensor) -> tuple[Tensor, Tensor]:
    """Places (y, x), each [N, H, W], that an affine map of three points by `moves` [N, 3, 2] brings
    to every pixel.

    The points are three corners of a square of a third of the side about the centre, as (x, y).
    """
    across, down = height // 2, width // 2  # the original code takes them in this order
    reach = min(height, width) // 3
    signs = torch.tensor([[1, 1], [1, -1], [-1, -1]])
    corners = (torch.tensor([across, down]) + reach * signs).double()
    # Rows (x, y, 1) · back = (x', y').
    moved = F.pad(corners + moves.double(), (0, 1), value=1.0)
    back = torch.linalg.solve(moved, corners.expand_as(moves))
    y, x = _places(height, width)
    from_x, from_y, shift = back[..., None, None].unbind(1)
    seen = (from_x * x + from_y * y + shift).float()
    return seen[:, 1], seen[:, 0]


def _sampled(images: Tensor, y: Tensor, x: Tensor, *, about_centres: bool) -> Tensor:
    """Bilinear values of images [N, C, H, W] at places (y, x), each [N, H, W], borders mirrored
    about the centre of the last pixel or about its edge.
    """
    edge = 0 if about_centres else 1
    grid = [
        (2 * places + edge) / max(size - 1 + edge, 1) - 1
        for places, size in zip((x, y), images.shape[:1:-1], strict=True)
    ]
    return F.grid_sample(
        images,
        torch.stack(grid, dim=-1),
        mode="bilinear",
        padding_mode="reflection",
        align_corners=about_centres,
    )
