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
from ahsar_eval.ood.delong import paired_auroc
from ahsar_eval.ood.rows import METRICS, OF_ONE_SCORE, Row

PAIRED_DELONG = "paired DeLong"
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
        out = asdict(self)
        return {("class" if name == "class_name" else name): value for name, value in out.items()}


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
    matched = [_matched(first, second) for first, second in pairs]
    places = list(matched[0])
    if any(list(other) != places for other in matched[1:]):
        raise DataError("the seeds were evaluated on different sets; evaluate all on the same")
    found = []
    first_score = matched[0][places[0]][0].score if places else ""
    for place in places:
        twins = [match[place] for match in matched]
        for metric in metrics:
            if metric not in OF_ONE_SCORE and twins[0][0].score != first_score:
                continue
            if all(metric in row.metrics for pair in twins for row in pair):
                found.append(_difference(twins, metric, resamples))
    tested = [
        (number, difference.p_value)
        for number, difference in enumerate(found)
        if difference.p_value is not None
    ]
    for (number, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
        found[number] = replace(found[number], p_holm=p)
    return found


def _matched(first: Sequence[Row], second: Sequence[Row]) -> dict[tuple[str, ...], tuple[Row, Row]]:
    second_by_place = {_place(row): row for row in second}
    return {
        _place(row): (row, second_by_place[_place(row)])
        for row in first
        if _place(row) in second_by_place
    }


def _place(row: Row) -> tuple[str, ...]:
    return row.kind, row.id, row.ood, row.class_name, row.score


def _difference(twins: Sequence[tuple[Row, Row]], metric: str, resamples: Resamples) -> Difference:
    first, _ = twins[0]
    a = float(np.mean([one.metrics[metric].value for one, _ in twins]))
    b = float(np.mean([other.metrics[metric].value for _, other in twins]))
    low: float | None = None
    high: float | None = None
    p: float | None = None
    method = ""
    if (
        len(twins) == 1
        and metric == "auroc"
        and first.kind in ("set", "class")
        and not first.same_images
    ):
        low, high, p = _by_delong(*twins[0])
        method = PAIRED_DELONG
    elif all(metric in row.replicates for pair in twins for row in pair):
        replicates = np.stack(
            [other.replicates[metric] - one.replicates[metric] for one, other in twins]
        )
        drawn = over_seeds(replicates, resamples)
        if len(twins) > 1:
            values = np.array(
                [other.metrics[metric].value - one.metrics[metric].value for one, other in twins]
            )
            interval, p = seeds_interval(values, drawn)
            method = SEEDS_THEN_IMAGES
        else:
            interval, p = percentile_interval(b - a, drawn), p_value(drawn)
            if interval.low is None:
                p = 1.0 if bool((drawn == 0).all()) and a == b else None
            method = PAIRED_CLUSTERS if first.same_images else PAIRED_BOOTSTRAP
        low, high = interval.low, interval.high
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
        low=low,
        high=high,
        p_value=p,
        p_holm=None,
        method=method,
        labels_preserved=first.labels_preserved,
    )


def _by_delong(one: Row, other: Row) -> tuple[float | None, float | None, float | None]:
    if one.scores is None or other.scores is None:
        raise DataError(f"the scores of {one.ood} were not kept; the paired DeLong test needs them")
    paired = paired_auroc(*one.scores, *other.scores)
    return paired.low, paired.high, paired.p_value
