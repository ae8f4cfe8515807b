"""Scores of a sample from its logits [N, T, K]; higher means more out of distribution."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

Scores = NDArray[np.float64]


def predictive_entropy(logits: NDArray[np.floating]) -> Scores:
    """H(softmax(mean_t z_t)) in nats, [N], from logits [N, T, K] (paper 5.2; docs/ood.md).

    Computed in float64 from log-softmax, so that a saturated softmax gives 0 and not NaN.
    """
    logs = log_softmax(np.asarray(logits, dtype=np.float64).mean(axis=1), axis=1)
    probabilities = np.exp(logs)
    # 0 · (−inf) is 0 in the limit: a class of probability zero adds nothing.
    return -np.where(probabilities > 0, probabilities * logs, 0.0).sum(axis=1)


SCORES: dict[str, Callable[[NDArray[np.floating]], Scores]] = {"entropy": predictive_entropy}
