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
import warnings
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from ahsar_eval.errors import DataError

REPLICATES = 10_000
CONFIDENCE = 0.95
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


def pooled(differences: ArrayLike, *, replicates: int = REPLICATES, seed: int = 0) -> Inference:
    """The mean of `differences` [C, S] with interval and p-value by the bootstrap that this file
    describes.

    p = (1 + #{|t*| ≥ |t|}) / (B + 1), t = m / √V; the interval is m ± q √V, q the ⌈0.95 (B + 1)⌉-th
    smallest |t*|: it leaves out 0 exactly where p is at most 0.05. A replicate without variance has
    an infinite |t*|. No interval where q is infinite; neither that nor a p-value for a single pair,
    or without variance. One combination alone is a bootstrap of its
    seeds. Numbers depend on `seed` and the differences alone. Raises `DataError` for another shape,
    infinite numbers, or no pair.
    """
    table = _checked(differences)
    mean, variance = (float(part) for part in mean_and_variance(table))
    known = Inference(mean, None, None, None, len(table), int(np.isfinite(table).sum()))
    if known.pairs < 2 or not math.isfinite(variance) or variance <= _crumbs(table):
        return known
    ratios = np.sort(_ratios(table, mean, replicates, seed))
    statistic = abs(mean) / math.sqrt(variance)
    p_value = (1 + int(np.sum(ratios >= statistic))) / (replicates + 1)
    place = math.ceil(round(CONFIDENCE * (replicates + 1), 6))
    half = float(ratios[place - 1]) * math.sqrt(variance) if place <= replicates else math.inf
    if math.isinf(half):
        return replace(known, p_value=p_value)
    return replace(known, low=mean - half, high=mean + half, p_value=p_value)


def mean_and_variance(tables: Numbers) -> tuple[Numbers, Numbers]:
    """Mean over rows of row means, and its variance V (see above), for each of `tables` [..., C, S]
    with NaN for what is missing.

    Rows without a pair count as not there. V is NaN for a single pair.
    """
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a row or a column without a pair
        row_means = np.nanmean(tables, axis=-1)
        centred = tables - row_means[..., None]
        column_means = np.nanmean(centred, axis=-2)
        residuals = centred - column_means[..., None, :]
        rows, columns = (np.isfinite(part).sum(-1) for part in (row_means, column_means))
        pairs = np.isfinite(tables).sum((-2, -1))
        of_rows = np.nanvar(row_means, axis=-1, ddof=1) / rows
        shared = np.nanvar(column_means, axis=-1, ddof=1) / columns
        freedom = pairs - rows - columns + 1
        rest = np.where(freedom > 0, np.nansum(residuals**2, axis=(-2, -1)) / freedom, 0.0)
        of_columns = np.maximum(0.0, shared - rest / pairs)
        variance = np.where(rows > 1, of_rows, 0.0) + np.where(columns > 1, of_columns, 0.0)
        return np.nanmean(row_means, axis=-1), np.where(pairs > 1, variance, np.nan)


def student(values: ArrayLike) -> Inference:
    """The mean of `values` [S], one for each seed, with Student's interval and p-value; neither for
    a single seed or equal values.

    Raises `DataError` for no value or one that is not finite.
    """
    table = _checked(np.asarray(values, dtype=np.float64)[None])[0]
    if not np.isfinite(table).all():
        raise DataError("values of seeds hold one that is not a number; leave that seed out")
    mean, count = float(table.mean()), len(table)
    alone = Inference(mean, None, None, None, 1, count)
    error = float(table.std(ddof=1)) / math.sqrt(count) if count > 1 else 0.0
    if error <= 1e-12 * float(np.abs(table).max()):
        return alone
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * error
    p_value = float(2 * stdtr(count - 1, -abs(mean) / error))
    return replace(alone, low=mean - half, high=mean + half, p_value=p_value)


def _ratios(table: Numbers, mean: float, replicates: int, seed: int) -> Numbers:
    """|t*| of every replicate [B]; infinite without variance, or without a pair."""
    rows = _draws(seed, "combinations", table.shape[0], replicates)
    columns = _draws(seed, "seeds", table.shape[1], replicates)
    found = np.empty(replicates)
    size = max(1, _BLOCK_NUMBERS // table.size)
    for first in range(0, replicates, size):
        part = slice(first, first + size)
        drawn = table[rows[part, :, None], columns[part, None, :]]
        means, variances = mean_and_variance(drawn)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.abs(means - mean) / np.sqrt(variances)
        found[part] = np.where(variances > _crumbs(table), ratios, np.inf)
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
