"""Metrics of separation. Out-of-distribution is the positive class and a higher score means more out of distribution (docs/ood.md).

All rank in float64 at O(n log n), refuse scores that are not finite, and never return a number for a missing class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ahsar_eval.errors import DataError

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """An estimate with the two ends of its interval, None where there is none."""

    value: float
    low: float | None
    high: float | None


def mid_ranks(scores: Scores) -> Scores:
    """Rank of each score from 1, tied scores sharing the mean of their places."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    lengths = np.diff(np.concatenate([starts, [len(scores)]]))
    ranks = np.empty(len(scores), dtype=np.float64)
    ranks[order] = np.repeat(starts + (lengths + 1) / 2, lengths)
    return ranks


def auroc(id_scores: Scores, ood_scores: Scores) -> float:
    """P(ood > id) + P(ood = id)/2 over all pairs, by mid-ranks; in [0, 1]. Raises `DataError` for empty or non-finite scores."""
    inside, outside = _checked(id_scores, ood_scores)
    ranks = mid_ranks(np.concatenate([outside, inside]))
    wins = ranks[: len(outside)].sum() - len(outside) * (len(outside) + 1) / 2
    return float(wins / (len(outside) * len(inside)))


def auroc_interval(id_scores: Scores, ood_scores: Scores, confidence: float = 0.95) -> Interval:
    """AUROC with DeLong's interval (DeLong 1988, by mid-ranks as in Sun and Xu 2014), clipped to [0, 1].

    Without an interval (None) where a set has one sample or the variance is estimated as zero, as for perfect separation: certainty
    would be claimed. It takes the two sets as independent; for a set and its own shifted copies that makes it wider than it need be.
    """
    inside, outside = _checked(id_scores, ood_scores)
    m, n = len(outside), len(inside)
    joint = mid_ranks(np.concatenate([outside, inside]))
    from_outside = (joint[:m] - mid_ranks(outside)) / n
    from_inside = 1 - (joint[m:] - mid_ranks(inside)) / m
    value = float(from_outside.mean())
    if m < 2 or n < 2:
        return Interval(value, None, None)
    variance = from_outside.var(ddof=1) / m + from_inside.var(ddof=1) / n
    if variance < 1e-20:  # zero but for rounding
        return Interval(value, None, None)
    half = float(ndtri(0.5 + confidence / 2)) * float(np.sqrt(variance))
    return Interval(value, max(0.0, value - half), min(1.0, value + half))


def fpr_at_tpr(id_scores: Scores, ood_scores: Scores, tpr: float = 0.95) -> float:
    """Fraction of in-distribution samples flagged at the highest threshold that recalls at least `tpr` of the others (paper 5.2).

    First vertex of the ROC with TPR ≥ `tpr`; no interpolation. Raises `DataError` for empty or non-finite scores.
    """
    inside, outside = _checked(id_scores, ood_scores)
    if not 0 < tpr <= 1:
        raise DataError(f"tpr is {tpr}; expected a number in (0, 1]")
    n = len(outside)
    needed = min(max(int(np.ceil(tpr * n)), 1), n)
    while needed > 1 and (needed - 1) / n >= tpr:  # tpr·n may round up across a whole number
        needed -= 1
    while needed / n < tpr:
        needed += 1
    threshold = np.partition(outside, n - needed)[n - needed]
    return float((inside >= threshold).mean())


def proportion_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval. Raises `DataError` without a trial."""
    if trials < 1:
        raise DataError("a proportion needs at least one trial")
    z = float(ndtri(0.5 + confidence / 2))
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials) * float(np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)))
    return Interval(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)))


def _checked(id_scores: Scores, ood_scores: Scores) -> tuple[Scores, Scores]:
    checked = []
    for name, scores in (("in-distribution", id_scores), ("out-of-distribution", ood_scores)):
        array = np.asarray(scores, dtype=np.float64)
        if array.ndim != 1 or not len(array):
            raise DataError(f"the {name} scores have shape {array.shape}; expected a vector with at least one score")
        if not np.isfinite(array).all():
            raise DataError(f"the {name} score of sample {int(np.flatnonzero(~np.isfinite(array))[0])} is not finite; expected numbers")
        checked.append(array)
    return checked[0], checked[1]
