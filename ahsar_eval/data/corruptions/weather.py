"""Snow, fog, frost and spatter; frost textures are grown by rule, or cut from the user's own
photographs.

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

from ahsar_eval.data.corruptions.blur import filtered, motion
from ahsar_eval.data.corruptions.linear import (
    bilinear_matrix,
    convolution_matrix,
    gaussian,
    gaussian_matrix,
    noise_gain,
    on_both_axes,
    separable,
    side_ratio,
    zoom_matrix,
)
from ahsar_eval.data.images import grey, read_image
from ahsar_eval.data.randomness import Draws
from ahsar_eval.errors import DataError
from ahsar_eval.files import sha256_of, sha256_of_file, table_beside

_SHRINK = 0.2  # of a photograph, at side 32
_SIDE = 640  # of a grown texture before it is made smaller
_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
_WATER = (175 / 255, 238 / 255, 238 / 255)  # pale turquoise
_MUD = (63 / 255, 42 / 255, 20 / 255)
# Rows and columns from one above and left of the pixel to one below and right of it.
_EMBOSS = np.array([[-2.0, -1.0, 0.0], [-1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
_LOW, _HIGH = 50.0, 150.0  # Canny's thresholds
_FARTHEST = 20.0  # distances from an edge are cut off there


def snow(images: Tensor, fall: tuple[float, ...], draws: Draws) -> Tensor:
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
    field -= field.amin(dim=(1, 2), keepdim=True)
    return field / field.amax(dim=(1, 2), keepdim=True).clamp(min=1e-12)


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
    textures = table_beside(__file__, "frost.toml")["textures"]
    return [_texture(number, **row) for number, row in enumerate(textures)]


def _texture(
    number: int, tone: list[float], std: float, ferns: int, reach: int
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
    mask = (lit / largest.clamp(min=1e-12) * strength)[:, None]
    return images + mask * colour


def rims(drops: Tensor, ratio: float = 1.0) -> Tensor:
    """How much of the light a drop's surface throws back, from the distance to its edges; levels
    [N, H, W] in 0 … 255.

    Distance to the nearest Canny edge, cut off at 20 pixels, smoothed, its histogram made even,
    embossed from one side, smoothed.
    """
    from ahsar_eval.data.kernels import chamfer

    edges = canny_edges(drops.numpy())
    distances = np.empty(edges.shape, dtype=np.float32)
    chamfer(edges, distances)
    distance = torch.from_numpy(distances).clamp_(max=_FARTHEST * ratio)
    # A mean of whole numbers may lie a rounding below one.
    even = _equalised((_blurred(distance) + 1e-4).floor())
    embossed = filtered(even[:, None], _EMBOSS)[:, 0].clamp_(0, 255)
    return _blurred(embossed).round()  # 8 bits before and after, as in OpenCV


def canny_edges(levels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Canny's edges of levels [N, H, W] in 0 … 255: 3×3 Sobel, |gx| + |gy|, thresholds 50 and
    150, as OpenCV's Canny does.
    """
    from scipy.ndimage import binary_propagation, sobel

    gx, gy = (np.stack([sobel(image, axis, mode="nearest") for image in levels]) for axis in (1, 0))
    ax, ay = np.abs(gx), np.abs(gy)
    size = ax + ay
    across, along = ay < math.tan(math.pi / 8) * ax, ay > math.tan(3 * math.pi / 8) * ax
    # One step along the gradient, (down, right): to the right of an upright edge.
    right = np.where(along, 0, np.where(across | ((gx < 0) == (gy < 0)), 1, -1))
    count, y, x = np.indices(size.shape)
    padded = np.pad(size, ((0, 0), (1, 1), (1, 1)))
    before, after = (
        padded[count, y + 1 + step * ~across, x + 1 + step * right] for step in (-1, 1)
    )
    ridge = (size > before) & ((size > after) | ((across | along) & (size == after)))
    # Weak edges that touch a strong one are edges.
    strong, touching = ridge & (size > _HIGH), np.ones((1, 3, 3), dtype=bool)
    return binary_propagation(strong, touching, mask=ridge & (size > _LOW))


def _equalised(levels: Tensor) -> Tensor:
    """Levels [N, H, W] (whole, 0 … 255) with an even histogram, as OpenCV's equalizeHist; an image
    of one level stays.
    """
    flat = levels.flatten(1)
    ordered = flat.sort(1).values
    up_to = torch.searchsorted(ordered, flat, right=True)  # how many are as low
    at_lowest = up_to.amin(1, keepdim=True)
    others = flat.shape[1] - at_lowest
    even = ((up_to - at_lowest) * (255.0 / others.clamp(min=1))).round()
    return torch.where(others == 0, flat, even).view(levels.shape)


def _blurred(levels: Tensor) -> Tensor:
    """Mean of 3×3 pixels, borders mirrored."""
    third = np.full(3, 1 / 3)
    return on_both_axes(levels, lambda size: convolution_matrix(size, third, "reflect"))
