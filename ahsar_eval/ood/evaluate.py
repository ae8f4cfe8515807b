"""From recordings to rows: sets with their scores, and one in-distribution set against any number
of others.
"""

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.ood.bootstrap import (
    BOOTSTRAP,
    CLUSTER_BOOTSTRAP,
    Images,
    Resamples,
    mean_estimate,
    percentile_interval,
    separation_replicates,
)
from ahsar_eval.ood.metrics import (
    SEPARATION,
    Estimate,
    Outcomes,
    Scores,
    auroc,
    auroc_interval,
    calibration_error,
    outcomes,
    proportion_interval,
    risk_coverage,
    separation,
)
from ahsar_eval.ood.rows import Row
from ahsar_eval.recording import Recording, same_classes


@dataclass(frozen=True)
class ScoredSet:
    """A set as one network sees it, N samples: `logits` [N, T, K], `labels` [N] (−1 unknown), mean
    `rates` [N] (None where no layer is known to spike), `scores` name → [N], and which images the
    samples are.
    """

    split: Mapping[str, Any]  # as a recording describes it
    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    rates: Scores | None
    scores: Mapping[str, Scores]
    images: Images

    @property
    def name(self) -> str:
        """The specification a user would type."""
        return str(self.split["name"])

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, members: NDArray[np.int64]) -> "ScoredSet":
        """The samples at `members` of the whole set; they stay the images they are."""
        return replace(
            self,
            logits=self.logits[members],
            labels=self.labels[members],
            rates=None if self.rates is None else self.rates[members],
            scores={name: scores[members] for name, scores in self.scores.items()},
            images=replace(self.images, members=members),
        )


def scored(recording: Recording, scores: Mapping[str, Scores], group: str = "") -> ScoredSet:
    """`recording` with its scores, name → [N]; `group` is near, far or ''.

    Its rates are spikes per neuron and time step, the unweighted mean over the spiking layers; None
    without one.
    """
    split = {**recording.split, "group": group}
    key = str(split.get("copies_of") or split.get("set_identity") or split["identity"])
    return ScoredSet(
        split,
        recording.logits,
        recording.labels,
        recording.sample_rates,
        dict(scores),
        Images(key, len(recording)),
    )


def labels_correspond(some: ScoredSet, id_set: ScoredSet) -> bool:
    """Whether the labels of `some` mean what those of the ID set do: only then is there an
    accuracy, that of the samples whose label is known.
    """
    same = same_classes(some.split, id_set.split) and some.split["labels_preserved"]
    within = (some.labels >= 0).any() and some.labels.max() < some.logits.shape[2]
    return bool(same and within)


def on_images_of(id_set: ScoredSet, some: ScoredSet) -> ScoredSet:
    """`some` with the ID set's images as its own where one of the two is a set of stored corrupted
    copies of the other.

    Copies must agree with the ID set in number and labels; where they do not, their order is not
    known to be the same.
    """
    copies = any(
        one.split.get("copies_of") and one.split["copies_of"] == other.split.get("set")
        for one, other in ((some, id_set), (id_set, some))
    )
    if copies and np.array_equal(some.labels, id_set.labels):
        return replace(some, images=id_set.images)
    return some


@dataclass(frozen=True)
class Evaluation:
    """How sets are compared: TPR of the thresholds, bootstrap, and whether classes are told
    apart.
    """

    tpr: float = 0.95
    resamples: Resamples = field(default_factory=Resamples)
    by_class: bool = False


def evaluate(
    id_set: ScoredSet,
    others: Iterable[ScoredSet],
    how: Evaluation,
    *,
    checkpoint: str,
    thresholds: str = "replay",
) -> list[Row]:
    """A row of kind "id" for the ID set itself and one of kind "set" for each of `others`, for each
    score both have.

    With `how.by_class` each set's row is followed by one of kind "class" for each of its classes:
    all of the ID set against the samples of that class. Intervals are 95 %: DeLong for the AUROC of
    independent sets (on the logit scale near 0 and 1), Wilson for accuracy, bootstrap for the rest;
    where a set holds the ID set's images, a cluster bootstrap by image.
    """
    sets = [("", id_set)]
    for other in others:
        some = on_images_of(id_set, other)
        sets += [("", some), *(_classes(some) if how.by_class else [])]
    described = [(name, some, _alone(some, id_set, how)) for name, some in sets]
    of_id, rows = described[0][2], []
    for score in id_set.scores:
        for i, (class_name, some, alone) in enumerate(described):
            row = Row(
                checkpoint=checkpoint,
                thresholds=thresholds,
                id=id_set.name,
                ood=some.name,
                kind="id",
                group="id",
                score=score,
                n_id=len(id_set),
                n_ood=0,
                metrics=alone[score],
                id_metrics=of_id[score],
                set_name=str(some.split.get("set", some.name)),
                labels_preserved="accuracy" in alone[score],
                tpr=how.tpr,
            )
            rows.append(_separated(row, some, id_set, how, class_name) if i else row)
    return rows


def _separated(
    row: Row, some: ScoredSet, id_set: ScoredSet, how: Evaluation, class_name: str
) -> Row:
    """`row` of a set, or of one of its classes, with its separation from the ID set."""
    scores = id_set.scores[row.score], some.scores[row.score]
    same_images = some.images.key == id_set.images.key
    values = separation(*scores, how.tpr)
    drawn = separation_replicates(*scores, id_set.images, some.images, how.resamples, how.tpr)
    method = CLUSTER_BOOTSTRAP if same_images else BOOTSTRAP
    apart = {
        name: percentile_interval(getattr(values, name), drawn[name], method) for name in SEPARATION
    }
    if not same_images:
        apart["auroc"] = replace(auroc_interval(*scores), replicates=drawn["auroc"])
    return replace(
        row,
        kind="class" if class_name else "set",
        group=str(some.split.get("group") or ("shift" if same_images else "")),
        n_ood=len(some),
        metrics={**row.metrics, **apart},
        shift=some.split.get("shift"),
        severity=int(some.split["severity"]),
        class_name=class_name,
        distinct_scores=values.distinct_scores,
        same_images=same_images,
        scores=scores,
    )


def _classes(some: ScoredSet) -> list[tuple[str, ScoredSet]]:
    """The samples of each class that occurs, under the class's name; a label beyond the known names
    is its number.
    """
    names = dict(enumerate(some.split.get("classes", ())))
    return [
        (str(names.get(label, label)), some.only(np.flatnonzero(some.labels == label)))
        for label in np.unique(some.labels[some.labels >= 0]).tolist()
    ]


def _alone(some: ScoredSet, id_set: ScoredSet, how: Evaluation) -> dict[str, dict[str, Estimate]]:
    """What there is to say of a set by itself, for each score: mean score and rate, and where the
    labels mean what the ID set's do, the quality of predictions and of doubts.
    """
    draws = (some.images, how.resamples)
    known = np.flatnonzero(some.labels >= 0)
    of_known = (some.only(known).images, how.resamples) if len(known) < len(some) else draws
    judged = None
    whatever_the_score: dict[str, Estimate] = {}
    if some.rates is not None:
        whatever_the_score["mean_rate"] = mean_estimate(some.rates, *draws)
    if labels_correspond(some, id_set):
        judged = outcomes(some.logits[known], some.labels[known])
        whatever_the_score |= calibration(judged, *of_known)
    found = {}
    for score in id_set.scores:
        values = some.scores[score]
        found[score] = whatever_the_score | {"mean_score": mean_estimate(values, *draws)}
        if judged is not None:
            found[score] |= selective(values[known], ~judged.correct, *of_known)
    return found


def calibration(judged: Outcomes, images: Images, resamples: Resamples) -> dict[str, Estimate]:
    """The metrics of `QUALITY` that do not depend on an uncertainty, by name: Wilson's interval for
    accuracy, the bootstrap's for NLL and Brier score.

    None for the calibration errors: they are biased upwards, a resample's by as much again, so that
    percentiles of their replicates cover a calibrated network's true error never and their
    reflections in 57 % of cases (docs/ood.md).
    """
    right, drawn = judged.correct, mean_estimate(judged.correct, images, resamples)
    accuracy = proportion_interval(int(right.sum()), len(right))
    return {
        "accuracy": replace(accuracy, replicates=drawn.replicates),
        "nll": mean_estimate(judged.negative_log_likelihood, images, resamples),
        "brier": mean_estimate(judged.brier, images, resamples),
        "ece": Estimate(calibration_error(judged.confidence, right)),
        "ece_equal_mass": Estimate(calibration_error(judged.confidence, right, equal_mass=True)),
    }


def selective(
    uncertainty: Scores, wrong: NDArray[np.bool_], images: Images, resamples: Resamples
) -> dict[str, Estimate]:
    """Prediction with a reject option by the `uncertainty` [N], with bootstrap intervals.

    The AUROC of the uncertainty, `wrong` predictions [N] being positive (Hendrycks and Gimpel
    2017), where there are both kinds. The area under the risk–coverage curve: the mean selective
    risk over the coverages 1/N … 1 (Geifman, Uziel and El-Yaniv 2019), the error rate where the
    uncertainty is constant. Raises `DataError` as `risk_coverage` does.
    """
    from ahsar_eval.ood.kernels import selective_risks

    _, risks = risk_coverage(uncertainty, wrong)
    order = np.argsort(uncertainty, kind="stable")
    _, starts = np.unique(uncertainty[order], return_index=True)
    kernel = functools.partial(selective_risks, order, np.append(starts, len(order)), wrong)
    of_auroc, of_area = resamples.replicated(kernel, images, metrics=2)
    found = {"aurc": percentile_interval(float(risks.mean()), of_area)}
    if wrong.any() and not wrong.all():
        value = auroc(uncertainty[~wrong], uncertainty[wrong])
        found["misclassification_auroc"] = percentile_interval(value, of_auroc)
    return found
