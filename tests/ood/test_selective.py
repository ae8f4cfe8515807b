"""Selective prediction by hand count, against every order of tied samples, pytorch-ood and
scikit-learn, and by its properties.
"""

import functools
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import Images, Resamples
from ahsar_eval.ood.evaluate import selective
from ahsar_eval.ood.metrics import risk_coverage

Pairs = list[tuple[float, bool]]


def of_doubt(metric: str, uncertainty: ArrayLike, wrong: ArrayLike) -> Any:
    doubt, missed = np.asarray(uncertainty, dtype=float), np.asarray(wrong, dtype=bool)
    found = selective(doubt, missed, Images("own", len(doubt)), Resamples(0))
    return found[metric].value if metric in found else None


aurc = functools.partial(of_doubt, "aurc")
misclassification_auroc = functools.partial(of_doubt, "misclassification_auroc")
SPREAD = st.floats(-100, 100)
TIED = st.sampled_from([0.0, 0.25, 1.0])
EXTREME = st.sampled_from([1e300, -1e300, 5e-324, 0.0, 1.0, 1.0 + 2**-52])


def pairs(uncertainty: st.SearchStrategy[float], largest: int = 40) -> st.SearchStrategy[Pairs]:
    return st.lists(st.tuples(uncertainty, st.booleans()), min_size=1, max_size=largest)


ANY = st.sampled_from([SPREAD, TIED, EXTREME]).flatmap(pairs)


def split(found: Pairs) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    return np.array([uncertainty for uncertainty, _ in found]), np.array(
        [wrong for _, wrong in found]
    )


def risks_over_all_orders(found: Pairs) -> NDArray[np.float64]:
    """The mean of the curve over every order of the samples in which the uncertainty rises."""
    orders = [
        order for order in permutations(found) if all(a[0] <= b[0] for a, b in pairwise(order))
    ]
    return np.mean(
        [
            [np.mean([wrong for _, wrong in order[:k]]) for k in range(1, len(found) + 1)]
            for order in orders
        ],
        axis=0,
    )


def test_the_curve_by_hand():
    coverage, risk = risk_coverage([0.3, 0.1, 0.2, 0.9], [False, False, True, True])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert risk == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2], abs=1e-15)
    assert aurc([0.3, 0.1, 0.2, 0.9], [False, False, True, True]) == pytest.approx(
        (1 / 2 + 1 / 3 + 1 / 2) / 4, abs=1e-15
    )


def test_errors_enter_a_tie_evenly():
    _, risk = risk_coverage(
        [0, 1, 1, 1, 1], [True, True, False, False, False]
    )  # a quarter of an error with each of the last four
    assert risk == pytest.approx([1, 1.25 / 2, 1.5 / 3, 1.75 / 4, 2 / 5], abs=1e-15)


@settings(max_examples=60)
@given(
    st.sampled_from([SPREAD, TIED, st.sampled_from([0.0, 1.0])]).flatmap(
        lambda kind: pairs(kind, 6)
    )
)
def test_the_curve_equals_the_mean_over_all_orders(found):
    coverage, risk = risk_coverage(*split(found))
    expected = risks_over_all_orders(found)
    assert coverage.tolist() == [k / len(found) for k in range(1, len(found) + 1)]
    assert risk == pytest.approx(expected, abs=1e-12)
    assert aurc(*split(found)) == pytest.approx(expected.mean(), abs=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 50, 3000])
def test_the_area_equals_pytorch_ood_where_nothing_is_tied(samples):
    aurra = pytest.importorskip("pytorch_ood.metrics").aurra
    rng = np.random.default_rng(samples)
    uncertainty, wrong = rng.permutation(samples).astype(float), rng.random(samples) < 0.3
    expected = 1 - aurra(torch.from_numpy(-uncertainty), torch.from_numpy(~wrong))
    assert aurc(uncertainty, wrong) == pytest.approx(expected, abs=1e-9)


@given(ANY)
def test_the_area_lies_between_the_best_and_the_worst_order(found):
    uncertainty, wrong = split(found)
    best, worst = aurc(wrong, wrong), aurc(~wrong, wrong)
    assert 0 <= best <= aurc(uncertainty, wrong) + 1e-12
    assert aurc(uncertainty, wrong) - 1e-12 <= worst <= 1
    assert risk_coverage(uncertainty, wrong)[1][-1] == pytest.approx(wrong.mean(), abs=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_a_constant_uncertainty_keeps_the_error_rate_at_every_coverage(wrong):
    assert risk_coverage(np.full(len(wrong), 0.3), wrong)[1] == pytest.approx(
        np.full(len(wrong), np.mean(wrong)), abs=1e-12
    )
    assert aurc(np.full(len(wrong), 0.3), wrong) == pytest.approx(np.mean(wrong), abs=1e-12)


@given(pairs(st.integers(-50, 50).map(float)), st.randoms(use_true_random=False))
def test_order_and_increasing_transforms_change_nothing(found, random):
    uncertainty, wrong = split(found)
    shuffled = list(found)
    random.shuffle(shuffled)
    assert aurc(*split(shuffled)) == aurc(uncertainty, wrong)
    assert misclassification_auroc(*split(shuffled)) == misclassification_auroc(uncertainty, wrong)
    for transform in (lambda x: 3 * x - 7, np.exp, np.cbrt, lambda x: 1e290 * x):
        assert aurc(transform(uncertainty), wrong) == aurc(uncertainty, wrong)
        assert misclassification_auroc(transform(uncertainty), wrong) == misclassification_auroc(
            uncertainty, wrong
        )


@given(ANY)
def test_misclassification_auroc_equals_scikit_learn_and_is_none_for_one_kind(found):
    uncertainty, wrong = split(found)
    value = misclassification_auroc(uncertainty, wrong)
    if wrong.all() or not wrong.any():
        assert value is None
    else:
        assert value == pytest.approx(roc_auc_score(wrong, uncertainty), abs=1e-12)


def test_wrong_predictions_are_positive():
    assert misclassification_auroc([0.1, 0.2, 0.9], [False, False, True]) == 1
    assert misclassification_auroc([0.1, 0.5, 0.5, 0.0], [False, False, True, True]) == 1.5 / 4


@pytest.mark.parametrize(
    ("uncertainty", "wrong", "message"),
    [
        ([0.0, 1.0, np.nan], [0, 0, 1], "the uncertainty is not finite in sample 2"),
        ([0.0, np.inf, 1.0], [0, 0, 1], "the uncertainty is not finite in sample 1"),
        (
            [0.0, 1.0],
            [0],
            r"numbers of shape \(2,\) for outcomes of \(1,\); expected two equal vectors, not empty",
        ),
        ([[0.0]], [[0]], r"shape \(1, 1\)"),
        ([], [], r"shape \(0,\)"),
    ],
)
def test_what_cannot_be_ranked_is_refused(uncertainty, wrong, message):
    with pytest.raises(DataError, match=message):
        risk_coverage(uncertainty, wrong)
