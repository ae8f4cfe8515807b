"""SCP: distance of a sample's spike counts to those that its predicted class shows in training
(Martínez-Seras et al. 2023).

Of each predicted class (right or wrong), the first 1,000 training samples are clustered by their
spike counts of the last hidden layer: Manhattan distance, average linkage. The tree is cut into the
number of clusters, 2 to 10, with the largest mean silhouette; a class whose best silhouette is not
above 0, or that has fewer than three samples, is one cluster. A cluster's archetype is the median
of its members, neuron by neuron. The score is the smallest Manhattan distance to an archetype of
the class that the network predicts; a class that is predicted for no training sample has none, and
the nearest archetype of any class stands in.

The authors choose among 50 distances at which to cut, set by hand for each network; the number of
clusters needs no such setting.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.fitting import Fitting, ScoreFunction
from ahsar_eval.ood.formulas import Scores
from ahsar_eval.recording import Recording

SAMPLES_PER_CLASS = 1000
MOST_CLUSTERS = 10
Counts = NDArray[Any]  # unsigned


def fit_spike_patterns(fitting: Fitting) -> ScoreFunction:
    """Smallest Manhattan distance of spike counts to the archetypes of the predicted class, in
    spikes.
    """
    training = fitting.of("scp", "training")
    counts, predictions = _counts_of(training), training.predictions
    if not len(counts):
        raise DataError(
            f"scp is fitted on {fitting.training_name}, which has no sample; give a larger set"
        )
    archetypes = {
        int(predicted): archetypes_of(
            counts[np.flatnonzero(predictions == predicted)[:SAMPLES_PER_CLASS]]
        )
        for predicted in np.unique(predictions)
    }
    every = np.concatenate(list(archetypes.values()))

    def score(recording: Recording) -> Scores:
        given = _counts_of(recording)
        if given.shape[1] != counts.shape[1]:
            raise DataError(
                f"scp was fitted on {counts.shape[1]} neurons and {recording.split['name']} has "
                f"{given.shape[1]}; "
                "score recordings of the network it was fitted on"
            )
        predicted = recording.predictions
        scores = np.empty(len(given))
        for label in np.unique(predicted):
            members = np.flatnonzero(predicted == label)
            scores[members] = _nearest(given[members], archetypes.get(int(label), every))
        return scores

    return score


def archetypes_of(counts: Counts) -> Scores:
    """Medians [clusters, L] of the clusters of spike counts [n, L]."""
    clusters = clusters_of(counts)
    return np.stack(
        [np.median(counts[clusters == cluster], axis=0) for cluster in np.unique(clusters)]
    ).astype(np.float64)


def clusters_of(counts: Counts) -> NDArray[np.int64]:
    """Cluster of each row of spike counts [n, L], numbered from 0 in no order; the smallest number
    of clusters among equally good ones.
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist, squareform

    best = np.zeros(len(counts), dtype=np.int64)
    if len(counts) < 3:
        return best
    distances = pdist(counts.astype(np.float64), "cityblock")
    tree = linkage(distances, "average")
    square, largest = squareform(distances), 0.0
    for number in range(2, min(MOST_CLUSTERS, len(counts) - 1) + 1):
        clusters = fcluster(tree, number, "maxclust").astype(np.int64) - 1
        found = silhouette(square, clusters)
        if found > largest:
            best, largest = clusters, found
    return best


def silhouette(distances: Scores, clusters: NDArray[np.int64]) -> float:
    """Mean silhouette of samples with `distances` [n, n] in `clusters` [n] numbered from 0
    (Rousseeuw 1987); 0 for a single cluster.

    A sample alone in its cluster counts 0, and so does one whose distances to its own and the next
    cluster are both 0.
    """
    sizes = np.bincount(clusters)
    if len(sizes) < 2:
        return 0.0
    rows = np.arange(len(clusters))
    sums = distances @ np.eye(len(sizes))[clusters]  # to all members of each cluster
    own = sums[rows, clusters] / np.maximum(sizes[clusters] - 1, 1)
    means = sums / sizes
    means[rows, clusters] = np.inf
    other = means.min(axis=1)
    scale = np.maximum(own, other)
    values = np.where(
        (sizes[clusters] > 1) & (scale > 0), (other - own) / np.where(scale > 0, scale, 1.0), 0.0
    )
    return float(values.mean())


def _nearest(counts: Counts, archetypes: Scores) -> Scores:
    """Smallest Manhattan distance of each row of `counts` [n, L] to a row of `archetypes`; exact,
    all are whole or half numbers.
    """
    from scipy.spatial.distance import cdist

    nearest = np.empty(len(counts))
    for start in range(0, len(counts), 1024):
        rows = slice(start, start + 1024)
        nearest[rows] = cdist(counts[rows].astype(np.float64), archetypes, "cityblock").min(axis=1)
    return nearest


def _counts_of(recording: Recording) -> Counts:
    if recording.spike_counts is None:
        raise DataError(
            f"scp needs the spike counts of {recording.split['name']}, which were not recorded; "
            "record with extras=('spike counts',)"
        )
    return recording.spike_counts
