"""The hold-out of the training set: stratified, disjoint, reproducible, and never the test set."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ahsar_eval.data import channel_statistics, open_set, split_of, training_sets
from ahsar_eval.data.split import limited, subset
from ahsar_eval.data.training_data import _stratified
from ahsar_eval.errors import DataError


def labelled(folder, counts: list[int]) -> str:
    """An archive whose image number i has the grey value i / 255, with `counts` images per class in
    mixed order.
    """
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None] * np.ones((1, 8, 8), np.uint8)
    np.savez(folder / "set.npz", x=pixels, y=labels)
    return f"npz:{folder / 'set.npz'}"


def members(source) -> list[int]:
    """Which images a set holds, read off their grey values."""
    return [round(float(image[0, 0, 0]) * 255) for image in source.fetch(np.arange(len(source)))]


def test_embedded_sets_have_their_own_validation_split():
    train, validation = training_sets("digits", hold_out=0.5, seed=3)
    assert (train.identity, train.role) == (open_set("digits", "train").identity, "train")
    assert (validation.identity, validation.role) == (
        open_set("digits", "validation").identity,
        "validation",
    )


def test_a_fraction_of_every_class_is_held_out(tmp_path):
    name = labelled(tmp_path, [100, 50, 10, 2])
    train, held = training_sets(name, hold_out=0.1)
    assert np.bincount(held.labels, minlength=4).tolist() == [10, 5, 1, 1]
    assert np.bincount(train.labels, minlength=4).tolist() == [90, 45, 9, 1]
    assert sorted(members(train) + members(held)) == list(range(162)), (
        "every image is in one of the two, none in both"
    )
    assert (train.role, held.role) == ("train", "validation")


def test_labels_stay_with_their_images(tmp_path):
    name = labelled(tmp_path, [30, 30])
    labels = open_set(name).labels
    for part in training_sets(name):
        assert part.labels.tolist() == labels[members(part)].tolist()


def test_a_seed_decides_the_hold_out(tmp_path):
    name = labelled(tmp_path, [100, 100])
    first, again, other = (training_sets(name, seed=seed) for seed in (1, 1, 2))
    assert members(first[1]) == members(again[1])
    assert first[1].identity == again[1].identity != other[1].identity
    assert members(first[1]) != members(other[1])
    assert first[0].identity != first[1].identity


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=100, deadline=None)
def test_any_labels_are_held_out_class_by_class(labels, fraction, seed):
    labels = np.array(labels)
    held = _stratified(labels, fraction, seed)
    assert len(np.unique(held)) == len(held)
    for label in np.unique(labels):
        size, taken = int((labels == label).sum()), int((labels[held] == label).sum())
        assert taken == (0 if size == 1 else max(1, round(fraction * size))), (
            f"{taken} of {size} images of class {label}"
        )


@pytest.mark.parametrize("name", ["digits:contrast:3", "digits:all"])
def test_a_shifted_set_is_refused(name):
    with pytest.raises(
        DataError, match=f"'{name}' names a shift; networks are trained on a set as it is"
    ):
        training_sets(name)


def test_an_unlabelled_set_is_refused(tmp_path):
    with pytest.raises(
        DataError,
        match="photo-patches has no labels; a network can only be trained on a labelled set",
    ):
        training_sets("photo-patches")
    np.savez(tmp_path / "set.npz", x=np.zeros((5, 8, 8), np.uint8))
    with pytest.raises(DataError, match="has no labels"):
        training_sets(f"npz:{tmp_path / 'set.npz'}")


@pytest.mark.parametrize("hold_out", [0.0, 1.0, -0.1, float("nan")])
def test_a_hold_out_that_is_no_fraction_is_refused(tmp_path, hold_out):
    with pytest.raises(
        DataError,
        match=re.escape(f"the hold-out is {hold_out}; expected a fraction between 0 and 1"),
    ):
        training_sets(labelled(tmp_path, [10]), hold_out=hold_out)


@pytest.mark.parametrize("counts", [[1, 1], [2], [1]])
def test_too_few_images_are_refused(tmp_path, counts):
    with pytest.raises(
        DataError, match=f"has {sum(counts)} samples, too few to hold out 0.1 of every class"
    ):
        training_sets(labelled(tmp_path, counts))


def test_channel_statistics_equal_numpy_s():
    train = open_set("digits", "train")
    pixels = torch.stack(list(train.fetch(np.arange(len(train))))).double().numpy()
    mean, std = channel_statistics(split_of(train, (1, 16, 16)))
    assert mean == (round(float(pixels.mean()), 4),)
    assert std == (round(float(pixels.std()), 4),)
    patches = open_set("photo-patches")
    colour = torch.stack(list(patches.fetch(np.arange(520)))).double().numpy()
    mean, std = channel_statistics(split_of(patches, (3, 32, 32)))
    assert mean == tuple(round(float(value), 4) for value in colour.mean((0, 2, 3)))
    assert std == tuple(round(float(value), 4) for value in colour.std((0, 2, 3)))


def test_a_constant_channel_keeps_a_positive_deviation(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.full((4, 8, 8), 51, np.uint8), y=np.arange(4))
    assert channel_statistics(split_of(open_set(f"npz:{tmp_path / 'set.npz'}"), (3, 8, 8))) == (
        (0.2,) * 3,
        (1e-4,) * 3,
    )


def test_a_part_of_a_part_comes_from_the_whole(tmp_path):
    whole = open_set(labelled(tmp_path, [6, 6]))
    part = subset(subset(whole, np.array([5, 3, 1])), np.array([0, 2]))
    assert members(part) == [5, 1]
    assert part.labels.tolist() == whole.labels[[5, 1]].tolist()
    assert part.origin == whole.identity
    assert len({part.identity, whole.identity, subset(whole, np.array([5, 1])).identity}) == 3


def test_a_limit_keeps_the_order_of_the_set_and_a_larger_one_adds_to_it(tmp_path):
    whole = open_set(labelled(tmp_path, [20, 20]))
    five, ten = (members(limited(whole, count)) for count in (5, 10))
    assert five == sorted(five)
    assert len(five) == 5
    assert ten == sorted(ten)
    assert {*five} < {*ten}
    assert ten != list(range(10)), "shuffled, for a set may be sorted by class"
    assert limited(whole, 40) is limited(whole, None) is whole
