"""Snow, fog and frost."""

from pathlib import Path

import torch
from torch import Tensor

from ahsar_eval.data.corruptions.blur import motion
from ahsar_eval.data.corruptions.frost import textures
from ahsar_eval.data.corruptions.linear import noise_gain, on_both_axes, side_ratio, zoom_matrix
from ahsar_eval.data.corruptions.values import grey
from ahsar_eval.data.randomness import Draws


def snow(
    images: Tensor,
    fall: tuple[float, float, float, float, float, float, float],
    draws: Draws,
) -> Tensor:
    """The image whitened, and flakes falling from a direction drawn from −135° to −45°, with the
    same layer turned by half a circle.
    """
    mean, std, zoom, threshold, radius, sigma, mix = fall
    ratio = side_ratio(images)
    gain = noise_gain(images, zoom_matrix, zoom)
    flakes = mean + std * gain * draws.normal(*images.shape[-2:])
    flakes = on_both_axes(flakes, lambda size: zoom_matrix(size, zoom * ratio))[:, None]
    flakes = torch.where(flakes < threshold, 0.0, flakes.clamp(0, 1))
    fallen = motion(flakes, (radius, sigma), draws.uniform(low=-135.0, high=-45.0), ratio)
    white = torch.maximum(images, 1.5 * grey(images) + 0.5)
    return torch.lerp(white, images, mix) + fallen + fallen.flip((-2, -1))


def fog(images: Tensor, haze: tuple[float, float], draws: Draws) -> Tensor:
    """A fractal plasma of amplitude c is added, and the whole rescaled to the image's
    own maximum."""
    amplitude, decay = haze
    height, width = images.shape[-2:]
    largest = images.amax(dim=(1, 2, 3), keepdim=True)
    layer = plasma(max(height, width), decay, draws)[:, None, :height, :width]
    return (images + amplitude * layer) * (largest / (largest + amplitude))


def frost(
    images: Tensor, weights: tuple[float, float], draws: Draws, photographs: Path | None = None
) -> Tensor:
    """A crop, drawn per sample, of one of the frost textures is mixed in."""
    image_weight, frost_weight = weights
    channels, height, width = images.shape[1:]
    bank = textures(photographs, side_ratio(images), (height, width))
    choice = draws.integers(0, len(bank)).tolist()
    places = draws.uniform(2).tolist()
    mixed = images * image_weight
    for image, kind, (down, across) in zip(mixed, choice, places, strict=True):
        texture = bank[kind] if channels == 3 else grey(bank[kind])
        top = int(down * (texture.shape[1] - height + 1))
        left = int(across * (texture.shape[2] - width + 1))
        image.add_(texture[:, top : top + height, left : left + width], alpha=frost_weight)
    return mixed


def plasma(side: int, decay: float, draws: Draws) -> Tensor:
    """Plasma fractals by diamonds and squares on a torus, [N, size, size] in [0, 1], size the power
    of two from `side` on.

    A new point is the mean of its four neighbours plus a uniform number in ±a²; a starts at 100,
    divided by `decay` at each halving.
    """
    step, reach = 1 << (side - 1).bit_length(), 100.0
    field = torch.zeros(len(draws.indices), step, step)
    while step >= 2:
        half = step // 2
        corners = field[:, ::step, ::step]
        count = corners.shape[-1]
        noise = draws.uniform(3, count, count, low=-(reach**2), high=reach**2).unbind(1)
        right, below = corners.roll(-1, 2), corners.roll(-1, 1)
        centres = (corners + right + below + below.roll(-1, 2)) / 4 + noise[0]
        beside = (centres + centres.roll(1, 1) + corners + right) / 4 + noise[1]
        under = (centres + centres.roll(1, 2) + corners + below) / 4 + noise[2]
        field[:, half::step, half::step] = centres
        field[:, ::step, half::step] = beside
        field[:, half::step, ::step] = under
        step, reach = half, reach / decay
    low = field.amin(dim=(1, 2), keepdim=True)
    return (field - low) / (field.amax(dim=(1, 2), keepdim=True) - low).clamp(min=1e-12)
