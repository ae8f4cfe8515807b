"""Coordinates in which detectors on features can be computed safely (docs/ood.md).

pytorch-ood adds 1e-6 to an undivided scatter matrix in float32 and inverts it; features of spiking
networks (neurons that never fire, rates that always agree) make that matrix singular, and the
inverse noise. So the features are whitened in float64 over the directions in which the training set
varies within its classes. There the scatter matrix is a multiple of the identity, the ridge is
nothing, and the score is the squared Mahalanobis distance under the pseudo-inverse of the
maximum-likelihood covariance, which the authors of both papers compute. Directions in which no
class varies count for nothing.

ViM in float32 mixes the last principal direction with the first residual one where their variances
are close beside the largest (scores of shipped checkpoints were 1 % off). It is given coordinates
in which the principal directions all vary alike, ten times as far as any other; residuals and
logits are the same there.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import AhsarWarning, DataError
from ahsar_eval.ood.formulas import Scores
from ahsar_eval.recording import Readout

# how far features vary in white coordinates: a ridge of 1e-6 on their scatter matrix is below the
# rounding of float64
_FAR = 1e4
_ROUNDING = float(np.finfo(np.float32).eps)  # of the features


def principal_dimensions(variances: Scores) -> int:
    """d of ViM from the variances [D] of features about its origin: 1000 from D = 2048, 512 from
    768, else D/2 (Wang et al. 2022, code).

    Half the rank where the features span no more than d dimensions, since a residual of rounding
    errors would be scaled up to the logits. Raises `DataError` where they span fewer than two.
    """
    total, rank = len(variances), int(_above_rounding(variances).sum())
    d = 1000 if total >= 2048 else 512 if total >= 768 else total // 2
    if rank < 2:
        raise DataError(
            "vim needs features that span at least 2 dimensions, and the training set's span "
            f"{rank}; choose another score"
        )
    return d if rank > d else rank // 2


@dataclass(frozen=True)
class Coordinates:
    """(x − `centre`) · `axes` of features x [N, D], with `axes` [D, r]."""

    centre: Scores
    axes: Scores

    def of(self, features: Scores) -> Scores:
        """Features [N, D] in these coordinates, [N, r]."""
        return (features - self.centre) @ self.axes


def white_space(score: str, features: Scores, labels: NDArray[np.int64]) -> Coordinates:
    """Coordinates in which the training set varies within its classes equally far in every
    direction.

    Warns where it has no more samples than directions, so that all of them lie equally far out.
    Raises `DataError` where it has none.
    """
    means = np.stack([features[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    variances, axes = _moments(features - means[labels])
    kept = _above_rounding(variances)
    if not kept.any():
        raise DataError(
            f"the features of the training set do not vary within any class; {score} has no "
            "covariance; choose another score"
        )
    if kept.sum() >= len(features) - len(means):
        warnings.warn(
            f"{score} is fitted on {len(features)} samples whose features vary in "
            f"{int(kept.sum())} directions; it needs far more",
            AhsarWarning,
            stacklevel=2,
        )
    return Coordinates(features.mean(axis=0), _FAR * axes[:, kept] / np.sqrt(variances[kept]))


def vim_space(features: Scores, readout: Readout) -> tuple[Coordinates, Scores, Scores, int]:
    """Coordinates for ViM about its origin −W⁺b, with weight [K, D] and bias [K] of the same logits
    there, and d.
    """
    origin = -np.linalg.pinv(readout.weight) @ readout.bias
    variances, axes = _moments(features - origin)
    d = principal_dimensions(variances)
    stretch = np.ones(len(variances))
    stretch[-d:] = 10 * np.sqrt(variances[-d - 1] / variances[-d:])
    # What is left of the bias is outside the range of the weights, so that the origin of the new
    # coordinates is 0.
    return (
        Coordinates(origin, axes * stretch),
        readout.weight @ axes / stretch,
        readout.weight @ origin + readout.bias,
        d,
    )


def _moments(centred: Scores) -> tuple[Scores, Scores]:
    """Mean squares [D], ascending, and axes [D, D] of the principal directions of rows [N, D] about
    0.
    """
    variances, axes = np.linalg.eigh(centred.T @ centred / len(centred))
    return variances, axes


def _above_rounding(variances: Scores) -> NDArray[np.bool_]:
    """Which of ascending variances [D] are more than the rounding of float32 features."""
    return variances > max(float(variances[-1]), 0.0) * len(variances) * _ROUNDING**2
