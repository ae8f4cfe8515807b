"""MSP at the temperature that calibrates the validation split (Guo et al. 2017, section 4.2)."""

import numpy as np
import scipy
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.fitting import Fitting, ScoreFunction, checked_labels
from ahsar_eval.ood.formulas import Scores, maximum_softmax

_DOUBLINGS = 200


def fitted_temperature(logits: Scores, labels: NDArray[np.int64]) -> float:
    """The T > 0 that minimises the negative log-likelihood of softmax(z / T), from time-mean logits
    z [N, K] and labels [N].

    The likelihood is concave in β = 1/T with slope mean(z_y − E_p[z]), whose root is bracketed and
    then found to the last bits of float64. Raises `DataError` where there is none: T runs to 0
    where the true class has the largest logit in every sample, and to infinity where the true
    classes' logits are no larger than the others' on average.
    """
    from scipy.optimize import brentq

    values = logits - logits.max(axis=1, keepdims=True)
    true = values[np.arange(len(labels)), labels]

    def slope(inverse: float) -> float:
        expected = (scipy.special.softmax(inverse * values, axis=1) * values).sum(axis=1)
        return float(
            np.mean(expected - true)
        )  # of the negative log-likelihood, by β; it never falls

    if not (true < 0).any():
        raise DataError(
            f"in all {len(labels)} samples of the validation split the true class has the largest "
            "logit, so that no temperature is best "
            "(it runs to 0); leave msp-temperature out, msp ranks without one"
        )
    if slope(0.0) >= 0:
        raise DataError(
            "on the validation split the logits of the true classes are no larger than the "
            "others', so that no temperature is best "
            "(it runs to infinity); leave msp-temperature out, or check the checkpoint"
        )
    high = 1.0 / float(np.abs(values).mean())
    for _ in range(_DOUBLINGS):
        if slope(high) > 0:
            break
        high *= 2
    else:
        raise DataError(
            "no temperature was found for the validation split (below 1e-60 of its logits); leave "
            "msp-temperature out"
        )
    return 1.0 / float(brentq(slope, 0.0, high, xtol=1e-300, rtol=8.9e-16, maxiter=1000))


def fit_msp_temperature(fitting: Fitting) -> ScoreFunction:
    """MSP at the temperature of `fitting.validation`; never fitted on a test set. Raises
    `DataError` where no temperature is best.
    """
    validation = fitting.of("msp-temperature", "validation")
    labels = checked_labels("msp-temperature", validation, str(validation.split["name"]))
    logits = validation.logits.mean(axis=1, dtype=np.float64)
    if labels.max() >= logits.shape[1]:
        raise DataError(
            "msp-temperature is fitted on labels, and the validation split has a class "
            f"{int(labels.max())} where the network tells "
            f"{logits.shape[1]} apart; give the set it was trained on"
        )
    temperature = fitted_temperature(logits, labels)
    return lambda recording: maximum_softmax(recording.logits, temperature)
