"""Paired differences of two networks, or of two groups trained with matched seeds, on the same
images.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import (
    Resamples,
    holm,
    over_seeds,
    p_value,
    percentile_interval,
    seeds_interval,
)
from ahsar_eval.ood.metrics import PAIRED_DELONG, Estimate, paired_auroc
from ahsar_eval.ood.rows import METRICS, OF_ONE_SCORE, Row

PAIRED_BOOTSTRAP = "paired bootstrap"
PAIRED_CLUSTERS = "paired cluster bootstrap"
SEEDS_THEN_IMAGES = "bootstrap over seeds and images"


@dataclass(frozen=True)
class Difference:
    """One metric of two networks, or its means over the seeds of two groups: `difference` is b − a.

    `p_value` is two-sided, against no difference, None where it is not defined; `p_holm` is
    corrected over the table it stands in.
    """

    id: str
    ood: str
    kind: str
    group: str
    class_name: str
    score: str
    metric: str
    seeds: int
    n_id: int
    n_ood: int
    a: float
    b: float
    difference: float
    low: float | None
    high: float | None
    p_value: float | None
    p_holm: float | None
    method: str
    labels_preserved: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return {name.removesuffix("_name"): value for name, value in asdict(self).items()}


def differences(
    pairs: Sequence[tuple[Sequence[Row], Sequence[Row]]],
    resamples: Resamples,
    metrics: Sequence[str] = METRICS,
) -> list[Difference]:
    """b − a of each of `metrics` for every set that both networks of each pair of `pairs` were
    evaluated on; one pair per seed.

    With one pair: AUROC of independent sets by the paired DeLong test, everything else by bootstrap
    replicates that both share. With several pairs: means over the seeds, their variance by a
    bootstrap that draws seeds, then images, the same images for every seed; interval and p-value by
    Student's t (`seeds_interval`). Neither for calibration errors, which have no replicates. What
    does not depend on the score is compared once, under the first. The p-values are corrected
    together by Holm's method. Raises `DataError` where the pairs hold different comparisons.
    """
    matched = [_matched(*pair) for pair in pairs]
    if any(list(other) != list(matched[0]) for other in matched):
        raise DataError("the seeds were evaluated on different sets; evaluate all on the same")
    found, first_score = [], ""
    for comparison in matched[0]:
        first_score = first_score or comparison[-1]
        twins = [match[comparison] for match in matched]
        for metric in metrics:
            of_score = metric in OF_ONE_SCORE or comparison[-1] == first_score
            if of_score and all(metric in row.metrics for pair in twins for row in pair):
                found.append(_difference(twins, metric, resamples))
    p_values = {i: one.p_value for i, one in enumerate(found) if one.p_value is not None}
    for i, p in zip(p_values, holm(list(p_values.values())), strict=True):
        found[i] = replace(found[i], p_holm=p)
    return found


def _matched(first: Sequence[Row], second: Sequence[Row]) -> dict[tuple[str, ...], tuple[Row, Row]]:
    """The rows of one comparison by two networks; the score stands last in the key."""
    a, b = (
        {(row.kind, row.id, row.ood, row.class_name, row.score): row for row in rows}
        for rows in (first, second)
    )
    return {comparison: (row, b[comparison]) for comparison, row in a.items() if comparison in b}


def _difference(twins: Sequence[tuple[Row, Row]], metric: str, resamples: Resamples) -> Difference:
    first, second = twins[0]
    pairs = [(one.metrics[metric], other.metrics[metric]) for one, other in twins]
    a, b = (
        float(np.mean([estimate.value for estimate in side])) for side in zip(*pairs, strict=True)
    )
    drawn = [
        other.replicates - one.replicates
        for one, other in pairs
        if one.replicates is not None and other.replicates is not None
    ]
    found, p, method = Estimate(b - a), None, ""
    independent = first.kind in ("set", "class") and not first.same_images
    if len(twins) == 1 and metric == "auroc" and independent:
        if first.scores is None or second.scores is None:
            raise DataError(
                f"the scores of {first.ood} were not kept; the paired DeLong test needs them"
            )
        (found, p), method = paired_auroc(*first.scores, *second.scores), PAIRED_DELONG
    elif len(twins) == 1 and drawn:
        found, p = percentile_interval(b - a, drawn[0]), p_value(drawn[0])
        if found.low is None:
            p = 1.0 if a == b and not drawn[0].any() else None
        method = PAIRED_CLUSTERS if first.same_images else PAIRED_BOOTSTRAP
    elif len(drawn) == len(twins):
        values = np.array([other.value - one.value for one, other in pairs])
        found, p = seeds_interval(values, over_seeds(np.stack(drawn), resamples))
        method = SEEDS_THEN_IMAGES
    return Difference(
        id=first.id,
        ood=first.ood,
        kind=first.kind,
        group=first.group,
        class_name=first.class_name,
        score=first.score,
        metric=metric,
        seeds=len(twins),
        n_id=first.n_id,
        n_ood=first.n_ood,
        a=a,
        b=b,
        difference=b - a,
        low=found.low,
        high=found.high,
        p_value=p,
        p_holm=None,
        method=method,
        labels_preserved=first.labels_preserved,
    )
