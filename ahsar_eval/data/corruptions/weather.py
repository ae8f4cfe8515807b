"""Snow, fog and frost."""

from pathlib import Path

import torch
from torch import Tensor

from ahsar_eval.data.corruptions.blur import motion
from ahsar_eval.data.corruptions.frost import textures
from ahsar_eval.data.corruptions.linear import noise_gain, separable, side_ratio, zoom_matrix
from ahsar_eval.data.luma import grey
from ahsar_eval.data.randomness import Draws

_SNOW = (  # mean, std, zoom, threshold, radius and σ of the fall, weight of the image
    (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
)
_FOG = (
    (0.2, 3.0),
    (0.5, 3.0),
    (0.75, 2.5),
    (1.0, 2.0),
    (1.5, 1.75),
)  # amplitude, decay of the plasma
_FROST = (
    (1.0, 0.2),
    (1.0, 0.3),
    (0.9, 0.4),
    (0.85, 0.4),
    (0.75, 0.45),
)  # weight of the image, of the frost


def snow(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """The image whitened, and flakes falling from a direction drawn from −135° to −45°, with the
    same layer turned by half a circle.
    """
    mean, std, zoom, threshold, radius, sigma, mix = _SNOW[severity - 1]
    height, width = images.shape[-2:]
    ratio = side_ratio(images)
    gain = noise_gain((height, width), ratio, zoom_matrix, zoom)
    flakes = mean + std * gain * draws.normal(height, width)
    rows, columns = zoom_matrix(height, zoom * ratio), zoom_matrix(width, zoom * ratio)
    flakes = separable(flakes, rows, columns)[:, None]
    flakes = torch.where(flakes < threshold, 0.0, flakes.clamp(0, 1))
    fallen = motion(flakes, radius * ratio, sigma * ratio, draws.uniform(low=-135.0, high=-45.0))
    white = torch.maximum(images, 1.5 * grey(images) + 0.5)
    return torch.lerp(white, images, mix) + fallen + fallen.flip((-2, -1))


def fog(images: Tensor, severity: int, draws: Draws) -> Tensor:
    """A fractal plasma of amplitude c is added, and the whole rescaled to the image's
    own maximum."""
    amplitude, decay = _FOG[severity - 1]
    height, width = images.shape[-2:]
    largest = images.amax(dim=(1, 2, 3), keepdim=True)
    layer = plasma(max(height, width), decay, draws)[:, None, :height, :width]
    return (images + amplitude * layer) * (largest / (largest + amplitude))


def frost(images: Tensor, severity: int, draws: Draws, photographs: Path | None = None) -> Tensor:
    """A crop, drawn per sample, of one of the frost textures is mixed in."""
    image_weight, frost_weight = _FROST[severity - 1]
    channels, height, width = images.shape[1:]
    bank = textures(photographs, side_ratio(images), (height, width))
    choice = draws.integers(0, len(bank)).tolist()
    places = draws.uniform(2).tolist()
    mixed = images * image_weight
    for n, (kind, (down, across)) in enumerate(zip(choice, places, strict=True)):
        texture = bank[kind] if channels == 3 else grey(bank[kind][None])[0]
        top, left = (
            int(down * (texture.shape[1] - height + 1)),
            int(across * (texture.shape[2] - width + 1)),
        )
        mixed[n].add_(texture[:, top : top + height, left : left + width], alpha=frost_weight)
    return mixed


def plasma(side: int, decay: float, draws: Draws) -> Tensor:
    """Plasma fractals by diamonds and squares on a torus, [N, size, size] in [0, 1], size the power
    of two from `side` on.

    A new point is the mean of its four neighbours plus a uniform number in ±a²; a starts at 100,
    divided by `decay` at each halving.
    """
    size = 1
    while size < side:
        size *= 2
    field = torch.zeros(len(draws.indices), size, size)
    step, reach = size, 100.0
    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        count = corners.shape[-1]
        noise = draws.uniform(3, count, count, low=-(reach**2), high=reach**2)
        right, below = corners.roll(-1, 2), corners.roll(-1, 1)
        centres = (corners + right + below + below.roll(-1, 2)) / 4 + noise[:, 0]
        field[:, half::step, half::step] = centres
        field[:, ::step, half::step] = (centres + centres.roll(1, 1) + corners + right) / 4 + noise[
            :, 1
        ]
        field[:, half::step, ::step] = (centres + centres.roll(1, 2) + corners + below) / 4 + noise[
            :, 2
        ]
        step, reach = half, reach / decay
    low = field.amin(dim=(1, 2), keepdim=True)
    return (field - low) / (field.amax(dim=(1, 2), keepdim=True) - low).clamp(min=1e-12)
