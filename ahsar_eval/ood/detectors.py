"""Scores by distance to the training set, in feature space or between spike counts, all in float64
(docs/ood.md). Each is fitted on the recording of a training split that has samples.

Features of spiking networks make covariances singular: neurons that never fire, rates that always
agree. Mahalanobis distances are therefore taken over the directions in which the training set
varies within its classes by more than the rounding of its float32 features: this is the distance
under the pseudo-inverse of the maximum-likelihood covariance. A direction in which no class varies
counts for nothing.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ahsar_eval.errors import AhsarWarning, DataError
from ahsar_eval.ood.metrics import Scores, check_finite
from ahsar_eval.recording import FEATURES, SPIKE_COUNTS, Recording

ScoreFunction = Callable[[Recording], Scores]
NEIGHBOUR = 50  # of CIFAR-10 in Sun et al. 2022, and OpenOOD's default
SAMPLES_PER_CLASS, MOST_CLUSTERS = 1000, 10  # of spike patterns
Counts = NDArray[Any]  # unsigned
_ROUNDING = float(np.finfo(np.float32).eps)  # of the features


def features_of(recording: Recording) -> Scores:
    """Features of a recording in float64, [N, D]. Raises `DataError` where one is not finite."""
    features = extra_of(recording, FEATURES).astype(np.float64)
    check_finite(f"a feature of {recording.split['name']}", features)
    return features


def extra_of(recording: Recording, extra: str) -> NDArray[Any]:
    """What a recording holds beyond logits, [N, D]: `FEATURES` or `SPIKE_COUNTS`. Raises
    `DataError` where it was not recorded.
    """
    values: NDArray[Any] | None = getattr(recording, extra.replace(" ", "_"))
    if values is None:
        raise DataError(
            f"the {extra} of {recording.split['name']} were not recorded; record with "
            f"extras=('{extra}',)"
        )
    return values


def fit_knn(training: Recording) -> ScoreFunction:
    """Distance of a sample's feature, scaled to length 1, to the 50th nearest of the training set's
    (Sun et al. 2022).

    A feature that is 0 everywhere stays 0, and a distance below the rounding of float32 features is
    0: samples that repeat training samples tie. Raises `DataError` for a training set of fewer than
    50 samples.
    """
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import normalize

    known = normalize(features_of(training))
    if len(known) < NEIGHBOUR:
        raise DataError(
            f"knn measures the distance to the {NEIGHBOUR}th nearest training sample, and "
            f"{training.split['name']} has {len(known)}; give a larger set"
        )
    search = NearestNeighbors(n_neighbors=NEIGHBOUR, algorithm="brute").fit(known)

    def score(recording: Recording) -> Scores:
        given = normalize(features_of(recording))
        nearest = search.kneighbors(given, return_distance=False)[:, -1]
        # The search expands ‖x − y‖², which leaves little but rounding between near neighbours.
        distances = np.linalg.norm(given - known[nearest], axis=1)
        return np.where(distances < _ROUNDING, 0.0, distances)

    return score


def fit_mahalanobis(training: Recording, *, relative: bool = False) -> ScoreFunction:
    """Squared Mahalanobis distance to the nearest class mean, covariance shared by the classes (Lee
    et al. 2018, equation 2); if `relative`, less the distance under one Gaussian of all classes
    (Ren et al. 2021, equation 3).

    Warns where the training set has no more samples than directions in which it varies, so that all
    of them lie equally far out. Raises `DataError` where it has none.
    """
    known, name = features_of(training), "relative-mahalanobis" if relative else "mahalanobis"
    classes, members = np.unique(training.labels, return_inverse=True)
    means = np.stack([known[training.labels == label].mean(axis=0) for label in classes])
    variances, axes = _principal_axes(known - means[members])
    kept = _above_rounding(variances)
    if not kept.any():
        raise DataError(
            f"the features of the training set do not vary within any class; {name} has no "
            "covariance; choose another score"
        )
    if kept.sum() >= len(known) - len(means):
        warnings.warn(
            f"{name} is fitted on {len(known)} samples whose features vary in "
            f"{int(kept.sum())} directions; it needs far more",
            AhsarWarning,
            stacklevel=2,
        )
    # coordinates in which the covariance within the classes is the identity, about the mean of all
    centre, whitening = known.mean(axis=0), axes[:, kept] / np.sqrt(variances[kept])
    white, white_means = (known - centre) @ whitening, (means - centre) @ whitening
    of_all = np.linalg.inv(np.linalg.cholesky(white.T @ white / len(white))).T

    def score(recording: Recording) -> Scores:
        given = _product(features_of(recording) - centre, whitening)
        nearest = scipy.spatial.distance.cdist(given, white_means, "sqeuclidean").min(axis=1)
        return nearest - np.square(_product(given, of_all)).sum(axis=1) if relative else nearest

    return score


def fit_vim(training: Recording) -> ScoreFunction:
    """Length of a feature's part outside the training set's principal space about −W⁺b, scaled to
    the logits, less their logsumexp (Wang et al. 2022, equations 5 to 8).

    The principal space has d = `principal_dimensions` of D dimensions. Raises `DataError` for a
    network whose logits are not the output of a linear layer, for training features without a
    residual, and where the scale is not positive.
    """
    known, readout = features_of(training), training.readout
    if readout is None:
        raise DataError(
            "vim needs the weights of a linear read-out, and the logits of this network are not "
            "the output of its last linear layer; choose another score"
        )
    origin = -np.linalg.pinv(readout.weight) @ readout.bias
    variances, axes = _principal_axes(known - origin)
    outside = axes[:, : -principal_dimensions(variances)]

    def parts(features: Scores) -> tuple[Scores, Scores]:
        """Lengths of the residuals [N] and logits [N, K]."""
        residuals = np.linalg.norm(_product(features - origin, outside), axis=1)
        return residuals, _product(features, readout.weight.T) + readout.bias

    residuals, logits = parts(known)
    scale = float(logits.max(axis=1).mean() / residuals.mean())
    if not (np.isfinite(scale) and scale > 0):
        raise DataError(
            "vim scales residuals to the largest logits of the training set, and their ratio is "
            f"{scale:g}; expected a positive number; choose another score"
        )

    def score(recording: Recording) -> Scores:
        residuals, logits = parts(features_of(recording))
        return scale * residuals - scipy.special.logsumexp(logits, axis=1)

    return score


def fit_spike_patterns(training: Recording) -> ScoreFunction:
    """SCP: Manhattan distance of a sample's spike counts to those that its predicted class shows in
    training, in spikes (Martínez-Seras et al. 2023); exact, all are whole or half numbers.

    Of each predicted class (right or wrong), the first 1,000 training samples are clustered by
    their spike counts of the last hidden layer: Manhattan distance, average linkage. The tree is
    cut into the number of clusters, 2 to 10, with the largest mean silhouette; a class whose best
    silhouette is not above 0, or that has fewer than three samples, is one cluster. A cluster's
    archetype is the median of its members, neuron by neuron. The score is the smallest distance to
    an archetype of the class that the network predicts; a class that is predicted for no training
    sample has none, and the nearest archetype of any class stands in.

    The authors choose among 50 distances at which to cut, set by hand for each network; the number
    of clusters needs no such setting.
    """
    counts, predictions = extra_of(training, SPIKE_COUNTS), training.predictions
    archetypes = {
        int(predicted): archetypes_of(
            counts[np.flatnonzero(predictions == predicted)[:SAMPLES_PER_CLASS]]
        )
        for predicted in np.unique(predictions)
    }
    every = np.concatenate(list(archetypes.values()))

    def score(recording: Recording) -> Scores:
        given = extra_of(recording, SPIKE_COUNTS)
        predicted, scores = recording.predictions, np.empty(len(given))
        for label in np.unique(predicted):
            members = np.flatnonzero(predicted == label)
            for rows in np.array_split(members, 1 + len(members) // 1024):  # in float64 at once
                candidates = archetypes.get(int(label), every)
                distances = scipy.spatial.distance.cdist(given[rows], candidates, "cityblock")
                scores[rows] = distances.min(axis=1)
        return scores

    return score


def archetypes_of(counts: Counts) -> Scores:
    """Medians [clusters, L] of the clusters of spike counts [n, L]."""
    clusters = clusters_of(counts)
    return np.stack(
        [np.median(counts[clusters == cluster], axis=0) for cluster in np.unique(clusters)]
    )


def clusters_of(counts: Counts) -> NDArray[np.int64]:
    """Cluster of each row of spike counts [n, L], numbered from 0 in no order; the smallest number
    of clusters among equally good ones.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist, squareform
    from sklearn.metrics import silhouette_score

    best, largest = np.zeros(len(counts), dtype=np.int64), 0.0
    if len(counts) < 3:
        return best
    distances = pdist(counts, "cityblock")
    tree, square = linkage(distances, "average"), squareform(distances)
    for number in range(2, min(MOST_CLUSTERS, len(counts) - 1) + 1):
        clusters = fcluster(tree, number, "maxclust").astype(np.int64) - 1
        if clusters.any():  # among equal distances there may be no cut into so many
            silhouette = silhouette_score(square, clusters, metric="precomputed")
            if silhouette > largest:
                best, largest = clusters, silhouette
    return best


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


def _product(features: Scores, axes: Scores) -> Scores:
    """`features` [N, D] · `axes` [D, r], one sample after another: equal features give equal bits
    wherever they stand, which the product of whole matrices does not promise.
    """
    return np.matmul(features[:, None, :], axes)[:, 0]


def _principal_axes(centred: Scores) -> tuple[Scores, Scores]:
    """Mean squares [D], ascending, and axes [D, D] of the principal directions of rows [N, D] about
    0.
    """
    return np.linalg.eigh(centred.T @ centred / len(centred))


def _above_rounding(variances: Scores) -> NDArray[np.bool_]:
    """Which of ascending variances [D] are more than the rounding of float32 features."""
    return variances > max(float(variances[-1]), 0.0) * len(variances) * _ROUNDING**2
