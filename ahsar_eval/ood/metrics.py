"""Metrics of separation, of predictions and of doubts, and the intervals and tests that have a
formula (docs/ood.md). Out-of-distribution is the positive class and a higher score means more out
of distribution.

All metrics of separation come from one ranking: two sorts and one merge. Scores that are not finite
are refused, and a missing class is never a number. Scores of float32 are ranked as they are, all
others in float64.

DeLong's interval and test (DeLong, DeLong and Clarke-Pearson 1988) take the ID and the OOD samples
as independent. For a set and its own shifted copies they are not, and both come out wider than they
need be: `bootstrap` draws images instead.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ahsar_eval.errors import DataError

Scores = NDArray[np.float64]
AnyScores = NDArray[np.floating]
PAIRED_DELONG = "paired DeLong"
# and below 0.05: the plain interval covers 90.0 % at an AUROC of .98 and n = 100 (docs/ood.md)
_LOGIT_ABOVE = 0.95
ENDS = (0.5 - 0.95 / 2, 0.5 + 0.95 / 2)  # of a 95 % interval, as quantiles
Z = 1.959963984540054  # and the upper one of the standard normal distribution
BINS = 15  # of a calibration error


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


class Separation(NamedTuple):
    """How well scores tell one set from another; every metric is a fraction."""

    auroc: float  # P(ood > id) + P(ood = id)/2
    fpr_at_tpr: float  # ID flagged at the first vertex that recalls enough OOD
    fpr_at_tpr_id_positive: float  # OOD accepted at the first vertex that accepts enough ID
    aupr_in: float  # ID positive, by the negated score
    aupr_out: float  # OOD positive
    detection_error: float
    distinct_scores: int  # of both sets together


SEPARATION = Separation._fields[:-1]


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

    inside, outside = checked_scores(id_scores, ood_scores, tpr)
    found = np.empty(len(SEPARATION))
    distinct = merge_separation(np.sort(inside), np.sort(outside), float(tpr), found)
    return Separation._make([*found.tolist(), distinct])


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
    from sklearn import metrics

    both = checked_scores(id_scores, ood_scores)
    scores = np.concatenate(both).astype(np.float64)
    found = metrics.roc_curve(np.repeat([0, 1], [*map(len, both)]), scores, drop_intermediate=False)
    return found  # type: ignore[no-any-return]


def proportion_interval(successes: int, trials: int) -> Estimate:
    """A proportion of at least one trial with Wilson's score interval."""
    p, stretch = successes / trials, 1 + Z * Z / trials
    centre = (p + Z * Z / (2 * trials)) / stretch
    half = Z / stretch * float(np.sqrt(p * (1 - p) / trials + Z * Z / (4 * trials * trials)))
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
    half = Z * error
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
    sample, there is no test at all (None). Raises `DataError` for empty or non-finite scores.
    """
    placed_a, placed_b = _placements(id_a, ood_a), _placements(id_b, ood_b)
    of_ood, of_id = placed_b[0] - placed_a[0], placed_b[1] - placed_a[1]
    value, error = _mean_and_error(of_ood, of_id)
    if error is None:
        return Estimate(value), None if of_ood.any() or of_id.any() else 1.0
    half = Z * error
    p = float(2 * scipy.special.ndtr(-abs(value / error)))
    return Estimate(value, max(-1.0, value - half), min(1.0, value + half), PAIRED_DELONG), p


def _placements(id_scores: AnyScores, ood_scores: AnyScores) -> tuple[Scores, Scores]:
    """For each OOD sample twice the ID samples below it, and for each ID sample twice the OOD
    samples above it, ties counting once.

    Whole numbers: 2n and 2m times the structural components V10 and V01 of DeLong 1988, exact.
    """
    rank = scipy.stats.rankdata  # tied scores share the mean of their places
    inside, outside = checked_scores(id_scores, ood_scores)
    ranks, m = rank(np.concatenate([outside, inside])), len(outside)
    return 2 * (ranks[:m] - rank(outside)), 2 * (m - (ranks[m:] - rank(inside)))


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


@dataclass(frozen=True)
class Outcomes:
    """What each sample contributes, all [N]: largest probability, whether its class is the label,
    −log p(label) in nats, and Σ_k (p_k − [k is the label])² in [0, 2] (Brier 1950, the sum over all
    classes; with two, twice the one-class form of scikit-learn).
    """

    confidence: Scores
    correct: NDArray[np.bool_]
    negative_log_likelihood: Scores
    brier: Scores


def outcomes(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Outcomes:
    """`Outcomes` of time-mean logits under a softmax in float64, from logits [N, T, K] and labels
    [N] in 0 … K − 1.

    The logarithm is that of the log-softmax, so a saturated softmax gives neither infinity nor a
    false 0. Probabilities are summed in order of size: samples whose logits are the same up to the
    order of classes are tied to the last bit, as spike-count read-outs need. Of classes that share
    the largest logit the first is the prediction. Raises `DataError` that names the first sample
    with a logit that is not finite, or a label that is unknown or none of the classes.
    """
    samples, _, classes = logits.shape
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise DataError(
            f"sample {outside.argmax()} has the label {labels[outside.argmax()]}, expected a class "
            f"from 0 to {classes - 1}; leave out samples without a known label"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, with the sample
        mean = logits.mean(axis=1, dtype=np.float64)
        shifted = mean - mean.max(axis=1, keepdims=True)
    check_finite("the distance of two logits", shifted)
    exponentials = np.exp(shifted)
    others = np.sort(exponentials, axis=1)[:, :-1].sum(axis=1)  # the largest is 1
    rows, residual = np.arange(samples), exponentials / (1 + others[:, None])
    residual[rows, labels] -= 1
    return Outcomes(
        confidence=1 / (1 + others),
        correct=shifted.argmax(axis=1) == labels,
        negative_log_likelihood=np.log1p(others) - shifted[rows, labels],
        brier=np.square(residual).sum(axis=1),
    )


@dataclass(frozen=True)
class ReliabilityBins:
    """A reliability diagram: `edges` [bins + 1] rising, and per bin [bins] mean confidence,
    accuracy, and number of samples.

    Confidence and accuracy of a bin without a sample are NaN, for a plot to leave out. Where tied
    confidences lie across an edge of equal-mass bins, each bin takes its share of them at their
    common accuracy.
    """

    edges: Scores
    confidence: Scores
    accuracy: Scores
    count: NDArray[np.int64]

    @property
    def intervals(self) -> Scores:
        """Wilson's interval of the accuracy, low and high [2, bins]; NaN without a sample."""
        ends = np.full((2, len(self.count)), np.nan)
        for i in np.flatnonzero(self.count):
            right = round(float(self.accuracy[i] * self.count[i]))
            found = proportion_interval(right, int(self.count[i]))
            ends[:, i] = found.low, found.high
        return ends


def reliability(
    confidences: ArrayLike, correct: ArrayLike, bins: int = BINS, *, equal_mass: bool = False
) -> ReliabilityBins:
    """`ReliabilityBins` of confidences [N] in [0, 1] and whether each prediction was correct [N].

    Of equal width: bin b holds the confidences in (b/bins, (b + 1)/bins], 0 belonging to the first
    (Guo et al. 2017). Of equal mass: in rising order of confidence, bin b holds the places from
    ⌊bN/bins⌋ up to ⌊(b + 1)N/bins⌋, so that sizes differ by one at most (adaptive bins, Nixon et
    al. 2019). Samples of equal confidence count at their common accuracy, so that an edge among
    them does not make the value depend on the order of samples. Edges are halfway between
    neighbours, the outer ones the extremes. Raises `DataError` for empty or unequal vectors and for
    a confidence outside [0, 1].
    """
    certain, right = _vectors(confidences, correct)
    if not ((certain >= 0) & (certain <= 1)).all():
        raise DataError(
            f"confidences reach from {certain.min()} to {certain.max()}; expected [0, 1]"
        )
    if equal_mass:
        order = np.argsort(certain, kind="stable")
        certain, right = certain[order], right[order]
        _, tie = np.unique(certain, return_inverse=True)
        weight = (np.bincount(tie, right) / np.bincount(tie))[tie]
        cuts = np.arange(bins + 1) * len(certain) // bins
        place = np.repeat(np.arange(bins), np.diff(cuts))
        edges = (certain[np.maximum(cuts - 1, 0)] + certain[np.minimum(cuts, len(certain) - 1)]) / 2
    else:
        edges, weight = np.arange(bins + 1) / bins, right
        place = np.maximum(np.searchsorted(edges, certain) - 1, 0)
    count = np.bincount(place, minlength=bins)
    confidence, accuracy = (
        np.bincount(place, terms, bins) / np.where(count > 0, count, np.nan)
        for terms in (certain, weight)
    )
    return ReliabilityBins(edges, confidence, accuracy, count)


def calibration_error(
    confidences: ArrayLike, correct: ArrayLike, bins: int = BINS, *, equal_mass: bool = False
) -> float:
    """Expected calibration error: mean over samples of |accuracy − mean confidence| of their bin,
    in [0, 1] (Guo et al. 2017, equation 3).

    Bins as in `reliability`, which also says what raises `DataError`.
    """
    diagram = reliability(confidences, correct, bins, equal_mass=equal_mass)
    filled = diagram.count > 0
    gaps = np.abs(diagram.accuracy[filled] - diagram.confidence[filled])
    return float((diagram.count[filled] * gaps).sum() / diagram.count.sum())


def risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> tuple[Scores, Scores]:
    """Coverage k/N and selective risk for k = 1 … N, both [N]: the share of wrong predictions among
    the k least uncertain samples. The mean risk is the area under the curve, AURC.

    Samples of equal uncertainty come in no order: the risk is the expectation over all orders of
    them, so errors enter a tie evenly. From the uncertainty [N], higher meaning less sure, and
    whether each prediction is wrong [N] (Geifman and El-Yaniv 2017). Raises `DataError` for empty
    or unequal vectors, and for an uncertainty that is not finite, with its sample.
    """
    unsure, missed = _vectors(uncertainty, wrong)
    check_finite("the uncertainty", unsure)
    _, tie, sizes = np.unique(unsure, return_inverse=True, return_counts=True)
    errors = np.bincount(tie, missed)
    before, started, share = np.cumsum(errors) - errors, np.cumsum(sizes) - sizes, errors / sizes
    accepted, tie = np.arange(1, len(tie) + 1), np.sort(tie)
    expected = before[tie] + share[tie] * (accepted - started[tie])
    return accepted / len(tie), expected / accepted


def checked_scores(
    id_scores: AnyScores, ood_scores: AnyScores, tpr: float = 1.0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both as vectors of float32 (where they are) or float64.

    Raises `DataError` for none, another shape, the first that is not finite, or a `tpr` outside
    (0, 1].
    """
    if not 0 < tpr <= 1:
        raise DataError(f"tpr is {tpr}; expected a number in (0, 1]")
    found = []
    for name, given in (("in-distribution", id_scores), ("out-of-distribution", ood_scores)):
        scores = np.asarray(given)
        if scores.ndim != 1 or not len(scores):
            raise DataError(
                f"the {name} scores have shape {scores.shape}; expected a vector with at least one "
                "score"
            )
        check_finite(f"the {name} score", scores)
        kind = np.float32 if scores.dtype == np.float32 else np.float64
        found.append(scores.astype(kind, copy=False))
    return found[0], found[1]


def check_finite(what: str, values: NDArray[Any]) -> None:
    """Raise `DataError` that names the first sample of `values` [N, …] with one that is not
    finite.
    """
    finite = np.isfinite(values)
    if not finite.all():
        sample = np.argwhere(~finite)[0, 0]
        raise DataError(f"{what} is not finite in sample {sample}; expected numbers")


def _vectors(values: ArrayLike, flags: ArrayLike) -> tuple[Scores, Scores]:
    """Both as vectors [N] of float64; a flag that is set is 1."""
    numbers, happened = np.asarray(values, dtype=np.float64), np.asarray(flags, dtype=bool)
    if numbers.ndim != 1 or not len(numbers) or numbers.shape != happened.shape:
        raise DataError(
            f"there are numbers of shape {numbers.shape} for outcomes of {happened.shape}; "
            "expected two equal vectors, not empty"
        )
    return numbers, happened.astype(np.float64)
