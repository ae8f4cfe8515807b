"""DeLong's interval and paired test by their definition, and against MLstatkit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from ahsar_eval.errors import DataError
from ahsar_eval.ood.metrics import Estimate, auroc, auroc_interval, paired_auroc

Scores = NDArray[np.float64]


def components(inside: Scores, outside: Scores) -> tuple[float, list[float], list[float]]:
    """AUROC and the structural components V10 and V01 from the m × n matrix of comparisons (DeLong
    1988, equations 3 and 4).
    """
    m, n = len(outside), len(inside)
    psi = [[1.0 if o > i else 0.5 if o == i else 0.0 for i in inside] for o in outside]
    return (
        sum(map(sum, psi)) / (m * n),
        [sum(row) / n for row in psi],
        [sum(psi[k][j] for k in range(m)) / m for j in range(n)],
    )


def delong_by_definition(inside: Scores, outside: Scores) -> tuple[float, float]:
    """AUROC and its variance (DeLong 1988, equation 5)."""
    theta, v10, v01 = components(inside, outside)
    s10 = sum((v - theta) ** 2 for v in v10) / (len(outside) - 1)
    s01 = sum((v - theta) ** 2 for v in v01) / (len(inside) - 1)
    return theta, s10 / len(outside) + s01 / len(inside)


def covariance_by_definition(a: tuple[Scores, Scores], b: tuple[Scores, Scores]) -> float:
    """Covariance of the AUROCs of two models on the same samples (DeLong 1988, equation 5)."""
    (theta_a, v10_a, v01_a), (theta_b, v10_b, v01_b) = components(*a), components(*b)
    total = 0.0
    for first, second in ((v10_a, v10_b), (v01_a, v01_b)):
        size = len(first)
        total += (
            sum((x - theta_a) * (y - theta_b) for x, y in zip(first, second, strict=True))
            / (size - 1)
            / size
        )
    return total


def vectors(
    values: st.SearchStrategy[float], smallest: int = 1, largest: int = 60
) -> st.SearchStrategy[Scores]:
    return st.lists(values, min_size=smallest, max_size=largest).map(
        lambda found: np.array(found, dtype=np.float64)
    )


SPREAD = st.floats(-100, 100, allow_nan=False)
TIED = st.sampled_from([0.0, 0.25, 0.5, 1.0])
EXTREME = st.sampled_from([1e300, -1e300, 1e-300, -1e-300, 0.0, 1.0, 1.0 + 2**-52, 5e-324])
OFFSET = st.integers(-40, 40).map(lambda step: 1e15 + step / 4)
KINDS = {"spread": SPREAD, "tied": TIED, "extreme": EXTREME, "offset": OFFSET}


def plain_ends(value: float, variance: float) -> tuple[float, float]:
    half = norm.ppf(0.975) * np.sqrt(variance)
    return max(0.0, value - half), min(1.0, value + half)


def logit_ends(value: float, variance: float) -> tuple[float, float]:
    middle, half = (
        np.log(value / (1 - value)),
        norm.ppf(0.975) * np.sqrt(variance) / (value * (1 - value)),
    )
    return 1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle))


def test_the_interval_by_hand():
    # OOD 1 beats one of two ID, OOD 3 both: V10 = (1/2, 1); ID 0 is beaten by both, ID 2 by one:
    # V01 = (1, 1/2).
    found = auroc_interval(np.array([0.0, 2.0]), np.array([1.0, 3.0]))
    assert found.value == 3 / 4
    # Each has variance 1/8; 1/8/2 + 1/8/2 = 1/8.
    assert found.low == pytest.approx(0.75 - norm.ppf(0.975) * np.sqrt(1 / 8), abs=1e-15)
    assert found.high == 1.0


@settings(max_examples=80)
@given(
    st.sampled_from(list(KINDS)).flatmap(
        lambda kind: st.tuples(vectors(KINDS[kind], 2, 25), vectors(KINDS[kind], 2, 25))
    )
)
def test_the_interval_equals_the_covariance_by_definition(pair):
    inside, outside = pair
    theta, variance = delong_by_definition(inside, outside)
    found = auroc_interval(inside, outside)
    assert found.value == pytest.approx(theta, abs=1e-12)
    assert found.value == auroc(inside, outside)
    if variance < 1e-20:
        assert (found.low, found.high, found.method) == (None, None, ""), (
            "a variance of zero would claim certainty"
        )
        return
    on_logits = theta > 0.95 or theta < 0.05
    assert found.method == ("DeLong, logit scale" if on_logits else "DeLong")
    expected = (logit_ends if on_logits else plain_ends)(theta, variance)
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)
    assert auroc_interval(inside, outside, "DeLong").low == pytest.approx(
        plain_ends(theta, variance)[0], abs=1e-12
    )
    assert auroc_interval(inside, outside, "DeLong, logit scale").high == pytest.approx(
        logit_ends(theta, variance)[1], abs=1e-12
    )


@pytest.mark.parametrize("shift", [3.2, -3.2])
def test_the_logit_scale_where_separation_is_all_but_perfect(shift):
    rng = np.random.default_rng(3)
    inside, outside = rng.normal(size=80), rng.normal(shift, 1, size=70)
    theta, variance = delong_by_definition(inside, outside)
    found = auroc_interval(inside, outside)
    assert found.method == "DeLong, logit scale"
    assert (found.low, found.high) == pytest.approx(logit_ends(theta, variance), abs=1e-12)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < found.value < found.high < 1
    plain = plain_ends(theta, variance)
    assert plain != pytest.approx((found.low, found.high), abs=1e-3)


def test_a_single_change_of_order_among_many_samples_is_not_a_variance_of_zero():
    inside, outside = (
        np.arange(200_000.0),
        np.arange(200_000.0) + 199_998.5,
    )  # one pair in 4 · 10¹⁰ is out of order
    found = auroc_interval(inside, outside)
    assert found.value == 1 - 1 / 4e10
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high < 1


def test_no_interval_without_a_variance():
    for inside, outside in (
        ([0.0], [1.0, 2.0]),
        ([0.0, 1.0], [0.5]),
        ([0.0, 1.0], [2.0, 3.0]),
        ([5.0, 5.0], [5.0, 5.0]),
    ):
        found = auroc_interval(np.array(inside), np.array(outside))
        assert (found.low, found.high) == (None, None)


def pairs_of_models(
    kind: str, smallest: int = 2, largest: int = 30
) -> st.SearchStrategy[tuple[Scores, Scores, Scores, Scores]]:
    """Scores of the same ID samples and of the same OOD samples by two models."""
    pair = st.lists(st.tuples(KINDS[kind], KINDS[kind]), min_size=smallest, max_size=largest)
    return st.tuples(pair, pair).map(
        lambda found: (
            *np.array(found[0], dtype=np.float64).T,
            *np.array(found[1], dtype=np.float64).T,
        )  # id A, id B, ood A, ood B
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("largest", [2, 30])
def test_the_paired_test_equals_mlstatkit_and_its_definition(kind, largest):
    peer = pytest.importorskip("MLstatkit")

    @settings(max_examples=40)
    @given(pairs_of_models(kind, largest=largest))
    def check(models: tuple[Scores, Scores, Scores, Scores]) -> None:
        id_a, id_b, ood_a, ood_b = models
        a, b = delong_by_definition(id_a, ood_a), delong_by_definition(id_b, ood_b)
        variance = a[1] + b[1] - 2 * covariance_by_definition((id_a, ood_a), (id_b, ood_b))
        found, p_found = paired_auroc(id_a, ood_a, id_b, ood_b)
        assert found.value == pytest.approx(b[0] - a[0], abs=1e-12)
        if variance < 1e-12:  # by the definition in float64; at these sizes a real one is larger
            assert found.low is None
            assert found.high is None
            return
        z = (b[0] - a[0]) / np.sqrt(variance)
        half = norm.ppf(0.975) * np.sqrt(variance)
        assert p_found == pytest.approx(2 * norm.sf(abs(z)), abs=1e-9)
        assert found.low == pytest.approx(max(-1, b[0] - a[0] - half), abs=1e-9)
        assert found.high == pytest.approx(min(1, b[0] - a[0] + half), abs=1e-9)
        truth = np.concatenate([np.zeros(len(id_a)), np.ones(len(ood_a))])
        joint = np.concatenate([id_a, ood_a]), np.concatenate([id_b, ood_b])
        _, p, ends_a, ends_b, auc_a, auc_b, _ = peer.Delong_test(truth, *joint, n_boot=1)
        assert p_found == pytest.approx(p, abs=1e-9)
        for inside, outside, value, ends in (
            (id_a, ood_a, auc_a, ends_a),
            (id_b, ood_b, auc_b, ends_b),
        ):
            ours = auroc_interval(inside, outside, method="DeLong")
            assert ours.value == pytest.approx(value, abs=1e-9)
            if ours.low is not None and ours.high is not None:
                assert (ours.low, ours.high) == pytest.approx((ends[0], ends[1]), abs=1e-9)

    check()


def test_the_paired_test_equals_mlstatkit_on_a_plain_example():
    peer = pytest.importorskip("MLstatkit")
    rng = np.random.default_rng(8)
    id_a, ood_a = rng.normal(size=300), rng.normal(0.7, size=200)
    id_b, ood_b = id_a + rng.normal(size=300), ood_a + rng.normal(0.3, size=200)
    truth = np.concatenate([np.zeros(300), np.ones(200)])
    _, p, *_ = peer.Delong_test(truth, np.concatenate([id_a, ood_a]), np.concatenate([id_b, ood_b]))
    found, p_found = paired_auroc(id_a, ood_a, id_b, ood_b)
    assert p_found == pytest.approx(p, abs=1e-12)
    assert found.method == "paired DeLong"
    swapped, p_swapped = paired_auroc(id_b, ood_b, id_a, ood_a)
    assert (swapped.value, p_swapped) == pytest.approx((-found.value, p_found), abs=1e-12)


@pytest.mark.parametrize("size", [1, 2, 30])
def test_the_same_order_is_no_difference(size):
    rng = np.random.default_rng(size)
    inside, outside = rng.normal(size=size), rng.normal(size=size)
    found = paired_auroc(inside, outside, 3 * inside - 1, 3 * outside - 1)
    assert found == (Estimate(0.0), 1.0)


def test_a_difference_without_a_variance_has_no_test():
    apart, reversed_ = (
        (np.array([0.0, 1.0]), np.array([2.0, 3.0])),
        (np.array([2.0, 3.0]), np.array([0.0, 1.0])),
    )
    assert paired_auroc(*reversed_, *apart) == (Estimate(1.0), None)
    single = paired_auroc(
        np.array([0.0]), np.array([1.0, 2.0]), np.array([1.5]), np.array([1.0, 2.0])
    )
    assert single == (Estimate(-0.5), None)


def test_scores_that_are_not_finite_are_refused():
    two = np.zeros(2)
    with pytest.raises(DataError, match="the in-distribution score is not finite in sample 1"):
        paired_auroc(two, two, np.array([0.0, np.nan]), two)
