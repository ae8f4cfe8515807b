"""Quality of predictions by hand count; its bootstrap replicates against the samples physically
repeated.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import Images, Resamples
from ahsar_eval.ood.calibration import outcomes
from ahsar_eval.ood.quality import (
    RESAMPLED,
    calibration_replicates,
    quality,
    quality_replicates,
    selective_replicates,
)

CLASSES = 3


@dataclass(frozen=True)
class Given(Resamples):
    """Replicates whose multiplicities are written down: `rows` [B, images]."""

    rows: NDArray[np.uint8] = field(default_factory=lambda: np.zeros((1, 1), dtype=np.uint8))

    def multiplicities(self, images: Images, start: int, stop: int) -> NDArray[np.uint8]:
        return (
            self.rows[start:stop]
            if images.members is None
            else self.rows[start:stop, images.members]
        )


def given_rows(rows: Any) -> Given:
    return Given(replicates=len(rows), rows=np.array(rows, dtype=np.uint8))


def assert_equals_repeated(found, logits, labels, uncertainty, multiplicities, bins):
    """Every replicate of `found` is the quality of the samples repeated as often as
    `multiplicities` [B, N] says, or NaN.
    """
    assert tuple(found) == RESAMPLED
    for replicate, times in enumerate(multiplicities):
        values = {name: found[name][replicate] for name in RESAMPLED}
        if not times.any():
            assert np.isnan(list(values.values())).all()
            continue
        expected = quality(
            np.repeat(logits, times, axis=0),
            np.repeat(labels, times),
            np.repeat(uncertainty, times),
            bins,
        )
        assert expected.n == times.sum()
        for name in RESAMPLED:
            wanted = getattr(expected, name)
            assert values[name] == pytest.approx(
                np.nan if wanted is None else wanted, abs=1e-12, rel=1e-12, nan_ok=True
            ), name


@st.composite
def samples(
    draw: st.DrawFn,
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64], int]:
    """Logits, labels, uncertainty and number of bins: spread, tied or saturated."""
    n = draw(st.integers(1, 25))
    value = draw(
        st.sampled_from(
            [
                st.floats(-5, 5, width=32),
                st.sampled_from([0.0, 0.5, 1.0]),
                st.sampled_from([0.0, 40.0, 1e4]),
            ]
        )
    )
    doubt = draw(st.sampled_from([st.floats(0, 1), st.sampled_from([0.0, 0.5]), st.just(0.25)]))
    logits = draw(arrays(np.float32, (n, 2, CLASSES), elements=value))
    labels = draw(arrays(np.int64, n, elements=st.integers(0, CLASSES - 1)))
    return (
        logits,
        labels,
        draw(arrays(np.float64, n, elements=doubt)),
        draw(st.sampled_from([1, 2, 4, 15])),
    )


def made(
    n: int, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, 2, CLASSES)).astype(np.float32)
    labels = np.where(
        rng.random(n) < 0.6, logits.mean(axis=1).argmax(axis=1), rng.integers(0, CLASSES, n)
    )
    return logits, labels, rng.integers(0, 20, n) / 20


def test_four_predictions_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    found = quality(
        np.log(probabilities)[:, None],
        np.array([0, 1, 1, 0]),
        np.array([0.1, 0.2, 0.4, 0.4]),
        bins=2,
    )
    assert found.n == 4
    assert found.accuracy == 3 / 4
    assert found.nll == pytest.approx(-np.log(0.9 * 0.8 * 0.4 * 0.7) / 4, abs=1e-15)
    assert found.brier == pytest.approx(2 * (0.01 + 0.04 + 0.36 + 0.09) / 4, abs=1e-15)
    assert found.ece == pytest.approx(abs(3 - 3.0) / 4, abs=1e-15)  # all four in one bin
    assert found.ece_equal_mass == pytest.approx((abs(1 - 1.3) + abs(2 - 1.7)) / 4, abs=1e-15)
    assert found.misclassification_auroc == pytest.approx(2.5 / 3, abs=1e-15)
    assert found.aurc == pytest.approx((0.5 / 3 + 1 / 4) / 4, abs=1e-15)


@pytest.mark.parametrize(("labels", "accuracy"), [([0, 0, 0], 1.0), ([1, 2, 1], 0.0)])
def test_one_kind_of_prediction_has_no_misclassification_auroc(labels, accuracy):
    logits, doubt = np.tile([3.0, 0.0, 0.0], (3, 1, 1)), np.array([0.1, 0.2, 0.3])
    found = quality(logits, np.array(labels), doubt)
    assert found.accuracy == accuracy
    assert found.misclassification_auroc is None
    assert found.aurc == pytest.approx(1 - accuracy, abs=1e-15)
    replicates = quality_replicates(
        logits, np.array(labels), doubt, Images("three", 3), given_rows([[1, 0, 2], [3, 0, 0]])
    )
    assert np.isnan(replicates["misclassification_auroc"]).all()
    assert all(
        np.isfinite(replicates[name]).all()
        for name in RESAMPLED
        if name != "misclassification_auroc"
    )


@given(samples())
def test_a_replicate_with_every_sample_once_is_the_quality(found):
    logits, labels, uncertainty, bins = found
    once = np.ones((1, len(labels)), dtype=np.uint8)
    replicates = quality_replicates(
        logits, labels, uncertainty, Images("own", len(labels)), given_rows(once)
    )
    assert_equals_repeated(replicates, logits, labels, uncertainty, once, bins)


@settings(max_examples=150)
@given(samples(), st.data())
def test_any_replicate_is_the_quality_of_the_samples_repeated(found, data):
    logits, labels, uncertainty, bins = found
    rows = data.draw(arrays(np.uint8, (3, len(labels)), elements=st.sampled_from([0, 0, 1, 2, 7])))
    replicates = quality_replicates(
        logits, labels, uncertainty, Images("own", len(labels)), given_rows(rows)
    )
    assert_equals_repeated(replicates, logits, labels, uncertainty, rows, bins)


@pytest.mark.parametrize("members", [None, np.arange(400) // 4, np.arange(400)[::-1] // 2 + 50])
def test_drawn_replicates_are_the_quality_of_the_samples_drawn(members):
    logits, labels, uncertainty = made(400)
    images = Images("drawn", 400 if members is None else 300, members)
    resamples = Resamples(6, seed=3)
    found = quality_replicates(logits, labels, uncertainty, images, resamples)
    assert_equals_repeated(
        found, logits, labels, uncertainty, resamples.multiplicities(images, 0, 6), 15
    )


@dataclass(frozen=True)
class InPieces(Given):
    """The same, a few at a time."""

    def chunks(self, samples: int) -> list[tuple[int, int]]:
        return [(0, 1), (1, 4), (4, self.replicates)]


def test_the_size_of_the_pieces_changes_nothing():
    logits, labels, uncertainty = made(50)
    rows = np.random.default_rng(2).integers(0, 4, (9, 50), dtype=np.uint8)
    whole, pieces = (
        quality_replicates(
            logits, labels, uncertainty, Images("few", 50), kind(replicates=9, rows=rows)
        )
        for kind in (Given, InPieces)
    )
    for name in RESAMPLED:
        assert np.array_equal(whole[name], pieces[name], equal_nan=True)


def test_both_halves_are_the_whole():
    logits, labels, uncertainty = made(50)
    images, resamples = (
        Images("few", 50),
        given_rows(np.random.default_rng(2).integers(0, 4, (9, 50))),
    )
    judged = outcomes(logits, labels)
    halves = calibration_replicates(judged, images, resamples) | selective_replicates(
        uncertainty, ~judged.correct, images, resamples
    )
    whole = quality_replicates(logits, labels, uncertainty, images, resamples)
    assert tuple(halves) == tuple(whole) == RESAMPLED
    assert all(np.array_equal(halves[name], whole[name], equal_nan=True) for name in RESAMPLED)


def test_replicates_spread_as_the_mean_of_draws_does():
    logits, labels, uncertainty = made(1000)
    found = quality(logits, labels, uncertainty)
    replicates = quality_replicates(
        logits, labels, uncertainty, Images("thousand", 1000), Resamples(2000)
    )
    judged = outcomes(logits, labels)
    for name, values in (
        ("accuracy", judged.correct),
        ("nll", judged.negative_log_likelihood),
        ("brier", judged.brier),
    ):
        expected = values.std() / np.sqrt(1000)
        assert replicates[name].mean() == pytest.approx(
            getattr(found, name), abs=4 * expected / np.sqrt(2000)
        )
        assert replicates[name].std() == pytest.approx(expected, rel=4 / np.sqrt(2 * 2000))


def test_the_order_of_samples_changes_nothing():
    logits, labels, uncertainty = made(200)
    order = np.random.default_rng(1).permutation(200)
    ours, shuffled = (
        quality(logits, labels, uncertainty),
        quality(logits[order], labels[order], uncertainty[order]),
    )
    for name in RESAMPLED:
        assert getattr(shuffled, name) == pytest.approx(getattr(ours, name), abs=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"labels": np.array([0, 1, -1, 0])},
            "sample 2 has the label -1, expected a class from 0 to 2",
        ),
        ({"labels": np.array([0, 3, 1, 0])}, "sample 1 has the label 3"),
        ({"labels": np.array([0, 1])}, r"the labels have shape \(2,\)"),
        (
            {"uncertainty": np.array([0.0, np.nan, 0.0, 0.0])},
            "the uncertainty of sample 1 is not finite",
        ),
        ({"uncertainty": np.zeros(5)}, r"uncertainty of shape \(5,\) and outcomes of \(4,\)"),
        ({"logits": np.full((4, 2, 3), np.nan)}, "the logits of sample 0 are not finite"),
        ({"bins": 0}, "the number of bins is 0"),
    ],
)
def test_what_does_not_fit_is_refused_by_both(change, message):
    logits, labels, uncertainty = made(4)
    given_values = {"logits": logits, "labels": labels, "uncertainty": uncertainty, **change}
    with pytest.raises(DataError, match=message):
        quality(**given_values)
    given_values.pop("bins", None)
    if "bins" in change:
        return  # the calibration errors are not resampled
    with pytest.raises(DataError, match=message):
        quality_replicates(
            **given_values, images=Images("four", 4), resamples=given_rows(np.ones((2, 4)))
        )


def test_images_of_another_number_are_refused():
    with pytest.raises(
        DataError, match="there are 4 values for 5 samples of five; expected one for each sample"
    ):
        quality_replicates(*made(4), Images("five", 5), Resamples(2))
