"""Quality of many replicates at once: loops over presorted samples, compiled by numba when first used (kept compiled between runs).

A replicate is a vector of multiplicities [N], how often each sample stands in it. Replicates without a sample are NaN.
"""

import numba
import numpy as np


@numba.njit(cache=True)
def weighted_means(multiplicities, correct, nll, brier, confidence, places, bins, out):  # type: ignore[no-untyped-def]
    """Accuracy, negative log-likelihood, Brier score and equal-width calibration error into `out` [B, 4].

    `multiplicities` [B, N] unsigned; the rest [N]: `places` is the bin of each sample, fixed by its own confidence.
    """
    gaps = np.empty(bins)
    for b in range(multiplicities.shape[0]):
        gaps[:] = 0.0
        total, hits, loss, square = np.int64(0), np.int64(0), 0.0, 0.0
        for i in range(multiplicities.shape[1]):
            m = np.int64(multiplicities[b, i])
            if m == 0:
                continue
            total += m
            hits += m * np.int64(correct[i])
            loss += m * nll[i]
            square += m * brier[i]
            gaps[places[i]] += m * (np.float64(correct[i]) - confidence[i])
        if total == 0:
            out[b, :] = np.nan
            continue
        error = 0.0
        for place in range(bins):
            error += abs(gaps[place])
        out[b, 0], out[b, 1], out[b, 2], out[b, 3] = hits / total, loss / total, square / total, error / total


@numba.njit(cache=True)
def equal_mass_errors(multiplicities, order, starts, confidence, correct, bins, out):  # type: ignore[no-untyped-def]
    """Equal-mass calibration error into `out` [B], the bins formed anew in every replicate.

    `order` [N] sorts the samples by `confidence` [N]; `starts` [G + 1] are the places in `order` where a new confidence begins, and N.
    """
    for b in range(multiplicities.shape[0]):
        total = np.int64(0)
        for i in range(multiplicities.shape[1]):
            total += np.int64(multiplicities[b, i])
        if total == 0:
            out[b] = np.nan
            continue
        position, place, end = 0, 0, total // bins
        gap, error = 0.0, 0.0
        for group in range(len(starts) - 1):
            size, hits = np.int64(0), np.int64(0)
            for at in range(starts[group], starts[group + 1]):
                m = np.int64(multiplicities[b, order[at]])
                size += m
                hits += m * np.int64(correct[order[at]])
            if size == 0:
                continue
            each = hits / size - confidence[order[starts[group]]]
            while size > 0:
                while end <= position:  # a bin is full, or holds no sample at all
                    error += abs(gap)
                    gap = 0.0
                    place += 1
                    end = (place + 1) * total // bins
                taken = min(size, end - position)
                gap += taken * each
                position += taken
                size -= taken
        out[b] = (error + abs(gap)) / total


@numba.njit(cache=True)
def selective_risks(multiplicities, order, starts, wrong, out):  # type: ignore[no-untyped-def]
    """AUROC of misclassification and area under the risk–coverage curve into `out` [B, 2]; the AUROC is NaN without both kinds.

    `order` [N] sorts the samples by uncertainty; `starts` [G + 1] are the places in `order` where a new uncertainty begins, and N.
    """
    for b in range(multiplicities.shape[0]):
        accepted, errors, half_wins, risk = np.int64(0), np.int64(0), np.int64(0), 0.0
        for group in range(len(starts) - 1):
            size, missed = np.int64(0), np.int64(0)
            for at in range(starts[group], starts[group + 1]):
                m = np.int64(multiplicities[b, order[at]])
                size += m
                missed += m * np.int64(wrong[order[at]])
            if size == 0:
                continue
            half_wins += missed * (2 * (accepted - errors) + size - missed)
            share = missed / size
            for j in range(1, size + 1):
                risk += (errors + share * j) / (accepted + j)
            accepted += size
            errors += missed
        pairs = errors * (accepted - errors)
        out[b, 0] = half_wins / (2.0 * pairs) if pairs else np.nan
        out[b, 1] = risk / accepted if accepted else np.nan
