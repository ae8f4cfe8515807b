"""Prediction with a reject option: what is wrong among the samples kept, when the most uncertain
are turned away first (docs/ood.md).

The excess over the best order (E-AURC) is `aurc(uncertainty, wrong) - aurc(wrong, wrong)`.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.metrics import auroc, runs

Values = NDArray[np.float64]


def risk_coverage(uncertainty: ArrayLike, wrong: ArrayLike) -> tuple[Values, Values]:
    """Coverage k/N and selective risk for k = 1 … N, both [N]: the share of wrong predictions among
    the k least uncertain samples.

    Samples of equal uncertainty come in no order: the risk is the expectation over all orders of
    them, so errors enter a tie evenly. From the uncertainty [N], higher meaning less sure, and
    whether each prediction is wrong [N] (Geifman and El-Yaniv 2017). Raises `DataError` for empty
    or unequal vectors, and for an uncertainty that is not finite, with its sample.
    """
    unsure, missed = checked_selection(uncertainty, wrong)
    order = np.argsort(unsure, kind="stable")
    starts, lengths = runs(unsure[order])
    errors = np.add.reduceat(missed[order].astype(np.int64), starts)
    before = np.cumsum(errors) - errors
    accepted = np.arange(1, len(order) + 1)
    expected = np.repeat(before, lengths) + np.repeat(errors / lengths, lengths) * (
        accepted - np.repeat(starts, lengths)
    )
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
    unsure, missed = checked_selection(uncertainty, wrong)
    if missed.all() or not missed.any():
        return None
    return auroc(unsure[~missed], unsure[missed])


def checked_selection(uncertainty: ArrayLike, wrong: ArrayLike) -> tuple[Values, NDArray[np.bool_]]:
    """Both as vectors [N], float64 and bool; raises `DataError` as `risk_coverage` says."""
    unsure, missed = np.asarray(uncertainty, dtype=np.float64), np.asarray(wrong)
    if missed.ndim != 1 or not len(missed) or unsure.shape != missed.shape:
        raise DataError(
            f"uncertainty of shape {unsure.shape} and outcomes of {missed.shape}; expected two "
            "equal vectors, not empty"
        )
    known, finite = np.isin(missed, (0, 1)), np.isfinite(unsure)
    if not known.all():
        raise DataError(
            f"the outcome of sample {int(np.flatnonzero(~known)[0])} is neither right nor wrong; "
            "expected 0 or 1"
        )
    if not finite.all():
        raise DataError(
            f"the uncertainty of sample {int(np.flatnonzero(~finite)[0])} is not finite; expected "
            "numbers"
        )
    return unsure, missed.astype(np.bool_)
