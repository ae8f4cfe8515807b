"""SCP: by hand count, re-derived by brute force, and against scikit-learn's clustering and
silhouette.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from sklearn.metrics import silhouette_score

from ahsar_eval.errors import DataError
from ahsar_eval.ood.detectors import archetypes_of, clusters_of, fit_spike_patterns
from ahsar_eval.recording import Recording

CLASSES = 3


def recording(counts: Any, predicted: Sequence[int], dtype: Any = np.uint8) -> Recording:
    """A recording of spike counts [N, L] and of logits that predict `predicted`."""
    return Recording(
        split={"name": "made"},
        spec={"timesteps": 1},
        thresholds={},
        logits=np.eye(CLASSES, dtype=np.float32)[np.asarray(predicted, dtype=np.int64)][:, None],
        labels=np.full(len(counts), -1),
        layers=(),
        synapses=(),
        spike_counts=np.asarray(counts, dtype=dtype),
    )


def patterns(seed: int, n: int = 60, neurons: int = 7, groups: int = 3) -> np.ndarray:
    drawn = np.random.default_rng(seed)
    centres = drawn.integers(0, 12, (groups, neurons))
    return centres[drawn.integers(0, groups, n)] + drawn.integers(0, 3, (n, neurons))


# By hand


def test_scores_by_hand_count():
    # Class 0 fires in two ways, around (0, 0) and around (10, 10); class 1 in one.
    first = [[0, 0], [0, 1], [1, 0], [10, 10], [10, 11], [11, 10]]
    training = recording([*first, [5, 5], [5, 7]], [0] * 6 + [1] * 2)
    score = fit_spike_patterns(training)
    # Archetypes (0, 0) and (10, 10) of class 0, the median (5, 6) of class 1, none of class 2.
    given = recording(
        [[0, 0], [2, 1], [9, 14], [5, 5], [4, 8], [1, 1], [6, 6]], [0, 0, 0, 1, 1, 2, 2]
    )
    assert score(given).tolist() == [0, 3, 5, 1, 3, 2, 1]


def test_the_median_of_an_even_number_of_samples_lies_between():
    training = recording([[0, 0], [1, 4]], [0, 0])
    assert fit_spike_patterns(training)(recording([[0, 0], [3, 2]], [0, 0])).tolist() == [
        2.5,
        2.5,
    ]


def test_counts_do_not_wrap_around():
    training = recording([[255, 0]] * 4, [0] * 4)
    assert fit_spike_patterns(training)(recording([[0, 255]], [0])).tolist() == [510]
    wide = recording([[65535, 0]] * 4, [0] * 4, np.uint16)
    assert fit_spike_patterns(wide)(recording([[0, 65535]], [0], np.uint16)).tolist() == [131070]


def test_only_the_first_thousand_of_a_class_are_used():
    counts = np.zeros((1200, 2), dtype=np.uint8)
    counts[1000:] = 9  # a second way to fire, seen too late
    score = fit_spike_patterns(recording(counts, [0] * 1200))
    assert score(recording([[9, 9]], [0])).tolist() == [18]


@pytest.mark.parametrize("n", [1, 2])
def test_a_class_of_one_or_two_samples_has_one_archetype(n):
    assert archetypes_of(np.array([[1, 2], [3, 9]], dtype=np.uint8)[:n]).shape == (1, 2)


def test_samples_that_are_all_alike_have_one_archetype():
    assert archetypes_of(np.full((20, 3), 4, dtype=np.uint8)).tolist() == [[4, 4, 4]]


# Against independent code


def brute_force(
    training: np.ndarray, predicted: Sequence[int], given: np.ndarray, said: Sequence[int]
) -> list[float]:
    """The definition again: scikit-learn's clustering and silhouette, distances counted
    one by one."""
    archetypes: dict[int, list[list[float]]] = {}
    for label in set(predicted):
        rows = training[[n for n, p in enumerate(predicted) if p == label]].astype(int)
        best, parts = 0.0, [rows]
        for number in range(2, min(10, len(rows) - 1) + 1):
            found = AgglomerativeClustering(
                number, metric="manhattan", linkage="average"
            ).fit_predict(rows)
            value = silhouette_score(rows, found, metric="manhattan")
            if value > best:
                best, parts = value, [rows[found == cluster] for cluster in range(number)]
        archetypes[label] = [[float(np.median(column)) for column in part.T] for part in parts]
    every = [archetype for known in archetypes.values() for archetype in known]
    return [
        min(
            sum(abs(int(count) - middle) for count, middle in zip(row, archetype, strict=True))
            for archetype in archetypes.get(label, every)
        )
        for row, label in zip(given, said, strict=True)
    ]


@pytest.mark.parametrize("shape", ["in groups", "scattered"])
@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_a_brute_force_derivation(seed, shape):
    # Wide counts: no two distances are equal, so that there is one tree and one way to cut it.
    drawn = np.random.default_rng(seed)
    grouped = shape == "in groups"
    training, counts = (
        1000 * patterns(seed, n, 3) + drawn.integers(0, 900, (n, 3))
        if grouped
        else drawn.integers(0, 9999, (n, 3))
        for n in (60, 25)
    )
    predicted, said = drawn.integers(0, 2, 60).tolist(), drawn.integers(0, 3, 25).tolist()
    score = fit_spike_patterns(recording(training, predicted, np.uint16))
    assert score(recording(counts, said, np.uint16)).tolist() == brute_force(
        training, predicted, counts, said
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_other_cut_of_the_tree_is_better(seed):
    counts = 1000 * patterns(seed, n=24, neurons=4, groups=4) + np.random.default_rng(
        seed
    ).integers(0, 900, (24, 4))
    distances = np.abs(counts[:, None] - counts[None]).sum(axis=2).astype(float)
    found = silhouette_score(distances, clusters_of(counts), metric="precomputed")
    for number in range(2, 11):
        other = AgglomerativeClustering(
            number, metric="precomputed", linkage="average"
        ).fit_predict(distances)
        assert found >= silhouette_score(distances, other, metric="precomputed") - 1e-12
    assert found > 0


def test_no_class_has_more_than_ten_archetypes():
    spots = np.repeat(np.random.default_rng(0).integers(0, 1000, (14, 40)), 3, axis=0)
    assert len(archetypes_of(spots.astype(np.uint16))) == 10, "14 would be better still"


# Properties


@given(st.integers(0, 500))
@settings(max_examples=30)
def test_samples_of_training_are_near_and_the_order_of_sets_changes_nothing(seed):
    drawn = np.random.default_rng(seed)
    training, given_counts = patterns(seed), patterns(seed + 1, n=20)
    predicted, said = drawn.integers(0, 3, 60), drawn.integers(0, 3, 20)
    score = fit_spike_patterns(recording(training, predicted.tolist()))
    whole = score(recording(given_counts, said.tolist()))
    assert np.isfinite(whole).all()
    assert (whole >= 0).all()
    order = drawn.permutation(20)
    assert np.array_equal(score(recording(given_counts[order], said[order].tolist())), whole[order])
    assert np.array_equal(score(recording(given_counts[:1], said[:1].tolist())), whole[:1])
    again = fit_spike_patterns(recording(training, predicted.tolist()))
    assert np.array_equal(again(recording(given_counts, said.tolist())), whole)


# Refusals


def test_what_is_missing_is_said():
    bare = Recording(
        {"name": "made"},
        {"timesteps": 1},
        {},
        np.zeros((3, 1, 2), dtype=np.float32),
        np.zeros(3, dtype=np.int64),
        (),
        (),
    )
    with pytest.raises(
        DataError,
        match=(
            r"the spike counts of made were not recorded; record with extras=\('spike counts',\)"
        ),
    ):
        fit_spike_patterns(bare)
