"""The two embedded sets, and how any image is brought to a network's shape."""

import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from ahsar_eval.data import open_set, open_split, split_of
from ahsar_eval.data.split import to_shape
from ahsar_eval.errors import DataError

ROLES = {"train": 1167, "validation": 180, "test": 450}


def everything(name: str, role: str) -> np.ndarray:
    source = open_set(name, role)
    return torch.stack(list(source.fetch(np.arange(len(source))))).numpy()


def bilinear_by_two(image: np.ndarray) -> np.ndarray:
    """An n×n image at 2n×2n: pixel centres at quarter positions between the originals, borders
    replicated.
    """
    doubled = np.empty((16, 16))
    for row in range(16):
        for column in range(16):
            y, x = np.clip((row + 0.5) / 2 - 0.5, 0, 7), np.clip((column + 0.5) / 2 - 0.5, 0, 7)
            top, left = int(y), int(x)
            down, right = min(top + 1, 7), min(left + 1, 7)
            above = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
            below = image[down, left] * (1 - (x - left)) + image[down, right] * (x - left)
            doubled[row, column] = above * (1 - (y - top)) + below * (y - top)
    return doubled


@pytest.mark.parametrize("role", ROLES)
def test_sizes_and_strata_of_the_fixed_division(role):
    labels = open_set("digits", role).labels
    assert len(labels) == ROLES[role]
    counts = np.bincount(labels, minlength=10)
    if role == "train":
        assert counts.tolist() == (np.bincount(load_digits().target) - 63).tolist()
    else:
        assert set(counts) == {ROLES[role] // 10}, "each class alike"


def test_the_division_is_complete_and_disjoint():
    parts = [
        hashlib.sha256(image.tobytes()).hexdigest()
        for role in ROLES
        for image in everything("digits", role)
    ]
    whole = sorted(
        hashlib.sha256(image.tobytes()).hexdigest() for image in everything("digits", "all")
    )
    assert len(set(whole)) == 1797, "no image occurs twice, so an image's hash names it"
    assert sorted(parts) == whole


@pytest.mark.parametrize(
    ("role", "digest"),
    [
        ("train", "ead1fd5cfe7b186c"),
        ("validation", "3c28bc0afd5b80ec"),
        ("test", "7bbcf39ef2ddb54f"),
        ("all", "e5175fc493c0bd42"),
    ],
)
def test_the_members_of_a_split_never_change(role, digest):
    """Recordings, checkpoints and reported numbers rest on this division: a new hash is a new data
    set.
    """
    assert open_set("digits", role).identity[:16] == digest


def test_pixels_are_scikit_learn_s_at_twice_the_size():
    original = load_digits()
    found = everything("digits", "all")
    assert found.shape == (1797, 1, 16, 16)
    assert found.dtype == np.float32
    assert open_set("digits", "all").labels.tolist() == original.target.tolist()
    for index in (0, 7, 1796):
        assert np.allclose(
            found[index, 0], bilinear_by_two(original.images[index] / 16), atol=1e-6
        ), f"image {index}"
    assert 0 <= found.min() < found.max() <= 1


def test_digits_has_no_other_role():
    with pytest.raises(
        DataError, match="digits has no split 'dev'; known are train, validation, test and all"
    ):
        open_set("digits", "dev")


def test_patches_are_the_photographs_pixels():
    patches = everything("photo-patches", "test")
    assert patches.shape == (520, 3, 32, 32)
    china, flower = load_sample_images().images
    assert china.shape == (427, 640, 3)
    for number, (photograph, row, column) in {
        0: (china, 0, 0),
        21: (china, 1, 1),
        259: (china, 12, 19),
        260: (flower, 0, 0),
    }.items():
        pixels = photograph[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        assert np.allclose(patches[number], pixels.transpose(2, 0, 1) / 255, atol=1e-7), (
            f"patch {number}"
        )
    assert set(open_set("photo-patches").labels) == {-1}


# To a network's shape


def test_the_set_s_own_shape_is_left_untouched():
    split = open_split("digits", (1, 16, 16))
    assert split.adaptation == "none"
    assert np.array_equal(split.tensors(np.arange(450))[0].numpy(), everything("digits", "test"))


def test_grey_becomes_three_equal_channels():
    images = open_split("digits", (3, 16, 16)).tensors(np.arange(5))[0]
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 1], images[:, 2])
    assert np.array_equal(images[:, 0].numpy(), everything("digits", "test")[:5, 0])


def test_colour_becomes_pil_s_luma():
    grey = open_split("photo-patches", (1, 32, 32)).tensors(np.arange(0, 520, 40))[0].numpy()
    for place, number in enumerate(range(0, 520, 40)):
        pixels = (
            (everything("photo-patches", "test")[number] * 255)
            .round()
            .astype(np.uint8)
            .transpose(1, 2, 0)
        )
        by_pil = np.asarray(Image.fromarray(pixels).convert("L"), dtype=np.float32) / 255
        assert np.abs(grey[place, 0] - by_pil).max() <= 0.51 / 255 + 1e-6, (
            "differs by more than PIL's rounding to 8 bits"
        )


def test_white_stays_in_range():
    assert float(to_shape([torch.ones(3, 4, 4)], (1, 4, 4), "white").max()) <= 1
    assert float(to_shape([torch.ones(3, 40, 31)], (1, 7, 3), "white").max()) <= 1


@pytest.mark.parametrize("size", [(40, 64), (64, 40), (20, 20), (33, 32), (8, 100)])
@pytest.mark.parametrize("target", [(32, 32), (16, 24)])
def test_every_image_gets_the_network_s_shape(size, target):
    images = [torch.rand(3, *size), torch.rand(1, *size)]
    assert to_shape(images, (3, *target), "set").shape == (2, 3, *target)
    assert (
        split_of(open_set("digits"), (3, *target)).adaptation
        == f"shorter side resized to {min(target)}, centre crop {target[0]}x{target[1]}, 3 channels"
    )


def test_the_shorter_side_is_resized_and_the_centre_kept():
    """Twice as wide as high: the left and right quarters are cut off."""
    image = torch.zeros(1, 32, 64)
    image[..., 16:48] = 1.0
    inner = to_shape([image], (1, 16, 16), "set")[0, 0, :, 2:14]
    assert torch.allclose(inner, torch.ones(16, 12), atol=1e-6)
    stripes = torch.zeros(1, 32, 64)
    stripes[..., :14] = stripes[..., 50:] = 1.0
    outside = to_shape([stripes], (1, 16, 16), "set")
    assert float(outside.abs().max()) < 0.1, "what lies outside the centre is still there"


def test_resizing_is_pil_s_antialiased_bilinear():
    image = torch.rand(1, 40, 40, generator=torch.Generator().manual_seed(0))
    by_pil = np.asarray(
        Image.fromarray(image[0].numpy(), mode="F").resize((16, 16), Image.Resampling.BILINEAR)
    )
    assert np.allclose(to_shape([image], (1, 16, 16), "set")[0, 0].numpy(), by_pil, atol=1e-5)


def test_channels_that_cannot_be_matched_are_refused():
    with pytest.raises(
        DataError,
        match=(
            r"photo-patches has images of 3 channels and the network takes 2 .event "
            r"polarities.; "
            r"only grey and colour"
        ),
    ):
        open_split("photo-patches", (2, 32, 32)).tensors(np.array([0]))[0]


# Splits


def test_batches_cover_the_split_in_order():
    split = open_split("digits", (1, 16, 16))
    batches = list(split.batches(64))
    assert [len(batch.y) for batch in batches] == [64] * 7 + [2]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(450))
    assert batches[0].x.shape == (1, 64, 1, 16, 16)
    assert torch.cat([batch.y for batch in batches]).tolist() == split.labels.tolist()


def test_batches_follow_a_given_order():
    split = open_split("digits", (1, 16, 16))
    order = np.array([440, 1, 300])
    (batch,) = split.batches(5, order)
    assert batch.index.tolist() == [440, 1, 300]
    assert len(set(split.labels[order])) == 3
    assert batch.y.tolist() == split.labels[order].tolist()
    assert torch.equal(batch.x[0], split.tensors(order)[0])


def test_identity_follows_whatever_decides_the_pixels():
    grey, colour, test = (1, 16, 16), (3, 16, 16), open_set("digits", "test")
    found = [
        split_of(test, grey),
        split_of(test, colour),
        split_of(test, (1, 32, 32)),
        split_of(open_set("digits", "train"), grey),
        split_of(test, grey, "contrast", 1),
        split_of(test, grey, "contrast", 2),
        split_of(test, grey, "contrast", 1, seed=1),
        split_of(open_set("photo-patches"), grey),
    ]
    assert len({split.identity for split in found}) == len(found)
    assert split_of(test, grey, seed=5).identity == split_of(test, grey).identity, (
        "without a shift the seed decides nothing"
    )


def test_a_pixel_that_is_not_finite_names_its_sample():
    from dataclasses import replace

    split = open_split("digits", (1, 16, 16))

    def load(indices):
        return torch.where(
            torch.from_numpy(indices)[None, :, None, None, None] == 7,
            torch.nan,
            split.load(indices),
        )

    with pytest.raises(DataError, match="sample 7 of digits has a value that is not finite"):
        replace(split, load=load).tensors(np.array([5, 7]))
