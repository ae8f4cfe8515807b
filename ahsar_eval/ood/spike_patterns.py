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

from ahsar_eval.ood.detectors import Fitting, ScoreFunction, extra_of
from ahsar_eval.ood.metrics import Scores
from ahsar_eval.recording import SPIKE_COUNTS, Recording

SAMPLES_PER_CLASS = 1000
MOST_CLUSTERS = 10
Counts = NDArray[Any]  # unsigned


def fit_spike_patterns(fitting: Fitting) -> ScoreFunction:
    """Smallest Manhattan distance of spike counts to the archetypes of the predicted class, in
    spikes; exact, all are whole or half numbers.
    """
    from scipy.spatial.distance import cdist

    training = fitting.of("scp", "training")
    counts, predictions = extra_of("scp", SPIKE_COUNTS, training), training.predictions
    archetypes = {
        int(predicted): archetypes_of(
            counts[np.flatnonzero(predictions == predicted)[:SAMPLES_PER_CLASS]]
        )
        for predicted in np.unique(predictions)
    }
    every = np.concatenate(list(archetypes.values()))

    def score(recording: Recording) -> Scores:
        given = extra_of("scp", SPIKE_COUNTS, recording, counts.shape[1])
        predicted, scores = recording.predictions, np.empty(len(given))
        for label in np.unique(predicted):
            members = np.flatnonzero(predicted == label)
            for start in range(0, len(members), 1024):  # held in float64 at once
                rows = members[start : start + 1024]
                distances = cdist(given[rows], archetypes.get(int(label), every), "cityblock")
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
