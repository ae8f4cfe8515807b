"""The walk along the ROC, and replicates of the bootstrap: loops compiled by numba when first used
(kept compiled between runs).

All counts are whole numbers in float64: sums and products of them are exact while 2 · n_id · n_ood
≤ 2⁵³ (67 million scores a side) and rounded as any float64 beyond that; nothing overflows.
"""

import math

import numpy as np

from ahsar_eval.process import njit


@njit()
def needed(tpr, total):  # type: ignore[no-untyped-def]
    """The least k with k / total ≥ tpr, from 1 to `total`; for 0 < tpr ≤ 1."""
    # tpr · total may round up across a whole number
    least = max(math.ceil(tpr * total) - 1, 1)
    while least / total < tpr:
        least += 1
    return float(least)


@njit(inline="always")
def start(n_id, n_ood):  # type: ignore[no-untyped-def]
    """Where every walk begins: nothing flagged. See `advance` for what the values are."""
    return 0.0, 0.0, 0.0, -1.0, n_ood, 1.0, 0.0, n_id / (n_id + n_ood), 0.0, n_id * n_ood


@njit(inline="always")
def advance(walk, ood, inside, n_id, n_ood, needed_id, needed_ood):  # type: ignore[no-untyped-def]
    """Flag the next lower group of tied scores, `ood` and `inside` many: from one vertex of the ROC
    to the next.

    The walk is: OOD flagged, ID flagged, twice the wins of OOD over ID, ID flagged at the first
    vertex with enough OOD (−1 before it), OOD accepted at the last vertex with enough ID accepted,
    precision and area (times 2 n_ood) with OOD positive, precision and area (times 2 n_id) with ID
    positive, and the least n_id · (OOD missed) + n_ood · (ID flagged).
    """
    tp, fp, wins, flagged, accepted, precision_out, area_out, precision_in, area_in, least = walk
    if n_id - fp >= needed_id:  # accepted: this group and all below it
        accepted = n_ood - tp
    wins += inside * (2.0 * tp + ood)
    tp += ood
    fp += inside
    if flagged < 0.0 and tp >= needed_ood:
        flagged = fp
    before_out, before_in = precision_out, precision_in
    precision_out = tp / (tp + fp)
    left = (n_id - fp) + (n_ood - tp)
    # at the end the point that scikit-learn adds: recall 0, precision 1
    precision_in = (n_id - fp) / left if left > 0.0 else 1.0
    area_out += ood * (before_out + precision_out)
    area_in += inside * (before_in + precision_in)
    least = min(least, n_id * (n_ood - tp) + n_ood * fp)
    return tp, fp, wins, flagged, accepted, precision_out, area_out, precision_in, area_in, least


@njit(inline="always")
def finish(walk, n_id, n_ood, out):  # type: ignore[no-untyped-def]
    """The metrics of a walk to its end, in the order of `SEPARATION`."""
    _, _, wins, flagged, accepted, _, area_out, _, area_in, least = walk
    out[0] = wins / (2.0 * n_id * n_ood)
    out[1] = flagged / n_id
    out[2] = accepted / n_ood
    out[3] = area_in / (2.0 * n_id)
    out[4] = area_out / (2.0 * n_ood)
    out[5] = least / (2.0 * n_id * n_ood)


@njit()
def merge_separation(id_sorted, ood_sorted, tpr, out):  # type: ignore[no-untyped-def]
    """All metrics into `out` [6] from two ascending arrays, merged from their ends; returns the
    number of distinct scores.
    """
    n_id, n_ood = float(len(id_sorted)), float(len(ood_sorted))
    needed_id, needed_ood = needed(tpr, n_id), needed(tpr, n_ood)
    walk = start(n_id, n_ood)
    i, o = len(id_sorted) - 1, len(ood_sorted) - 1
    distinct = 0
    while i >= 0 or o >= 0:
        first_i, first_o = i, o
        higher = o < 0 or (i >= 0 and id_sorted[i] > ood_sorted[o])
        score = id_sorted[i] if higher else ood_sorted[o]
        while i >= 0 and id_sorted[i] == score:
            i -= 1
        while o >= 0 and ood_sorted[o] == score:
            o -= 1
        walk = advance(
            walk, float(first_o - o), float(first_i - i), n_id, n_ood, needed_id, needed_ood
        )
        distinct += 1
    finish(walk, n_id, n_ood, out)
    return distinct


@njit()
def replicate_separation(id_codes, ood_codes, distinct, tpr, id_weights, ood_weights, out):  # type: ignore[no-untyped-def]
    """All metrics of weighted samples into `out` [R, 6]; weights are whole, [R, n_id] and [R,
    n_ood].

    `codes` number the distinct scores of both kinds together, ascending. No sorting: each replicate
    counts its weights by code and walks down them. A replicate whose weights of one kind are all 0
    is NaN.
    """
    of_id, of_ood = np.empty(distinct), np.empty(distinct)
    for replicate in range(len(out)):
        of_id[:] = 0.0
        of_ood[:] = 0.0
        for sample in range(len(id_codes)):
            of_id[id_codes[sample]] += id_weights[replicate, sample]
        for sample in range(len(ood_codes)):
            of_ood[ood_codes[sample]] += ood_weights[replicate, sample]
        kept, n_id, n_ood = 0, 0.0, 0.0
        # scores that were not drawn are squeezed out first: no branch to guess wrong in the walk
        for code in range(distinct):
            inside, ood = of_id[code], of_ood[code]
            of_id[kept], of_ood[kept] = inside, ood
            kept += inside + ood > 0.0
            n_id += inside
            n_ood += ood
        if n_id == 0.0 or n_ood == 0.0:
            out[replicate] = np.nan
            continue
        needed_id, needed_ood = needed(tpr, n_id), needed(tpr, n_ood)
        walk = start(n_id, n_ood)
        for code in range(kept - 1, -1, -1):
            walk = advance(walk, of_ood[code], of_id[code], n_id, n_ood, needed_id, needed_ood)
        finish(walk, n_id, n_ood, out[replicate])


@njit()
def count_draws(words, out):  # type: ignore[no-untyped-def]
    """How often each of len(out) items is drawn by random 64-bit `words`, one draw a word, into
    `out`.
    """
    count = np.float64(len(out))
    for word in words:
        out[int(np.float64(word >> np.uint64(11)) * 2.0**-53 * count)] += 1


@njit()
def weighted_means(values, weights, out):  # type: ignore[no-untyped-def]
    """Means of `values` [N] under each row of `weights` [R, N] into `out` [R, 1]; NaN where a row
    is all 0.
    """
    for replicate in range(len(out)):
        total, weight = 0.0, 0.0
        for sample in range(len(values)):
            total += weights[replicate, sample] * values[sample]
            weight += weights[replicate, sample]
        out[replicate, 0] = total / weight if weight > 0.0 else np.nan


@njit()
def selective_risks(order, starts, wrong, multiplicities, out):  # type: ignore[no-untyped-def]
    """AUROC of misclassification and area under the risk–coverage curve of each row of
    `multiplicities` [B, N] into `out` [B, 2]; NaN without a sample, the AUROC also without both
    kinds.

    `order` [N] sorts the samples by uncertainty; `starts` [G + 1] are the places in `order` where a
    new uncertainty begins, and N.
    """
    for b in range(multiplicities.shape[0]):
        accepted, errors, half_wins, risk = 0.0, 0.0, 0.0, 0.0
        for group in range(len(starts) - 1):
            size, missed = 0.0, 0.0
            for at in range(starts[group], starts[group + 1]):
                size += multiplicities[b, order[at]]
                missed += multiplicities[b, order[at]] * wrong[order[at]]
            if size == 0:
                continue
            half_wins += missed * (2 * (accepted - errors) + size - missed)
            share = missed / size
            for j in range(1, int(size) + 1):
                risk += (errors + share * j) / (accepted + j)
            accepted += size
            errors += missed
        pairs = errors * (accepted - errors)
        out[b, 0] = half_wins / (2.0 * pairs) if pairs > 0.0 else np.nan
        out[b, 1] = risk / accepted if accepted > 0.0 else np.nan
