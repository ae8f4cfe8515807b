"""Frost: textures grown by rule beside the photographs of the original, and photographs of the
user's own.
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from torch import Tensor

from ahsar_eval.data import DataOptions, open_set, shifted, split_of
from ahsar_eval.data.corruptions import weather
from ahsar_eval.errors import DataError

WEIGHTS = (
    (1.0, 0.2),
    (1.0, 0.3),
    (0.9, 0.4),
    (0.85, 0.4),
    (0.75, 0.45),
)  # of the image, of the frost
TONES = [
    (0.30, 0.56, 0.64),
    (0.79, 0.81, 0.84),
    (0.70, 0.75, 0.80),
    (0.54, 0.60, 0.65),
    (0.44, 0.48, 0.54),
]
STDS = [0.08, 0.08, 0.09, 0.10, 0.14]


def save(path: Path, pixels: NDArray[np.uint8], **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def one_colour(
    path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (200, 240)
) -> Path:
    return save(path, np.full((*size, 3), colour, dtype=np.uint8))


def frosted(images: Tensor, severity: int, folder: Path | None = None) -> Tensor:
    return shifted(images, "frost", severity, 0, np.arange(len(images)), frost=folder)


def black(count: int = 4, size: tuple[int, int] = (32, 32), channels: int = 3) -> Tensor:
    return torch.zeros(count, channels, *size)


# Grown


def test_textures_are_grown_the_same_each_time():
    first = weather._grown()
    again = weather._grown.__wrapped__()
    assert len(first) == 5
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    grey = [texture.mean(0).ravel() for texture in first]
    assert max(abs(np.corrcoef(grey)[np.triu_indices(5, 1)])) < 0.5, "two textures are alike"


def test_their_tones_are_those_of_the_table():
    for texture, tone, std in zip(weather._grown(), TONES, STDS, strict=True):
        assert texture.dtype == np.float32
        assert texture.mean((1, 2)) == pytest.approx(tone, abs=0.01)
        assert texture.std((1, 2)) == pytest.approx(std * np.array([1.1, 1.0, 0.95]), rel=0.05)
        assert float(texture.min()) >= 0
        assert float(texture.max()) <= 1


def crops(texture: Tensor) -> NDArray[np.float64]:
    """150 grey crops of 32 x 32."""
    maker = np.random.default_rng(1)
    places = [
        (int(maker.integers(texture.shape[1] - 31)), int(maker.integers(texture.shape[2] - 31)))
        for _ in range(150)
    ]
    return np.stack(
        [
            texture[:, top : top + 32, left : left + 32].mean(0).double().numpy()
            for top, left in places
        ]
    )


def slope_of_spectrum(texture: Tensor) -> float:
    """Of the logarithm of the power against that of the frequency, 2 to 14 cycles per 32 pixels."""
    pieces = crops(texture)
    pieces = (pieces - pieces.mean((1, 2), keepdims=True)) * np.outer(
        np.hanning(32), np.hanning(32)
    )
    power = (np.abs(np.fft.fft2(pieces)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None]) * 32
    rings = [power[np.abs(frequency - ring) < 0.5].mean() for ring in range(2, 15)]
    return float(np.polyfit(np.log(np.arange(2, 15)), np.log(rings), 1)[0])


def test_grown_textures_are_like_the_photographs(shared_data):
    """Measured at side 32: slopes of −2.7 to −2.9 grown, of −1.6 to −2.9 in the photographs;
    contrast in a crop 0.04 to 0.09, to 0.11.
    """
    folder = shared_data / "imagenet_c_frost"
    grown, taken = (weather.textures(source, 1.0, (32, 32)) for source in (None, folder))
    assert len(taken) == 6
    slopes = {
        name: [slope_of_spectrum(texture) for texture in kind]
        for name, kind in (("grown", grown), ("taken", taken))
    }
    assert all(-3.4 < slope < -1.4 for slope in slopes["grown"] + slopes["taken"]), slopes
    assert np.mean(slopes["grown"]) == pytest.approx(np.mean(slopes["taken"]), abs=0.9)
    contrast = [
        np.mean([crops(texture).std((1, 2)).mean() for texture in kind]) for kind in (grown, taken)
    ]
    assert contrast[0] == pytest.approx(contrast[1], rel=0.25)
    means, real = (
        np.array([texture.mean((1, 2)).numpy() for texture in kind]) for kind in (grown, taken)
    )
    for mean in means:
        assert np.abs(real - mean).max(1).min() < 0.12, "a tone that none of the photographs has"


def test_frost_changes_images_as_the_photographs_do(shared_data):
    """The photographs cut as make_cifar_c.py does: a fifth of the size, a random crop, weights of
    CIFAR-10-C.
    """
    folder = shared_data / "imagenet_c_frost"
    images = torch.stack(list(open_set("photo-patches").fetch(np.arange(0, 520, 2))))
    maker = np.random.default_rng(0)
    photographs = []
    for name in ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg"):
        with Image.open(folder / name) as whole:
            small = whole.convert("RGB").resize(
                (whole.width // 5, whole.height // 5), Image.Resampling.BILINEAR
            )
        photographs.append(np.asarray(small, dtype=np.float64) / 255)
    for severity, (mine, its) in enumerate(WEIGHTS, 1):
        theirs = []
        for image in images.double().numpy():
            photograph = photographs[maker.integers(5)]
            top, left = (int(maker.integers(length - 31)) for length in photograph.shape[:2])
            cut = photograph[top : top + 32, left : left + 32].transpose(2, 0, 1)
            theirs.append((mine * image + its * cut).clip(0, 1))
        change, changed = (
            frosted(images, severity).double().numpy() - images.numpy(),
            np.stack(theirs) - images.numpy(),
        )
        assert change.mean() == pytest.approx(changed.mean(), abs=0.02)
        assert change.std() == pytest.approx(changed.std(), rel=0.15)


# Scale and crops


def test_textures_scale_with_the_side():
    assert [tuple(texture.shape) for texture in weather.textures(None, 1.0, (32, 32))] == [
        (3, 128, 128)
    ] * 5
    assert [tuple(texture.shape) for texture in weather.textures(None, 2.0, (64, 64))] == [
        (3, 256, 256)
    ] * 5
    assert [tuple(texture.shape) for texture in weather.textures(None, 7.0, (224, 224))] == [
        (3, 896, 896)
    ] * 5
    for small, large in zip(
        weather.textures(None, 1.0, (32, 32)), weather.textures(None, 2.0, (64, 64)), strict=True
    ):
        halved = torch.nn.functional.avg_pool2d(large, 2)
        assert float((halved - small).abs().mean()) < 0.01, "another texture at another size"


@pytest.mark.parametrize("size", [(16, 300), (300, 16), (160, 160), (32, 33), (5, 200)])
def test_a_crop_fits_where_the_side_is_longer_than_the_texture(size):
    for texture in weather.textures(None, min(size) / 32, size):
        assert texture.shape[1] >= size[0]
        assert texture.shape[2] >= size[1]
    out = frosted(black(5, size), 2)
    assert out.shape == (5, 3, *size)
    assert float(out.min()) > 0, "a part of the image has no frost"


def test_a_photograph_smaller_than_the_image_is_enlarged(tmp_path):
    one_colour(tmp_path / "small.png", (100, 150, 200), (20, 9))
    out = frosted(black(), 1, tmp_path)
    assert torch.allclose(
        out, 0.2 * torch.tensor([100, 150, 200]).view(1, 3, 1, 1) / 255, atol=1e-6
    )


def test_crops_are_everywhere_and_inside(tmp_path):
    """A photograph whose red tells the row and whose green the column: 180 x 240 pixels are 36 x 48
    at side 32.
    """
    rows, columns = np.repeat(np.arange(36), 5), np.repeat(np.arange(48), 5)
    pixels = np.zeros((180, 240, 3), dtype=np.uint8)
    pixels[..., 0], pixels[..., 1] = 5 * rows[:, None] + 10, 5 * columns + 10
    save(tmp_path / "map.png", pixels)
    out = frosted(black(600), 1, tmp_path) / 0.2 * 255
    top, left = ((out[:, channel, 16, 16] - 10) / 5 - 16 for channel in (0, 1))
    assert float((top - top.round()).abs().max()) < 0.01, "not cut at a pixel"
    assert sorted(set(top.round().int().tolist())) == list(range(5)), "36 − 32 + 1 places"
    assert sorted(set(left.round().int().tolist())) == list(range(17))
    assert stats.chisquare(np.bincount(top.round().int().numpy())).pvalue > 1e-4
    assert stats.chisquare(np.bincount(left.round().int().numpy())).pvalue > 1e-4
    assert abs(np.corrcoef(top, left)[0, 1]) < 0.2


# The user's photographs


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_given_photographs_are_mixed_in(tmp_path, severity):
    one_colour(tmp_path / "a.png", (51, 102, 204))
    images = torch.stack(list(open_set("photo-patches").fetch(np.arange(5))))
    mine, its = WEIGHTS[severity - 1]
    colour = torch.tensor([0.2, 0.4, 0.8]).view(1, 3, 1, 1)
    assert torch.allclose(
        frosted(images, severity, tmp_path), (mine * images + its * colour).clamp(0, 1), atol=1e-6
    )
    assert not torch.allclose(
        frosted(images, severity), frosted(images, severity, tmp_path), atol=0.01
    )


def test_grey_images_take_the_luma(tmp_path):
    one_colour(tmp_path / "a.png", (51, 102, 204))
    luma = 0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.8
    assert torch.allclose(
        frosted(black(channels=1), 2, tmp_path), torch.tensor(0.3 * luma), atol=1e-6
    )


def test_each_photograph_is_drawn_as_often(tmp_path):
    """Pictures of any kind, in the order of their names; other files are left alone."""
    one_colour(tmp_path / "b.PNG", (0, 255, 0))
    one_colour(tmp_path / "c.bmp", (0, 0, 255))
    one_colour(tmp_path / "a.webp", (250, 0, 0))
    save(tmp_path / "d.jpg", np.full((200, 200), 128, dtype=np.uint8))
    (tmp_path / "readme.txt").write_text("no picture")
    (tmp_path / "more").mkdir()
    out = frosted(black(800), 1, tmp_path)[:, :, 0, 0] / 0.2
    counts = np.unique(out.numpy().round(1), axis=0, return_counts=True)[1]
    assert len(counts) == 4, "a photograph is never drawn"
    assert stats.chisquare(counts).pvalue > 1e-4
    kinds = torch.stack([texture[:, 0, 0] for texture in weather.textures(tmp_path, 1.0, (32, 32))])
    assert kinds.numpy().round(1).tolist() == pytest.approx(
        np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5] * 3]), abs=0.06
    )


def test_a_split_uses_the_photographs_of_its_options(tmp_path):
    one_colour(tmp_path / "a.png", (255, 255, 255))
    split = split_of(
        open_set("digits", "test"), (1, 16, 16), "frost", 1, options=DataOptions(frost=tmp_path)
    )
    clean = split_of(open_set("digits", "test"), (1, 16, 16))
    members = np.arange(6)
    assert torch.allclose(
        split.tensors(members)[0][0], (clean.tensors(members)[0][0] + 0.2).clamp(max=1), atol=1e-5
    )


def test_the_identity_is_of_the_photographs_content(tmp_path):
    for name in ("one", "two"):
        one_colour(tmp_path / name / "a.png", (1, 2, 3))
    first = weather.photographs_identity(tmp_path / "one")
    assert first == weather.photographs_identity(tmp_path / "two"), "where they lie is no matter"
    one_colour(tmp_path / "two" / "a.png", (1, 2, 4))
    assert first != weather.photographs_identity(tmp_path / "two")
    one_colour(tmp_path / "one" / "b.png", (1, 2, 3))
    assert first != weather.photographs_identity(tmp_path / "one")


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as refused:
        frosted(black(1), 1, folder)
    message = str(refused.value)
    assert "\n" not in message
    assert ". " not in message, "more than one sentence"
    return message


def test_a_missing_folder_is_named(tmp_path):
    assert (
        "is no folder of frost photographs; give the path of one, or leave it out for grown "
        "textures" in refusal(tmp_path / "nowhere")
    )
    assert "is no folder of frost photographs" in refusal(one_colour(tmp_path / "a.png", (1, 2, 3)))


def test_an_empty_folder_is_named(tmp_path):
    (tmp_path / "readme.txt").write_text("no picture")
    assert f"{str(tmp_path)!r} holds no photograph (.png, .jpg" in refusal(tmp_path)


def png() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(
        file, "PNG"
    )
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"no picture at all", png()[:50], png()[:4000], png()[:40] + b"\xff" * 5000]
)
def test_a_broken_photograph_is_named(tmp_path, content):
    one_colour(tmp_path / "a.png", (1, 2, 3))
    (tmp_path / "b.png").write_bytes(content)
    message = refusal(tmp_path)
    assert str(tmp_path / "b.png") in message
    assert "cannot be read as an image" in message
    assert "replace or remove it" in message


def test_a_folder_named_like_a_photograph_is_left_alone(tmp_path):
    one_colour(tmp_path / "a.png", (255, 255, 255))
    identity = weather.photographs_identity(tmp_path)
    (tmp_path / "b.png").mkdir()
    assert torch.allclose(frosted(black(1), 1, tmp_path), torch.tensor(0.2))
    assert weather.photographs_identity(tmp_path) == identity


def test_a_photograph_that_changes_is_read_again(tmp_path):
    file = one_colour(tmp_path / "a.png", (255, 255, 255))
    before = frosted(black(1), 1, tmp_path)
    one_colour(file, (0, 0, 0))
    os.utime(file, ns=(1, 1))
    assert float(before.min()) > 0
    assert float(frosted(black(1), 1, tmp_path).max()) == 0
