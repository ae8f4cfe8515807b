"""How good a classifier's predictions and its doubts about them are on one labelled set, with
bootstrap replicates (docs/ood.md).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.ood.bootstrap import Images, Resamples, check_length, mean_replicates
from ahsar_eval.ood.calibration import BINS, Outcomes, calibration_error, outcomes
from ahsar_eval.ood.metrics import runs
from ahsar_eval.ood.selective import aurc, checked_selection, misclassification_auroc

Values = NDArray[np.float64]
QUALITY = ("accuracy", "nll", "brier", "ece", "ece_equal_mass", "misclassification_auroc", "aurc")
RESAMPLED = tuple(
    name for name in QUALITY if name not in ("ece", "ece_equal_mass")
)  # metrics that a bootstrap says something of


@dataclass(frozen=True)
class Quality:
    """Fractions, but `nll` in nats and `brier` in [0, 2]; `misclassification_auroc` is None where
    no or every prediction is wrong.
    """

    n: int
    accuracy: float
    nll: float
    brier: float
    ece: float
    ece_equal_mass: float
    aurc: float
    misclassification_auroc: float | None


def quality(
    logits: NDArray[np.floating], labels: NDArray[np.integer], uncertainty: Values, bins: int = BINS
) -> Quality:
    """`Quality` of the predictions of logits [N, T, K] for labels [N] in 0 … K − 1, with
    `uncertainty` [N] telling right from wrong.

    Probabilities are the softmax of the time-mean logits in float64. Raises `DataError` that names
    the first sample with a logit or an uncertainty that is not finite or a label that is unknown,
    and for shapes that do not fit or an empty set.
    """
    judged = outcomes(logits, labels)
    return Quality(
        n=len(judged),
        aurc=aurc(uncertainty, ~judged.correct),
        misclassification_auroc=misclassification_auroc(uncertainty, ~judged.correct),
        **calibration(judged, bins),
    )


def calibration(judged: Outcomes, bins: int = BINS) -> dict[str, float]:
    """The metrics of `QUALITY` that do not depend on an uncertainty, by name."""
    return {
        "accuracy": float(judged.correct.mean()),
        "nll": float(judged.negative_log_likelihood.mean()),
        "brier": float(judged.brier.mean()),
        "ece": calibration_error(judged.confidence, judged.correct, bins),
        "ece_equal_mass": calibration_error(judged.confidence, judged.correct, bins, "equal-mass"),
    }


def quality_replicates(
    logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    uncertainty: Values,
    images: Images,
    resamples: Resamples,
) -> dict[str, Values]:
    """Every metric of `RESAMPLED` in each bootstrap replicate, [B] each: `quality` of the samples
    as often as the replicate holds them.

    NaN where a replicate holds no sample, or (`misclassification_auroc`) no or only wrong
    predictions. Raises `DataError` as `quality` does, and where `images` describes another number
    of samples.
    """
    judged = outcomes(logits, labels)
    return calibration_replicates(judged, images, resamples) | selective_replicates(
        uncertainty, ~judged.correct, images, resamples
    )


def calibration_replicates(
    judged: Outcomes, images: Images, resamples: Resamples
) -> dict[str, Values]:
    """Accuracy, NLL and Brier score in each bootstrap replicate, [B] each; a score more costs
    `selective_replicates` alone.

    Not the calibration errors: they are biased upwards, a resample's by as much again, so that
    percentiles of their replicates cover a calibrated network's true error never and their
    reflections in 57 % of cases (docs/ood.md).
    """
    terms = {
        "accuracy": judged.correct,
        "nll": judged.negative_log_likelihood,
        "brier": judged.brier,
    }
    return {name: mean_replicates(values, images, resamples) for name, values in terms.items()}


def selective_replicates(
    uncertainty: Values, wrong: NDArray[np.bool_], images: Images, resamples: Resamples
) -> dict[str, Values]:
    """The metrics of `QUALITY` that say how well `uncertainty` [N] tells `wrong` [N] predictions
    from right ones, [B] each.
    """
    from ahsar_eval.ood.quality_kernels import selective_risks

    unsure, missed = checked_selection(uncertainty, wrong)
    check_length("predictions", len(unsure), images)
    order = np.argsort(unsure, kind="stable")
    starts, _ = runs(unsure[order])
    edges = np.append(starts, len(order))
    found = np.empty((resamples.replicates, 2))
    for start, stop in resamples.chunks(len(unsure)):
        selective_risks(
            resamples.multiplicities(images, start, stop), order, edges, missed, found[start:stop]
        )
    return dict(zip(("misclassification_auroc", "aurc"), found.T.copy(), strict=True))
