"""Shifts: by hand, against scipy, by their statistics, and as functions of (seed, shift, severity, sample index) alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from ahsar_eval.data import SEVERITIES, SHIFTS, open_set, shifted, split_of

RANDOM = ["gaussian_noise", "impulse_noise", "rotation"]
STD = (0.04, 0.06, 0.08, 0.09, 0.10)
AMOUNT = (0.01, 0.02, 0.03, 0.05, 0.07)
SIGMA = (0.4, 0.6, 0.7, 0.8, 1.0)
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)


def digits(count: int = 100) -> Tensor:
    return torch.stack(list(open_set("digits", "test").fetch(np.arange(count))))


def patches(count: int = 20) -> Tensor:
    return torch.stack(list(open_set("photo-patches").fetch(np.arange(count))))


def apply(images: Tensor, shift: str, severity: int, seed: int = 0) -> Tensor:
    return shifted(images, shift, severity, seed, np.arange(len(images)))


def test_the_catalogue():
    assert list(SHIFTS) == ["gaussian_noise", "impulse_noise", "gaussian_blur", "contrast", "rotation", "inversion"]
    assert [name for name, shift in SHIFTS.items() if shift.random] == RANDOM
    assert all(shift.labels_preserved for shift in SHIFTS.values())


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shift", SHIFTS)
def test_shape_type_and_range_are_kept(shift, severity):
    for images in (digits(8), patches(8), torch.rand(2, 2, 18, 25)):
        before = images.clone()
        out = apply(images, shift, severity)
        assert out.shape == images.shape
        assert out.dtype == torch.float32
        assert 0 <= float(out.min()) <= float(out.max()) <= 1
        assert torch.equal(images, before), "the images given were changed in place"
        assert not torch.equal(out, images)


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_seed_decides_the_numbers(shift):
    images = digits(30)
    assert torch.equal(apply(images, shift, 3, seed=4), apply(images, shift, 3, seed=4))
    differs = not torch.equal(apply(images, shift, 3, seed=4), apply(images, shift, 3, seed=5))
    assert differs == (shift in RANDOM)


@pytest.mark.parametrize("shift", RANDOM)
def test_samples_and_severities_draw_different_numbers(shift):
    flat = torch.full((40, 1, 16, 16), 0.5)
    flat[:, :, 5] = 0.9
    out = apply(flat, shift, 3)
    assert len({image.numpy().tobytes() for image in out}) > 1
    if shift == "gaussian_noise":
        noise3, noise4 = (out - flat) / STD[2], (apply(flat, shift, 4) - flat) / STD[3]
        assert (noise3 - noise4).abs().mean() > 0.5, "severity 4 is severity 3's noise, scaled"


@given(
    shift=st.sampled_from(list(SHIFTS)),
    severity=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    order_seed=st.integers(0, 99),
    cut=st.integers(1, 11),
)
@settings(max_examples=60, deadline=None)
def test_batch_size_and_order_change_no_bit(shift, severity, seed, order_seed, cut):
    images = patches(12)
    whole = apply(images, shift, severity, seed)
    order = np.random.default_rng(order_seed).permutation(12)
    for part in (order[:cut], order[cut:], order[:1]):
        assert torch.equal(shifted(images[part], shift, severity, seed, part), whole[part]), f"samples {part} differ from the whole batch"


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_split_s_batches_are_the_whole(shift):
    split = split_of(open_set("digits", "test"), (3, 20, 24), shift, 2, seed=9)
    whole = split.images(np.arange(23))
    small = torch.cat([batch.x[0] for batch in split.batches(5, np.arange(23))])
    assert torch.equal(small, whole)
    assert torch.equal(split.only(17).images(np.array([0]))[0], whole[17]), "a sample alone keeps its randomness"


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_change_grows_with_severity(shift):
    images = digits(450)
    change = [float(((apply(images, shift, severity) - images) ** 2).mean()) for severity in SEVERITIES]
    assert change == sorted(change), f"mean squared change by severity: {change}"
    assert 0 < change[0] < change[-1]


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_noise_has_its_standard_deviation(severity):
    noise = apply(torch.full((50, 3, 32, 32), 0.5), "gaussian_noise", severity) - 0.5
    count = noise.numel()
    assert float(noise.std()) == pytest.approx(STD[severity - 1], rel=5 / (2 * count) ** 0.5), "beyond five standard errors"
    assert abs(float(noise.mean())) < 5 * STD[severity - 1] / count**0.5


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulse_noise_has_its_fraction_in_equal_parts(severity):
    out = apply(torch.full((50, 3, 32, 32), 0.5), "impulse_noise", severity)
    count, amount = out.numel(), AMOUNT[severity - 1]
    error = 5 * (amount / 2 * (1 - amount / 2) / count) ** 0.5
    assert float((out == 0).float().mean()) == pytest.approx(amount / 2, abs=error), "pepper"
    assert float((out == 1).float().mean()) == pytest.approx(amount / 2, abs=error), "salt"
    assert int(((out != 0) & (out != 1) & (out != 0.5)).sum()) == 0
    hit = out[:, 0] != 0.5
    assert float(((out[:, 1] != 0.5) & hit).float().sum() / hit.sum()) < 5 * amount, "channels are hit together"


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("side", [8, 16, 32, 48])
def test_blur_is_scipy_s(side, severity):
    images = torch.rand(3, 2, side, side + 4, generator=torch.Generator().manual_seed(side))
    sigma = SIGMA[severity - 1] * side / 32
    expected = np.stack(
        [[ndimage.gaussian_filter(channel, sigma, mode="nearest", truncate=4) for channel in image] for image in images.double().numpy()]
    )
    assert np.abs(apply(images, "gaussian_blur", severity).numpy() - expected).max() < 1e-6


def test_contrast_by_hand():
    image = torch.tensor([[[[0.0, 0.2], [0.4, 1.0]]]])  # mean 0.4
    assert torch.allclose(apply(image, "contrast", 2), torch.tensor([[[[0.2, 0.3], [0.4, 0.7]]]]))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_contrast_is_taken_about_each_channel_s_own_mean(severity):
    images = patches(5).double().numpy()
    means = images.mean((2, 3), keepdims=True)
    expected = (images - means) * CONTRAST[severity - 1] + means
    assert np.abs(apply(patches(5), "contrast", severity).numpy() - expected).max() < 1e-6


def test_inversion_at_severity_5_is_the_negative():
    assert torch.allclose(apply(digits(), "inversion", 5), 1 - digits(), atol=1e-7)


def test_inversion_by_hand():
    assert apply(torch.tensor([[[[0.0, 0.5, 1.0]]]]), "inversion", 1).flatten().tolist() == pytest.approx([0.2, 0.5, 0.8])


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("shape", [(24, 24), (20, 32), (31, 17)])
def test_rotation_is_scipy_s(shape, severity):
    rng = np.random.default_rng(0)
    smooth = np.stack([ndimage.gaussian_filter(rng.random(shape), 1.5) for _ in range(12)]).astype(np.float32)
    out = apply(torch.from_numpy(smooth)[:, None], "rotation", severity)[:, 0].numpy()
    senses = set()
    for image, found in zip(smooth, out, strict=True):
        both = {
            sign: ndimage.rotate(image.astype(np.float64), sign * 10 * severity, reshape=False, order=1, mode="nearest") for sign in (-1, 1)
        }
        error = {sign: np.abs(found - rotated).max() for sign, rotated in both.items()}
        sense = min(error, key=lambda sign: error[sign])
        senses.add(sense)
        assert error[sense] < 1e-4, "the rotation has another angle, centre or border"
        assert error[-sense] > 1e-2
    assert senses == {-1, 1}, "the sense is drawn per sample"
