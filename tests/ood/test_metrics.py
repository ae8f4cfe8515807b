"""Separation metrics by hand, against scikit-learn, pytorch-ood and torchmetrics, and a search over
all thresholds.
"""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score
from sklearn.metrics import roc_curve as sklearn_roc_curve

from ahsar_eval.data import open_split
from ahsar_eval.errors import DataError
from ahsar_eval.networks.checkpoints import load_checkpoint, network_of
from ahsar_eval.ood.kernels import needed
from ahsar_eval.ood.metrics import (
    SEPARATION,
    Separation,
    auroc,
    auroc_interval,
    proportion_interval,
    roc_curve,
    separation,
)
from ahsar_eval.ood.scores import predictive_entropy
from ahsar_eval.recording import record

Scores = NDArray[np.float64]


def sklearn_separation(inside: Scores, outside: Scores, tpr: float = 0.95) -> Separation:
    """The same numbers from scikit-learn's curves with all their vertices."""
    truth = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    scores = np.concatenate([inside, outside])
    fp, tp, _ = sklearn_roc_curve(truth, scores, drop_intermediate=False)
    fp_in, tp_in, _ = sklearn_roc_curve(1 - truth, -scores, drop_intermediate=False)
    precision_out, recall_out, _ = precision_recall_curve(truth, scores)
    precision_in, recall_in, _ = precision_recall_curve(1 - truth, -scores)
    return Separation(
        auroc=float(roc_auc_score(truth, scores)),
        fpr_at_tpr=float(fp[np.argmax(tp >= tpr)]),
        fpr_at_tpr_id_positive=float(fp_in[np.argmax(tp_in >= tpr)]),
        aupr_in=float(auc(recall_in, precision_in)),
        aupr_out=float(auc(recall_out, precision_out)),
        detection_error=float(((1 - tp) / 2 + fp / 2).min()),
        distinct_scores=len(np.unique(scores)),
    )


def assert_same(found: Separation, expected: Separation, tolerance: float = 1e-12) -> None:
    assert found.distinct_scores == expected.distinct_scores
    for name in SEPARATION:
        assert getattr(found, name) == pytest.approx(
            getattr(expected, name), rel=0, abs=tolerance
        ), name


def fpr_at_tpr(inside: Scores, outside: Scores, tpr: float = 0.95) -> float:
    return separation(inside, outside, tpr).fpr_at_tpr


def searched_fpr(inside: Scores, outside: Scores, recall: Fraction = Fraction(95, 100)) -> float:
    """The smallest share of `inside` flagged among all thresholds that flag at least `recall` of
    `outside`.
    """
    found = [
        float((inside >= threshold).mean())
        for threshold in np.concatenate([inside, outside])
        if Fraction(int((outside >= threshold).sum()), len(outside)) >= recall
    ]
    return min(found)


def vectors(
    values: st.SearchStrategy[float], smallest: int = 1, largest: int = 60
) -> st.SearchStrategy[Scores]:
    return st.lists(values, min_size=smallest, max_size=largest).map(
        lambda found: np.array(found, dtype=np.float64)
    )


SPREAD = st.floats(-100, 100, allow_nan=False)
TIED = st.sampled_from([0.0, 0.25, 0.5, 1.0])
EXTREME = st.sampled_from([1e300, -1e300, 1e-300, -1e-300, 0.0, 1.0, 1.0 + 2**-52, 5e-324])
SINGLE = st.floats(width=32, allow_nan=False, allow_infinity=False)
KINDS = {"spread": SPREAD, "tied": TIED, "extreme": EXTREME}


def test_every_metric_by_hand():
    # From the top: 6 is OOD, 5 is ID, 3 is OOD, then one OOD and two ID are tied at 2, last 1 is
    # ID.
    found = separation(np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 3.0, 6.0]))
    # OOD 2 beats 1 and ties twice, 3 beats three, 6 beats all: 2 + 3 + 4 of 12 pairs.
    assert found.auroc == 9 / 12
    # All three OOD (2/3 is too few) are recalled at 2, where 2, 2 and 5 of the ID are flagged.
    assert found.fpr_at_tpr == 3 / 4
    # All four ID (3/4 is too few) are accepted at 5, and with them the OOD 2 and 3.
    assert found.fpr_at_tpr_id_positive == 2 / 3
    # (recall, precision): (0, 1), (1/3, 1), (1/3, 1/2), (2/3, 2/3), (1, 1/2), (1, 3/7)
    assert found.aupr_out == pytest.approx(
        1 / 3 + (1 / 3) * (7 / 12) + (1 / 3) * (7 / 12), abs=1e-15
    )
    # (recall, precision) from the bottom: (0, 1), (1/4, 1), (3/4, 3/4), (3/4, 3/5), (1, 2/3), (1,
    # 4/7)
    assert found.aupr_in == pytest.approx(
        1 / 4 + (1 / 2) * (7 / 8) + (1 / 4) * (19 / 30), abs=1e-15
    )
    # Flagging 3 and above: one of three OOD missed, one of four ID flagged.
    assert found.detection_error == pytest.approx((1 / 3) / 2 + (1 / 4) / 2, abs=1e-15)
    assert found.distinct_scores == 5


def test_the_curve_by_hand():
    fpr, tpr, thresholds = roc_curve(np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 3.0, 6.0]))
    assert fpr.tolist() == [0, 0, 1 / 4, 1 / 4, 3 / 4, 1]
    assert tpr.tolist() == [0, 1 / 3, 1 / 3, 2 / 3, 1, 1]
    assert thresholds.tolist() == [np.inf, 6, 5, 3, 2, 1]


def test_at_other_recalls_by_hand():
    inside, outside = np.array([1.0, 2.0, 2.0, 5.0]), np.array([2.0, 3.0, 6.0])
    assert [separation(inside, outside, tpr).fpr_at_tpr for tpr in (0.3, 0.5, 0.66, 0.67)] == [
        0,
        1 / 4,
        1 / 4,
        3 / 4,
    ]
    assert [
        separation(inside, outside, tpr).fpr_at_tpr_id_positive for tpr in (0.25, 0.26, 0.75, 0.76)
    ] == [0, 1 / 3, 1 / 3, 2 / 3]


def test_trivial_thresholds_count_for_the_detection_error():
    """Every other threshold is worse than flagging all or nothing where the order is
    upside down."""
    assert separation(np.array([3.0, 4.0]), np.array([1.0, 2.0])).detection_error == 0.5
    assert separation(np.array([1.0, 2.0]), np.array([3.0, 4.0])).detection_error == 0.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("largest", [1, 2, 60])
def test_every_metric_equals_scikit_learn(kind, largest):
    pairs = st.tuples(
        vectors(KINDS[kind], largest=largest),
        vectors(KINDS[kind], largest=largest),
        st.sampled_from([0.1, 0.5, 0.95, 1.0]),
    )

    @settings(max_examples=40)
    @given(pairs)
    def check(pair: tuple[Scores, Scores, float]) -> None:
        inside, outside, tpr = pair
        found = separation(inside, outside, tpr)
        assert_same(found, sklearn_separation(inside, outside, tpr))
        assert auroc(inside, outside) == found.auroc
        for flagged, recalled, threshold in zip(*roc_curve(inside, outside), strict=True):
            assert (flagged, recalled) == (
                (inside >= threshold).mean(),
                (outside >= threshold).mean(),
            )

    check()


@pytest.mark.parametrize(("n_id", "n_ood"), [(30_000, 20_000), (1_000, 49_000), (50_000, 7)])
@pytest.mark.parametrize("decimals", [1, 3, 16])
def test_every_metric_equals_scikit_learn_on_large_sets(n_id, n_ood, decimals):
    rng = np.random.default_rng(n_ood + decimals)
    inside, outside = (
        rng.normal(size=n_id).round(decimals),
        rng.normal(1, 2, size=n_ood).round(decimals),
    )
    assert_same(separation(inside, outside), sklearn_separation(inside, outside), 1e-11)


@settings(max_examples=40)
@given(
    st.sampled_from([SPREAD, TIED, EXTREME]).flatmap(
        lambda kind: st.tuples(vectors(kind), vectors(kind))
    )
)
def test_every_metric_equals_pytorch_ood(pair):
    """Its labels are negative for OOD, its score is higher for OOD; it has FPR for OOD as positive
    alone: the other is the mirror image.
    """
    peer = pytest.importorskip("pytorch_ood.metrics.functional")
    inside, outside = pair
    scores = torch.from_numpy(np.concatenate([inside, outside]))
    labels = torch.from_numpy(
        np.concatenate([np.zeros(len(inside), int), np.full(len(outside), -1)])
    )
    found = separation(inside, outside)
    assert found.auroc == pytest.approx(float(peer.auroc(scores, labels)), abs=1e-12)
    assert found.aupr_out == pytest.approx(
        float(peer.aupr(scores, labels, positive="ood")), abs=1e-12
    )
    assert found.aupr_in == pytest.approx(
        float(peer.aupr(scores, labels, positive="id")), abs=1e-12
    )
    assert found.fpr_at_tpr == float(peer.fpr_at_tpr(scores, labels))
    assert found.fpr_at_tpr_id_positive == float(peer.fpr_at_tpr(-scores, -1 - labels))
    for ours, theirs in zip(
        roc_curve(inside, outside)[:2], peer.roc_curve(scores, labels)[:2], strict=True
    ):
        assert np.array_equal(ours, theirs.numpy())


@settings(max_examples=40)
@given(
    st.sampled_from([st.floats(0, 1), TIED]).flatmap(
        lambda kind: st.tuples(vectors(kind), vectors(kind))
    )
)
def test_every_metric_equals_torchmetrics_inside_zero_and_one(pair):
    """Outside [0, 1] it squashes. Its average precision is a sum of steps, not our trapezoids,
    which are put over its curve here.
    """
    peer = pytest.importorskip("torchmetrics.functional.classification")
    inside, outside = (scores.astype(np.float32) for scores in pair)  # it ranks in float32
    scores = torch.from_numpy(np.concatenate([inside, outside]))
    labels = torch.from_numpy(
        np.concatenate([np.zeros(len(inside), int), np.ones(len(outside), int)])
    )
    found = separation(inside, outside)
    assert found.auroc == pytest.approx(float(peer.binary_auroc(scores, labels)), abs=1e-6)
    precision, recall, _ = peer.binary_precision_recall_curve(scores, labels)
    assert found.aupr_out == pytest.approx(
        float(-torch.trapezoid(precision.double(), recall.double())), abs=1e-6
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("largest", [1, 2, 60])
def test_both_metrics_equal_a_search_over_all_thresholds(kind, largest):
    pairs = st.tuples(vectors(KINDS[kind], largest=largest), vectors(KINDS[kind], largest=largest))

    @settings(max_examples=60)
    @given(pairs)
    def check(pair: tuple[Scores, Scores]) -> None:
        inside, outside = pair
        wins = sum(1.0 if o > i else 0.5 if o == i else 0.0 for o in outside for i in inside)
        assert auroc(inside, outside) == wins / (
            len(inside) * len(outside)
        )  # whole and half numbers: exact
        assert fpr_at_tpr(inside, outside) == searched_fpr(inside, outside)

    check()


@pytest.mark.parametrize("size", [1, 2, 7, 19, 20, 21, 40, 100])
def test_constant_scores_are_chance_and_flag_everything(size):
    constant = np.full(size, 0.3)
    assert auroc(constant, constant) == 0.5
    assert fpr_at_tpr(constant, constant) == 1.0


@pytest.mark.parametrize("n_id", [1, 2, 3, 20, 333])
@pytest.mark.parametrize("n_ood", [1, 2, 19, 20, 21, 39, 40, 100, 1000])
def test_oracles_at_sizes_where_95_percent_falls_on_and_between_samples(n_id, n_ood):
    rng = np.random.default_rng(n_id * 1009 + n_ood)
    for inside, outside in (
        (rng.normal(size=n_id), rng.normal(0.7, size=n_ood)),
        (rng.integers(0, 4, n_id).astype(float), rng.integers(1, 5, n_ood).astype(float)),
    ):
        assert_same(separation(inside, outside), sklearn_separation(inside, outside))
        assert fpr_at_tpr(inside, outside) == searched_fpr(inside, outside)


@pytest.mark.parametrize(
    "tpr", [0.05, 0.07, 0.1, 0.3, 0.5, 0.55, 0.9, 0.95, 0.99, 1.0]
)  # 0.07 · 100 and 0.55 · 100 round up
def test_fpr_at_other_recalls_equals_the_search(tpr):
    rng = np.random.default_rng(5)
    for n in (1, 10, 20, 100, 101):
        inside, outside = rng.normal(size=57), rng.normal(0.5, size=n)
        assert fpr_at_tpr(inside, outside, tpr) == searched_fpr(inside, outside, Fraction(str(tpr)))
        mirrored = separation(-outside, -inside, tpr).fpr_at_tpr_id_positive
        assert mirrored == searched_fpr(inside, outside, Fraction(str(tpr)))


@given(st.integers(1, 10**9), st.integers(1, 10_000))
def test_the_least_count_that_reaches_a_recall(total, thousandths):
    """As float64 divides: the decimal that was typed and the fraction it stands for meet at the
    same count.
    """
    tpr = thousandths / 10_000
    least = int(needed(tpr, float(total)))
    assert least / total >= tpr
    assert least == 1 or (least - 1) / total < tpr


def test_constructed_example_to_its_printed_digits():
    grid = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    inside, outside = grid, 2 + 2 * grid
    assert f"{auroc(inside, outside):.10f}" == "0.8144542100"
    assert f"{fpr_at_tpr(inside, outside):.4f}" == "0.9013"
    found = separation(inside, outside)
    assert (
        f"{found.auroc:.10f} {found.fpr_at_tpr:.4f} {found.fpr_at_tpr_id_positive:.4f}"
        == "0.8144542100 0.9013 0.4294"
    )
    assert f"{fpr_at_tpr(-outside, -inside):.4f}" == "0.4294"  # the same by negated scores


@given(vectors(TIED, largest=30), vectors(TIED, largest=30))
def test_swapping_the_sets_gives_one_minus_auroc(inside, outside):
    assert auroc(inside, outside) + auroc(outside, inside) == pytest.approx(1, abs=1e-12)


@given(
    st.sampled_from([SPREAD, TIED, EXTREME]).flatmap(
        lambda kind: st.tuples(vectors(kind), vectors(kind))
    )
)
def test_negated_scores_exchange_the_readings(pair):
    """ID as positive under s is OOD as positive under −s with the sets exchanged."""
    inside, outside = pair
    found, mirrored = separation(inside, outside), separation(-outside, -inside)
    assert (mirrored.auroc, mirrored.detection_error) == (found.auroc, found.detection_error)
    assert (mirrored.fpr_at_tpr, mirrored.fpr_at_tpr_id_positive) == (
        found.fpr_at_tpr_id_positive,
        found.fpr_at_tpr,
    )
    assert mirrored.aupr_in == pytest.approx(found.aupr_out, abs=1e-13)
    assert mirrored.aupr_out == pytest.approx(found.aupr_in, abs=1e-13)


@given(vectors(st.integers(-50, 50).map(float)), vectors(st.integers(-50, 50).map(float)))
def test_strictly_increasing_transforms_change_nothing(inside, outside):
    for transform in (lambda x: 3 * x - 7, np.exp, np.cbrt, lambda x: 1e290 * x):
        assert separation(transform(inside), transform(outside)) == separation(inside, outside)


@given(vectors(SPREAD, largest=20), vectors(SPREAD, largest=20), st.randoms(use_true_random=False))
def test_order_of_samples_changes_nothing(inside, outside, random):
    shuffled_inside, shuffled_outside = inside.tolist(), outside.tolist()
    random.shuffle(shuffled_inside)
    random.shuffle(shuffled_outside)
    assert separation(np.array(shuffled_inside), np.array(shuffled_outside)) == separation(
        inside, outside
    )


@given(
    vectors(st.floats(width=32, allow_nan=False, allow_infinity=False)),
    vectors(st.floats(width=32, allow_nan=False, allow_infinity=False)),
)
def test_float32_scores_are_ranked_as_they_are(inside, outside):
    expected = separation(inside, outside)
    narrow = inside.astype(np.float32), outside.astype(np.float32)
    assert separation(*narrow) == expected
    assert separation(narrow[0], outside) == expected
    assert separation(inside, narrow[1]) == expected


def test_scores_that_differ_in_the_last_bit_are_not_tied():
    close = np.nextafter(1.0, 2.0)
    assert separation(np.array([1.0]), np.array([close])).distinct_scores == 2
    assert auroc(np.array([1.0], dtype=np.float32), np.array([close])) == 1.0, (
        "float64 scores are not cut to float32"
    )
    assert auroc(np.array([0.0]), np.array([-0.0])) == 0.5


def test_scores_are_left_as_they_were():
    inside, outside = np.array([3.0, 1.0, 2.0]), np.array([5.0, 1.0])
    separation(inside, outside)
    roc_curve(inside, outside)
    assert (inside.tolist(), outside.tolist()) == ([3, 1, 2], [5, 1])
    assert separation(inside[::-1], np.array([5, 1])) == separation(inside, outside), (
        "strided and whole numbers are scores, too"
    )


def test_scores_outside_zero_and_one_are_not_squashed():
    inside, outside = np.array([-30.0, 40.0, 50.0]), np.array([45.0, 60.0, 900.0])
    assert auroc(inside, outside) == 8 / 9  # a sigmoid would make everything above 37 equal to 1


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 10), (427, 450), (1, 100_000)]
)
def test_wilson_interval_equals_scipy(successes, trials):
    found = proportion_interval(successes, trials)
    expected = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert (found.value, found.method) == (successes / trials, "Wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_wilson_interval_by_hand():
    z, p, n = norm.ppf(0.975), 0.3, 10
    centre, half = (
        (p + z**2 / 20) / (1 + z**2 / n),
        z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 400),
    )
    found = proportion_interval(3, 10)
    assert found.low == pytest.approx(centre - half, abs=1e-14)
    assert found.high == pytest.approx(centre + half, abs=1e-14)


METRICS: list[Any] = [auroc, auroc_interval, separation, roc_curve]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_with_their_place(metric, bad):
    good, spoilt = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, bad])
    with pytest.raises(DataError, match="the out-of-distribution score is not finite in sample 2"):
        metric(good, spoilt)
    with pytest.raises(DataError, match="the in-distribution score is not finite in sample 2"):
        metric(spoilt, good)


@pytest.mark.parametrize("metric", METRICS)
def test_a_missing_class_is_an_error_and_never_a_number(metric):
    some, none = np.array([0.5]), np.array([])
    with pytest.raises(
        DataError,
        match=(
            r"in-distribution scores have shape \(0,\); expected a vector with at least one "
            r"score"
        ),
    ):
        metric(none, some)
    with pytest.raises(DataError, match=r"out-of-distribution scores have shape \(0,\)"):
        metric(some, none)
    with pytest.raises(DataError, match=r"shape \(1, 1\)"):
        metric(some, np.array([[0.5]]))


@pytest.mark.parametrize("tpr", [0.0, -0.1, 1.01, float("nan")])
def test_a_recall_that_cannot_be_is_refused(tpr):
    with pytest.raises(DataError, match=r"expected a number in \(0, 1\]"):
        separation(np.array([0.0]), np.array([1.0]), tpr)


@pytest.mark.parametrize("name", ["digits-vgg13-baseline", "digits-vgg13-ahsar"])
def test_metrics_equal_their_oracles_on_recorded_scores(name):
    checkpoint = load_checkpoint(name)
    net, shape = network_of(checkpoint), checkpoint.spec.input_shape
    inside = predictive_entropy(record(net, open_split("digits", shape)).logits)
    for other in ("photo-patches", "digits:contrast:5"):
        outside = predictive_entropy(record(net, open_split(other, shape)).logits)
        assert_same(separation(inside, outside), sklearn_separation(inside, outside))
        assert fpr_at_tpr(inside, outside) == searched_fpr(inside, outside)
