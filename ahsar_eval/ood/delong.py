"""DeLong's interval for one AUROC and his test for two on the same samples (DeLong, DeLong and
Clarke-Pearson 1988).

Both take the ID and the OOD samples as independent. For a set and its own shifted copies they are
not, and both come out wider than they need be: `bootstrap` draws images instead (docs/ood.md).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from ahsar_eval.errors import DataError
from ahsar_eval.ood.metrics import ENDS, AnyScores, Estimate, Scores, checked_scores, runs

Method = Literal["DeLong", "DeLong, logit scale"]

# and below 0.05: the plain interval covers 90.0 % at an AUROC of .98 and n = 100 (docs/ood.md)
_LOGIT_ABOVE = 0.95


@dataclass(frozen=True)
class PairedDifference:
    """AUROC of B minus AUROC of A on the same samples, with the ends of its interval, z and
    two-sided p-value; None where there is none.
    """

    value: float
    low: float | None
    high: float | None
    z: float | None
    p_value: float | None


def auroc_interval(
    id_scores: AnyScores,
    ood_scores: AnyScores,
    method: Method | None = None,
) -> Estimate:
    """AUROC with DeLong's interval, by mid-ranks as in Sun and Xu 2014, within [0, 1].

    Without a `method` the value chooses one: above .95 and below .05 the logit
    scale, where the interval is logit(A) ± z · se / (A (1 − A)), mapped back; the plain A ± z · se
    elsewhere. Without an interval (None) where a set has one sample or the variance is estimated as
    zero, as for perfect separation: certainty would be claimed. Raises `DataError` for empty or
    non-finite scores.
    """
    beaten_by_ood, beating_id = _placements(id_scores, ood_scores)
    value = _auroc(beaten_by_ood, beating_id)
    error = _standard_error(beaten_by_ood, beating_id)
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
) -> PairedDifference:
    """AUROC of B minus AUROC of A by DeLong's paired test: sample i of a set is the same in both.

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
    value = _auroc(of_ood, of_id)
    if not of_ood.any() and not of_id.any():
        return PairedDifference(value, None, None, 0.0, 1.0)
    error = _standard_error(of_ood, of_id)
    if error is None:
        return PairedDifference(value, None, None, None, None)
    half, z = float(scipy.special.ndtri(ENDS[1])) * error, value / error
    p = float(2 * scipy.special.ndtr(-abs(z)))
    return PairedDifference(value, max(-1.0, value - half), min(1.0, value + half), z, p)


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


def _auroc(of_ood: Scores, of_id: Scores) -> float:
    return float(of_ood.sum()) / (2.0 * len(of_ood) * len(of_id))


def _standard_error(of_ood: Scores, of_id: Scores) -> float | None:
    """Of the mean placement; None with a single sample of a kind, and where all placements of a
    kind are equal in both kinds.
    """
    m, n = len(of_ood), len(of_id)
    if m < 2 or n < 2:
        return None
    ood_variance, id_variance = (
        0.0 if placements.min() == placements.max() else float(placements.var(ddof=1))
        for placements in (of_ood, of_id)
    )
    return (
        float(np.sqrt(ood_variance / (4.0 * m * n * n) + id_variance / (4.0 * n * m * m))) or None
    )
