"""From scored sets to rows: one in-distribution set against any number of others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import (
    Resamples,
    mean_replicates,
    percentile_interval,
    separation_replicates,
)
from ahsar_eval.ood.calibration import Outcomes, outcomes
from ahsar_eval.ood.delong import auroc_interval, auroc_method
from ahsar_eval.ood.metrics import SEPARATION, proportion_interval, separation
from ahsar_eval.ood.quality import calibration, calibration_replicates, selective_replicates
from ahsar_eval.ood.rows import Estimate, Row
from ahsar_eval.ood.scored import ScoredSet, labels_correspond, on_images_of
from ahsar_eval.ood.selective import aurc, misclassification_auroc

BOOTSTRAP = "bootstrap"
CLUSTER_BOOTSTRAP = "cluster bootstrap"  # by image: the ID set and the other hold the same images


@dataclass(frozen=True)
class Evaluation:
    """How sets are compared: TPR of the thresholds, bootstrap, number of calibration bins, and
    whether classes are told apart.
    """

    tpr: float = 0.95
    resamples: Resamples = field(default_factory=Resamples)
    bins: int = 15
    by_class: bool = False


def evaluate(
    id_set: ScoredSet,
    others: Iterable[ScoredSet],
    how: Evaluation | None = None,
    *,
    checkpoint: str,
    thresholds: str = "replay",
) -> list[Row]:
    """A row of kind "id" for the ID set itself and one of kind "set" for each of `others`, for each
    score both have.

    With `how.by_class` each set's row is followed by one of kind "class" for each of its classes:
    all of the ID set against the samples of that class. Intervals are 95 %: DeLong for the AUROC of
    independent sets (on the logit scale near 0 and 1), Wilson for accuracy, bootstrap for the rest;
    where a set holds the ID set's images, a cluster bootstrap by image. Raises `DataError` for a
    set compared with itself.
    """
    how = how or Evaluation()
    others = [on_images_of(id_set, other) for other in others]
    for other in others:
        if other.split["identity"] == id_set.split["identity"]:
            raise DataError(
                f"the OOD set {other.name} is the ID set itself; choose another, or a shift of it"
            )
    alone = _part(id_set, id_set, how)
    parts = [
        _part(some, id_set, how, class_name)
        for other in others
        for class_name, some in [("", other), *(_classes(other) if how.by_class else [])]
    ]
    rows = []
    for score in id_set.scores:
        of_id = _with_score(alone, score, how)
        first = Row(
            checkpoint=checkpoint,
            thresholds=thresholds,
            id=id_set.name,
            ood=id_set.name,
            kind="id",
            group="id",
            score=score,
            n_id=len(id_set),
            n_ood=0,
            metrics=of_id.estimates,
            id_metrics=of_id.estimates,
            set_name=str(id_set.split.get("set", id_set.name)),
            labels_preserved=alone.judged is not None,
            tpr=how.tpr,
            replicates=of_id.replicates,
        )
        rows.append(first)
        for part in parts:
            some, found = (
                part.some,
                _with_separation(_with_score(part, score, how), id_set, score, how),
            )
            same_images = some.images.key == id_set.images.key
            rows.append(
                replace(
                    first,
                    ood=some.name,
                    kind="class" if part.class_name else "set",
                    group=str(some.split.get("group") or ("shift" if same_images else "")),
                    n_ood=len(some),
                    metrics=found.estimates,
                    set_name=str(some.split.get("set", some.name)),
                    shift=some.split.get("shift"),
                    severity=int(some.split["severity"]),
                    class_name=part.class_name,
                    distinct_scores=found.distinct_scores,
                    same_images=same_images,
                    labels_preserved=part.judged is not None,
                    replicates=found.replicates,
                    scores=(id_set.scores[score], some.scores[score]),
                )
            )
    return rows


@dataclass(frozen=True)
class _Part:
    """A set or the samples of one class, and what is known of it so far; `judged` None where its
    labels are not the ID set's.
    """

    some: ScoredSet
    class_name: str
    judged: Outcomes | None
    estimates: dict[str, Estimate]
    replicates: dict[str, NDArray[np.float64]]
    distinct_scores: int | None = None

    def knowing(
        self,
        values: Mapping[str, float | None],
        replicates: Mapping[str, NDArray[np.float64]],
        method: str,
    ) -> "_Part":
        """The same with more metrics; one without a value is left out."""
        known = {name: value for name, value in values.items() if value is not None}
        drawn = {name: replicates[name] for name in known if name in replicates}
        estimates = {
            name: estimate_of(value, drawn.get(name), method) for name, value in known.items()
        }
        return replace(
            self, estimates={**self.estimates, **estimates}, replicates={**self.replicates, **drawn}
        )


def _classes(some: ScoredSet) -> list[tuple[str, ScoredSet]]:
    """The samples of each class that occurs, under the class's name; a label beyond the known names
    is its number.
    """
    names = list(some.split.get("classes", ()))
    found = [int(label) for label in np.unique(some.labels) if label >= 0]
    return [
        (
            str(names[label]) if label < len(names) else str(label),
            some.only(np.flatnonzero(some.labels == label)),
        )
        for label in found
    ]


def _part(some: ScoredSet, id_set: ScoredSet, how: Evaluation, class_name: str = "") -> _Part:
    """What does not depend on a score: mean rate, and where the labels mean what the ID set's do,
    accuracy and calibration.
    """
    judged = outcomes(some.logits, some.labels) if labels_correspond(some, id_set) else None
    rates = {"mean_rate": mean_replicates(some.rates, some.images, how.resamples)}
    part = _Part(some, class_name, judged, {}, {}).knowing(
        {"mean_rate": float(some.rates.mean())}, rates, BOOTSTRAP
    )
    if judged is None:
        return part
    part = part.knowing(
        calibration(judged, how.bins),
        calibration_replicates(judged, some.images, how.resamples),
        BOOTSTRAP,
    )
    wilson = proportion_interval(int(judged.correct.sum()), len(some))
    return replace(
        part,
        estimates={
            **part.estimates,
            "accuracy": Estimate(wilson.value, wilson.low, wilson.high, "Wilson"),
        },
    )


def _with_score(part: _Part, score: str, how: Evaluation) -> _Part:
    """`part` with its mean score, and with how well the score tells wrong predictions from right
    ones.
    """
    values = part.some.scores[score]
    drawn = {"mean_score": mean_replicates(values, part.some.images, how.resamples)}
    part = part.knowing({"mean_score": float(values.mean())}, drawn, BOOTSTRAP)
    if part.judged is None:
        return part
    wrong = ~part.judged.correct
    found = {
        "misclassification_auroc": misclassification_auroc(values, wrong),
        "aurc": aurc(values, wrong),
    }
    return part.knowing(
        found, selective_replicates(values, wrong, part.some.images, how.resamples), BOOTSTRAP
    )


def _with_separation(part: _Part, id_set: ScoredSet, score: str, how: Evaluation) -> _Part:
    """`part` with its separation from the ID set."""
    inside, outside = id_set.scores[score], part.some.scores[score]
    values = separation(inside, outside, how.tpr)
    replicates = separation_replicates(
        inside, outside, id_set.images, part.some.images, how.resamples, how.tpr
    )
    part = replace(part, distinct_scores=values.distinct_scores)
    clustered = part.some.images.key == id_set.images.key
    found = part.knowing(
        {name: getattr(values, name) for name in SEPARATION},
        replicates,
        CLUSTER_BOOTSTRAP if clustered else BOOTSTRAP,
    )
    if clustered:
        return found
    delong = auroc_interval(inside, outside)
    auroc = Estimate(
        delong.value,
        delong.low,
        delong.high,
        "" if delong.low is None else auroc_method(delong.value),
    )
    return replace(found, estimates={**found.estimates, "auroc": auroc})


def estimate_of(value: float, replicates: NDArray[np.float64] | None, method: str) -> Estimate:
    """A value with the percentile interval of its replicates; the method is '' where there are none
    or they give none.
    """
    if replicates is None:
        return Estimate(value)
    interval = percentile_interval(value, replicates)
    return Estimate(value, interval.low, interval.high, "" if interval.low is None else method)
