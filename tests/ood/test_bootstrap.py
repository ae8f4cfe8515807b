"""The bootstrap: its draws, replicates as metrics of repeated samples, intervals and p-values by
hand.
"""

from collections import Counter
from hashlib import blake2b
from itertools import product

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood import bootstrap
from ahsar_eval.ood.bootstrap import (
    Images,
    Resamples,
    holm,
    mean_estimate,
    over_seeds,
    p_value,
    percentile_interval,
    seeds_interval,
    separation_replicates,
)
from ahsar_eval.ood.kernels import replicate_separation
from ahsar_eval.ood.metrics import SEPARATION, Estimate, separation

Scores = NDArray[np.float64]


def draws_in_whole_numbers(
    seed: int, key: str, count: int, replicate: int, draws: int | None = None
) -> list[int]:
    """The images one replicate draws (`count` of them unless told), from the words of its stream,
    in Python's integers.
    """
    digest = blake2b(f"{seed} {count} {key}".encode(), digest_size=16).digest()
    words = np.random.Philox(key=int.from_bytes(digest, "little"), counter=replicate << 128)
    return [(int(word) >> 11) * count >> 53 for word in words.random_raw(draws or count)]


def metrics_of(inside: Scores, outside: Scores, tpr: float) -> list[float]:
    found = separation(inside, outside, tpr)
    return [getattr(found, name) for name in SEPARATION]


@pytest.mark.parametrize("count", [1, 2, 7, 4097, 65_536])
def test_a_replicate_holds_what_its_stream_draws(count):
    found = Resamples(4, seed=5).multiplicities(Images("digits:test", count), 0, 4)
    assert found.shape == (4, count)
    for replicate in range(4):
        drawn = Counter(draws_in_whole_numbers(5, "digits:test", count, replicate))
        assert found[replicate].tolist() == [drawn[image] for image in range(count)]


def test_the_draws_of_today_are_those_of_tomorrow():
    """A number in a table must come out again; whoever changes a draw changes this line and says
    so.
    """
    found = Resamples(3, seed=0).multiplicities(Images("digits:test", 8), 0, 3)
    assert found.tolist() == [
        [1, 0, 5, 1, 0, 0, 1, 0],
        [1, 1, 1, 1, 2, 0, 1, 1],
        [0, 1, 1, 0, 0, 3, 3, 0],
    ]


@pytest.mark.parametrize("count", [5, 300, 100_000])  # many replicates a block, some, and few
def test_any_range_of_replicates_is_the_same_whatever_is_asked_first(count, monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", 700)
    images = Images("digits:test", count)
    whole = Resamples(9, seed=1).multiplicities(images, 0, 9)
    other = Resamples(9, seed=1)
    for start, stop in ((7, 9), (0, 1), (3, 8), (4, 4), (8, 9)):
        assert np.array_equal(other.multiplicities(images, start, stop), whole[start:stop])
    monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", 1 << 20)
    assert np.array_equal(Resamples(400, seed=1).multiplicities(images, 2, 7), whole[2:7])


def test_sets_share_draws_by_key_and_count_alone():
    resamples = Resamples(6, seed=2)
    first = resamples.multiplicities(Images("digits:test", 40), 0, 6)
    members = np.array([3, 3, 39, 0])
    assert np.array_equal(
        resamples.multiplicities(Images("digits:test", 40, members), 0, 6), first[:, members]
    )
    for other in (Images("digits:train", 40), Images("digits:test", 41)):
        assert not np.array_equal(resamples.multiplicities(other, 0, 6)[:, :40], first)
    assert not np.array_equal(
        Resamples(6, seed=3).multiplicities(Images("digits:test", 40), 0, 6), first
    )


def test_draws_are_with_replacement_and_uniform():
    found = Resamples(4000).multiplicities(Images("digits:test", 50), 0, 4000).astype(np.int64)
    assert (found.sum(axis=1) == 50).all()
    # Multinomial: mean 1, variance 1 − 1/50, covariance −1/50; five standard errors of 4000
    # replicates.
    assert np.abs(found.mean(axis=0) - 1).max() < 5 * np.sqrt(0.98 / 4000)
    covariance = np.cov(found.T)
    assert np.abs(np.diag(covariance) - 0.98).max() < 5 * np.sqrt(3 / 4000)
    assert np.abs(covariance[~np.eye(50, dtype=bool)] + 0.02).max() < 5 * np.sqrt(1 / 4000)


def test_what_is_kept_is_bounded(monkeypatch):
    drawn, bytes_drawn = bootstrap._drawn, []

    def noted(seed, key, count, first, replicates):
        bytes_drawn.append(count * replicates)
        return drawn(seed, key, count, first, replicates)

    monkeypatch.setattr(bootstrap, "_drawn", noted)
    for count in (1, 300, 70_000):
        Resamples(50).multiplicities(Images("a", count), 0, 50)
    assert len(bytes_drawn) > 3
    assert max(bytes_drawn) <= 1 << 20
    monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", 100)
    first = Resamples(2).multiplicities(Images("0", 100), 0, 2)
    for key in range(200):
        Resamples(2).multiplicities(Images(str(key), 100), 0, 2)
    assert drawn.cache_info().currsize == drawn.cache_info().maxsize == 128
    assert np.array_equal(Resamples(2).multiplicities(Images("0", 100), 0, 2), first)


def test_kept_draws_cannot_be_written_to():
    resamples = Resamples(2)
    for images in (Images("a", 4), Images("a", 4, np.array([1, 2]))):
        with pytest.raises(ValueError, match="read-only"):
            resamples.multiplicities(images, 0, 2)[0, 0] = 3


VALUES = {
    "spread": st.floats(-100, 100),
    "tied": st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    "extreme": st.sampled_from([1e300, -1e300, 1e-300, -1e-300, 0.0, 1.0, 1.0 + 2**-52, 5e-324]),
}


def weighted(kind: str, least: int) -> st.SearchStrategy[tuple[Scores, NDArray[np.uint8]]]:
    """Scores and how often each stands in a replicate."""
    samples = st.lists(st.tuples(VALUES[kind], st.integers(least, 4)), min_size=1, max_size=40)
    return samples.map(
        lambda found: (
            np.array([v for v, _ in found], dtype=np.float64),
            np.array([w for _, w in found], dtype=np.uint8),
        )
    )


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("tpr", [0.5, 0.95, 1.0])
def test_a_replicate_is_the_metric_of_the_repeated_sample_bit_for_bit(kind, tpr):
    @settings(max_examples=40)
    @given(weighted(kind, 0), weighted(kind, 0))
    def check(
        inside: tuple[Scores, NDArray[np.uint8]], outside: tuple[Scores, NDArray[np.uint8]]
    ) -> None:
        distinct, codes = np.unique(np.concatenate([inside[0], outside[0]]), return_inverse=True)
        once = [np.ones(len(scores), dtype=np.uint8) for scores, _ in (inside, outside)]
        rows = [
            np.stack([weights, ones])
            for (_, weights), ones in zip((inside, outside), once, strict=True)
        ]
        found = np.empty((2, len(SEPARATION)))
        replicate_separation(
            codes[: len(inside[0])],
            codes[len(inside[0]) :],
            len(distinct),
            tpr,
            *rows,
            found,
        )
        repeated = [np.repeat(scores, weights) for scores, weights in (inside, outside)]
        if len(repeated[0]) and len(repeated[1]):
            assert found[0].tolist() == metrics_of(repeated[0], repeated[1], tpr)
        else:
            assert np.isnan(found[0]).all()
        assert found[1].tolist() == metrics_of(inside[0], outside[0], tpr), (
            "each sample once is the estimate itself"
        )

    check()


def test_counts_far_beyond_memory_do_not_overflow():
    """Weights of 2⁴⁰: 2 · n · m is beyond 64 bits."""
    found = np.empty((1, len(SEPARATION)))
    weights = np.full((1, 2), 1 << 40)
    replicate_separation(np.array([0, 1]), np.array([1, 2]), 3, 0.95, weights, weights, found)
    assert found[0].tolist() == metrics_of(np.array([0.0, 1.0]), np.array([1.0, 2.0]), 0.95)


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_replicates_of_a_clustered_and_of_an_independent_set(block, monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", block)
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", block)
    rng = np.random.default_rng(0)
    inside, copies, others = (
        rng.normal(size=30),
        rng.normal(0.8, size=60),
        rng.normal(1.2, size=25).astype(np.float32),
    )
    id_images, resamples = Images("digits:test", 30), Resamples(12, seed=7)
    twice = Images("digits:test", 30, np.arange(60) // 2)  # two shifted copies of each image
    away = Images("patches", 25)
    clustered = separation_replicates(inside, copies, id_images, twice, resamples, 0.9)
    independent = separation_replicates(inside, others, id_images, away, resamples, 0.9)
    assert list(clustered) == list(SEPARATION)
    for replicate in range(12):
        drawn = resamples.multiplicities(id_images, replicate, replicate + 1)[0]
        chosen = np.repeat(inside, drawn)
        expected = metrics_of(chosen, np.repeat(copies, np.repeat(drawn, 2)), 0.9)
        assert [clustered[name][replicate] for name in SEPARATION] == expected
        expected = metrics_of(
            chosen,
            np.repeat(others, resamples.multiplicities(away, replicate, replicate + 1)[0]),
            0.9,
        )
        assert [independent[name][replicate] for name in SEPARATION] == expected


def test_two_models_on_the_same_images_meet_the_same_draws():
    rng = np.random.default_rng(1)
    inside, outside = rng.normal(size=50), rng.normal(1, size=40)
    images, resamples = (Images("digits:test", 50), Images("patches", 40)), Resamples(20)
    a = separation_replicates(inside, outside, *images, resamples)
    resamples.multiplicities(Images("others", 9), 0, 20)
    b = separation_replicates(np.exp(inside), np.exp(outside), *images, resamples)
    for name in SEPARATION:
        assert np.array_equal(a[name], b[name])
        assert len(np.unique(a[name])) > 1


def test_a_replicate_without_a_kind_is_no_number():
    images = Images(
        "digits:test", 3, np.array([0])
    )  # the only sample is not drawn in 8 of 27 replicates
    resamples = Resamples(200)
    drawn = resamples.multiplicities(images, 0, 200)[:, 0]
    found = separation_replicates(
        np.array([0.5]), np.array([0.1, 0.7, 0.9]), images, Images("digits:test", 3), resamples
    )
    for name in SEPARATION:
        assert np.array_equal(np.isnan(found[name]), drawn == 0)
    means = mean_estimate(np.array([2.0]), images, resamples).replicates
    assert means is not None
    assert np.array_equal(np.isnan(means), drawn == 0)
    assert 30 < (drawn == 0).sum() < 90
    assert percentile_interval(0.5, found["auroc"]).low is None


@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_means_are_those_of_the_repeated_values(block, monkeypatch):
    monkeypatch.setattr(bootstrap, "_BLOCK_BYTES", block)
    monkeypatch.setattr(bootstrap, "_CHUNK_BYTES", block)
    rng = np.random.default_rng(2)
    values, images, resamples = (
        rng.normal(size=40),
        Images("digits:test", 20, np.arange(40) ** 2 % 20),
        Resamples(15),
    )
    found = mean_estimate(values, images, resamples).replicates
    right = mean_estimate(values > 0, images, resamples).replicates
    assert found is not None
    assert right is not None
    for replicate in range(15):
        drawn = resamples.multiplicities(images, replicate, replicate + 1)[0]
        assert found[replicate] == pytest.approx(np.repeat(values, drawn).mean(), abs=1e-14)
        assert right[replicate] == np.repeat(values > 0, drawn).mean()


def test_percentiles_by_hand():
    found = percentile_interval(7.0, np.arange(101.0)[::-1])
    assert (found.value, found.low, found.high) == pytest.approx((7.0, 2.5, 97.5))
    # Four replicates: 2.5 % lies 0.075 of the way from the first to the second.
    found = percentile_interval(0.0, np.array([4.0, 1.0, 2.0, 3.0]))
    assert (found.low, found.high) == pytest.approx((1.075, 3.925))
    assert found.method == "bootstrap"


@pytest.mark.parametrize(
    "replicates", [[0.5, 0.5, 0.5], [0.5, np.nan, 0.6], [0.5, np.inf, 0.6], []]
)
def test_no_percentiles_where_they_would_claim_too_much(replicates):
    found = percentile_interval(0.5, np.array(replicates))
    assert (found.value, found.low, found.high) == (0.5, None, None)


def test_p_values_by_hand():
    assert p_value(np.array([-1.0, 1.0, 2.0, 3.0])) == 2 * (1 + 1) / 5
    assert p_value(np.array([1.0, 1.0, 2.0, 3.0])) == 2 * (1 + 0) / 5
    assert p_value(np.array([-1.0, -1.0, 0.0, 3.0])) == 1.0  # two are ≥ 0: 6/5 is cut
    assert p_value(np.zeros(9)) == 1.0
    assert p_value(-np.arange(1.0, 1000.0)) == 2 / 1000
    assert p_value(np.array([0.1, np.nan])) is None


def test_holm_by_hand():
    # In order: 4 × .005 = .02, 3 × .01 = .03, 2 × .03 = .06, 1 × .04 = .04, which is not less than
    # the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.6, 0.5]) == [1.0, 1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


@given(
    st.lists(st.integers(0, 40).map(lambda step: step / 200), max_size=12),
    st.sampled_from([0.0101, 0.0501, 0.1001]),
)
def test_holm_rejects_what_stepping_down_rejects(values, alpha):
    """Holm 1979: from the smallest p-value, reject while p ≤ alpha / (hypotheses left), stop at the
    first that is larger.
    """
    rejected, left = set(), len(values)
    for number in sorted(range(len(values)), key=lambda number: values[number]):
        if values[number] > alpha / left:
            break
        rejected.add(number)
        left -= 1
    assert {number for number, adjusted in enumerate(holm(values)) if adjusted <= alpha} == rejected


@pytest.mark.parametrize("seeds", [2, 3])
def test_over_seeds_has_the_unbiased_variance_of_rao_and_wu(seeds):
    values = np.array([0.3, 0.7, 0.4])[:seeds]
    # Every way to draw S − 1 of S seeds with replacement, all as likely: the mean of them has the
    # variance s²/S.
    means = [np.mean(values[list(drawn)]) for drawn in product(range(seeds), repeat=seeds - 1)]
    assert np.var(means) == pytest.approx(values.var(ddof=1) / seeds, abs=1e-15)
    resamples = Resamples(20_000)
    found = over_seeds(np.repeat(values[:, None], 20_000, axis=1), resamples)
    for mean, times in Counter(np.round(means, 9).tolist()).items():
        share = times / len(means)
        assert abs((np.abs(found - mean) < 1e-8).mean() - share) < 5 * np.sqrt(
            share * (1 - share) / 20_000
        )
    assert found.var() == pytest.approx(values.var(ddof=1) / seeds, rel=0.05)


def test_over_seeds_takes_the_same_replicate_of_each_seed_that_it_draws():
    resamples = Resamples(50, seed=4)
    rows = np.stack([np.arange(50.0), np.arange(50.0) + 1000])
    found = over_seeds(rows, resamples)
    assert ((found % 1000) == np.arange(50)).all()
    assert 10 < (found >= 1000).sum() < 40
    assert np.array_equal(over_seeds(rows, Resamples(50, seed=4)), found)
    assert not np.array_equal(over_seeds(rows, Resamples(50, seed=5)), found)


def test_over_seeds_draws_from_one_stream_in_the_order_of_the_replicates():
    rows = np.arange(150.0).reshape(3, 50) ** 2
    drawn = draws_in_whole_numbers(4, "training seeds", 3, 0, draws=100)
    expected = [(rows[drawn[2 * b], b] + rows[drawn[2 * b + 1], b]) / 2 for b in range(50)]
    assert over_seeds(rows, Resamples(50, seed=4)).tolist() == expected
    assert over_seeds(rows[:, :20], Resamples(20, seed=4)).tolist() == expected[:20]


def test_without_replicates_nothing_is_drawn_and_there_is_no_interval(monkeypatch):
    monkeypatch.setattr(Resamples, "multiplicities", None)
    images, none = Images("digits:test", 3), Resamples(0)
    mean = mean_estimate(np.array([1.0, 2.0, 6.0]), images, none)
    assert (mean.value, mean.low, mean.high) == (3.0, None, None)
    drawn = separation_replicates(np.arange(3.0), np.arange(3.0), images, images, none)
    assert {name: values.shape for name, values in drawn.items()} == dict.fromkeys(SEPARATION, (0,))


def test_what_has_no_metric_has_no_replicates():
    five = Images("digits:test", 5)
    with pytest.raises(DataError, match="the out-of-distribution score is not finite in sample 0"):
        separation_replicates(np.zeros(5), np.full(5, np.nan), five, five, Resamples(2))
    with pytest.raises(DataError, match=r"expected a number in \(0, 1\]"):
        separation_replicates(np.zeros(5), np.zeros(5), five, five, Resamples(2), 0.0)


def test_a_mean_over_seeds_has_a_t_interval_whose_freedom_is_that_of_the_seeds():
    drawn = np.random.default_rng(0).normal(size=5000)
    own = np.array([0.0, 1.0, 2.0])  # s² / S = 1/3
    interval, p = seeds_interval(own, drawn)
    variance = drawn.var(ddof=1)
    freedom = 2 * (variance / (1 / 3)) ** 2
    half = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(variance)
    assert (interval.value, interval.low, interval.high) == pytest.approx(
        (1, 1 - half, 1 + half), abs=1e-9
    )
    assert p == pytest.approx(2 * scipy.stats.t.sf(1 / np.sqrt(variance), freedom), rel=1e-9)
    # Seeds that do not differ leave the images alone, which count as known: a normal interval.
    same, _ = seeds_interval(np.array([1.0, 1.0]), drawn)
    assert same.high == pytest.approx(1 + scipy.stats.norm.ppf(0.975) * np.sqrt(variance), abs=1e-6)


def test_seeds_that_say_nothing_give_no_interval():
    assert seeds_interval(np.zeros(3), np.zeros(100)) == (Estimate(0.0), 1.0)
    assert seeds_interval(np.ones(3), np.zeros(100)) == (Estimate(1.0), None)
    assert seeds_interval(np.ones(3), np.array([np.nan, 1.0])) == (Estimate(1.0), None)
