"""Every shift of images: a function of (seed, shift, severity, sample index) alone, at any size. A
new one is tested once registered.
"""

import functools
import hashlib
import io
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from ahsar_eval.data import SEVERITIES, SHIFTS, ImageSet, open_set, open_splits, shifted, split_of
from ahsar_eval.errors import DataError

FIFTEEN = {
    "noise": ["gaussian_noise", "shot_noise", "impulse_noise"],
    "blur": ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"],
    "weather": ["snow", "frost", "fog", "brightness"],
    "digital": ["contrast", "elastic_transform", "pixelate", "jpeg_compression"],
}
EXTRA = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
OURS = [
    "rotation",
    "translation",
    "scale",
    "resolution",
    "channel_shuffle",
    "inversion",
    "patch_occlusion",
]
WITHOUT_CHANCE = {
    *(
        "defocus_blur",
        "zoom_blur",
        "brightness",
        "contrast",
        "pixelate",
        "jpeg_compression",
        "gaussian_blur",
        "saturate",
    ),
    *("resolution", "inversion"),
}
# What moves or averages values without making new ones leaves an image of one colour as it is.
KEEPS_FLAT = [
    "gaussian_blur",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "contrast",
    "elastic_transform",
    "pixelate",
]
KEEPS_FLAT += ["rotation", "translation", "scale", "resolution"]
SIZES = [(16, 16), (28, 28), (32, 32), (64, 64), (33, 47)]
# Pairs of severities (s, s + 1) whose change falls, or stays about the same (within 8 %), by the
# constants of CIFAR-10-C; measured on 520
# patches and on 500 CIFAR-10 test images, with two seeds each. `imagecorruptions` with these
# constants shows the same, but for its own
# elastic transform.
FALLS = {
    "glass_blur": {
        2,
        4,
        # stronger displacement from 2 to 3 and from 4 to 5, but less blurred noise is left to
        # displace:
        # σ is both
    },
    "frost": {
        3
        # 3 keeps 0.9 of the image and adds 0.4 of the frost, 4 keeps 0.85 and adds the same: frost
        # is
        # bright
    },
    "elastic_transform": {1, 2, 3, 4},  # the affine part falls from 2.56 to 0.96 pixels
    "saturate": {2},  # 2 takes the colour out, 3 puts half as much more in
}
LEVEL = {
    "glass_blur": {1},  # σ 0.05 and 0.25 of 32 pixels blur as little
    "motion_blur": {
        3
    },  # the radius goes from 6 to 8 with the same σ: what lies beyond three σ weighs nothing
    "spatter": {3},  # from water to mud
}
LEVEL_IN_CIFAR = LEVEL | {"frost": {4}}  # 4 to 5 rises on patches, which are brighter


@functools.cache
def patches(count: int, size: tuple[int, int] = (32, 32), channels: int = 3) -> Tensor:
    """Photographs' patches from all over both, [count, channels, *size]."""
    images = torch.stack(
        list(open_set("photo-patches").fetch(np.linspace(0, 519, count).astype(int)))
    )
    if size != (32, 32):
        images = F.interpolate(images, size, mode="bilinear", antialias=True).clamp(0, 1)
    return images if channels == 3 else images.mean(1, keepdim=True)


def apply(images: Tensor, shift: str, severity: int, seed: int = 0) -> Tensor:
    return shifted(images, shift, severity, seed, np.arange(len(images)))


def takes(shift: str, channels: int) -> bool:
    return channels == 3 or not SHIFTS[shift].colour_only


def changes(images: Tensor, shift: str, seed: int = 0) -> list[float]:
    return [
        float(((apply(images, shift, severity, seed) - images) ** 2).mean())
        for severity in SEVERITIES
    ]


def test_the_catalogue():
    by_family = {
        family: [name for name, shift in SHIFTS.items() if shift.family == family]
        for family in dict.fromkeys(s.family for s in SHIFTS.values())
    }
    assert by_family == FIFTEEN | {"extra": EXTRA, "ours": OURS}
    assert [name for name, shift in SHIFTS.items() if shift.colour_only] == [
        "saturate",
        "channel_shuffle",
    ]
    assert all(shift.labels_preserved for shift in SHIFTS.values())
    assert {len(shift.constants) for shift in SHIFTS.values()} == {len(SEVERITIES)}


@pytest.mark.parametrize("shift", SHIFTS)
def test_shape_type_and_range_are_kept_at_any_size(shift):
    for size in SIZES:
        for channels in (1, 3):
            images = patches(3, size, channels)
            before = images.clone()
            for severity in SEVERITIES if takes(shift, channels) else ():
                out = apply(images, shift, severity)
                assert out.shape == images.shape
                assert out.dtype == torch.float32
                assert 0 <= float(out.min()) <= float(out.max()) <= 1, "outside [0, 1] or no number"
                assert torch.equal(images, before), "the images given were changed in place"
                assert not torch.equal(out, images), f"severity {severity} at {size} does nothing"


@pytest.mark.parametrize("shift", SHIFTS)
def test_large_images(shift):
    images = patches(98).view(2, 7, 7, 3, 32, 32).permute(0, 3, 1, 4, 2, 5).reshape(2, 3, 224, 224)
    out = apply(images, shift, 4)
    assert out.shape == images.shape
    assert bool(torch.isfinite(out).all())
    assert float(((out - images) ** 2).mean()) > 1e-4, "nothing is left of it at 224 pixels"


@pytest.mark.parametrize(
    "colour", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.5, 0.5, 0.5), (0.9, 0.3, 0.0)]
)
@pytest.mark.parametrize("shift", SHIFTS)
def test_images_of_one_colour(shift, colour):
    images = torch.tensor(colour).view(1, 3, 1, 1).repeat(2, 1, 32, 32)
    for severity in SEVERITIES:
        for given_ in (images, images[:, :1]):
            if takes(shift, given_.shape[1]):
                out = apply(given_, shift, severity)
                assert bool(torch.isfinite(out).all())
                if shift in KEEPS_FLAT:
                    assert float((out - given_).abs().max()) < 2e-6, (
                        f"severity {severity} makes something of nothing"
                    )


@pytest.mark.parametrize("shift", SHIFTS)
def test_a_seed_decides_the_numbers_and_nothing_else_does(shift):
    images = patches(6)
    for severity in SEVERITIES:
        first = apply(images, shift, severity, seed=4)
        assert torch.equal(first, apply(images, shift, severity, seed=4))
        assert torch.equal(first, apply(images, shift, severity, seed=5)) == (
            shift in WITHOUT_CHANCE
        )
        moved = shifted(images, shift, severity, 4, np.arange(6) + 2**33)
        assert torch.equal(first, moved) == (shift in WITHOUT_CHANCE), "a sample's index"


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (9, 9)])
@pytest.mark.parametrize("shift", SHIFTS)
def test_batch_size_and_order_change_no_bit(shift, size):
    """Odd sizes too: a BLAS, and a vector unit at an array's end, take other routes for other batch
    sizes.
    """
    count = 41 if size == (9, 9) else 9
    order = np.random.default_rng(3).permutation(count)
    for channels in (3, 1):
        images = patches(count, size, channels)
        for severity in SEVERITIES if takes(shift, channels) else ():
            whole = apply(images, shift, severity, 7)
            for part in (order, order[:1], order[1:3], order[3:], np.array([count - 1])):
                assert torch.equal(shifted(images[part], shift, severity, 7, part), whole[part]), (
                    f"severity {severity}: {part} differ"
                )


@given(
    shift=st.sampled_from(list(SHIFTS)),
    severity=st.sampled_from(SEVERITIES),
    seed=st.integers(0, 2**31 - 1),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)),
    channels=st.sampled_from([1, 3]),
    first=st.integers(0, 2**40),
    cut=st.integers(1, 4),
)
@settings(max_examples=100)
def test_any_size_seed_and_index(shift, severity, seed, size, channels, first, cut):
    if not takes(shift, channels):
        return
    images = torch.rand(5, channels, *size, generator=torch.Generator().manual_seed(seed))
    indices = first + np.arange(5)
    whole = shifted(images, shift, severity, seed, indices)
    assert whole.shape == images.shape
    assert 0 <= float(whole.min()) <= float(whole.max()) <= 1
    both = [
        shifted(images[part], shift, severity, seed, indices[part])
        for part in (slice(0, cut), slice(cut, 5))
    ]
    assert torch.equal(torch.cat(both), whole)


DIGESTS = """
import hashlib, sys, numpy as np, torch
from ahsar_eval.data import SEVERITIES, SHIFTS, shifted
torch.set_num_threads(int(sys.argv[1]))
images = torch.from_numpy(np.random.Generator(np.random.Philox(1)).random((5, 3, 33, 20), dtype=np.float32))
for shift in SHIFTS:
    for severity in SEVERITIES:
        out = shifted(images, shift, severity, 2, np.arange(5) + 11)
        print(shift, severity, hashlib.sha256(out.numpy().tobytes()).hexdigest())
"""


def test_another_process_gives_the_same_bits():
    """As the workers of a loader do; two threads too."""
    environment = os.environ | {"PYTHONHASHSEED": "123", "PYTHONPATH": os.pathsep.join(sys.path)}
    ran = subprocess.run(
        [sys.executable, "-c", DIGESTS, "2"],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    images = torch.from_numpy(
        np.random.Generator(np.random.Philox(1)).random((5, 3, 33, 20), dtype=np.float32)
    )
    here = []
    for shift in SHIFTS:
        for severity in SEVERITIES:
            out = shifted(images, shift, severity, 2, np.arange(5) + 11)
            here.append(f"{shift} {severity} {hashlib.sha256(out.numpy().tobytes()).hexdigest()}")
    assert ran.stdout.splitlines() == here


@pytest.mark.parametrize("shift", ["gaussian_noise", "frost", "inversion"])
def test_a_split_s_batches_are_the_whole(shift):
    split = split_of(open_set("digits", "test"), (3, 20, 24), shift, 2, seed=9)
    whole = split.tensors(np.arange(23))[0]
    small = torch.cat([batch.x[0] for batch in split.batches(5, np.arange(23))])
    assert torch.equal(small, whole)
    assert torch.equal(split.only(17).tensors(np.array([0]))[0][0], whole[17]), (
        "a sample alone keeps its randomness"
    )


@pytest.mark.parametrize("shift", ["saturate", "channel_shuffle"])
def test_a_shift_of_colours_is_refused_for_grey_images(shift):
    with pytest.raises(
        DataError, match=f"{shift} is a shift of colours and the network takes grey images"
    ):
        split_of(open_set("digits", "test"), (1, 16, 16), shift, 2)


# Severity


def held_to_order(images: Tensor, shift: str, level: dict[str, set[int]]) -> None:
    """Each severity changes more than the one before, but for the pairs pinned above."""
    change = changes(images, shift)
    for severity in SEVERITIES[:-1]:
        before, after = change[severity - 1 : severity + 1]
        told = f"{shift} changes {before:.6f} at severity {severity}, {after:.6f} at {severity + 1}"
        if severity in level.get(shift, ()):
            assert after == pytest.approx(before, rel=0.08), told
        elif severity in FALLS.get(shift, ()):
            assert after < before, told
        else:
            assert after > before > 0, told


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_change_grows_with_severity_on_photographs(shift):
    held_to_order(patches(520), shift, LEVEL)


@pytest.fixture(scope="module")
def cifar(shared_data) -> Tensor:
    """The first 500 test images of CIFAR-10 (JPEG)."""
    images = []
    with tarfile.open(shared_data / "cifar10_jpeg" / "test10000_jpegs.tar.xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            if file is not None:
                images.append(np.asarray(Image.open(io.BytesIO(file.read())).convert("RGB")))
            if len(images) == 500:
                break
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("shift", SHIFTS)
def test_the_change_grows_with_severity_on_cifar(cifar, shift):
    held_to_order(cifar, shift, LEVEL_IN_CIFAR)


GROWING = [
    shift for shift in SHIFTS if shift not in FALLS and shift not in LEVEL and takes(shift, 1)
]


@pytest.mark.parametrize("shift", [shift for shift in GROWING if shift != "pixelate"])
def test_the_change_grows_with_severity_on_digits(shift):
    """At 16 pixels, where lengths are half as long: snow and the disk of defocus need help there.

    Pixelate is left out: the digits are 8x8 images enlarged, and 13 pixels fall on their pixels
    better than 14.
    """
    held_to_order(torch.stack(list(open_set("digits", "test").fetch(np.arange(300)))), shift, {})


@pytest.mark.parametrize("shift", ["spatter", "snow"])
def test_a_larger_side_does_not_thin_the_weather(shift):
    """Thresholds on smoothed noise: the longer the smoothing, the stronger the noise has to be."""
    small, large = changes(patches(60), shift), changes(patches(60, (64, 64)), shift)
    assert all(0.4 < b / a < 2.5 for a, b in zip(small, large, strict=True)), (
        f"32: {small}, 64: {large}"
    )


# Shifts that act on each channel by itself, with the same random numbers for all
BY_CHANNEL = [
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "frost", "contrast"),
    *("elastic_transform", "pixelate", "gaussian_blur", "rotation", "translation", "scale"),
    *("resolution", "inversion", "patch_occlusion"),
]


@pytest.mark.parametrize("shift", [name for name in SHIFTS.own if name != "saturate"])
def test_two_channels_are_shifted_exactly_or_refused_with_a_sentence(shift):
    images = torch.rand(3, 2, 16, 16)
    source = ImageSet(
        name="two",
        role="all",
        labels=np.full(3, -1),
        classes=(),
        identity="two",
        label_space="two",
        fetch=lambda indices: list(images[torch.from_numpy(indices)]),
        shape=(2, 16, 16),
    )
    if shift in ("snow", "spatter", "jpeg_compression", "channel_shuffle"):
        with pytest.raises(
            DataError, match=rf"{shift} is a shift of .* takes images of 2 channels"
        ):
            split_of(source, (2, 16, 16), shift, 3)
        return
    found = split_of(source, (2, 16, 16), shift, 3).tensors(np.arange(3))[0]
    assert found.shape == images.shape
    assert not torch.equal(found, images)
    for channel in range(2) if shift in BY_CHANNEL else ():
        alone = apply(images[:, channel : channel + 1], shift, 3)
        assert torch.allclose(found[:, channel : channel + 1], alone, atol=1e-6)


def test_all_shifts_of_two_channels_are_those_that_can_be_and_the_others_are_said(tmp_path):
    np.savez(tmp_path / "two.npz", x=np.full((2, 2, 8, 8), 0.5))
    splits = open_splits(f"npz:{tmp_path / 'two.npz'}:all", (2, 8, 8))
    found = {split.shift for split in splits}
    left = set(SHIFTS) - found
    assert left == {"snow", "jpeg_compression", "spatter", "saturate", "channel_shuffle"}
    assert len(splits) == 5 * len(found)
    assert splits[0].source.said == (
        "snow, jpeg_compression, spatter, saturate, channel_shuffle left out, for the network "
        "takes 2 channels",
    )
