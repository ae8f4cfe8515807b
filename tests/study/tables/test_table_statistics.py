"""The pooled bootstrap: variance by its formula, one combination as a plain bootstrap, an
independent loop, and how often it covers.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ahsar_eval.study.comparisons import Inference, _draws, mean_and_variance, pooled, student


def anova_variance(table: np.ndarray) -> float:
    """V by hand, for a full table: between rows, between columns, and the residuals' share taken
    off.
    """
    rows, columns = table.shape
    mean, by_row, by_column = table.mean(), table.mean(1), table.mean(0)
    rest = sum(
        (table[c, s] - by_row[c] - by_column[s] + mean) ** 2
        for c in range(rows)
        for s in range(columns)
    )
    rest /= (rows - 1) * (columns - 1)
    return float(
        by_row.var(ddof=1) / rows
        + max(0.0, by_column.var(ddof=1) / columns - rest / (rows * columns))
    )


def test_mean_and_variance_by_hand() -> None:
    # Rows' means 1 and 4, columns' 2 and 3 (residuals all 0): V = 4.5 / 2 + 0.5 / 2.
    mean, variance = mean_and_variance(np.array([[[0.5, 1.5], [3.5, 4.5]]]))
    assert (mean[0], variance[0]) == (2.5, pytest.approx(4.5 / 2 + 0.5 / 2))
    mean, variance = mean_and_variance(np.array([[[1.0, 2.0, 6.0]]]))  # one combination: s² / S
    assert (mean[0], variance[0]) == (3.0, pytest.approx(7.0 / 3))
    mean, variance = mean_and_variance(np.array([[[1.0], [2.0], [6.0]]]))  # one seed: s² / C
    assert (mean[0], variance[0]) == (3.0, pytest.approx(7.0 / 3))
    assert math.isnan(mean_and_variance(np.array([[[1.0]]]))[1][0])


@given(st.integers(2, 6), st.integers(2, 5), st.integers(0, 10**6))
def test_the_variance_is_that_of_two_crossed_factors(rows: int, columns: int, seed: int) -> None:
    table = np.random.default_rng(seed).standard_normal((rows, columns))
    mean, variance = mean_and_variance(table[None])
    assert mean[0] == pytest.approx(table.mean())
    assert variance[0] == pytest.approx(anova_variance(table))


def test_the_variance_is_unbiased_where_nothing_is_cut_off() -> None:
    rng = np.random.default_rng(1)
    shape, reps = (6, 5), 4000
    tables = (
        rng.standard_normal((reps, 6, 1)) * 0.8
        + rng.standard_normal((reps, 1, 5)) * 1.5
        + rng.standard_normal((reps, *shape)) * 0.7
    )
    mean, variance = mean_and_variance(tables)
    expected = 0.64 / 6 + 2.25 / 5 + 0.49 / 30
    assert variance.mean() == pytest.approx(expected, rel=0.04)
    assert mean.var() == pytest.approx(expected, rel=0.08)


def test_missing_pairs_leave_their_combination_its_weight() -> None:
    nan = math.nan
    mean, _ = mean_and_variance(np.array([[[1.0, 3.0], [6.0, nan], [nan, nan]]]))
    assert mean[0] == 4.0
    found = pooled([[1.0, 3.0], [6.0, nan], [nan, nan]], replicates=99)
    assert (found.estimate, found.combinations, found.pairs) == (4.0, 2, 3)


def loop(table: np.ndarray, replicates: int, seed: int) -> tuple[float, float, float]:
    """The same in plain Python: drawn tables one after another, p by counting, the interval by
    sorting.
    """
    rows, columns = (
        _draws(seed, "combinations", len(table), replicates),
        _draws(seed, "seeds", table.shape[1], replicates),
    )
    mean, error = table.mean(), math.sqrt(anova_variance(table))
    ratios = []
    for row, chosen in zip(rows, columns, strict=True):
        drawn = np.array([[table[c, s] for s in chosen] for c in row])
        variance = anova_variance(drawn)
        ratios.append(
            abs(drawn.mean() - mean) / math.sqrt(variance) if variance > 1e-20 else math.inf
        )
    half = sorted(ratios)[math.ceil(0.95 * (replicates + 1)) - 1] * error
    return (
        mean - half,
        mean + half,
        (1 + sum(ratio >= abs(mean) / error for ratio in ratios)) / (replicates + 1),
    )


def test_the_bootstrap_is_that_of_a_plain_loop() -> None:
    table = np.random.default_rng(2).standard_normal((5, 4)) + 0.4
    found = pooled(table, replicates=399, seed=7)
    assert (found.low, found.high, found.p_value) == pytest.approx(loop(table, 399, 7))


def test_one_combination_is_a_bootstrap_of_its_seeds() -> None:
    values = np.random.default_rng(3).standard_normal(9) + 0.5
    found = pooled(values[None], replicates=1999, seed=0)
    drawn = values[np.random.default_rng(0).integers(0, 9, (200_000, 9))]
    with np.errstate(divide="ignore"):
        ratios = np.abs(drawn.mean(1) - values.mean()) / (drawn.std(1, ddof=1) / 3)
    error = values.std(ddof=1) / 3
    assert found.p_value == pytest.approx(np.mean(ratios >= abs(values.mean()) / error), abs=0.02)
    assert found.high == pytest.approx(values.mean() + np.quantile(ratios, 0.95) * error, rel=0.08)
    assert (found.combinations, found.pairs) == (1, 9)


@given(st.integers(2, 7), st.integers(1, 5), st.floats(-1, 1), st.integers(0, 10**6))
def test_the_interval_leaves_out_0_exactly_where_p_is_at_most_five_percent(
    rows: int, columns: int, shift: float, seed: int
) -> None:
    table = np.random.default_rng(seed).standard_normal((rows, columns)) + shift
    found = pooled(table, replicates=199, seed=seed)
    assert found.p_value is not None
    if found.low is not None and found.high is not None:
        assert (found.low > 0 or found.high < 0) == (found.p_value <= 0.05)
        assert found.low <= found.estimate <= found.high
    flipped = pooled(-table, replicates=199, seed=seed)
    assert flipped.p_value == found.p_value
    assert flipped.estimate == -found.estimate


def test_units_do_not_matter() -> None:
    table = np.random.default_rng(4).standard_normal((4, 3)) + 0.3
    one, thousand = pooled(table, replicates=499), pooled(1000 * table, replicates=499)
    assert thousand.p_value == one.p_value
    assert (thousand.low, thousand.high) == pytest.approx(
        (1000 * (one.low or 0), 1000 * (one.high or 0))
    )


def test_numbers_depend_on_the_seed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(5).standard_normal((4, 3)) + 0.3
    first = pooled(table, replicates=499, seed=1)
    pooled(table, replicates=99, seed=9)
    monkeypatch.setattr("ahsar_eval.study.comparisons._BLOCK_NUMBERS", 37)  # in other pieces
    assert pooled(table, replicates=499, seed=1) == first
    assert pooled(table, replicates=499, seed=2) != first
    assert _draws(0, "seeds", 5, 2).tolist() == [
        [4, 1, 1, 1, 1],
        [1, 3, 0, 3, 1],
    ]  # a published number must stay what it is


def test_draws_are_even() -> None:
    drawn = _draws(3, "seeds", 5, 20_000)
    assert np.bincount(drawn.ravel(), minlength=5) / drawn.size == pytest.approx(
        np.full(5, 0.2), abs=0.005
    )


def coverage(
    combinations: int, seeds: int, shared: float, differing: float, repetitions: int = 300
) -> float:
    rng = np.random.default_rng(6)
    covered = 0
    for number in range(repetitions):
        table = differing * rng.standard_normal((combinations, 1)) + shared * rng.standard_normal(
            (1, seeds)
        )
        found = pooled(
            table + rng.standard_normal((combinations, seeds)), replicates=299, seed=number
        )
        covered += found.low is None or found.high is None or found.low <= 0 <= found.high
    return covered / repetitions


@pytest.mark.parametrize(("combinations", "seeds"), [(8, 5), (4, 5)])
@pytest.mark.parametrize(("shared", "differing"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.5)])
def test_intervals_cover_what_they_say(
    combinations: int, seeds: int, shared: float, differing: float
) -> None:
    assert 0.91 <= coverage(combinations, seeds, shared, differing) <= 0.995


def test_without_variance_or_with_one_pair_nothing_is_inferred() -> None:
    assert pooled([[0.3]]) == Inference(0.3, None, None, None, 1, 1)
    same = pooled(np.full((3, 4), 0.3), replicates=99)
    assert [same.estimate, same.low, same.p_value] == [pytest.approx(0.3), None, None]
    two = pooled(
        [[1.0, 1.2]], replicates=999
    )  # half of the draws are of one seed: no interval, and p far from 0
    assert two.low is two.high is None
    assert two.p_value is not None
    assert two.p_value > 0.4


def test_student_is_scipys() -> None:
    values = np.array([0.2, 0.5, -0.1, 0.9])
    found, peer = student(values), stats.ttest_1samp(values, 0)
    assert (found.low, found.high) == pytest.approx(tuple(peer.confidence_interval()))
    assert [found.estimate, found.pairs] == [pytest.approx(0.375), 4]
    assert student([0.7]) == Inference(0.7, None, None, None, 1, 1)
    assert student([0.7, 0.7, 0.7]).low is None


def test_a_replicate_as_far_off_as_the_data_counts_for_the_p_value() -> None:
    """0, 0, 3: m = 1, V = 3 / 3 and so t = 1. Of 27 draws 9 are of equal numbers (t* infinite), 12
    of 0, 0, 3 (t* = 0) and 6 of 0, 3, 3: m* = 2, V* = 1 and so t* = 1 again.
    """
    assert pooled([[0.0, 0.0, 3.0]]).p_value == pytest.approx(15 / 27, abs=0.025)
