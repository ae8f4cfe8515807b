"""Predictive entropy by hand, against SciPy, and where a softmax saturates."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ahsar_eval.ood import SCORES, predictive_entropy

LOGITS = arrays(np.float64, (4, 3, 5), elements=st.floats(-30, 30))


def test_entropy_by_hand():
    # Time-mean logits log 1, log 2, log 1 give probabilities 1/4, 1/2, 1/4 and an entropy of 1.5 log 2.
    logits = np.array([[[-1.0, np.log(2) + 3, 0.5], [1.0, np.log(2) - 3, -0.5]]])
    assert predictive_entropy(logits) == pytest.approx([1.5 * np.log(2)], abs=1e-15)


def test_it_is_the_entropy_of_the_mean_logits_and_no_other_mean():
    logits = np.array([[[4.0, 0.0], [0.0, 4.0]]])  # undecided on average, certain at every step
    assert predictive_entropy(logits) == pytest.approx([np.log(2)], abs=1e-15)
    each_step = scipy.stats.entropy(scipy.special.softmax(logits, axis=2), axis=2).mean(axis=1)
    assert each_step[0] < 0.1


@pytest.mark.parametrize("classes", [2, 10, 1000])
def test_uniform_logits_give_log_k(classes):
    for level in (0.0, -3.5, 1e4):
        assert predictive_entropy(np.full((3, 2, classes), level)) == pytest.approx(np.log(classes), abs=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saturated_softmax_gives_zero_and_no_nan(dtype):
    logits = np.full((2, 3, 10), -1e4, dtype=dtype)
    logits[:, :, 4] = 1e4
    with np.errstate(all="raise", under="ignore"):
        found = predictive_entropy(logits)
    assert found.tolist() == [0.0, 0.0]


def test_entropy_is_computed_in_float64_whatever_the_logits_are():
    logits = np.random.default_rng(0).normal(scale=8, size=(50, 6, 10)).astype(np.float32)
    found = predictive_entropy(logits)
    assert found.dtype == np.float64
    assert np.array_equal(found, predictive_entropy(logits.astype(np.float64)))


@given(LOGITS)
def test_equal_to_scipy(logits):
    expected = scipy.stats.entropy(scipy.special.softmax(logits.mean(axis=1), axis=1), axis=1)
    assert predictive_entropy(logits) == pytest.approx(expected, abs=1e-12)


@given(LOGITS, st.floats(-100, 100))
def test_adding_a_constant_to_all_logits_changes_nothing(logits, constant):
    assert predictive_entropy(logits + constant) == pytest.approx(predictive_entropy(logits), abs=1e-10)


@given(LOGITS)
def test_between_zero_and_log_k(logits):
    found = predictive_entropy(logits)
    assert (found >= 0).all()
    assert (found <= np.log(5) + 1e-12).all()


@given(LOGITS, st.permutations(range(5)), st.permutations(range(3)))
def test_the_order_of_classes_and_of_steps_changes_nothing(logits, classes, steps):
    assert predictive_entropy(logits[:, steps][:, :, classes]) == pytest.approx(predictive_entropy(logits), abs=1e-10)


@pytest.mark.parametrize("score", SCORES)
def test_every_score_gives_one_float64_per_sample(score):
    found = SCORES[score](np.random.default_rng(1).normal(size=(7, 4, 3)).astype(np.float32))
    assert found.shape == (7,)
    assert found.dtype == np.float64
    assert np.isfinite(found).all()
