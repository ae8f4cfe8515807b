"""Each corruption against its definition, written again with scipy, Pillow, OpenCV or plain loops,
from the same random numbers.
"""

import colorsys
import io
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage, signal
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data import SEVERITIES, open_set, shifted
from ahsar_eval.data.corruptions import values, weather
from ahsar_eval.data.kernels import chamfer
from ahsar_eval.data.randomness import Draws

Array = NDArray[np.float64]
GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1.0)
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))
GLASS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))
ZOOM_END = (1.06, 1.11, 1.16, 1.21, 1.26)
SNOW = (
    (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
)
FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
SATURATE = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
ELASTIC = (
    (0.0, 0.0, 2.56),
    (1.6, 6.4, 2.24),
    (2.56, 1.92, 1.92),
    (3.2, 1.28, 1.6),
    (3.2, 0.96, 0.96),
)
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
QUALITY = (80, 65, 58, 50, 40)
SPATTER = (
    (0.62, 0.1, 0.7, 0.7, 0.5),
    (0.65, 0.1, 0.8, 0.7, 0.5),
    (0.65, 0.3, 1.0, 0.69, 0.5),
    (0.65, 0.1, 0.7, 0.69, 0.6),
    (0.65, 0.1, 0.5, 0.68, 0.6),
)
LUMA = np.array([0.299, 0.587, 0.114])
SEED = 6
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


def patches(count: int = 6, size: tuple[int, int] = (32, 32)) -> Tensor:
    images = torch.stack(
        list(open_set("photo-patches").fetch(np.linspace(0, 519, count).astype(int)))
    )
    return (
        images
        if size == (32, 32)
        else F.interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)
    )


def apply(images: Tensor, shift: str, severity: int) -> Array:
    return shifted(images, shift, severity, SEED, np.arange(len(images))).double().numpy()


def draws(shift: str, severity: int, count: int) -> Draws:
    """The numbers that `apply` draws, to be asked for in the same order."""
    return Draws(SEED, shift, severity, np.arange(count))


def planes(images: Tensor) -> Array:
    """[N · C, H, W]."""
    return images.double().numpy().reshape(-1, *images.shape[-2:])


def close(found: Array, expected: Array, within: float) -> None:
    assert found.shape == expected.shape
    worst = float(np.abs(found - expected.clip(0, 1)).max())
    assert worst < within, f"differs by {worst}"


# Blurs


@every_severity
@pytest.mark.parametrize("size", [(8, 12), (16, 20), (32, 36), (48, 52), (7, 31)])
def test_gaussian_blur_is_scipy_s(size, severity):
    images = patches(3, size)
    sigma = GAUSSIAN[severity - 1] * min(size) / 32
    expected = np.stack(
        [
            ndimage.gaussian_filter(plane, sigma, mode="nearest", truncate=4)
            for plane in planes(images)
        ]
    )
    close(apply(images, "gaussian_blur", severity), expected.reshape(images.shape), 1e-6)


def disk(radius: float, sigma: float, reach: int = 1) -> Array:
    """A hard disk in the original's window of 17 pixels, smoothed by a Gaussian of 2 · reach + 1
    (cv2.GaussianBlur's normalised one).
    """
    y, x = np.mgrid[-16:17, -16:17]
    hard = (x**2 + y**2 <= radius**2).astype(float)
    edge = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    edge /= edge.sum()
    return signal.convolve2d(hard / hard.sum(), np.outer(edge, edge), mode="same")


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (32, 45), (64, 64)])
def test_defocus_blur_is_a_smoothed_disk(size, severity):
    images = patches(4, size)
    radius, sigma = DEFOCUS[severity - 1]
    ratio = size[0] // 32
    kernel = disk(radius * ratio, sigma * ratio, ratio)
    expected = np.stack(
        [ndimage.correlate(plane, kernel, mode="mirror") for plane in planes(images)]
    ).reshape(images.shape)
    close(apply(images, "defocus_blur", severity), expected, 2e-6)


@every_severity
def test_defocus_blur_is_opencv_s(severity):
    cv2 = pytest.importorskip("cv2")
    images = patches(4)
    radius, sigma = DEFOCUS[severity - 1]
    y, x = np.mgrid[-8:9, -8:9]
    hard = (x**2 + y**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(hard / hard.sum(), ksize=(3, 3), sigmaX=sigma)
    expected = np.stack([cv2.filter2D(plane, -1, kernel) for plane in planes(images)]).reshape(
        images.shape
    )
    close(apply(images, "defocus_blur", severity), expected, 2e-6)


@every_severity
@pytest.mark.parametrize("side", [16, 28])
def test_defocus_blur_of_small_images_is_the_kernel_of_32_on_wider_pixels(side, severity):
    """A pixel of side 32 is cut into side / 2 strips each way, a pixel of the smaller image takes
    16 of them.
    """
    images = patches(4, (side, side))
    cells, wide = side // 2, 16
    fine = np.kron(
        disk(*DEFOCUS[severity - 1])[12:21, 12:21], np.full((cells, cells), 1 / cells**2)
    )  # 9 pixels, even in strips
    middle, whole = len(fine) // 2, 11 * wide
    if len(fine) % 2:  # the middle of a pixel is the middle of a strip: halve the strips
        fine, wide = np.kron(fine, np.full((2, 2), 0.25)), 32
        middle, whole = len(fine) // 2, 11 * wide
    around = np.zeros((whole, whole))
    start = whole // 2 - middle
    around[start : start + len(fine), start : start + len(fine)] = fine
    kernel = around.reshape(11, wide, 11, wide).sum((1, 3))
    assert kernel.sum() == pytest.approx(1)
    expected = np.stack(
        [ndimage.correlate(plane, kernel, mode="mirror") for plane in planes(images)]
    ).reshape(images.shape)
    close(apply(images, "defocus_blur", severity), expected, 2e-6)


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (28, 40)])
def test_zoom_blur_is_scipy_s_zoom_by_the_definition(size, severity):
    images = patches(3, size)
    factors = np.arange(1, ZOOM_END[severity - 1], 0.01)
    expected = []
    for plane in planes(images):
        total = plane.copy()
        for factor in factors:
            cut = [math.ceil(length / factor) for length in size]
            top, left = ((length - kept) // 2 for length, kept in zip(size, cut, strict=True))
            large = ndimage.zoom(plane[top : top + cut[0], left : left + cut[1]], factor, order=1)
            down, across = (
                (there - length) // 2 for there, length in zip(large.shape, size, strict=True)
            )
            total += large[down : down + size[0], across : across + size[1]]
        expected.append(total / (len(factors) + 1))
    close(apply(images, "zoom_blur", severity), np.stack(expected).reshape(images.shape), 2e-6)


def moved(plane: Array, radius: int, sigma: float, degrees: float) -> Array:
    """Motion blur of one plane, pixel by pixel: 2 · radius + 1 steps of one pixel along the
    direction, a half Gaussian over them.
    """
    height, width = plane.shape
    weights = [math.exp(-(step**2) / (2 * sigma**2)) for step in range(2 * radius + 1)]
    out = np.zeros_like(plane)
    for y in range(height):
        for x in range(width):
            for step, weight in enumerate(weights):
                down = math.ceil(step * math.sin(math.radians(degrees)) - 0.5)
                across = math.ceil(step * math.cos(math.radians(degrees)) - 0.5)
                out[y, x] += (
                    weight
                    / sum(weights)
                    * plane[min(max(y + down, 0), height - 1), min(max(x + across, 0), width - 1)]
                )
    return out


@every_severity
def test_motion_blur_is_a_plain_loop(severity):
    images = patches(5)[:, :1]
    angles = draws("motion_blur", severity, 5).uniform(low=-45.0, high=45.0).tolist()
    expected = np.stack(
        [
            moved(plane, *MOTION[severity - 1], angle)
            for plane, angle in zip(planes(images), angles, strict=True)
        ]
    )
    close(apply(images, "motion_blur", severity), expected[:, None], 2e-6)


@every_severity
def test_glass_blur_is_the_original_s_loop_in_place(severity):
    """With the copy that NumPy's views make of its swap, rows and columns from the end on."""
    images = patches(3, (32, 36))
    sigma, delta, passes = GLASS[severity - 1]
    numbers = draws("glass_blur", severity, 3)
    moves = [numbers.integers(-delta, delta, 2, 32, 36).numpy() for _ in range(passes)]
    expected = []
    for n, image in enumerate(images.double().numpy()):
        x = np.stack(
            [ndimage.gaussian_filter(plane, sigma, mode="nearest") for plane in image], axis=-1
        )
        for move in moves:
            for h in range(32 - delta, delta, -1):
                for w in range(36 - delta, delta, -1):
                    dy, dx = move[n, :, h, w]
                    x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
        expected.append(
            [
                ndimage.gaussian_filter(x[..., channel], sigma, mode="nearest")
                for channel in range(3)
            ]
        )
    close(apply(images, "glass_blur", severity), np.array(expected), 2e-6)


# Weather


@every_severity
def test_snow_is_its_composition(severity):
    images = patches(4)
    mean, std, zoom, threshold, radius, sigma, mix = SNOW[severity - 1]
    numbers = draws("snow", severity, 4)
    noise, angles = (
        numbers.normal(32, 32).double().numpy(),
        numbers.uniform(low=-135.0, high=-45.0).tolist(),
    )
    cut = math.ceil(32 / zoom)
    top = (32 - cut) // 2
    expected = []
    for image, layer, angle in zip(
        images.double().numpy(), mean + std * noise, angles, strict=True
    ):
        flakes = ndimage.zoom(layer[top : top + cut, top : top + cut], zoom, order=1)
        trimmed = (len(flakes) - 32) // 2
        flakes = flakes[trimmed : trimmed + 32, trimmed : trimmed + 32]
        flakes = np.where(flakes < threshold, 0, flakes.clip(0, 1))
        fallen = moved(flakes, radius, sigma, angle)
        grey = np.tensordot(LUMA, image, 1)
        expected.append(
            mix * image
            + (1 - mix) * np.maximum(image, grey * 1.5 + 0.5)
            + fallen
            + np.rot90(fallen, 2)
        )
    close(apply(images, "snow", severity), np.stack(expected), 1e-5)


def plasma(size: int, decay: float, numbers: Draws) -> Array:
    """Diamonds and squares point by point on a torus, one field per sample."""
    fields = np.zeros((len(numbers.indices), size, size))
    step, reach = size, 100.0
    while step > 1:
        half, count = step // 2, size // step
        noise = numbers.uniform(3, count, count, low=-(reach**2), high=reach**2).double().numpy()
        for n, field in enumerate(fields):
            for i in range(count):
                for j in range(count):
                    corners = [
                        field[(i + a) % count * step, (j + b) % count * step]
                        for a in (0, 1)
                        for b in (0, 1)
                    ]
                    field[i * step + half, j * step + half] = sum(corners) / 4 + noise[n, 0, i, j]
            for i in range(count):
                for j in range(count):
                    y, x = i * step, j * step
                    across = [
                        field[y, x],
                        field[y, (x + step) % size],
                        field[y + half, x + half],
                        field[(y - half) % size, x + half],
                    ]
                    field[y, x + half] = sum(across) / 4 + noise[n, 1, i, j]
                    down = [
                        field[y, x],
                        field[(y + step) % size, x],
                        field[y + half, x + half],
                        field[y + half, (x - half) % size],
                    ]
                    field[y + half, x] = sum(down) / 4 + noise[n, 2, i, j]
        step, reach = half, reach / decay
    fields -= fields.min((1, 2), keepdims=True)
    return fields / fields.max((1, 2), keepdims=True)


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (20, 33)])
def test_fog_is_a_plain_diamond_square(size, severity):
    images = patches(3, size)
    amplitude, decay = FOG[severity - 1]
    layer = plasma(32 if max(size) == 32 else 64, decay, draws("fog", severity, 3))[
        :, None, : size[0], : size[1]
    ]
    largest = images.double().numpy().max((1, 2, 3), keepdims=True)
    close(
        apply(images, "fog", severity),
        (images.numpy() + amplitude * layer) * largest / (largest + amplitude),
        1e-5,
    )


# Colours


def in_hsv(images: Tensor, change) -> Array:
    """`change` of (h, s, v) on every pixel, by the standard library."""
    out = np.empty(images.shape)
    for n, y, x in np.ndindex(len(images), *images.shape[-2:]):
        h, s, v = change(*colorsys.rgb_to_hsv(*images[n, :, y, x].tolist()))
        out[n, :, y, x] = colorsys.hsv_to_rgb(h, min(max(s, 0), 1), min(max(v, 0), 1))
    return out


def colours() -> Tensor:
    """Real pixels, and black, white, greys and full colours among them."""
    images = patches(3, (8, 8))
    images[0, :, 0] = torch.tensor(
        [[0.0, 1, 0.5, 1, 0, 0, 1, 0.2], [0, 1, 0.5, 0, 1, 0, 1, 0.2], [0, 1, 0.5, 0, 0, 1, 0, 0.2]]
    )
    return images


@every_severity
def test_brightness_is_raised_in_hsv(severity):
    images = colours()
    close(
        apply(images, "brightness", severity),
        in_hsv(images, lambda h, s, v: (h, s, v + BRIGHTNESS[severity - 1])),
        1e-6,
    )
    grey = images[:, :1]
    close(
        apply(grey, "brightness", severity), grey.double().numpy() + BRIGHTNESS[severity - 1], 1e-6
    )


@every_severity
def test_saturation_is_changed_in_hsv(severity):
    images = colours()
    factor, offset = SATURATE[severity - 1]
    close(
        apply(images, "saturate", severity),
        in_hsv(images, lambda h, s, v: (h, s * factor + offset, v)),
        1e-6,
    )


@every_severity
def test_contrast_is_taken_about_each_channel_s_own_mean(severity):
    images = patches(5)
    means = images.double().numpy().mean((2, 3), keepdims=True)
    close(
        apply(images, "contrast", severity),
        (images.numpy() - means) * CONTRAST[severity - 1] + means,
        1e-6,
    )


# Digital


def resized(
    plane: NDArray[np.floating], size: tuple[int, ...], how: Image.Resampling
) -> NDArray[np.float32]:
    """Pillow's resizing to (height, width), in floating point."""
    return np.asarray(Image.fromarray(plane.astype(np.float32)).resize((size[1], size[0]), how))


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (28, 45), (64, 64), (17, 16)])
def test_pixelate_is_pillow_s_box(size, severity):
    images = patches(3, size)
    small = tuple(int(length * PIXELATE[severity - 1]) for length in size)
    box = Image.Resampling.BOX
    expected = np.stack(
        [resized(resized(plane, small, box), size, box) for plane in planes(images)]
    )
    close(apply(images, "pixelate", severity), expected.reshape(images.shape).astype(float), 2e-6)


def test_pixelate_is_the_original_s_within_8_bits():
    images = (patches() * 255).round() / 255
    for severity, small in zip(SEVERITIES, (30, 28, 27, 24, 20), strict=True):
        found = apply(images, "pixelate", severity) * 255
        for image, ours in zip(images, found, strict=True):
            pixels = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
            theirs = np.asarray(
                pixels.resize((small, small), Image.Resampling.BOX).resize(
                    (32, 32), Image.Resampling.BOX
                ),
                dtype=float,
            )
            assert np.abs(theirs.transpose(2, 0, 1) - ours).max() <= 2, (
                "each of Pillow's four passes may round by half a level"
            )


@pytest.mark.parametrize("quality", [*QUALITY, 10, 95])
def test_jpeg_s_tables_are_pillow_s(quality):
    file = io.BytesIO()
    Image.new("RGB", (16, 16)).save(file, "JPEG", quality=quality)
    with Image.open(file) as written:
        tables = [written.quantization[number] for number in (0, 1)]  # type: ignore[attr-defined]
    for found, text in zip(tables, (values._LUMINANCE, values._CHROMINANCE), strict=True):
        assert values._table(text, quality).ravel().tolist() == list(found)


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (28, 28), (33, 47), (40, 24), (17, 20)])
@pytest.mark.parametrize("channels", [3, 1])
def test_jpeg_is_pillow_s_encoder(channels, size, severity):
    """Measured: 48.4 to 69 dB over all images.

    Where a coefficient lies beside the edge between two steps, libjpeg's whole-number transform may
    take the other one: the block is then off by several levels.
    """
    images = (patches(58, size)[:, :channels] * 255).round() / 255
    theirs = []
    for image in images:
        pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels if channels == 3 else pixels[..., 0]).save(
            file, "JPEG", quality=QUALITY[severity - 1]
        )
        with Image.open(file) as decoded:
            theirs.append(
                np.asarray(decoded, dtype=float).reshape(*size, channels).transpose(2, 0, 1)
            )
    levels = apply(images, "jpeg_compression", severity) * 255
    assert np.abs(levels - levels.round()).max() < 1e-4, "a decoder gives whole levels"
    difference = levels - np.stack(theirs)
    assert 20 * math.log10(255 / np.sqrt((difference**2).mean())) > 47.5
    assert (np.abs(difference) < 0.5).mean() > 0.9, "most pixels are the same"
    assert (np.abs(difference) < 1.5).mean() > 0.97, "nearly all within one level"


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (32, 40)])
def test_elastic_transform_is_scipy_s_map_coordinates(size, severity):
    """Affine by cv2.getAffineTransform's equations (M · source = moved; the image is read at M⁻¹),
    then the smooth displacement.
    """
    count, (height, width) = 4, size
    images = patches(count, size)
    alpha, sigma, reach = ELASTIC[severity - 1]
    numbers = draws("elastic_transform", severity, count)
    corners = numbers.uniform(3, 2, low=-reach, high=reach).double().numpy()
    centre, square = np.array([height // 2, width // 2]), min(size) // 3
    source = np.array(
        [centre + square, [centre[0] + square, centre[1] - square], centre - square], dtype=float
    )
    y, x = np.mgrid[:height, :width].astype(float)
    noise = (
        numbers.uniform(2, height, width, low=-1.0, high=1.0).double().numpy()
        if alpha
        else np.zeros((count, 2, height, width))
    )
    expected = []
    for image, moves, both in zip(images.double().numpy(), corners, noise, strict=True):
        unknowns = np.linalg.lstsq(
            np.hstack([source, np.ones((3, 1))]), source + moves, rcond=None
        )[0].T  # [2, 3]
        back = np.linalg.inv(np.vstack([unknowns, [0, 0, 1]]))
        at_x, at_y = (
            back[0, 0] * x + back[0, 1] * y + back[0, 2],
            back[1, 0] * x + back[1, 1] * y + back[1, 2],
        )
        dx, dy = (
            alpha * ndimage.gaussian_filter(one, sigma, mode="reflect", truncate=3)
            if alpha
            else one
            for one in both
        )
        bent = [
            ndimage.map_coordinates(plane, [at_y, at_x], order=1, mode="mirror") for plane in image
        ]
        expected.append(
            [
                ndimage.map_coordinates(plane, [y + dy, x + dx], order=1, mode="reflect")
                for plane in bent
            ]
        )
    close(apply(images, "elastic_transform", severity), np.array(expected), 2e-5)


# Spatter


def liquid(side: int, severity: int) -> Array:
    """[12, side, side]: smoothed noise, what is below the threshold taken out."""
    mean, std, sigma, threshold, _ = SPATTER[severity - 1]
    noise = mean + std * draws("spatter", severity, 12).normal(side, side).double().numpy()
    smooth = np.stack([ndimage.gaussian_filter(layer, sigma, mode="nearest") for layer in noise])
    return np.where(smooth < threshold, 0, smooth)


@pytest.mark.parametrize("severity", [4, 5])
@pytest.mark.parametrize("channels", [3, 1])
def test_mud_is_scipy_s(channels, severity):
    images = patches(12)[:, :channels]
    *_, threshold, sigma = SPATTER[severity - 1]
    mask = np.stack(
        [
            ndimage.gaussian_filter((layer > threshold).astype(float), sigma, mode="nearest")
            for layer in liquid(32, severity)
        ]
    )
    mask = np.where(mask < 0.8, 0, mask)[:, None]
    brown = np.array([63, 42, 20]) / 255
    brown = brown if channels == 3 else np.array([LUMA @ brown])
    close(
        apply(images, "spatter", severity),
        images.numpy() * (1 - mask) + mask * brown[:, None, None],
        1e-5,
    )
    assert mask.max() > 0.8, "no mud was tested"


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_is_opencv_s(severity):
    cv2 = pytest.importorskip("cv2")
    images = patches(12)
    drops = (liquid(32, severity).clip(0, 1) * 255).astype(np.uint8)
    pale, strength = np.array([175, 238, 238]) / 255, SPATTER[severity - 1][-1]
    expected = []
    for image, drop in zip(images.double().numpy(), drops, strict=True):
        lit = drop * rims_by_opencv(cv2, drop)
        mask = lit / lit.max() * strength if lit.max() else lit
        expected.append(image + mask * pale[:, None, None])
    close(apply(images, "spatter", severity), np.stack(expected), 1e-5)


def rims_by_opencv(cv2, drops: NDArray[np.uint8]) -> Array:
    far = cv2.distanceTransform(255 - cv2.Canny(drops, 50, 150), cv2.DIST_L2, 5)
    far = cv2.threshold(far, 20, 20, cv2.THRESH_TRUNC)[1]
    even = cv2.equalizeHist(cv2.blur(far, (3, 3)).astype(np.uint8))
    embossed = cv2.filter2D(even, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    return cv2.blur(embossed, (3, 3)).astype(float)


def drops_of_every_kind() -> list[NDArray[np.uint8]]:
    """Smoothed noise with and without a threshold, squares, a gradient, and nothing at all."""
    maker = np.random.default_rng(5)
    made = [
        np.zeros((32, 32), np.uint8),
        np.full((9, 14), 200, np.uint8),
        np.add.outer(np.arange(40), np.arange(30)).astype(np.uint8),
    ]
    for size in ((32, 32), (17, 40), (64, 64)):
        for threshold in (0, 120):
            for sigma in (0.7, 1.5, 3.0):
                layer = (
                    ndimage.gaussian_filter(maker.normal(128, 150 * sigma, size), sigma)
                    .clip(0, 255)
                    .astype(np.uint8)
                )
                made.append(np.where(layer < threshold, 0, layer).astype(np.uint8))
    blocks = np.zeros((33, 33), np.uint8)
    blocks[5:20, 9:12], blocks[25:, 25:] = 180, 90
    return [*made, blocks]


def test_canny_is_opencv_s():
    cv2 = pytest.importorskip("cv2")
    shares = []
    for drops in drops_of_every_kind():
        found = weather.canny_edges(drops.astype(np.float32)[None])[0]
        assert np.array_equal(found, cv2.Canny(drops, 50, 150) > 0)
        shares.append(found.mean())
    assert min(shares) == 0
    assert max(shares) > 0.1


def test_rims_are_opencv_s():
    cv2 = pytest.importorskip("cv2")
    for drops in drops_of_every_kind():
        found = weather.rims(torch.from_numpy(drops).float()[None])[0].numpy()
        assert np.array_equal(found, rims_by_opencv(cv2, drops))


def some_edges() -> NDArray[np.bool_]:
    maker = np.random.default_rng(2)
    edges = maker.random((12, 21, 34)) < np.geomspace(1e-3, 0.2, 12)[:, None, None]
    edges[:, 4, 30] = True
    return edges


def distances(edges: NDArray[np.bool_]) -> NDArray[np.float32]:
    out = np.empty(edges.shape, dtype=np.float32)
    chamfer(edges, out)
    return out


def test_chamfer_distances_are_the_shortest_paths():
    """Brute force: steps of 1, 1.4 and 2.1969 to the 16 neighbours of a 5x5 mask are taken until
    nothing gets shorter.
    """
    steps = {(0, 1): 1.0, (1, 1): 1.4, (1, 2): 2.1969}
    edges = some_edges()
    expected = np.where(edges, 0.0, np.inf)
    while True:
        around = np.pad(expected, ((0, 0), (2, 2), (2, 2)), constant_values=np.inf)
        shorter = expected
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                cost = steps.get((min(abs(dy), abs(dx)), max(abs(dy), abs(dx))))
                if cost is not None:
                    shorter = np.minimum(
                        shorter, around[:, 2 + dy : 23 + dy, 2 + dx : 36 + dx] + cost
                    )
        if np.array_equal(shorter, expected):
            break
        expected = shorter
    assert np.abs(distances(edges) - expected).max() < 1e-4
    exact = ndimage.distance_transform_edt(~edges[0])
    assert np.abs(distances(edges)[0] / np.maximum(exact, 1) - np.minimum(exact, 1)).max() < 0.05, (
        "near the straight distance"
    )


def test_chamfer_distances_are_opencv_s():
    cv2 = pytest.importorskip("cv2")
    edges = some_edges()
    expected = np.stack(
        [cv2.distanceTransform(255 * (~one).astype(np.uint8), cv2.DIST_L2, 5) for one in edges]
    )
    assert np.abs(distances(edges) - expected).max() < 1e-3


def test_an_image_without_an_edge_is_far_from_any():
    assert float(distances(np.zeros((1, 9, 9), dtype=bool)).min()) > 1e5


# Place and size


def smooth(count: int, size: tuple[int, int]) -> Tensor:
    maker = np.random.default_rng(0)
    return torch.from_numpy(
        np.stack([ndimage.gaussian_filter(maker.random(size), 1.5) for _ in range(count)]).astype(
            np.float32
        )
    )[:, None]


@every_severity
@pytest.mark.parametrize("size", [(24, 24), (20, 32), (31, 17)])
def test_rotation_is_scipy_s(size, severity):
    images = smooth(12, size)
    out = apply(images, "rotation", severity)[:, 0]
    senses = set()
    for image, found in zip(planes(images), out, strict=True):
        both = {
            sign: ndimage.rotate(
                image, sign * 10 * severity, reshape=False, order=1, mode="nearest"
            )
            for sign in (-1, 1)
        }
        error = {sign: np.abs(found - rotated).max() for sign, rotated in both.items()}
        sense = min(error, key=lambda sign: error[sign])
        senses.add(sense)
        assert error[sense] < 1e-4, "the rotation has another angle, centre or border"
        assert error[-sense] > 1e-2
    assert senses == {-1, 1}, "the sense is drawn per sample"


@every_severity
@pytest.mark.parametrize("size", [(24, 24), (20, 32)])
def test_translation_is_scipy_s_shift(size, severity):
    images = smooth(6, size)
    directions = draws("translation", severity, 6).uniform(high=2 * math.pi).double().numpy()
    reach = 0.05 * severity * min(size)
    for image, angle, found in zip(
        planes(images), directions, apply(images, "translation", severity)[:, 0], strict=True
    ):
        expected = ndimage.shift(
            image, (reach * math.sin(angle), reach * math.cos(angle)), order=1, mode="nearest"
        )
        assert np.abs(found - expected).max() < 1e-5


@every_severity
@pytest.mark.parametrize("size", [(24, 24), (20, 32)])
def test_scale_is_scipy_s_affine_map_about_the_centre(size, severity):
    images = smooth(12, size)
    larger = (draws("scale", severity, 12).uniform() < 0.5).tolist()
    centre = (np.array(size) - 1) / 2
    for image, enlarged, found in zip(
        planes(images), larger, apply(images, "scale", severity)[:, 0], strict=True
    ):
        step = 1 / (1 + 0.1 * severity) if enlarged else 1 + 0.1 * severity
        expected = ndimage.affine_transform(
            image, np.eye(2) * step, centre - step * centre, order=1, mode="nearest"
        )
        assert np.abs(found - expected).max() < 1e-5
    assert set(larger) == {True, False}


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (28, 45)])
def test_resolution_is_pillow_s_bilinear(size, severity):
    images = patches(3, size)
    small = tuple(round(length * (0.75, 0.5, 0.375, 0.25, 0.1875)[severity - 1]) for length in size)
    bilinear = Image.Resampling.BILINEAR
    expected = np.stack(
        [resized(resized(plane, small, bilinear), size, bilinear) for plane in planes(images)]
    )
    close(apply(images, "resolution", severity), expected.reshape(images.shape).astype(float), 2e-6)
