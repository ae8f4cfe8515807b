"""One pooled bootstrap for each claim, over combinations and seeds together; Student's t beside it
for a single combination.

A claim's data are paired differences d[c, s], a row for each combination c, a column for each seed
s, NaN where a pair is missing. Its estimate is the mean over combinations of the means over their
seeds. Combinations and seeds are both drawn with replacement, and a drawn seed is drawn in every
combination: seed 3 means the same hold-out, the same order of the data and, for one backbone, the
same initial weights everywhere, so that combinations share its luck. With seeds drawn for each
combination on its own such luck would not show, and intervals that are to cover 95 % cover 53 to 80
% where luck is half of what varies (docs/study.md has the simulation).

Each replicate is compared by its own Student ratio t* = (m* − m) / √V*, V the variance of a mean
over two crossed factors (Cameron, Gelbach and Miller 2011): V = s²_C / C + max(0, s²_S / S − s²_R /
n), s²_C between means of combinations, s²_S between means of seeds, s²_R of the residuals of both,
n pairs. Ratios, for percentiles of a few combinations are too narrow (Davison and Hinkley 1997,
5.2).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from ahsar_eval.errors import DataError

REPLICATES = 10_000
_BLOCK_NUMBERS = 1 << 20  # of drawn differences held at once

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Inference:
    """An estimate with its 95 % interval and two-sided p-value against 0; None where the data give
    none.
    """

    estimate: float
    low: float | None
    high: float | None
    p_value: float | None
    combinations: int
    pairs: int


def pooled(
    differences: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0, confidence: float = 0.95
) -> Inference:
    """The mean of `differences` [C, S] with interval and p-value by the bootstrap that this file
    describes.

    p = (1 + #{|t*| ≥ |t|}) / (B + 1), t = m / √V; the interval is m ± q √V, q the ⌈confidence (B +
    1)⌉-th smallest |t*|: it leaves out 0 exactly where p is at most 1 − confidence. A replicate
    without variance has an infinite |t*|. No interval where q is infinite; neither that nor a
    p-value for a single pair, or without variance. One combination alone is a bootstrap of its
    seeds. Numbers depend on `seed` and the differences alone. Raises `DataError` for another shape,
    infinite numbers, or no pair.
    """
    table = _checked(differences)
    mean, variance = (float(part[0]) for part in mean_and_variance(table[None]))
    known = Inference(mean, None, None, None, len(table), int(np.isfinite(table).sum()))
    if known.pairs < 2 or not math.isfinite(variance) or variance <= _crumbs(table):
        return known
    ratios = np.sort(_ratios(table, mean, replicates, seed))
    statistic = abs(mean) / math.sqrt(variance)
    p_value = (1 + int(np.sum(ratios >= statistic))) / (replicates + 1)
    place = math.ceil(round(confidence * (replicates + 1), 6))
    half = float(ratios[place - 1]) * math.sqrt(variance) if place <= replicates else math.inf
    low, high = (mean - half, mean + half) if math.isfinite(half) else (None, None)
    return Inference(mean, low, high, p_value, known.combinations, known.pairs)


def mean_and_variance(tables: Numbers) -> tuple[Numbers, Numbers]:
    """Mean over rows of row means, and its variance V (see above), for each of `tables` [..., C, S]
    with NaN for what is missing.

    Rows without a pair count as not there. V is NaN for a single pair.
    """
    there = np.isfinite(tables)
    filled = np.where(there, tables, 0.0)
    in_rows, in_columns = there.sum(-1), there.sum(-2)
    rows, columns, pairs = (in_rows > 0).sum(-1), (in_columns > 0).sum(-1), in_rows.sum(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        row_means = np.where(in_rows > 0, filled.sum(-1) / in_rows, 0.0)
        mean = row_means.sum(-1) / rows
        between = (np.where(in_rows > 0, row_means - mean[..., None], 0.0) ** 2).sum(-1) / (
            rows - 1
        )
        centred = np.where(there, filled - row_means[..., None], 0.0)
        column_means = np.where(in_columns > 0, centred.sum(-2) / in_columns, 0.0)
        middle = column_means.sum(-1) / columns
        off_middle = np.where(in_columns > 0, column_means - middle[..., None], 0.0)
        shared = (off_middle**2).sum(-1) / (columns - 1)
        residuals = np.where(there, centred - column_means[..., None, :], 0.0)
        freedom = pairs - rows - columns + 1
        rest = np.where(freedom > 0, (residuals**2).sum((-2, -1)) / freedom, 0.0)
        of_rows = np.where(rows > 1, between / rows, 0.0)
        of_columns = np.where(columns > 1, np.maximum(0.0, shared / columns - rest / pairs), 0.0)
        variance = np.where(pairs > 1, of_rows + of_columns, np.nan)
    return np.asarray(mean), np.asarray(variance)


def student(values: ArrayLike, confidence: float = 0.95) -> Inference:
    """The mean of `values` [S], one for each seed, with Student's interval and p-value; neither for
    a single seed or equal values.

    Raises `DataError` for no value or one that is not finite.
    """
    table = _checked(np.asarray(values, dtype=np.float64)[None])[0]
    if not np.isfinite(table).all():
        raise DataError("values of seeds hold one that is not a number; leave that seed out")
    mean, count = float(table.mean()), len(table)
    error = float(table.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    if error <= 1e-12 * float(np.abs(table).max()):
        return Inference(mean, None, None, None, 1, count)
    half = float(stdtrit(count - 1, 0.5 + confidence / 2)) * error
    return Inference(
        mean, mean - half, mean + half, float(2 * stdtr(count - 1, -abs(mean) / error)), 1, count
    )


def table_of(differences: Sequence[Mapping[int, float]]) -> Numbers:
    """Differences by seed, one mapping for each combination, as [C, S] with NaN for a seed that a
    combination lacks.
    """
    seeds = sorted({seed for row in differences for seed in row})
    return np.array(
        [[row.get(seed, math.nan) for seed in seeds] for row in differences], dtype=np.float64
    ).reshape(len(differences), len(seeds))


def _ratios(table: Numbers, mean: float, replicates: int, seed: int) -> Numbers:
    """|t*| of every replicate [B]; infinite without variance, or without a pair."""
    rows, columns = table.shape
    drawn_rows, drawn_columns = (
        _draws(seed, "combinations", rows, replicates),
        _draws(seed, "seeds", columns, replicates),
    )
    found = np.empty(replicates)
    size = max(1, _BLOCK_NUMBERS // table.size)
    for first in range(0, replicates, size):
        part = slice(first, first + size)
        means, variances = mean_and_variance(
            table[drawn_rows[part, :, None], drawn_columns[part, None, :]]
        )
        some = variances > _crumbs(table)
        with np.errstate(divide="ignore", invalid="ignore"):
            found[part] = np.where(some, np.abs(means - mean) / np.sqrt(variances), np.inf)
    return found


def _crumbs(table: Numbers) -> float:
    """A variance that is none: sums of equal numbers leave that much."""
    return float(1e-24 * np.nanmax(np.abs(table)) ** 2)


def _draws(seed: int, level: str, count: int, replicates: int) -> NDArray[np.intp]:
    """[B, count] draws with replacement out of `count`, from the raw words of Philox, which NumPy
    keeps from version to version.
    """
    digest = blake2b(f"{seed} {level} {count}".encode(), digest_size=16).digest()
    words = np.random.Philox(key=np.frombuffer(digest, dtype="<u8")).random_raw(replicates * count)
    return ((words >> np.uint64(11)) * 2.0**-53 * count).astype(np.intp).reshape(replicates, count)


def _checked(differences: ArrayLike) -> Numbers:
    table = np.asarray(differences, dtype=np.float64)
    if table.ndim != 2 or np.isinf(table).any():
        raise DataError(
            f"differences have shape {list(table.shape)}; expected finite ones of combinations × "
            "seeds, NaN for missing pairs"
        )
    table = table[np.isfinite(table).any(axis=1)]
    if not table.size:
        raise DataError(
            "there is no pair to compare; expected a method and its baseline at one seed at least"
        )
    return table
