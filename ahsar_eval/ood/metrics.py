"""Metrics of separation. Out-of-distribution is the positive class and a higher score means more
out of distribution (docs/ood.md).

All come from one ranking: two sorts and one merge. Scores that are not finite are refused, and a
missing class is never a number. Scores of float32 are ranked as they are, all others in float64.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from ahsar_eval.errors import DataError

Scores = NDArray[np.float64]
AnyScores = NDArray[np.floating]
SEPARATION = (
    "auroc",
    "fpr_at_tpr",
    "fpr_at_tpr_id_positive",
    "aupr_in",
    "aupr_out",
    "detection_error",
)


@dataclass(frozen=True)
class Interval:
    """An estimate with the two ends of its interval, None where there is none."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Separation:
    """How well scores tell one set from another; every metric is a fraction. The names but the last
    are those of `SEPARATION`.
    """

    auroc: float  # P(ood > id) + P(ood = id)/2
    fpr_at_tpr: float  # ID flagged at the first vertex that recalls enough OOD
    fpr_at_tpr_id_positive: float  # OOD accepted at the first vertex that accepts enough ID
    aupr_in: float  # ID positive, by the negated score
    aupr_out: float  # OOD positive
    detection_error: float
    distinct_scores: int  # of both sets together


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
    inside, outside = _sorted_scores(id_scores, ood_scores)
    found = np.empty(len(SEPARATION))
    distinct = merge_separation(inside, outside, float(tpr), found)
    area, fpr, fpr_id_positive, aupr_in, aupr_out, error = found.tolist()
    return Separation(area, fpr, fpr_id_positive, aupr_in, aupr_out, error, int(distinct))


def auroc(id_scores: AnyScores, ood_scores: AnyScores) -> float:
    """P(ood > id) + P(ood = id)/2 over all pairs, in [0, 1]. Raises `DataError` for empty or
    non-finite scores.
    """
    return separation(id_scores, ood_scores).auroc


def fpr_at_tpr(id_scores: AnyScores, ood_scores: AnyScores, tpr: float = 0.95) -> float:
    """Fraction of in-distribution samples flagged at the highest threshold that recalls at least
    `tpr` of the others (paper 5.2).

    First vertex of the ROC with TPR ≥ `tpr`; no interpolation. Raises `DataError` for empty or
    non-finite scores.
    """
    return separation(id_scores, ood_scores, tpr).fpr_at_tpr


def aupr(
    id_scores: AnyScores, ood_scores: AnyScores, positive: Literal["ood", "id"] = "ood"
) -> float:
    """Area under precision over recall by trapezoids, `positive` being the class to find; see
    `separation`.
    """
    found = separation(id_scores, ood_scores)
    return found.aupr_out if positive == "ood" else found.aupr_in


def detection_error(id_scores: AnyScores, ood_scores: AnyScores) -> float:
    """The least (1 − TPR)/2 + FPR/2 over all thresholds, at most 1/2; see `separation`."""
    return separation(id_scores, ood_scores).detection_error


def roc_curve(id_scores: AnyScores, ood_scores: AnyScores) -> tuple[Scores, Scores, Scores]:
    """False and true positive rates and thresholds of every vertex of the ROC, from (0, 0) at
    threshold ∞ down to (1, 1).

    One vertex for each distinct score, collinear ones too; a sample is flagged where its score is
    at least the threshold. Raises `DataError` for empty or non-finite scores.
    """
    from ahsar_eval.ood.kernels import merge_vertices

    inside, outside = _sorted_scores(id_scores, ood_scores)
    fpr, tpr, thresholds = (np.empty(len(inside) + len(outside) + 1) for _ in range(3))
    fpr[0], tpr[0], thresholds[0] = 0.0, 0.0, np.inf
    vertices = 1 + merge_vertices(inside, outside, fpr[1:], tpr[1:], thresholds[1:])
    return fpr[:vertices], tpr[:vertices], thresholds[:vertices]


def mid_ranks(scores: AnyScores) -> Scores:
    """Rank of each score from 1, tied scores sharing the mean of their places."""
    order = np.argsort(scores)
    starts, lengths = runs(scores[order])
    ranks = np.empty(len(scores), dtype=np.float64)
    ranks[order] = np.repeat(starts + (lengths + 1) / 2, lengths)
    return ranks


def runs(ordered: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of equal values begins in sorted values [N], and how long it is."""
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return starts, np.diff(np.concatenate([starts, [len(ordered)]]))


def proportion_interval(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval. Raises `DataError` without a trial."""
    if trials < 1:
        raise DataError("a proportion needs at least one trial")
    z = float(scipy.special.ndtri(0.5 + confidence / 2))
    p = successes / trials
    centre = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = (
        z
        / (1 + z * z / trials)
        * float(np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)))
    )
    return Interval(p, max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p)))


def checked_tpr(tpr: float) -> None:
    """Raise `DataError` unless `tpr` is in (0, 1]."""
    if not 0 < tpr <= 1:
        raise DataError(f"tpr is {tpr}; expected a number in (0, 1]")


def checked_scores(
    id_scores: AnyScores, ood_scores: AnyScores
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as vectors of float32 (where they are) or float64; `DataError` for none, another shape,
    or the first that is not finite.
    """
    names = ("in-distribution", "out-of-distribution")
    inside, outside = (
        _vector(scores, name) for name, scores in zip(names, (id_scores, ood_scores), strict=True)
    )
    for name, scores in zip(names, (inside, outside), strict=True):
        if not np.isfinite(scores).all():
            raise DataError(_not_finite(name, scores))
    return inside, outside


def _sorted_scores(
    id_scores: AnyScores, ood_scores: AnyScores
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The same, ascending; what is not finite then stands at an end."""
    ordered = []
    for name, given in (("in-distribution", id_scores), ("out-of-distribution", ood_scores)):
        scores = _vector(given, name)
        ascending = np.sort(scores)
        if not (np.isfinite(ascending[0]) and np.isfinite(ascending[-1])):
            raise DataError(_not_finite(name, scores))
        ordered.append(ascending)
    return ordered[0], ordered[1]


def _vector(scores: AnyScores, name: str) -> NDArray[Any]:
    array = np.asarray(scores)
    if array.ndim != 1 or not len(array):
        raise DataError(
            f"the {name} scores have shape {array.shape}; expected a vector with at least one score"
        )
    return array if array.dtype == np.float32 else array.astype(np.float64, copy=False)


def _not_finite(name: str, scores: NDArray[Any]) -> str:
    return (
        f"the {name} score of sample {int(np.flatnonzero(~np.isfinite(scores))[0])} is not "
        "finite; "
        "expected numbers"
    )
