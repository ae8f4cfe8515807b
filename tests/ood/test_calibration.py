"""Calibration by hand count, against scikit-learn, torchmetrics, pytorch-ood and all orders of tied
samples, and by its properties.
"""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import brier_score_loss, log_loss

from ahsar_eval.errors import DataError
from ahsar_eval.ood.metrics import calibration_error, outcomes, reliability

KINDS = {"equal-width": False, "equal-mass": True}
Pairs = list[tuple[float, bool]]


def negative_log_likelihood(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    return float(outcomes(logits, labels).negative_log_likelihood.mean())


def brier(logits: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    return float(outcomes(logits, labels).brier.mean())


def logits_of(*probabilities: tuple[float, ...]) -> NDArray[np.float64]:
    """Logits [N, 1, K] whose softmax are these rows."""
    return np.log(np.array(probabilities))[:, None, :]


def pairs(confidence: st.SearchStrategy[float], largest: int = 40) -> st.SearchStrategy[Pairs]:
    return st.lists(st.tuples(confidence, st.booleans()), min_size=1, max_size=largest)


SPREAD = st.floats(0, 1)
TIED = st.sampled_from([0.0, 0.2, 1 / 3, 0.5, 0.9, 1.0])


def split(found: Pairs) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array([confidence for confidence, _ in found]), np.array(
        [right for _, right in found]
    )


def equal_width_by_definition(found: Pairs, bins: int) -> float:
    """Guo et al. 2017: bin m holds ((m − 1)/M, m/M], the lowest value put into the first."""
    error = 0.0
    for m in range(1, bins + 1):
        held = [
            (p, right)
            for p, right in found
            if (m - 1) / bins < p <= m / bins or (m == 1 and p == 0)
        ]
        if held:
            error += abs(sum(right for _, right in held) - sum(p for p, _ in held)) / len(found)
    return error


def equal_mass_over_all_orders(found: Pairs, bins: int) -> float:
    """Each bin's accuracy is its mean over every order of the samples in which the confidence
    rises.
    """
    n = len(found)
    orders = [
        order for order in permutations(found) if all(a[0] <= b[0] for a, b in pairwise(order))
    ]
    error = 0.0
    for b in range(bins):
        places = range(b * n // bins, (b + 1) * n // bins)
        hits = sum(order[place][1] for order in orders for place in places) / len(orders)
        error += abs(hits - sum(orders[0][place][0] for place in places)) / n
    return error


def test_likelihood_and_brier_by_hand():
    logits, labels = logits_of((0.8, 0.2), (0.6, 0.4), (0.9, 0.1)), np.array([0, 1, 0])
    assert negative_log_likelihood(logits, labels) == pytest.approx(
        -(np.log(0.8) + np.log(0.4) + np.log(0.9)) / 3, abs=1e-15
    )
    assert brier(logits, labels) == pytest.approx(
        (2 * 0.2**2 + 2 * 0.6**2 + 2 * 0.1**2) / 3, abs=1e-15
    )
    judged = outcomes(logits, labels)
    assert judged.confidence == pytest.approx([0.8, 0.6, 0.9], abs=1e-15)
    assert judged.correct.tolist() == [True, False, True]


def test_probabilities_are_of_the_mean_over_time():
    logits = np.array([[[4.0, 0.0], [0.0, 2.0]]], dtype=np.float32)  # the means are 2 and 1
    assert outcomes(logits, np.array([0])).confidence == pytest.approx(
        [1 / (1 + np.exp(-1))], abs=1e-15
    )
    assert negative_log_likelihood(logits, np.array([1])) == pytest.approx(
        np.log1p(np.e), abs=1e-15
    )


@pytest.mark.parametrize("scale", [1e3, 1e4, 1e30, 1e300])
def test_a_saturated_softmax_stays_finite(scale):
    logits = np.array([[[scale, 0.0, -scale]]])
    assert (
        negative_log_likelihood(logits, np.array([0])) == 0
    )  # e^−1000 is below the smallest float64
    assert negative_log_likelihood(logits, np.array([1])) == scale
    assert negative_log_likelihood(logits, np.array([2])) == 2 * scale
    assert [brier(logits, np.array([label])) for label in range(3)] == [0, 2, 2]
    assert outcomes(logits, np.array([0])).confidence.tolist() == [1.0]


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("scale", [0.01, 1, 30])
def test_likelihood_and_brier_equal_scikit_learn(classes, scale):
    rng = np.random.default_rng(classes)
    logits, labels = scale * rng.normal(size=(200, 3, classes)), rng.integers(0, classes, 200)
    logs = log_softmax(logits.mean(axis=1), axis=1)
    assert negative_log_likelihood(logits, labels) == pytest.approx(
        -logs[np.arange(200), labels].mean(), abs=1e-12
    )
    if scale < 30:  # log_loss clips probabilities below machine epsilon
        assert negative_log_likelihood(logits, labels) == pytest.approx(
            log_loss(labels, np.exp(logs), labels=range(classes)), abs=1e-9
        )
    expected = (
        np.mean([brier_score_loss(labels == k, np.exp(logs)[:, k]) for k in range(classes)])
        * classes
    )
    assert brier(logits, labels) == pytest.approx(expected, abs=1e-12)


@given(
    arrays(np.float32, (7, 2, 4), elements=st.floats(-(2.0**100), 2.0**100, width=32)),
    arrays(np.int64, 7, elements=st.integers(0, 3)),
)
def test_values_stay_in_their_ranges(logits, labels):
    judged = outcomes(logits, labels)
    assert ((judged.confidence > 0.25 - 1e-15) & (judged.confidence <= 1)).all()
    assert (judged.negative_log_likelihood >= 0).all()
    assert np.isfinite(judged.negative_log_likelihood).all()
    assert ((judged.brier >= 0) & (judged.brier <= 2)).all()
    assert np.array_equal(
        judged.correct, logits.mean(axis=1, dtype=np.float64).argmax(axis=1) == labels
    )


@pytest.mark.parametrize("gap", [30.0, 100.0, 700.0])
def test_a_saturated_likelihood_keeps_its_digits(gap):
    """−log p of a right prediction is log(1 + e^−gap), which is e^−gap here; 1 − p would be 0."""
    assert negative_log_likelihood(np.array([[[gap, 0.0]]]), np.array([0])) == pytest.approx(
        np.exp(-gap), rel=1e-12, abs=0
    )


@pytest.mark.parametrize("classes", [3, 10, 100])
def test_the_same_logits_in_another_order_of_classes_are_tied_to_the_last_bit(classes):
    rng = np.random.default_rng(1)
    counts = rng.permuted(
        np.tile(rng.integers(0, 9, classes) / 4, (500, 1)), axis=1
    )  # a read-out of few spikes
    assert len(np.unique(outcomes(counts[:, None], np.zeros(500, dtype=np.int64)).confidence)) == 1


def test_the_first_of_classes_that_share_the_largest_logit_is_the_prediction():
    logits = np.array([[[1.0, 3.0, 3.0]], [[1.0, 3.0, 3.0]]])
    assert outcomes(logits, np.array([1, 2])).correct.tolist() == [True, False]


def test_equal_width_error_by_hand():
    confidences, correct = np.array([0.1, 0.4, 0.45, 0.9]), np.array([False, True, False, True])
    # two bins: the first holds three with mean confidence 0.95/3 and accuracy 1/3, the second one
    # with a gap of 0.1
    assert calibration_error(confidences, correct, 2) == pytest.approx(
        (3 * (1 / 3 - 0.95 / 3) + 0.1) / 4, abs=1e-15
    )
    assert calibration_error(confidences, correct, 1) == pytest.approx(
        abs(0.5 - 1.85 / 4), abs=1e-15
    )


def test_equal_mass_error_by_hand():
    confidences, correct = np.array([0.9, 0.1, 0.45, 0.4]), np.array([True, False, False, True])
    assert calibration_error(confidences, correct, 2, equal_mass=True) == pytest.approx(
        (abs(1 - 0.5) + abs(1 - 1.35)) / 4, abs=1e-15
    )
    assert calibration_error(confidences, correct, 1, equal_mass=True) == pytest.approx(
        abs(0.5 - 1.85 / 4), abs=1e-15
    )
    # more bins than samples: each sample is a bin
    assert calibration_error(confidences, correct, 15, equal_mass=True) == pytest.approx(
        (0.1 + 0.1 + 0.45 + 0.6) / 4, abs=1e-15
    )


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it():
    assert reliability([0.2, 0.4, 1.0, 0.0], [1, 1, 1, 1], 5).count.tolist() == [2, 1, 0, 0, 1]
    uniform = outcomes(np.zeros((1, 1, 3)), np.array([0])).confidence
    assert (
        reliability(uniform, [True]).count.argmax() == 4
    )  # a third is the upper edge of (4/15, 5/15]


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("scale", [0.3, 2, 8])
def test_equal_width_error_equals_torchmetrics(classes, scale):
    reference = pytest.importorskip(
        "torchmetrics.functional.classification"
    ).multiclass_calibration_error

    @settings(max_examples=12)
    @given(
        st.integers(0, 2**32 - 1), st.sampled_from([1, 10, 15, 40]), st.sampled_from([1, 5, 300])
    )
    def check(seed: int, bins: int, samples: int) -> None:
        rng = np.random.default_rng(seed)
        logits, labels = (
            scale * rng.normal(size=(samples, 2, classes)),
            rng.integers(0, classes, samples),
        )
        judged = outcomes(logits, labels)
        assume(
            np.abs(judged.confidence * bins - np.round(judged.confidence * bins)).min() > 1e-4
        )  # it bins in float32, closed below
        expected = reference(
            torch.from_numpy(logits.mean(axis=1)).softmax(dim=1),
            torch.from_numpy(labels),
            num_classes=classes,
            n_bins=bins,
            norm="l1",
        )
        assert calibration_error(judged.confidence, judged.correct, bins) == pytest.approx(
            float(expected), abs=1e-6
        )

    check()


@given(st.sampled_from([SPREAD, TIED]).flatmap(pairs), st.sampled_from([1, 2, 5, 15]))
def test_equal_width_error_equals_its_definition(found, bins):
    assert calibration_error(*split(found), bins) == pytest.approx(
        equal_width_by_definition(found, bins), abs=1e-12
    )


@pytest.mark.parametrize("bins", [1, 4, 15])
@pytest.mark.parametrize("each", [1, 7, 100])
def test_equal_mass_error_equals_pytorch_ood_where_bins_are_full_and_nothing_is_tied(bins, each):
    reference = pytest.importorskip("pytorch_ood.metrics").calibration_error

    rng = np.random.default_rng(bins + each)
    confidences = rng.random(bins * each)
    correct = rng.random(bins * each) < confidences**2
    expected = reference(torch.from_numpy(confidences), torch.from_numpy(correct), p="1", beta=each)
    assert calibration_error(confidences, correct, bins, equal_mass=True) == pytest.approx(
        expected, abs=1e-12
    )


@settings(max_examples=60)
@given(
    st.sampled_from([SPREAD, TIED, st.sampled_from([0.3, 0.6])]).flatmap(
        lambda kind: pairs(kind, 6)
    ),
    st.sampled_from([1, 2, 3, 4, 15]),
)
def test_equal_mass_error_equals_the_mean_over_all_orders(found, bins):
    assert calibration_error(*split(found), bins, equal_mass=True) == pytest.approx(
        equal_mass_over_all_orders(found, bins), abs=1e-12
    )


@pytest.mark.parametrize("equal_mass", KINDS.values(), ids=KINDS)
@given(
    found=st.sampled_from([SPREAD, TIED]).flatmap(pairs),
    random=st.randoms(use_true_random=False),
    bins=st.sampled_from([1, 3, 15]),
)
def test_the_order_of_samples_changes_nothing(equal_mass, found, random, bins):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert calibration_error(*split(shuffled), bins, equal_mass=equal_mass) == pytest.approx(
        calibration_error(*split(found), bins, equal_mass=equal_mass), abs=1e-12
    )


@pytest.mark.parametrize("equal_mass", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("repeats", [1, 2, 11])
def test_probabilities_that_come_true_have_no_error(equal_mass, repeats):
    confidences, correct = np.full(4 * repeats, 0.75), np.tile([True, False, True, True], repeats)
    assert calibration_error(confidences, correct, equal_mass=equal_mass) == pytest.approx(
        0, abs=1e-15
    )
    assert calibration_error(np.ones(5), np.zeros(5), equal_mass=equal_mass) == 1


@pytest.mark.parametrize("equal_mass", KINDS.values(), ids=KINDS)
@given(found=st.sampled_from([SPREAD, TIED]).flatmap(pairs), bins=st.integers(1, 20))
def test_the_diagram_holds_every_sample_and_gives_the_error(equal_mass, found, bins):
    confidences, correct = split(found)
    diagram = reliability(confidences, correct, bins, equal_mass=equal_mass)
    full = diagram.count > 0
    assert diagram.edges.shape == (bins + 1,)
    assert diagram.count.shape == diagram.confidence.shape == diagram.accuracy.shape == (bins,)
    assert diagram.count.sum() == len(found)
    assert (np.diff(diagram.edges) >= 0).all()
    assert np.isnan(diagram.accuracy[~full]).all()
    assert np.isnan(diagram.confidence[~full]).all()
    assert (diagram.confidence[full] >= diagram.edges[:-1][full] - 1e-12).all()
    assert (diagram.confidence[full] <= diagram.edges[1:][full] + 1e-12).all()
    assert (diagram.count @ np.nan_to_num(diagram.accuracy)) / len(found) == pytest.approx(
        correct.mean(), abs=1e-12
    )
    gaps = np.nan_to_num(np.abs(diagram.accuracy - diagram.confidence))
    assert diagram.count @ gaps / len(found) == pytest.approx(
        calibration_error(confidences, correct, bins, equal_mass=equal_mass), abs=1e-12
    )
    if equal_mass:
        assert diagram.count.max() - diagram.count.min() <= 1


def test_both_diagrams_by_hand():
    confidences, correct = [0.9, 0.2, 0.3, 0.8, 0.85], [1, 0, 1, 1, 0]
    width = reliability(confidences, correct, 2)
    assert width.edges.tolist() == [0, 0.5, 1]
    assert width.count.tolist() == [2, 3]
    assert width.accuracy == pytest.approx([1 / 2, 2 / 3])
    assert width.confidence == pytest.approx([0.25, 0.85])
    mass = reliability(confidences, correct, 2, equal_mass=True)
    assert mass.edges == pytest.approx([0.2, 0.55, 0.9])
    assert mass.count.tolist() == [2, 3]
    thirds = reliability(confidences, correct, 4)
    assert thirds.count.tolist() == [1, 1, 0, 3]
    assert np.isnan(thirds.accuracy[2])


GOOD = np.zeros((3, 2, 4))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (
            GOOD,
            [0, -1, 2],
            r"sample 1 has the label -1, expected a class from 0 to 3; leave out samples without a "
            r"known label",
        ),
        (GOOD, [0, 1, 4], r"sample 2 has the label 4, expected a class from 0 to 3"),
    ],
)
def test_labels_and_logits_that_do_not_fit_are_refused(logits, labels, message):
    with pytest.raises(DataError, match=message):
        outcomes(logits, np.array(labels))


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, 0.0], [1.5e308, -1.5e308]])
def test_logits_that_are_not_finite_or_overflow_are_refused_with_their_sample(bad):
    logits = np.zeros((4, 1, 2))
    logits[2, 0] = bad
    with pytest.raises(DataError, match="the distance of two logits is not finite in sample 2"):
        outcomes(logits, np.zeros(4, dtype=np.int64))


@pytest.mark.parametrize("equal_mass", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("confidences", "correct", "message"),
    [
        ([0.5, 1.5], [0, 1], r"confidences reach from 0.5 to 1.5; expected \[0, 1\]"),
        ([0.5, np.nan], [0, 1], "confidences reach from nan to nan"),
        ([-0.1, 0.5], [0, 1], "confidences reach from -0.1 to 0.5"),
        (
            [0.5, 0.5],
            [0],
            r"numbers of shape \(2,\) for outcomes of \(1,\); expected two equal vectors, not empty",
        ),
        ([], [], r"shape \(0,\)"),
    ],
)
def test_what_cannot_be_binned_is_refused(equal_mass, confidences, correct, message):
    for metric in (calibration_error, reliability):
        with pytest.raises(DataError, match=message):
            metric(confidences, correct, equal_mass=equal_mass)
