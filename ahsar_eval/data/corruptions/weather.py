"""Snow, fog and frost; frost textures are grown by rule, or cut from the user's own photographs.

The original code mixes in photographs, made five times smaller. They are not ours to ship; what
stands here grows ice ferns (stems with barbs at 60°, the angle of ice) over a cloudy ground, in
five tones like those of such photographs. A folder of photographs takes their place.
"""

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, Philox
from numpy.typing import NDArray
from torch import Tensor

from ahsar_eval.data.corruptions.blur import motion
from ahsar_eval.data.corruptions.linear import (
    bilinear_matrix,
    noise_gain,
    on_both_axes,
    separable,
    side_ratio,
    zoom_matrix,
)
from ahsar_eval.data.corruptions.values import grey
from ahsar_eval.data.images.content import read_image
from ahsar_eval.data.randomness import Draws
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of, sha256_of_file

_SHRINK = 0.2  # of a photograph, at side 32
_SIDE = 640  # of a grown texture before it is made smaller
# Mean and standard deviation over red, green and blue; number of ferns; their reach in pixels.
_TONES = (
    ((0.30, 0.56, 0.64), 0.08, 160, 110),
    ((0.79, 0.81, 0.84), 0.08, 420, 80),
    ((0.70, 0.75, 0.80), 0.09, 600, 50),
    ((0.54, 0.60, 0.65), 0.10, 500, 60),
    ((0.44, 0.48, 0.54), 0.14, 380, 70),
)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


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


def textures(photographs: Path | None, ratio: float, smallest: tuple[int, int]) -> list[Tensor]:
    """Textures [3, H, W] in [0, 1] at side / 32 = `ratio`, none smaller than `smallest` (height,
    width).

    Raises `DataError` for a folder of photographs that is missing, empty, or holds something that
    cannot be read.
    """
    files = [] if photographs is None else _files(photographs)
    return _scaled(tuple((file, file.stat().st_mtime_ns) for file in files), ratio, smallest)


def photographs_identity(folder: Path) -> str:
    """Hash of the photographs a user gave. Raises `DataError` where there is none."""
    return sha256_of(*map(sha256_of_file, _files(folder)))


@functools.lru_cache(maxsize=4)
def _scaled(
    photographs: tuple[tuple[Path, int], ...], ratio: float, smallest: tuple[int, int]
) -> list[Tensor]:
    """Grown textures where there is no photograph; these are files with the times of their last
    change, so that a changed one is read again.
    """
    originals = [read_image(file).expand(3, -1, -1) for file, _ in photographs]
    made = []
    for original in originals or map(torch.from_numpy, _grown()):
        rows, columns = (
            bilinear_matrix(size, max(least, round(size * _SHRINK * ratio)))
            for size, least in zip(original.shape[1:], smallest, strict=True)
        )
        made.append(separable(original, rows, columns).clamp(0, 1))
    return made


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise DataError(
            f"{str(folder)!r} is no folder of frost photographs; give the path of one, or leave it "
            "out for grown textures"
        )
    files = sorted(
        file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file()
    )
    if not files:
        raise DataError(
            f"{str(folder)!r} holds no photograph ({', '.join(_SUFFIXES)}); add some, or leave it "
            "out for grown textures"
        )
    return files


@functools.cache
def _grown() -> list[NDArray[np.float32]]:
    return [_texture(number, *tone) for number, tone in enumerate(_TONES)]


def _texture(
    number: int, tone: tuple[float, float, float], std: float, ferns: int, reach: int
) -> NDArray[np.float32]:
    from PIL import Image, ImageDraw

    maker = Generator(Philox(key=[32, number]))
    canvas = Image.new("L", (_SIDE, _SIDE), 0)
    pen = ImageDraw.Draw(canvas)
    for _ in range(ferns):
        _fern(pen, maker, reach)
    ice = np.asarray(canvas, dtype=np.float32) / 255
    field = _clouds(maker) + 1.1 * (ice - ice.mean()) / ice.std()
    field = (field - field.mean()) / field.std()
    # Thin ice lets the ground through more in red than in blue.
    tint, base = np.array([[1.1, 1.0, 0.95], tone], dtype=np.float32)[..., None, None]
    return np.clip(base + std * tint * field, 0, 1).astype(np.float32)


def _fern(pen: Any, maker: Generator, reach: int) -> None:
    """One stem with barbs on both sides, shorter towards its tip."""
    x, y = maker.uniform(-20, _SIDE + 20, 2)
    angle = maker.uniform(0, 2 * math.pi)
    length = reach * maker.uniform(0.4, 1.4)
    bend = maker.normal(0, 0.004)
    bright = int(maker.uniform(90, 255))
    steps = max(int(length / 5), 3)
    for step in range(steps):
        rest = 1 - step / steps
        ahead = angle + bend * step * 5
        next_x, next_y = x + 5 * math.cos(ahead), y + 5 * math.sin(ahead)
        pen.line((x, y, next_x, next_y), fill=bright, width=2)
        for side in (-1, 1):
            barb = ahead + side * math.radians(60)
            span = 0.35 * length * rest * maker.uniform(0.5, 1.0)
            end = (x + span * math.cos(barb), y + span * math.sin(barb))
            pen.line((x, y, *end), fill=int(bright * 0.75), width=1)
        x, y = next_x, next_y


def _clouds(maker: Generator) -> NDArray[np.float32]:
    """Noise whose power falls as the cube of the frequency, of unit variance."""
    frequency = np.hypot(np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(maker.standard_normal((_SIDE, _SIDE))) / frequency**1.5
    field = np.fft.irfft2(spectrum, s=(_SIDE, _SIDE))
    return (field / field.std()).astype(np.float32)
