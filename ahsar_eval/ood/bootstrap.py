"""The bootstrap over images, shared by every set, score and model (docs/ood.md).

Images are drawn, not samples: where ID samples and their shifted copies show the same images they
are drawn together (a cluster bootstrap), and two models on the same images meet the same draws, so
that differences of replicates are paired.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import scipy
from numpy.typing import NDArray

from ahsar_eval.ood.metrics import ENDS, SEPARATION, AnyScores, Estimate, Scores, checked_scores

Multiplicities = NDArray[np.uint8]

_CHUNK_BYTES = 4 << 20  # of multiplicities handed out at once
_BLOCK_BYTES = 1 << 20  # of draws made at once, and kept in 128 blocks for the next score or set
BOOTSTRAP = "bootstrap"
CLUSTER_BOOTSTRAP = "cluster bootstrap"  # by image: two sets hold the same images


@dataclass(frozen=True, eq=False)
class Images:
    """Which images the samples of a recording are: sample i is image `members[i]` (i where None) of
    the `count` images called `key`.

    Two recordings with the same key hold the same images.
    """

    key: str
    count: int
    members: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Number of samples."""
        return self.count if self.members is None else len(self.members)


@dataclass(frozen=True)
class Resamples:
    """`replicates` times as many images as there are, drawn with replacement.

    A draw is a function of (seed, key of the images, their count, number of the replicate) alone,
    whatever is asked for first and by whom. It reads the raw words of Philox 4×64 (Salmon et al.
    2011), which NumPy keeps as they are from version to version. Without a replicate nothing is
    drawn, and no metric has an interval.
    """

    replicates: int = 1000
    seed: int = 0

    def multiplicities(self, images: Images, start: int, stop: int) -> Multiplicities:
        """How often each sample stands in the replicates from `start` to before `stop`: [stop −
        start, N] unsigned bytes, read-only.

        A byte is enough: the chance that one of 10⁹ images is drawn more than 255 times in 10⁹
        replicates is below 10⁻⁴⁸⁰.
        """
        size = max(1, min(self.replicates, _BLOCK_BYTES // images.count))
        blocks = range(start // size, max(start, stop - 1) // size + 1)
        drawn = np.concatenate(
            [_drawn(self.seed, images.key, images.count, at * size, size) for at in blocks]
        )
        drawn = drawn[start - blocks[0] * size : stop - blocks[0] * size]
        if images.members is not None:
            drawn = np.take(drawn, images.members, axis=1)
        # nobody writes them, and the kernels are compiled for one kind of array
        drawn.flags.writeable = False
        return drawn

    def replicated(self, kernel: Callable[..., None], *images: Images, metrics: int = 1) -> Scores:
        """Replicates of `metrics` numbers, [metrics, B]: `kernel` takes the multiplicities of each
        of `images` [R, N] and writes [R, metrics], some megabytes of them at a time.
        """
        found = np.empty((self.replicates, metrics))
        size = max(1, _CHUNK_BYTES // sum(map(len, images)))
        for start in range(0, self.replicates, size):
            rows = found[start : start + size]
            kernel(*(self.multiplicities(of, start, start + len(rows)) for of in images), rows)
        return np.ascontiguousarray(found.T)


@functools.lru_cache(maxsize=128)
def _drawn(seed: int, key: str, count: int, first: int, replicates: int) -> Multiplicities:
    """How often each of `count` images is drawn in `replicates` replicates from `first` on."""
    from ahsar_eval.ood.kernels import count_draws

    drawn = np.zeros((replicates, count), dtype=np.uint8)
    for row in range(replicates):
        count_draws(_words(seed, key, count, first + row, count), drawn[row])
    drawn.flags.writeable = False
    return drawn


def separation_replicates(
    id_scores: AnyScores,
    ood_scores: AnyScores,
    id_images: Images,
    ood_images: Images,
    resamples: Resamples,
    tpr: float = 0.95,
) -> dict[str, Scores]:
    """Every metric of `SEPARATION` in every replicate, [B]; NaN in a replicate without a sample of
    one kind.

    A replicate is the metric of the sample with every score repeated as often as its image was
    drawn. Raises `DataError` for scores that `separation` refuses.
    """
    from ahsar_eval.ood.kernels import replicate_separation

    inside, outside = checked_scores(id_scores, ood_scores, tpr)
    distinct, codes = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    codes = codes.astype(np.int32 if len(codes) < 1 << 31 else np.int64)
    kernel = functools.partial(
        replicate_separation, *np.split(codes, [len(inside)]), len(distinct), tpr
    )
    found = resamples.replicated(kernel, id_images, ood_images, metrics=len(SEPARATION))
    return dict(zip(SEPARATION, found, strict=True))


def percentile_interval(
    value: float, replicates: Scores | None, method: str = BOOTSTRAP
) -> Estimate:
    """`value` with the percentile interval of its replicates [B] (Efron 1979): quantiles by linear
    interpolation between order statistics.

    Without ends (None) where there are no replicates, all are equal, which would claim certainty,
    or one is not finite: a metric that some draws of the images leave undefined has no percentile.
    """
    if replicates is None or not np.isfinite(replicates).all() or len(np.unique(replicates)) < 2:
        return Estimate(value, replicates=replicates)
    low, high = np.quantile(replicates, ENDS).tolist()
    return Estimate(value, low, high, method, replicates)


def mean_estimate(values: NDArray[np.generic], images: Images, resamples: Resamples) -> Estimate:
    """Mean of `values` [N] with its percentile interval; NaN in a replicate without a sample."""
    from ahsar_eval.ood.kernels import weighted_means

    numbers = np.ascontiguousarray(values, dtype=np.float64)
    (means,) = resamples.replicated(functools.partial(weighted_means, numbers), images)
    return percentile_interval(float(numbers.mean()), means)


def least_p(replicates: int) -> float:
    """The smallest p-value that a bootstrap of so many replicates can give (`p_value`)."""
    return 2 / (replicates + 1)


def p_value(differences: Scores) -> float | None:
    """Two-sided p-value of no difference from the replicates [B] of a difference; None where one is
    not finite.

    2 (1 + fewer of those ≤ 0 and those ≥ 0) / (B + 1), at most 1 (Davison and Hinkley 1997, section
    4.2): never 0.
    """
    if not np.isfinite(differences).all():
        return None
    fewer = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (1 + fewer) / (len(differences) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for being a family (Holm 1979), in the order given: each at least its own
    value and at most 1.
    """
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.maximum.accumulate(np.minimum(scaled, 1.0))
    return [float(p) for p in adjusted]


def over_seeds(replicates: Scores, resamples: Resamples) -> Scores:
    """Replicates [B] of the mean over S training seeds from the replicates [S, B] of each: seeds
    are drawn first, then images.

    In each, S − 1 of the S seeds are drawn with replacement and averaged: with S draws the variance
    between seeds would come out (S − 1)/S times too small (Rao and Wu 1988).
    """
    seeds, count = replicates.shape
    words = _words(resamples.seed, "training seeds", seeds, 0, count * (seeds - 1))
    drawn = ((words >> np.uint64(11)) * 2.0**-53 * seeds).astype(np.int64)
    return np.take_along_axis(replicates.T, drawn.reshape(count, seeds - 1), axis=1).mean(axis=1)


def seeds_interval(values: Scores, drawn: Scores) -> tuple[Estimate, float | None]:
    """Interval and two-sided p-value (against 0) of the mean of `values` [S], one per training
    seed, from `over_seeds` replicates [B].

    Mean ± t · sd(drawn), Student's t with (S − 1) (V / (s² / S))² degrees of freedom, V the
    variance of the replicates and s² that of the values: Satterthwaite's, images counting as known.
    Percentiles of S − 1 draws out of a few seeds are far too narrow where seeds differ more than
    images do (docs/ood.md). No ends and no p-value where a replicate is not finite; no ends, and a
    p-value of 1, where nothing varies and the mean is 0.
    """
    mean, variance = float(np.mean(values)), float(np.var(drawn, ddof=1))
    if not np.isfinite(drawn).all() or variance == 0:
        return Estimate(mean), 1.0 if variance == 0 and mean == 0 else None
    between = float(np.var(values, ddof=1)) / len(values)
    freedom = (len(values) - 1) * (variance / between) ** 2 if between > 0 else np.inf
    freedom, error = min(freedom, 1e9), np.sqrt(variance)
    half = float(scipy.special.stdtrit(freedom, ENDS[1])) * error
    p = float(2 * scipy.special.stdtr(freedom, -abs(mean) / error))
    return Estimate(mean, mean - half, mean + half), p


def _words(seed: int, key: str, count: int, replicate: int, draws: int) -> NDArray[np.uint64]:
    """The random words of one replicate: a stream of its own, by the second half of Philox's
    counter.
    """
    digest = blake2b(f"{seed} {count} {key}".encode(), digest_size=16).digest()
    stream = np.random.Philox(key=np.frombuffer(digest, dtype="<u8"), counter=[0, 0, replicate, 0])
    return np.asarray(stream.random_raw(draws))
