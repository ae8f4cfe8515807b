"""Scores by distance in feature space: pytorch-ood's detectors, in coordinates where their
arithmetic is safe (`feature_space`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.feature_space import vim_space, white_space
from ahsar_eval.ood.fitting import Fitting, ScoreFunction, checked_labels, features_of, same_width
from ahsar_eval.ood.formulas import Scores
from ahsar_eval.recording import Recording

if TYPE_CHECKING:
    import torch

NEIGHBOUR = 50  # of CIFAR-10 in Sun et al. 2022, and OpenOOD's default


def fit_knn(fitting: Fitting) -> ScoreFunction:
    """Distance of a sample's feature, scaled to length 1, to the 50th nearest of the training set's
    (Sun et al. 2022).

    A feature that is 0 everywhere stays 0. Raises `DataError` for a training set of fewer than 50
    samples.
    """
    from pytorch_ood.detector import KNN

    known, name = features_of("knn", fitting.of("knn", "training")), fitting.training_name
    if len(known) < NEIGHBOUR:
        raise DataError(
            f"knn measures the distance to the {NEIGHBOUR}th nearest training sample, and {name} "
            f"has {len(known)}; give a larger set"
        )
    detector = KNN(None, k=NEIGHBOUR, algorithm="brute")
    detector.fit_features(_tensor(known), _tensor(np.zeros(len(known), dtype=np.int64)))

    def score(recording: Recording) -> Scores:
        given = same_width("knn", features_of("knn", recording), known.shape[1], recording)
        return _array(detector.predict_features(_tensor(given)))

    return score


def fit_mahalanobis(fitting: Fitting) -> ScoreFunction:
    """Squared Mahalanobis distance to the nearest class mean, covariance shared by the classes (Lee
    et al. 2018, equation 2).
    """
    from pytorch_ood.detector import Mahalanobis

    return _by_gaussians(
        "mahalanobis", Mahalanobis(None), 2.0, fitting
    )  # pytorch-ood gives half the distance


def fit_relative_mahalanobis(fitting: Fitting) -> ScoreFunction:
    """Mahalanobis distance to the nearest class mean less the distance under one Gaussian of all
    classes (Ren et al. 2021, equation 3).
    """
    from pytorch_ood.detector import RMD

    return _by_gaussians("relative-mahalanobis", RMD(None), 1.0, fitting)


def _by_gaussians(name: str, detector: Any, factor: float, fitting: Fitting) -> ScoreFunction:
    """`factor` times what a detector of pytorch-ood gives that fits Gaussians to features and
    labels.
    """
    known, labels = _training(name, fitting)
    space = white_space(name, known, labels)
    with _float64():
        detector.fit_features(_tensor(space.of(known)), _tensor(labels))

    def score(recording: Recording) -> Scores:
        given = same_width(name, features_of(name, recording), known.shape[1], recording)
        # pytorch-ood's scatter matrix is not divided by N.
        return factor * len(known) * _array(detector.predict_features(_tensor(space.of(given))))

    return score


def fit_vim(fitting: Fitting) -> ScoreFunction:
    """Length of a feature's part outside the training set's principal space, scaled to the logits,
    less their logsumexp (Wang et al. 2022).

    The principal space has d = `principal_dimensions` of D dimensions. Raises `DataError` for a
    network whose logits are not the output of a linear layer, for training features without a
    residual, and where the scale is not positive.
    """
    from pytorch_ood.detector import ViM

    training = fitting.of("vim", "training")
    known, readout = features_of("vim", training), training.readout
    if readout is None:
        raise DataError(
            "vim needs the weights of a linear read-out, and the logits of this network are not "
            "the output of its last linear layer; "
            "choose another score"
        )
    space, weight, bias, d = vim_space(known, readout)
    detector = ViM(None, d, _tensor(weight), _tensor(bias))
    detector.fit_features(_tensor(space.of(known)), _tensor(training.labels))
    scale = float(detector.alpha or 0.0)
    if not (np.isfinite(scale) and scale > 0):
        raise DataError(
            "vim scales residuals to the largest logits of the training set, and their ratio is "
            f"{scale:g}; expected a positive number; "
            "choose another score"
        )

    def score(recording: Recording) -> Scores:
        given = same_width("vim", features_of("vim", recording), known.shape[1], recording)
        return _array(detector.predict_features(_tensor(space.of(given))))

    return score


def _training(score: str, fitting: Fitting) -> tuple[Scores, NDArray[np.int64]]:
    """Features [N, D] of the training recording, and its labels as 0 … C − 1 without gaps, as
    pytorch-ood wants them.
    """
    training = fitting.of(score, "training")
    labels = checked_labels(score, training, fitting.training_name)
    return features_of(score, training), np.unique(labels, return_inverse=True)[1].astype(np.int64)


@contextmanager
def _float64() -> Iterator[None]:
    """New tensors hold float64: pytorch-ood makes its means and matrices of the default type."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _tensor(array: NDArray[np.float64] | NDArray[np.int64]) -> "torch.Tensor":
    import torch

    return torch.from_numpy(np.ascontiguousarray(array))


def _array(tensor: "torch.Tensor") -> Scores:
    found: Scores = tensor.detach().cpu().double().numpy()
    return found
