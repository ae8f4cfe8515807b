"""Metrics of separation, and the intervals and tests that have a formula. Out-of-distribution is
the positive class and a higher score means more out of distribution (docs/ood.md).

All metrics come from one ranking: two sorts and one merge. Scores that are not finite are refused,
and a missing class is never a number. Scores of float32 are ranked as they are, all others in
float64.

DeLong's interval and test (DeLong, DeLong and Clarke-Pearson 1988) take the ID and the OOD samples
as independent. For a set and its own shifted copies they are not, and both come out wider than they
need be: `bootstrap` draws images instead.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ahsar_eval.errors import DataError

Scores = NDArray[np.float64]
AnyScores = NDArray[np.floating]
PAIRED_DELONG = "paired DeLong"
# and below 0.05: the plain interval covers 90.0 % at an AUROC of .98 and n = 100 (docs/ood.md)
_LOGIT_ABOVE = 0.95
ENDS = (0.5 - 0.95 / 2, 0.5 + 0.95 / 2)  # of a 95 % interval, as quantiles
SEPARATION = (
    "auroc",
    "fpr_at_tpr",
    "fpr_at_tpr_id_positive",
    "aupr_in",
    "aupr_out",
    "detection_error",
)


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval (None where there is none), how the interval was made, and the
    number in each bootstrap replicate, [B]; NaN in one that leaves it undefined.
    """

    value: float
    low: float | None = None
    high: float | None = None
    method: str = ""
    replicates: Scores | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Separation:
    """How well scores tell one set from another; every metric is a fraction. The names but the
    first are those of `SEPARATION`, in its order.
    """

    distinct_scores: int  # of both sets together
    auroc: float  # P(ood > id) + P(ood = id)/2
    fpr_at_tpr: float  # ID flagged at the first vertex that recalls enough OOD
    fpr_at_tpr_id_positive: float  # OOD accepted at the first vertex that accepts enough ID
    aupr_in: float  # ID positive, by the negated score
    aupr_out: float  # OOD positive
    detection_error: float


def separation(id_scores: AnyScores, ood_scores: AnyScores, tpr: float = 0.95) -> Separation:
    """Every metric of separation of `id_scores` [n] and `ood_scores` [m] from two sorts and one
    merge.

    AUROC counts ties half. FPR at TPR: the first vertex of the ROC with a recall of at least `tpr`,
    no interpolation, in both readings (paper 5.2; docs/ood.md). AUPR: trapezoids over all vertices
    with the point (recall 0, precision 1), as scikit-learn's `auc(recall, precision)`. Detection
    error: the least (1 − TPR)/2 + FPR/2 over all thresholds, the two trivial ones among them (Liang
    et al. 2018, section 4.2). Raises `DataError` for empty or non-finite scores, or for a `tpr`
    outside (0, 1].
    """
    from ahsar_eval.ood.kernels import merge_separation

    checked_tpr(tpr)
    found = np.empty(len(SEPARATION))
    ordered = checked_scores(id_scores, ood_scores, ascending=True)
    distinct = merge_separation(*ordered, float(tpr), found)
    return Separation(distinct, *found.tolist())


def auroc(id_scores: AnyScores, ood_scores: AnyScores) -> float:
    """P(ood > id) + P(ood = id)/2 over all pairs, in [0, 1]. Raises `DataError` for empty or
    non-finite scores.
    """
    return separation(id_scores, ood_scores).auroc


def roc_curve(id_scores: AnyScores, ood_scores: AnyScores) -> tuple[Scores, Scores, Scores]:
    """False and true positive rates and thresholds of every vertex of the ROC, from (0, 0) at
    threshold ∞ down to (1, 1).

    One vertex for each distinct score, collinear ones too; a sample is flagged where its score is
    at least the threshold. Raises `DataError` for empty or non-finite scores.
    """
    inside, outside = checked_scores(id_scores, ood_scores, ascending=True)
    thresholds = np.unique(np.concatenate([inside, outside]).astype(np.float64))[::-1]
    fpr, tpr = (
        np.append(0.0, (len(scores) - np.searchsorted(scores, thresholds)) / len(scores))
        for scores in (inside, outside)
    )
    return fpr, tpr, np.append(np.inf, thresholds)


def proportion_interval(successes: int, trials: int) -> Estimate:
    """A proportion with Wilson's score interval. Raises `DataError` without a trial."""
    if trials < 1:
        raise DataError("a proportion needs at least one trial")
    z, p = float(scipy.special.ndtri(ENDS[1])), successes / trials
    stretch = 1 + z * z / trials
    centre = (p + z * z / (2 * trials)) / stretch
    half = z / stretch * float(np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)))
    return Estimate(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)), "Wilson")


def auroc_interval(
    id_scores: AnyScores, ood_scores: AnyScores, method: str | None = None
) -> Estimate:
    """AUROC with DeLong's interval, by mid-ranks as in Sun and Xu 2014, within [0, 1].

    Without a `method`, "DeLong" or "DeLong, logit scale", the value chooses one: above .95 and
    below .05 the logit scale, where the interval is logit(A) ± z · se / (A (1 − A)), mapped back;
    the plain A ± z · se elsewhere. Without an interval (None) where a set has one sample or the
    variance is estimated as zero, as for perfect separation: certainty would be claimed. Raises
    `DataError` for empty or non-finite scores.
    """
    value, error = _mean_and_error(*_placements(id_scores, ood_scores))
    if error is None:
        return Estimate(value)
    half = float(scipy.special.ndtri(ENDS[1])) * error
    at_an_end = value > _LOGIT_ABOVE or value < 1 - _LOGIT_ABOVE
    method = method or ("DeLong, logit scale" if at_an_end else "DeLong")
    if method == "DeLong":
        return Estimate(value, max(0.0, value - half), min(1.0, value + half), method)
    middle, half = scipy.special.logit(value), half / (value * (1 - value))
    low, high = (float(scipy.special.expit(end)) for end in (middle - half, middle + half))
    return Estimate(value, low, high, method)


def paired_auroc(
    id_a: AnyScores, ood_a: AnyScores, id_b: AnyScores, ood_b: AnyScores
) -> tuple[Estimate, float | None]:
    """AUROC of B minus AUROC of A with its interval and two-sided p-value by DeLong's paired test:
    sample i of a set is the same in both.

    The variance of the difference is that of the sample-wise differences of placements, which is
    the covariance formula of DeLong 1988. Where every sample is placed alike by both, p is 1 and
    there is no interval; where the variance is zero and the difference is not, or a set has one
    sample, there is no test at all (None). Raises `DataError` for empty or non-finite scores, or
    sets of unequal sizes.
    """
    for name, a, b in (("in-distribution", id_a, id_b), ("out-of-distribution", ood_a, ood_b)):
        if len(a) != len(b):
            raise DataError(
                f"A has {len(a)} {name} scores and B has {len(b)}; a paired test needs both models "
                "on the same samples"
            )
    placed_a, placed_b = _placements(id_a, ood_a), _placements(id_b, ood_b)
    of_ood, of_id = placed_b[0] - placed_a[0], placed_b[1] - placed_a[1]
    value, error = _mean_and_error(of_ood, of_id)
    if error is None:
        return Estimate(value), None if of_ood.any() or of_id.any() else 1.0
    half = float(scipy.special.ndtri(ENDS[1])) * error
    p = float(2 * scipy.special.ndtr(-abs(value / error)))
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), PAIRED_DELONG), p


def _placements(id_scores: AnyScores, ood_scores: AnyScores) -> tuple[Scores, Scores]:
    """For each OOD sample twice the ID samples below it, and for each ID sample twice the OOD
    samples above it, ties counting once.

    Whole numbers: 2n and 2m times the structural components V10 and V01 of DeLong 1988, exact.
    """
    inside, outside = checked_scores(id_scores, ood_scores)
    ranks = mid_ranks(np.concatenate([outside, inside]))
    m = len(outside)
    return 2 * (ranks[:m] - mid_ranks(outside)), 2 * (m - (ranks[m:] - mid_ranks(inside)))


def mid_ranks(scores: AnyScores) -> Scores:
    """Rank of each score from 1, tied scores sharing the mean of their places."""
    order = np.argsort(scores)
    starts, lengths = runs(scores[order])
    ranks = np.empty(len(scores), dtype=np.float64)
    ranks[order] = np.repeat(starts + (lengths + 1) / 2, lengths)
    return ranks


def _mean_and_error(of_ood: Scores, of_id: Scores) -> tuple[float, float | None]:
    """Mean placement and its standard error; None with a single sample of a kind, and where all
    placements of a kind are equal in both kinds.
    """
    m, n = len(of_ood), len(of_id)
    value = float(of_ood.sum()) / (2.0 * m * n)
    if m < 2 or n < 2:
        return value, None
    ood_variance, id_variance = (
        0.0 if placements.min() == placements.max() else float(placements.var(ddof=1))
        for placements in (of_ood, of_id)
    )
    variance = ood_variance / (4.0 * m * n * n) + id_variance / (4.0 * n * m * m)
    return value, float(np.sqrt(variance)) or None


def runs(ordered: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of equal values begins in sorted values [N], and how long it is."""
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return starts, np.diff(np.concatenate([starts, [len(ordered)]]))


def checked_tpr(tpr: float) -> None:
    """Raise `DataError` unless `tpr` is in (0, 1]."""
    if not 0 < tpr <= 1:
        raise DataError(f"tpr is {tpr}; expected a number in (0, 1]")


def checked_scores(
    id_scores: AnyScores, ood_scores: AnyScores, *, ascending: bool = False
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as vectors of float32 (where they are) or float64, as they stand or in order.

    Raises `DataError` for none, another shape, or the first that is not finite.
    """
    inside, outside = (
        _checked(name, np.asarray(scores), ascending)
        for name, scores in (("in-distribution", id_scores), ("out-of-distribution", ood_scores))
    )
    return inside, outside


def _checked(name: str, scores: NDArray[Any], ascending: bool) -> NDArray[Any]:
    if scores.ndim != 1 or not len(scores):
        raise DataError(
            f"the {name} scores have shape {scores.shape}; expected a vector with at least one "
            "score"
        )
    scores = scores if scores.dtype == np.float32 else scores.astype(np.float64, copy=False)
    found = np.sort(scores) if ascending else scores
    if not np.isfinite(found[[0, -1]] if ascending else found).all():  # sorted, they are at an end
        raise DataError(
            f"the {name} score of sample {np.isfinite(scores).argmin()} is not finite; expected "
            "numbers"
        )
    return found
