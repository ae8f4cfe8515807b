"""Calibration of a classifier's probabilities: negative log-likelihood, Brier score, expected
calibration error (docs/ood.md).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.metrics import runs

Values = NDArray[np.float64]
BINS = 15
KINDS = ("equal-width", "equal-mass")


@dataclass(frozen=True)
class Outcomes:
    """What each sample contributes, all [N]: largest probability, whether its class is the label,
    −log p(label) in nats, Brier term.
    """

    confidence: Values
    correct: NDArray[np.bool_]
    negative_log_likelihood: Values
    brier: Values

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

    edges: Values
    confidence: Values
    accuracy: Values
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
    values = np.asarray(logits)
    if values.ndim != 3 or 0 in values.shape:
        raise DataError(
            f"the logits have shape {values.shape}; expected [samples, time, classes] with at "
            "least one of each"
        )
    classes = values.shape[2]
    truth = _labels(labels, len(values), classes)
    with np.errstate(over="ignore", invalid="ignore"):  # reported below, with the sample
        mean = values.mean(axis=1, dtype=np.float64)
        shifted = mean - mean.max(axis=1, keepdims=True)
    spoilt = ~np.isfinite(shifted).all(axis=1)
    if spoilt.any():
        raise DataError(
            f"the logits of sample {int(np.flatnonzero(spoilt)[0])} are not finite or too far "
            "apart; expected numbers"
        )
    exponentials = np.exp(shifted)
    others = np.sort(exponentials, axis=1)[:, :-1].sum(axis=1)  # the largest is 1
    probabilities = exponentials / (1 + others[:, None])
    rows = np.arange(len(values))
    residual = probabilities.copy()
    residual[rows, truth] -= 1
    return Outcomes(
        confidence=1 / (1 + others),
        correct=shifted.argmax(axis=1) == truth,
        negative_log_likelihood=np.log1p(others) - shifted[rows, truth],
        brier=np.square(residual).sum(axis=1),
    )


def negative_log_likelihood(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean of −log p(label) in nats, ≥ 0, with p the softmax of the time-mean logits [N, T, K];
    raises as `outcomes` does.
    """
    return float(outcomes(logits, labels).negative_log_likelihood.mean())


def brier(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean over samples of Σ_k (p_k − [k is the label])², in [0, 2] (Brier 1950, the sum over all
    classes); raises as `outcomes` does.

    Two classes give twice the value of the one-class form that scikit-learn uses for them.
    """
    return float(outcomes(logits, labels).brier.mean())


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
    certain, right = _checked(confidences, correct)
    bins = checked_bins(bins)
    if kind == "equal-width":
        edges = np.arange(bins + 1) / bins
        weight, place = right.astype(np.float64), equal_width_bin(certain, bins)
    elif kind == "equal-mass":
        order = np.argsort(certain, kind="stable")
        certain = certain[order]
        starts, lengths = runs(certain)
        weight = np.repeat(
            np.add.reduceat(right[order].astype(np.float64), starts) / lengths, lengths
        )
        cuts = np.arange(bins + 1) * len(certain) // bins
        place = np.repeat(np.arange(bins), np.diff(cuts))
        edges = (certain[np.maximum(cuts - 1, 0)] + certain[np.minimum(cuts, len(certain) - 1)]) / 2
    else:
        raise DataError(f"unknown kind of bins {kind!r}; known are {', '.join(KINDS)}")
    count = np.bincount(place, minlength=bins)
    held = np.where(count > 0, count, np.nan)
    confidence = np.bincount(place, certain, bins) / held
    return ReliabilityBins(
        edges=edges,
        confidence=confidence,
        accuracy=np.bincount(place, weight, bins) / held,
        count=count,
    )


def equal_width_bin(confidences: Values, bins: int) -> NDArray[np.int64]:
    """The bin of each confidence [N] among `bins` of equal width, closed above; 0 is in
    the first."""
    return np.maximum(np.searchsorted(np.arange(bins + 1) / bins, confidences, side="left") - 1, 0)


def checked_bins(bins: int) -> int:
    """`bins` where it is a whole number of at least one; raises `DataError` for anything else."""
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)) or bins < 1:
        raise DataError(f"the number of bins is {bins!r}; expected a whole number of at least 1")
    return int(bins)


def _labels(labels: NDArray[np.integer], samples: int, classes: int) -> NDArray[np.int64]:
    found = np.asarray(labels)
    if found.shape != (samples,) or not np.issubdtype(found.dtype, np.integer):
        raise DataError(
            f"the labels have shape {found.shape} and type {found.dtype}; expected whole numbers "
            f"of shape ({samples},)"
        )
    outside = (found < 0) | (found >= classes)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        known = f"a class from 0 to {classes - 1}"
        raise DataError(
            f"sample {first} has the label {int(found[first])}, expected {known}; leave out "
            "samples without a known label"
        )
    return found.astype(np.int64)


def _checked(confidences: ArrayLike, correct: ArrayLike) -> tuple[Values, NDArray[np.bool_]]:
    certain, right = np.asarray(confidences, dtype=np.float64), np.asarray(correct)
    if certain.ndim != 1 or not len(certain) or certain.shape != right.shape:
        raise DataError(
            f"confidences of shape {certain.shape} and outcomes of {right.shape}; expected two "
            "equal vectors, not empty"
        )
    known = np.isin(right, (0, 1))
    if not known.all():
        raise DataError(
            f"the outcome of sample {int(np.flatnonzero(~known)[0])} is neither right nor wrong; "
            "expected 0 or 1"
        )
    outside = ~((certain >= 0) & (certain <= 1))
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"the confidence of sample {first} is {certain[first]}; expected a probability in [0, "
            "1]"
        )
    return certain, right.astype(np.bool_)
