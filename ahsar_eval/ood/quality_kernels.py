"""Quality of many replicates at once: loops over presorted samples, compiled by numba when first
used (kept compiled between runs).

A replicate is a vector of multiplicities [N], how often each sample stands in it. Replicates
without a sample are NaN.
"""

import numpy as np

from ahsar_eval.loops import njit


@njit()
def selective_risks(multiplicities, order, starts, wrong, out):  # type: ignore[no-untyped-def]
    """AUROC of misclassification and area under the risk–coverage curve into `out` [B, 2]; the
    AUROC is NaN without both kinds.

    `order` [N] sorts the samples by uncertainty; `starts` [G + 1] are the places in `order` where a
    new uncertainty begins, and N.
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
