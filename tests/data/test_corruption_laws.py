"""The laws of the image corruptions: by hand and by their statistics, and `imagecorruptions` with
our constants beside them.
"""

import functools
import importlib.util
import math
import types

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import stats
from torch import Tensor

from ahsar_eval.data import SEVERITIES, open_set, shifted

STD = (0.04, 0.06, 0.08, 0.09, 0.10)
PHOTONS = (500, 250, 100, 75, 50)
AMOUNT = (0.01, 0.02, 0.03, 0.05, 0.07)
SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)
AREA = (0.05, 0.1, 0.2, 0.3, 0.4)
SMALLEST = 1e-4  # probability below which a distribution is another one; seeds are fixed
Array = NDArray[np.float64]
every_severity = pytest.mark.parametrize("severity", SEVERITIES)


@functools.cache
def patches(count: int = 20) -> Tensor:
    return torch.stack(
        list(open_set("photo-patches").fetch(np.linspace(0, 519, count).astype(int)))
    )


def apply(images: Tensor, shift: str, severity: int, seed: int = 0) -> Tensor:
    return shifted(images, shift, severity, seed, np.arange(len(images)))


def flat(value: float, count: int = 50) -> Tensor:
    return torch.full((count, 3, 32, 32), value)


# Noise


@every_severity
def test_gaussian_noise_is_normal_with_its_standard_deviation(severity):
    noise = ((apply(flat(0.5), "gaussian_noise", severity) - 0.5) / STD[severity - 1]).flatten()
    inside = noise[noise.abs() < 0.5 / STD[severity - 1]]
    assert stats.kstest(inside.numpy()[::7], stats.norm.cdf).pvalue > SMALLEST
    assert float(noise.std()) == pytest.approx(1, abs=5 / (2 * noise.numel()) ** 0.5), (
        "beyond five standard errors"
    )
    assert abs(float(noise.mean())) < 5 / noise.numel() ** 0.5


@every_severity
def test_shot_noise_counts_photons(severity):
    photons = PHOTONS[severity - 1]
    counts = apply(flat(0.4), "shot_noise", severity).flatten() * photons
    assert float((counts - counts.round()).abs().max()) < 1e-3, "no whole photons"
    error = 5 / counts.numel() ** 0.5
    assert float(counts.mean()) == pytest.approx(0.4 * photons, abs=error * (0.4 * photons) ** 0.5)
    assert float(counts.var()) == pytest.approx(0.4 * photons, rel=error * 2**0.5 * 1.1)
    assert float(apply(flat(0.0), "shot_noise", severity).abs().max()) == 0, "black has no photons"


@every_severity
def test_impulse_noise_has_its_fraction_in_equal_parts(severity):
    out = apply(flat(0.5), "impulse_noise", severity)
    count, amount = out.numel(), AMOUNT[severity - 1]
    error = 5 * (amount / 2 * (1 - amount / 2) / count) ** 0.5
    assert float((out == 0).float().mean()) == pytest.approx(amount / 2, abs=error), "pepper"
    assert float((out == 1).float().mean()) == pytest.approx(amount / 2, abs=error), "salt"
    assert int(((out != 0) & (out != 1) & (out != 0.5)).sum()) == 0
    hit = out[:, 0] != 0.5
    assert float(((out[:, 1] != 0.5) & hit).float().sum() / hit.sum()) < 5 * amount, (
        "channels are hit together"
    )


@every_severity
def test_speckle_noise_grows_with_the_image(severity):
    for value in (0.5, 0.25):
        noise = (apply(flat(value), "speckle_noise", severity) - value) / value
        # Where it reaches 1 the noise is cut off: five standard deviations at 0.2 and 0.5.
        assert float(noise.std()) == pytest.approx(
            SPECKLE[severity - 1], rel=6 / (2 * noise.numel()) ** 0.5
        )
        assert abs(float(noise.mean())) < 5 * SPECKLE[severity - 1] / noise.numel() ** 0.5
    assert float(apply(flat(0.0), "speckle_noise", severity).abs().max()) == 0


@pytest.mark.parametrize(
    "shift", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"]
)
def test_noise_is_white_and_of_its_own_in_every_image_channel_and_severity(shift):
    image = patches(1)[0].clamp(0.3, 0.7)
    images = image.expand(40, 3, 32, 32)
    noise = apply(images, shift, 3) - images
    other = apply(images, shift, 4) - images
    pairs = {
        "images": (noise[:-1], noise[1:]),
        "channels": (noise[:, 0], noise[:, 1]),
        "rows": (noise[..., :-1, :], noise[..., 1:, :]),
        "columns": (noise[..., :-1], noise[..., 1:]),
        "severities": (noise, other),
    }
    for name, (a, b) in pairs.items():
        found = float(np.corrcoef(a.flatten().numpy(), b.flatten().numpy())[0, 1])
        assert abs(found) < 5 / a.numel() ** 0.5, f"{name} share their noise"


# Colours


def test_contrast_by_hand():
    image = torch.tensor([[[[0.0, 0.2], [0.4, 1.0]]]])  # mean 0.4
    assert torch.allclose(apply(image, "contrast", 2), torch.tensor([[[[0.2, 0.3], [0.4, 0.7]]]]))


def test_inversion_by_hand():
    assert apply(
        torch.tensor([[[[0.0, 0.5, 1.0]]]]), "inversion", 1
    ).flatten().tolist() == pytest.approx([0.2, 0.5, 0.8])
    assert torch.allclose(apply(patches(), "inversion", 5), 1 - patches(), atol=1e-7), (
        "severity 5 is the negative"
    )


def test_brightness_by_hand():
    """The largest channel grows by 0.1, the others in proportion; black becomes grey."""
    pixels = torch.tensor([[0.5, 0.25, 0.0], [0.0, 0.0, 0.0], [1.0, 0.5, 0.2]]).T.view(1, 3, 1, 3)
    expected = torch.tensor([[0.6, 0.3, 0.0], [0.1, 0.1, 0.1], [1.0, 0.5, 0.2]]).T.view(1, 3, 1, 3)
    assert torch.allclose(apply(pixels, "brightness", 2), expected)


def test_saturate_by_hand():
    """Severity 2: a tenth of the saturation, the largest channel kept. Severity 4 gives grey the
    saturation 0.1 of hue 0, red.
    """
    assert torch.allclose(
        apply(torch.tensor([0.8, 0.4, 0.0]).view(1, 3, 1, 1), "saturate", 2).flatten(),
        torch.tensor([0.8, 0.76, 0.72]),
    )
    assert torch.allclose(
        apply(torch.full((1, 3, 1, 1), 0.5), "saturate", 4).flatten(),
        torch.tensor([0.5, 0.45, 0.45]),
    )


def test_channel_shuffle_takes_every_order_but_the_first():
    images = torch.tensor([0.2, 0.5, 0.9]).view(1, 3, 1, 1).expand(2000, 3, 4, 4)
    whole = apply(images, "channel_shuffle", 5)
    assert torch.equal(whole[:, :, :1, :1].expand_as(whole), whole), "an image is shuffled as one"
    orders, counts = np.unique(whole[:, :, 0, 0].numpy().round(3), axis=0, return_counts=True)
    assert len(orders) == 5
    assert (orders != np.array([0.2, 0.5, 0.9], dtype=np.float32)).any(axis=1).all(), (
        "left as it was"
    )
    assert (np.sort(orders, axis=1) == np.array([0.2, 0.5, 0.9], dtype=np.float32)).all(), (
        "a channel is lost"
    )
    assert stats.chisquare(counts).pvalue > SMALLEST
    assert torch.allclose(apply(images, "channel_shuffle", 5).sum(1), images.sum(1), atol=1e-6)
    assert float((apply(images, "channel_shuffle", 1) - images).abs().max()) == pytest.approx(
        0.2 * 0.7, abs=1e-6
    )


# Place


@every_severity
@pytest.mark.parametrize("size", [(32, 32), (28, 40)])
def test_patch_occlusion_hides_its_area_inside_the_image(size, severity):
    height, width = size
    images = torch.ones(300, 3, *size)
    hidden = apply(images, "patch_occlusion", severity) == 0.5
    side = round(math.sqrt(AREA[severity - 1] * height * width))
    assert (hidden.sum((2, 3)) == side**2).all()
    assert abs(side**2 - AREA[severity - 1] * height * width) <= side + 0.25, (
        "more than half a pixel of its side"
    )
    rows, columns = hidden.any(3)[:, 0], hidden.any(2)[:, 0]
    assert (rows.sum(1) == side).all(), "no square"
    assert (columns.sum(1) == side).all(), "no square"
    for places, length in ((rows, height), (columns, width)):
        first = places.float().argmax(1).numpy()
        counts = np.bincount(first, minlength=length - side + 1)
        assert len(counts) == length - side + 1, "a place is out of reach"
        assert stats.chisquare(counts).pvalue > SMALLEST


def test_directions_of_translation_are_all_alike():
    """A bright point moves by a quarter of the side; its angle is uniform."""
    images = torch.zeros(400, 1, 41, 41)
    images[:, :, 20, 20] = 1
    out = apply(images, "translation", 5)[:, 0].double()
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    down, across = ((out * axis).sum((1, 2)) / out.sum((1, 2)) for axis in (y, x))
    assert float((torch.hypot(down, across) - 41 / 4).abs().max()) < 1e-3
    angle = torch.atan2(down, across).numpy() / (2 * np.pi) + 0.5
    assert stats.kstest(angle, "uniform").pvalue > SMALLEST


@pytest.mark.parametrize("shift", ["rotation", "scale"])
def test_two_senses_are_drawn_as_often(shift):
    images = patches(1).expand(400, 3, 32, 32)
    out = apply(images, shift, 3)
    first = (out == out[0]).flatten(1).all(1)
    assert len({image.numpy().tobytes() for image in out}) == 2
    assert stats.binomtest(int(first.sum()), 400).pvalue > SMALLEST


def test_motion_goes_between_45_degrees_down_and_up():
    """A bright point is drawn out to a line."""
    images = torch.zeros(60, 1, 33, 33)
    images[:, :, 16, 16] = 1
    out = apply(images, "motion_blur", 5)[:, 0]
    # The image is read along the direction, so that the trace leads the other way: to the left.
    y, x = torch.meshgrid(torch.arange(33.0) - 16, torch.arange(33.0) - 16, indexing="ij")
    down, across = (out * y).sum((1, 2)), (out * x).sum((1, 2))
    assert float(across.max()) < -1
    assert 0.85 < float((down / across).abs().max()) <= 1.05, "the range of angles"
    assert float((down > 0).float().mean()) == pytest.approx(0.5, abs=0.3)


# The peer


@pytest.fixture(scope="module")
def peer(repository) -> types.ModuleType:
    pytest.importorskip("imagecorruptions")
    file = repository / "benchmarks" / "peer_corruptions.py"
    if not file.is_file():
        pytest.skip("benchmarks/peer_corruptions.py is not there")
    spec = importlib.util.spec_from_file_location("peer_corruptions", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.peer()


def both(peer, shift: str, severity: int) -> tuple[Array, Array, Array]:
    """Patches of whole levels, what the peer makes of them and what we do, [N, 3, 32, 32] in [0,
    1].

    The peer draws from NumPy's global state, and its impulse noise from a generator of its own for
    every image: both are seeded.
    """
    levels = (patches(80 if shift == "glass_blur" else 200) * 255).round().byte()
    state, draw = np.random.get_state(), np.random.default_rng(severity)
    np.random.seed(severity)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(np.random, "default_rng", lambda seed=None: draw)
            theirs = [
                np.asarray(
                    getattr(peer, shift)(Image.fromarray(one.permute(1, 2, 0).numpy()), severity),
                    dtype=float,
                )
                for one in levels
            ]
    finally:
        np.random.set_state(state)
    ours = apply(levels.float() / 255, shift, severity, seed=1)
    return (
        levels.double().numpy() / 255,
        np.stack(theirs).transpose(0, 3, 1, 2) / 255,
        ours.double().numpy(),
    )


def spectrum(change: Array) -> Array:
    """Power of the channels' mean in four rings of frequency: 1 to 2, 3 to 5, 6 to 10, 11 to 16
    cycles per side.
    """
    frequency = np.hypot(np.fft.fftfreq(32)[:, None], np.fft.fftfreq(32)[None]) * 32
    power = (np.abs(np.fft.fft2(change.mean(1))) ** 2).mean(0)
    return np.array(
        [
            power[(frequency >= low - 0.5) & (frequency < high + 0.5)].mean()
            for low, high in ((1, 2), (3, 5), (6, 10), (11, 16))
        ]
    )


# dB, measured on 200 patches: over 140 where both compute in floating point; the peer's pixelate
# and JPEG work in 8 bits.
EXACT = {
    "defocus_blur": 120,
    "zoom_blur": 120,
    "brightness": 120,
    "contrast": 120,
    "gaussian_blur": 120,
    "saturate": 120,
    "pixelate": 52,
    "jpeg_compression": 50,
}


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("shift", EXACT)
def test_the_peer_gives_the_same_images(peer, shift, severity):
    images, theirs, ours = both(peer, shift, severity)
    assert -10 * math.log10(((theirs - ours) ** 2).mean()) > EXACT[shift]
    assert ((theirs - images) ** 2).mean() > 3 * ((theirs - ours) ** 2).mean()


# Bounds on the ratios of the variance and of the spectrum's rings, four or five standard errors:
# the lowest ring has few frequencies, and
# flakes, drops and angles are few in 200 small images.
NOISE = {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"}


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize(
    "shift", [*sorted(NOISE), "glass_blur", "motion_blur", "snow", "fog", "spatter"]
)
def test_the_peer_s_changes_are_distributed_alike(peer, shift, severity):
    """Mean, variance and spectrum of the change; the elastic transform is left out: the peer's is
    another one.
    """
    images, theirs, ours = both(peer, shift, severity)
    changed, change = theirs - images, ours - images
    assert change.mean() == pytest.approx(changed.mean(), abs=0.003 if shift in NOISE else 0.012)
    assert change.var() == pytest.approx(changed.var(), rel=0.06 if shift in NOISE else 0.2)
    assert spectrum(change) == pytest.approx(spectrum(changed), rel=0.16 if shift in NOISE else 0.3)
    assert ours.var() == pytest.approx(theirs.var(), rel=0.06)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_the_peer_s_frost_is_as_bright(peer, severity):
    """Its photographs are larger than CIFAR-10-C's, and ours are grown: only brightness and
    contrast can be compared.
    """
    images, theirs, ours = both(peer, "frost", severity)
    assert (ours - images).mean() == pytest.approx((theirs - images).mean(), abs=0.03)
    assert (ours - images).std() == pytest.approx((theirs - images).std(), rel=0.2)
