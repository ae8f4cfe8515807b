"""How good a classifier's predictions are on one labelled set, and how well it knows which of them
are wrong: accuracy, calibration and prediction with a reject option (docs/ood.md).

The excess of the area under the risk–coverage curve over the best order (E-AURC) is
`aurc(uncertainty, wrong) - aurc(wrong, wrong)`.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import (
    Images,
    Resamples,
    check_length,
    mean_estimate,
    percentile_interval,
)
from ahsar_eval.ood.metrics import Estimate, Scores, auroc, proportion_interval, runs

BINS = 15


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

    def __len__(self) -> int:
        return len(self.correct)


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


def outcomes(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Outcomes:
    """`Outcomes` of time-mean logits under a softmax in float64, from logits [N, T, K] and labels
    [N] in 0 … K − 1.

    The logarithm is that of the log-softmax, so a saturated softmax gives neither infinity nor a
    false 0. Probabilities are summed in order of size: samples whose logits are the same up to the
    order of classes are tied to the last bit, as spike-count read-outs need. Of classes that share
    the largest logit the first is the prediction. Raises `DataError` that names the first sample
    with a logit that is not finite, or a label that is unknown or none of the classes.
    """
    if logits.ndim != 3 or 0 in logits.shape:
        raise DataError(
            f"the logits have shape {logits.shape}; expected [samples, time, classes] with at "
            "least one of each"
        )
    samples, _, classes = logits.shape
    if labels.shape != (samples,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"the labels have shape {labels.shape} and type {labels.dtype}; expected whole numbers "
            f"of shape ({samples},)"
        )
    outside = (labels < 0) | (labels >= classes)
    if outside.any():
        raise DataError(
            f"sample {outside.argmax()} has the label {labels[outside.argmax()]}, expected a class "
            f"from 0 to {classes - 1}; leave out samples without a known label"
        )
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, with the sample
        mean = logits.mean(axis=1, dtype=np.float64)
        shifted = mean - mean.max(axis=1, keepdims=True)
    finite = np.isfinite(shifted).all(axis=1)
    if not finite.all():
        raise DataError(
            f"the logits of sample {finite.argmin()} are not finite or too far apart; expected "
            "numbers"
        )
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


def calibration(judged: Outcomes, images: Images, resamples: Resamples) -> dict[str, Estimate]:
    """The metrics of `QUALITY` that do not depend on an uncertainty, by name: Wilson's interval for
    accuracy, the bootstrap's for NLL and Brier score.

    None for the calibration errors: they are biased upwards, a resample's by as much again, so that
    percentiles of their replicates cover a calibrated network's true error never and their
    reflections in 57 % of cases (docs/ood.md). Raises `DataError` where `images` describes another
    number of samples.
    """
    found = {
        name: mean_estimate(values, images, resamples)
        for name, values in (
            ("accuracy", judged.correct),
            ("nll", judged.negative_log_likelihood),
            ("brier", judged.brier),
        )
    }
    accuracy = proportion_interval(int(judged.correct.sum()), len(judged))
    found["accuracy"] = replace(accuracy, replicates=found["accuracy"].replicates)
    for name, kind in (("ece", "equal-width"), ("ece_equal_mass", "equal-mass")):
        found[name] = Estimate(calibration_error(judged.confidence, judged.correct, kind=kind))
    return found


def calibration_error(
    confidences: ArrayLike, correct: ArrayLike, bins: int = BINS, kind: str = "equal-width"
) -> float:
    """Expected calibration error: mean over samples of |accuracy − mean confidence| of their bin,
    in [0, 1] (Guo et al. 2017, equation 3).

    Bins as in `reliability`, which also says what raises `DataError`.
    """
    diagram = reliability(confidences, correct, bins, kind)
    filled = diagram.count > 0
    gaps = np.abs(diagram.accuracy[filled] - diagram.confidence[filled])
    return float((diagram.count[filled] * gaps).sum() / diagram.count.sum())


def reliability(
    confidences: ArrayLike, correct: ArrayLike, bins: int = BINS, kind: str = "equal-width"
) -> ReliabilityBins:
    """`ReliabilityBins` of confidences [N] in [0, 1] and whether each prediction was correct [N].

    "equal-width": bin b holds the confidences in (b/bins, (b + 1)/bins], 0 belonging to the first
    (Guo et al. 2017). "equal-mass": in rising order of confidence, bin b holds the places from
    ⌊bN/bins⌋ up to ⌊(b + 1)N/bins⌋, so that sizes differ by one at most (adaptive bins, Nixon et
    al. 2019). Samples of equal confidence count at their common accuracy, so that an edge among
    them does not make the value depend on the order of samples. Edges are halfway between
    neighbours, the outer ones the extremes. Raises `DataError` for empty or unequal vectors, a
    confidence outside [0, 1], no bins, or an unknown kind.
    """
    certain, right = _vectors("confidences", confidences, correct)
    inside = (certain >= 0) & (certain <= 1)
    if not inside.all():
        raise DataError(
            f"the confidence of sample {inside.argmin()} is {certain[inside.argmin()]}; expected a "
            "probability in [0, 1]"
        )
    if not isinstance(bins, int) or bins < 1:
        raise DataError(f"the number of bins is {bins!r}; expected a whole number of at least 1")
    if kind == "equal-width":
        edges, weight = np.arange(bins + 1) / bins, right.astype(np.float64)
        place = np.maximum(np.searchsorted(edges, certain, side="left") - 1, 0)
    elif kind == "equal-mass":
        order = np.argsort(certain, kind="stable")
        certain = certain[order]
        starts, lengths = runs(certain)
        weight = np.add.reduceat(right[order].astype(np.float64), starts) / lengths
        weight = np.repeat(weight, lengths)
        cuts = np.arange(bins + 1) * len(certain) // bins
        place = np.repeat(np.arange(bins), np.diff(cuts))
        edges = (certain[np.maximum(cuts - 1, 0)] + certain[np.minimum(cuts, len(certain) - 1)]) / 2
    else:
        raise DataError(f"unknown kind of bins {kind!r}; known are equal-width, equal-mass")
    count = np.bincount(place, minlength=bins)
    confidence, accuracy = (
        np.bincount(place, terms, bins) / np.where(count > 0, count, np.nan)
        for terms in (certain, weight)
    )
    return ReliabilityBins(edges, confidence, accuracy, count)


def risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> tuple[Scores, Scores]:
    """Coverage k/N and selective risk for k = 1 … N, both [N]: the share of wrong predictions among
    the k least uncertain samples.

    Samples of equal uncertainty come in no order: the risk is the expectation over all orders of
    them, so errors enter a tie evenly. From the uncertainty [N], higher meaning less sure, and
    whether each prediction is wrong [N] (Geifman and El-Yaniv 2017). Raises `DataError` for empty
    or unequal vectors, and for an uncertainty that is not finite, with its sample.
    """
    unsure, missed = _checked_selection(uncertainty, wrong)
    order = np.argsort(unsure, kind="stable")
    starts, lengths = runs(unsure[order])
    errors = np.add.reduceat(missed[order].astype(np.int64), starts)
    before, share = np.cumsum(errors) - errors, errors / lengths
    accepted, tie = np.arange(1, len(order) + 1), np.repeat(np.arange(len(starts)), lengths)
    expected = before[tie] + share[tie] * (accepted - starts[tie])
    return accepted / len(order), expected / accepted


def aurc(uncertainty: ArrayLike, wrong: ArrayLike) -> float:
    """Area under the risk–coverage curve: the mean selective risk over the coverages 1/N … 1
    (Geifman, Uziel and El-Yaniv 2019).

    In [0, 1], lower is better, the error rate where the uncertainty is constant. Ties and errors as
    in `risk_coverage`.
    """
    return float(risk_coverage(uncertainty, wrong)[1].mean())


def misclassification_auroc(uncertainty: ArrayLike, wrong: ArrayLike) -> float | None:
    """AUROC of the uncertainty [N], wrong predictions being positive and ties counting half
    (Hendrycks and Gimpel 2017).

    None where no or every prediction is wrong. Errors as in `risk_coverage`.
    """
    unsure, missed = _checked_selection(uncertainty, wrong)
    if missed.all() or not missed.any():
        return None
    return auroc(unsure[~missed], unsure[missed])


def selective(
    uncertainty: ArrayLike, wrong: ArrayLike, images: Images, resamples: Resamples
) -> dict[str, Estimate]:
    """`misclassification_auroc` (where it is defined) and `aurc` of `uncertainty` [N] and `wrong`
    [N], with bootstrap intervals.

    Raises `DataError` as `risk_coverage` does, and where `images` describes another number of
    samples.
    """
    from ahsar_eval.ood.kernels import selective_risks

    unsure, missed = _checked_selection(uncertainty, wrong)
    check_length("predictions", len(unsure), images)
    order = np.argsort(unsure, kind="stable")
    edges = np.append(runs(unsure[order])[0], len(order))
    drawn = np.empty((resamples.replicates, 2))
    for start, stop in resamples.chunks(len(unsure)):
        multiplicities = resamples.multiplicities(images, start, stop)
        selective_risks(multiplicities, order, edges, missed, drawn[start:stop])
    found = {"aurc": percentile_interval(aurc(unsure, missed), drawn[:, 1].copy())}
    value = misclassification_auroc(unsure, missed)
    if value is not None:
        found["misclassification_auroc"] = percentile_interval(value, drawn[:, 0].copy())
    return found


def _checked_selection(
    uncertainty: ArrayLike, wrong: ArrayLike
) -> tuple[Scores, NDArray[np.bool_]]:
    unsure, missed = _vectors("uncertainty", uncertainty, wrong)
    finite = np.isfinite(unsure)
    if not finite.all():
        raise DataError(
            f"the uncertainty of sample {finite.argmin()} is not finite; expected numbers"
        )
    return unsure, missed


def _vectors(what: str, values: ArrayLike, flags: ArrayLike) -> tuple[Scores, NDArray[np.bool_]]:
    """Both as vectors [N], float64 and bool."""
    numbers, happened = np.asarray(values, dtype=np.float64), np.asarray(flags)
    if numbers.ndim != 1 or not len(numbers) or numbers.shape != happened.shape:
        raise DataError(
            f"{what} of shape {numbers.shape} and outcomes of {happened.shape}; expected two equal "
            "vectors, not empty"
        )
    known = np.isin(happened, (0, 1))
    if not known.all():
        raise DataError(
            f"the outcome of sample {known.argmin()} is neither right nor wrong; expected 0 or 1"
        )
    return numbers, happened.astype(np.bool_)
