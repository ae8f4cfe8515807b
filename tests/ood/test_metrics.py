"""Separation metrics against scikit-learn, a search over all thresholds, and the definition of DeLong's covariance."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, rankdata
from sklearn.metrics import roc_auc_score

from ahsar_eval.checkpoints import load_checkpoint, network_of
from ahsar_eval.data import open_split
from ahsar_eval.errors import DataError
from ahsar_eval.ood import auroc, auroc_interval, fpr_at_tpr, predictive_entropy, proportion_interval
from ahsar_eval.ood.metrics import mid_ranks
from ahsar_eval.recording import record

Scores = NDArray[np.float64]


def sklearn_auroc(inside: Scores, outside: Scores) -> float:
    truth = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))


def searched_fpr(inside: Scores, outside: Scores, recall: Fraction = Fraction(95, 100)) -> float:
    """The smallest share of `inside` flagged among all thresholds that flag at least `recall` of `outside`."""
    found = [
        float((inside >= threshold).mean())
        for threshold in np.concatenate([inside, outside])
        if Fraction(int((outside >= threshold).sum()), len(outside)) >= recall
    ]
    return min(found)


def delong_by_definition(inside: Scores, outside: Scores) -> tuple[float, float]:
    """AUROC and its variance from the m × n matrix of comparisons (DeLong 1988, equations 3 to 5)."""
    m, n = len(outside), len(inside)
    psi = [[1.0 if o > i else 0.5 if o == i else 0.0 for i in inside] for o in outside]
    theta = sum(map(sum, psi)) / (m * n)
    v10 = [sum(row) / n for row in psi]
    v01 = [sum(psi[k][j] for k in range(m)) / m for j in range(n)]
    s10 = sum((v - theta) ** 2 for v in v10) / (m - 1)
    s01 = sum((v - theta) ** 2 for v in v01) / (n - 1)
    return theta, s10 / m + s01 / n


def vectors(values: st.SearchStrategy[float], smallest: int = 1, largest: int = 60) -> st.SearchStrategy[Scores]:
    return st.lists(values, min_size=smallest, max_size=largest).map(lambda found: np.array(found, dtype=np.float64))


SPREAD = st.floats(-100, 100, allow_nan=False)
TIED = st.sampled_from([0.0, 0.25, 0.5, 1.0])
EXTREME = st.sampled_from([1e300, -1e300, 1e-300, -1e-300, 0.0, 1.0, 1.0 + 2**-52, 5e-324])
KINDS = {"spread": SPREAD, "tied": TIED, "extreme": EXTREME}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("largest", [1, 2, 60])
def test_both_metrics_equal_their_oracles(kind, largest):
    pairs = st.tuples(vectors(KINDS[kind], largest=largest), vectors(KINDS[kind], largest=largest))

    @settings(max_examples=60)
    @given(pairs)
    def check(pair: tuple[Scores, Scores]) -> None:
        inside, outside = pair
        assert auroc(inside, outside) == pytest.approx(sklearn_auroc(inside, outside), abs=1e-12)
        assert fpr_at_tpr(inside, outside) == searched_fpr(inside, outside)

    check()


@given(st.sampled_from([SPREAD, TIED, EXTREME]).flatmap(vectors))
def test_mid_ranks_equal_scipy(scores):
    assert np.array_equal(mid_ranks(scores), rankdata(scores))


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
        assert auroc(inside, outside) == pytest.approx(sklearn_auroc(inside, outside), abs=1e-12)
        assert fpr_at_tpr(inside, outside) == searched_fpr(inside, outside)


@pytest.mark.parametrize("tpr", [0.05, 0.07, 0.1, 0.3, 0.5, 0.55, 0.9, 0.95, 0.99, 1.0])  # 0.07 · 100 and 0.55 · 100 round up
def test_fpr_at_other_recalls_equals_the_search(tpr):
    rng = np.random.default_rng(5)
    for n in (1, 10, 20, 100, 101):
        inside, outside = rng.normal(size=57), rng.normal(0.5, size=n)
        assert fpr_at_tpr(inside, outside, tpr) == searched_fpr(inside, outside, Fraction(str(tpr)))


def test_constructed_example_to_its_printed_digits():
    grid = norm.ppf((np.arange(10_000) + 0.5) / 10_000)
    inside, outside = grid, 2 + 2 * grid
    assert f"{auroc(inside, outside):.10f}" == "0.8144542100"
    assert f"{fpr_at_tpr(inside, outside):.4f}" == "0.9013"
    assert f"{fpr_at_tpr(-outside, -inside):.4f}" == "0.4294"  # the other reading, in-distribution positive


@given(vectors(TIED, largest=30), vectors(TIED, largest=30))
def test_swapping_the_sets_gives_one_minus_auroc(inside, outside):
    assert auroc(inside, outside) + auroc(outside, inside) == pytest.approx(1, abs=1e-12)


@given(vectors(st.integers(-50, 50).map(float)), vectors(st.integers(-50, 50).map(float)))
def test_strictly_increasing_transforms_change_nothing(inside, outside):
    for transform in (lambda x: 3 * x - 7, np.exp, np.cbrt, lambda x: 1e290 * x):
        assert auroc(transform(inside), transform(outside)) == auroc(inside, outside)
        assert fpr_at_tpr(transform(inside), transform(outside)) == fpr_at_tpr(inside, outside)


@given(vectors(SPREAD, largest=20), vectors(SPREAD, largest=20), st.randoms(use_true_random=False))
def test_order_of_samples_changes_nothing(inside, outside, random):
    shuffled_inside, shuffled_outside = inside.tolist(), outside.tolist()
    random.shuffle(shuffled_inside)
    random.shuffle(shuffled_outside)
    assert auroc(np.array(shuffled_inside), np.array(shuffled_outside)) == auroc(inside, outside)
    assert fpr_at_tpr(np.array(shuffled_inside), np.array(shuffled_outside)) == fpr_at_tpr(inside, outside)


def test_scores_outside_zero_and_one_are_not_squashed():
    inside, outside = np.array([-30.0, 40.0, 50.0]), np.array([45.0, 60.0, 900.0])
    assert auroc(inside, outside) == 8 / 9  # a sigmoid would make everything above 37 equal to 1


@settings(max_examples=60)
@given(
    st.sampled_from([SPREAD, TIED]).flatmap(lambda kind: st.tuples(vectors(kind, 2, 25), vectors(kind, 2, 25))),
    st.sampled_from([0.5, 0.9, 0.95, 0.99]),
)
def test_delong_interval_equals_the_covariance_by_definition(pair, confidence):
    inside, outside = pair
    theta, variance = delong_by_definition(inside, outside)
    half = norm.ppf(0.5 + confidence / 2) * np.sqrt(variance)
    found = auroc_interval(inside, outside, confidence)
    assert found.value == pytest.approx(theta, abs=1e-12)
    if variance < 1e-20:
        assert (found.low, found.high) == (None, None), "a variance of zero would claim certainty"
    else:
        assert found.low == pytest.approx(max(0, theta - half), abs=1e-7)
        assert found.high == pytest.approx(min(1, theta + half), abs=1e-7)
    assert found.value == pytest.approx(auroc(inside, outside), abs=1e-12)


def test_delong_interval_to_twelve_digits_on_a_plain_example():
    rng = np.random.default_rng(11)
    inside, outside = rng.normal(size=60), rng.normal(0.8, 1.3, size=45)
    theta, variance = delong_by_definition(inside, outside)
    found = auroc_interval(inside, outside)
    assert found.low == pytest.approx(theta - norm.ppf(0.975) * np.sqrt(variance), abs=1e-12)
    assert found.high == pytest.approx(theta + norm.ppf(0.975) * np.sqrt(variance), abs=1e-12)


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 10), (10, 10), (3, 10), (427, 450), (1, 100_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_wilson_interval_equals_scipy(successes, trials, confidence):
    found = proportion_interval(successes, trials, confidence)
    expected = binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    assert found.value == successes / trials
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.value <= found.high


def test_wilson_interval_by_hand():
    z, p, n = norm.ppf(0.975), 0.3, 10
    centre, half = (p + z**2 / 20) / (1 + z**2 / n), z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / 400)
    found = proportion_interval(3, 10)
    assert found.low == pytest.approx(centre - half, abs=1e-14)
    assert found.high == pytest.approx(centre + half, abs=1e-14)


METRICS: list[Any] = [auroc, auroc_interval, fpr_at_tpr]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_with_their_place(metric, bad):
    good, spoilt = np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, bad])
    with pytest.raises(DataError, match="the out-of-distribution score of sample 2 is not finite"):
        metric(good, spoilt)
    with pytest.raises(DataError, match="the in-distribution score of sample 2 is not finite"):
        metric(spoilt, good)


@pytest.mark.parametrize("metric", METRICS)
def test_a_missing_class_is_an_error_and_never_a_number(metric):
    some, none = np.array([0.5]), np.array([])
    with pytest.raises(DataError, match=r"in-distribution scores have shape \(0,\); expected a vector with at least one score"):
        metric(none, some)
    with pytest.raises(DataError, match=r"out-of-distribution scores have shape \(0,\)"):
        metric(some, none)
    with pytest.raises(DataError, match=r"shape \(1, 1\)"):
        metric(some, np.array([[0.5]]))


@pytest.mark.parametrize("tpr", [0.0, -0.1, 1.01, float("nan")])
def test_a_recall_that_cannot_be_is_refused(tpr):
    with pytest.raises(DataError, match=r"expected a number in \(0, 1\]"):
        fpr_at_tpr(np.array([0.0]), np.array([1.0]), tpr)


def test_a_proportion_of_nothing_is_refused():
    with pytest.raises(DataError, match="at least one trial"):
        proportion_interval(0, 0)


@pytest.mark.parametrize("name", ["digits-vgg13-baseline", "digits-vgg13-ahsar"])
def test_both_metrics_equal_their_oracles_on_recorded_scores(name):
    checkpoint = load_checkpoint(name)
    net, shape = network_of(checkpoint), checkpoint.spec.input_shape
    inside = predictive_entropy(record(net, open_split("digits", shape)).logits)
    for other in ("photo-patches", "digits:contrast:5"):
        outside = predictive_entropy(record(net, open_split(other, shape)).logits)
        assert auroc(inside, outside) == pytest.approx(sklearn_auroc(inside, outside), abs=1e-12)
        assert fpr_at_tpr(inside, outside) == searched_fpr(inside, outside)
