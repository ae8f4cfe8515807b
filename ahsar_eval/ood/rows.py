"""What an evaluation yields: a row per comparison, each number with its interval, and the
replicates that further statistics need; unweighted means over rows (near and far are never mixed),
and paired differences of the rows of two networks, or of two groups trained with matched seeds, on
the same images (docs/ood.md).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import takewhile
from operator import attrgetter
from typing import Any

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import (
    BOOTSTRAP,
    CLUSTER_BOOTSTRAP,
    Resamples,
    holm,
    over_seeds,
    p_value,
    percentile_interval,
    seeds_interval,
)
from ahsar_eval.ood.metrics import PAIRED_DELONG, SEPARATION, Estimate, Scores, paired_auroc

QUALITY = ("accuracy", "nll", "brier", "ece", "ece_equal_mass", "misclassification_auroc", "aurc")
ACTIVITY_METRICS = ("mean_score", "mean_rate")
CORRUPTION_METRICS = ("corruption_error", "relative_corruption_error")
METRICS = (*SEPARATION, *QUALITY, *ACTIVITY_METRICS, *CORRUPTION_METRICS)

# The others are the same whatever the score.
OF_ONE_SCORE = (*SEPARATION, "misclassification_auroc", "aurc", "mean_score")

PAIRED_BOOTSTRAP = "paired bootstrap"
PAIRED_CLUSTERS = "paired cluster bootstrap"
SEEDS_THEN_IMAGES = "bootstrap over seeds and images"
SEVERITIES = (1, 2, 3, 4, 5)

_OF_BOTH = ("accuracy", *ACTIVITY_METRICS)  # said of the ID set, too
_PARTS = {"value": "", "low": "_low", "high": "_high", "method": "_interval"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison of an ID set with another, or one mean over such comparisons, by one score.
    Fractions, never percent.

    `kind` is "set", "class" (the samples of one class of a set), "mean" (unweighted, over the sets
    `members`) or "id" (the ID set itself, where nothing is separated). `metrics` holds what there
    is to say, by the names of `METRICS`: a metric that is not defined is absent. `replicates` are
    the bootstrap replicates [B] of each metric, NaN where one is not defined; `scores` are those of
    the ID set and of this one.
    """

    # What `to_dict` says, in its order, before the metrics
    checkpoint: str
    thresholds: str
    id: str
    ood: str
    kind: str
    group: str = ""  # near, far, shift, or none of these
    shift: str | None = None
    severity: int = 0  # 0 for a set that is not shifted
    class_name: str = ""
    members: tuple[str, ...] = ()
    score: str
    n_id: int
    n_ood: int
    distinct_scores: int | None = None
    same_images: bool = False  # the set holds the ID set's images, shifted
    tpr: float = 0.95
    # What else is known
    metrics: Mapping[str, Estimate]
    id_metrics: Mapping[str, Estimate] = field(default_factory=dict)
    set_name: str = ""  # the set without its shift
    labels_preserved: bool = False  # its labels mean what the ID set's do
    scores: tuple[Scores, Scores] | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str:
        """Checkpoint name, with the threshold override if there is one."""
        own = self.thresholds in ("replay", "base")
        return self.checkpoint if own else f"{self.checkpoint} ({self.thresholds})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready and flat: every metric with the ends and the kind of its interval; None where
        there is none.
        """
        facts = takewhile(lambda each: each.name != "metrics", fields(self))
        out = {each.name.removesuffix("_name"): getattr(self, each.name) for each in facts}
        out["members"] = len(self.members) or 1
        for metric in METRICS:
            estimate = self.metrics.get(metric)
            if estimate is None and (
                metric in CORRUPTION_METRICS or (self.kind == "id" and metric in SEPARATION)
            ):
                continue
            of_both = metric in _OF_BOTH and self.kind != "id"
            name = f"{metric}_ood" if of_both else metric
            for part, suffix in _PARTS.items():
                out[f"{name}{suffix}"] = getattr(estimate, part, None)
            if metric == "fpr_at_tpr" and self.tpr == 0.95:
                out["fpr_at_95_tpr"] = out[name]
            if of_both:
                out[f"{metric}_id"] = getattr(self.id_metrics.get(metric), "value", None)
        return out


Grid = Mapping[tuple[str, int], Row]  # by corruption and severity


def with_means(rows: Sequence[Row]) -> list[Row]:
    """`rows` followed by the means over what belongs together, for each checkpoint and score.

    near and far over their sets; each shift of a set over its severities; each set over its shifts,
    whatever their number of severities. A mean of one is no row. Draws of the bootstrap are shared
    between sets that share images (the ID set is in every comparison), so the interval of a mean
    knows how its members move together.
    """
    found, alone = list(rows), [row for row in rows if row.kind == "set"]
    for sets in _grouped(alone, "checkpoint", "thresholds", "score"):
        for group in ("near", "far"):
            found += _mean([row for row in sets if row.group == group and row.shift is None], group)
        shifted = [row for row in sets if row.shift is not None]
        for of_set in _grouped(shifted, "set_name"):
            name, each_shift = of_set[0].set_name, []
            for severities in _grouped(of_set, "shift"):
                mean = _mean(severities, f"{name}:{severities[0].shift}")
                found += mean
                each_shift += mean or severities
            found += _mean(each_shift, f"{name}, {len(each_shift)} shifts")
    return found


def _grouped(rows: Sequence[Row], *names: str) -> list[list[Row]]:
    """Rows that agree in the fields `names`, in the order in which they first stand."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[attrgetter(*names)(row)].append(row)
    return list(groups.values())


def _mean(members: Sequence[Row], name: str) -> list[Row]:
    if len(members) < 2:
        return []
    method = CLUSTER_BOOTSTRAP if all(row.same_images for row in members) else BOOTSTRAP
    metrics = {}
    for metric in METRICS:
        found = [row.metrics[metric] for row in members if metric in row.metrics]
        if len(found) == len(members):
            drawn = [each.replicates for each in found if each.replicates is not None]
            replicates = np.mean(drawn, axis=0) if len(drawn) == len(members) else None
            value = float(np.mean([each.value for each in found]))
            metrics[metric] = percentile_interval(value, replicates, method)
    return [_mean_row(members, name, metrics)]


def _mean_row(members: Sequence[Row], name: str, metrics: Mapping[str, Estimate]) -> Row:
    first = members[0]
    return replace(
        first,
        ood=name,
        kind="mean",
        shift=first.shift if len({row.shift for row in members}) == 1 else None,
        severity=0,
        members=tuple(name for row in members for name in (row.members or (row.ood,))),
        n_ood=sum(row.n_ood for row in members),
        distinct_scores=None,
        metrics=metrics,
        same_images=all(row.same_images for row in members),
        labels_preserved=all(row.labels_preserved for row in members),
        scores=None,
    )


def with_corruption_errors(
    rows: Sequence[Row],
    corruptions: Mapping[str, Sequence[str]],
    baseline: tuple[str, str] | None = None,
) -> tuple[list[Row], list[str]]:
    """`rows` followed by mean corruption errors over the lists of `corruptions` (title → names),
    and notes on what is missing.

    Unnormalised: the mean of the error 1 − accuracy over corruptions and severities 1 to 5.
    Relative to the checkpoint `baseline` (name and thresholds): the mean over corruptions of Σ_s
    error / Σ_s error of the baseline (Hendrycks and Dietterich 2019). A list of which any
    corruption or severity is missing gives no number; a note says so where most of it is there.
    """
    found, notes = list(rows), []
    grids: dict[tuple[str, str, str], dict[tuple[str, int], Row]] = defaultdict(dict)
    for row in rows:
        judged = row.kind == "set" and row.same_images and row.labels_preserved
        # accuracy is the same whatever the score
        if judged and row.shift is not None and row.score == rows[0].score:
            grids[row.checkpoint, row.thresholds, row.set_name][row.shift, row.severity] = row
    for (checkpoint, _, set_name), grid in grids.items():
        reference = None if baseline is None else grids.get((*baseline, set_name))
        for title, names in corruptions.items():
            errors: dict[str, Estimate] = {}
            try:
                errors["corruption_error"] = mean_corruption_error(grid, names)
                if reference is not None and reference is not grid:
                    relative = mean_corruption_error(grid, names, reference)
                    errors["relative_corruption_error"] = relative
            except DataError as error:
                if len({name for name, _ in grid} & set(names)) > len(names) / 2:
                    what = "relative mean" if errors else "mean"
                    notes.append(f"No {what} over {title} for {checkpoint} on {set_name}: {error}.")
            if errors:
                used = [grid[name, level] for name in names for level in SEVERITIES]
                found.append(_mean_row(used, f"{set_name}, {title}", errors))
    return found, notes


def mean_corruption_error(
    rows: Grid, corruptions: Sequence[str], baseline: Grid | None = None
) -> Estimate:
    """Mean corruption error, 1 − accuracy, of the rows at (corruption, severity) over the named
    `corruptions`, with its bootstrap interval.

    Without a baseline the unweighted mean of all corruptions × 5 severities, in [0, 1]. With the
    rows of a `baseline` the mean over corruptions of Σ_s E / Σ_s E_baseline (Hendrycks and
    Dietterich 2019; 1 is as good as the baseline). Nothing is averaged over a part: raises
    `DataError` where a severity was not measured or the baseline makes no error in a corruption (a
    replicate in which it makes none is NaN). Other rows are left out of account.
    """
    networks = {"": rows} if baseline is None else {"": rows, " of the baseline": baseline}
    lacking = []
    for whose, grid in networks.items():
        missing: list[str] = []
        for name in corruptions:  # by its name alone where nothing of it was measured
            absent = [f"{name}:{level}" for level in SEVERITIES if (name, level) not in grid]
            missing += [name] if len(absent) == len(SEVERITIES) else absent
        if missing:
            lacking.append(f"not measured{whose}: {', '.join(missing)}")
    if lacking:
        raise DataError("; ".join(lacking))

    def mean_error(part: str) -> Scores:
        """Of the values, or in each of the replicates, [B]."""
        errors, *of_baseline = (
            np.sum(
                [
                    [1 - getattr(grid[name, at].metrics["accuracy"], part) for at in SEVERITIES]
                    for name in corruptions
                ],
                axis=1,
            )
            for grid in networks.values()
        )
        if not of_baseline:
            return errors.mean(axis=0) / len(SEVERITIES)
        return (errors / np.where(of_baseline[0] > 0, of_baseline[0], np.nan)).mean(axis=0)

    value = float(mean_error("value"))
    if np.isnan(value):
        raise DataError("the baseline makes no error in one of them")
    return percentile_interval(value, mean_error("replicates"), CLUSTER_BOOTSTRAP)


def differences(
    pairs: Sequence[tuple[Sequence[Row], Sequence[Row]]],
    resamples: Resamples,
    metrics: Sequence[str] = METRICS,
) -> list[dict[str, Any]]:
    """b − a of each of `metrics` for every set that both networks of each pair of `pairs` were
    evaluated on, as JSON-ready records; one pair per seed.

    With one pair: AUROC of independent sets by the paired DeLong test, everything else by bootstrap
    replicates that both share. With several pairs: means over the seeds, their variance by a
    bootstrap that draws seeds, then images, the same images for every seed; interval and p-value by
    Student's t (`seeds_interval`). Neither for calibration errors, which have no replicates. What
    does not depend on the score is compared once, under the first. `p_value` is two-sided, against
    no difference, None where it is not defined; `p_holm` is corrected over all records by Holm's
    method. Raises `DataError` where the pairs hold different comparisons.
    """
    matched = [_matched(*pair) for pair in pairs]
    if any(list(other) != list(matched[0]) for other in matched):
        raise DataError("the seeds were evaluated on different sets; evaluate all on the same")
    found = []
    for comparison, (row, _) in matched[0].items():
        twins = [match[comparison] for match in matched]
        of_first = row.score == next(iter(matched[0].values()))[0].score
        for metric in metrics:
            if (of_first or metric in OF_ONE_SCORE) and all(
                metric in row.metrics for pair in twins for row in pair
            ):
                found.append(_difference(twins, metric, resamples))
    return with_holm(found)


def with_holm(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`records` of differences with their `p_holm`, corrected over all of them that have a
    `p_value`.
    """
    tested = [record for record in records if record["p_value"] is not None]
    for record, p in zip(tested, holm([one["p_value"] for one in tested]), strict=True):
        record["p_holm"] = p
    return records


def _matched(first: Sequence[Row], second: Sequence[Row]) -> dict[tuple[str, ...], tuple[Row, Row]]:
    """The rows of one comparison by two networks."""
    comparison_of = attrgetter("kind", "id", "ood", "class_name", "score")
    a, b = ({comparison_of(row): row for row in rows} for rows in (first, second))
    return {comparison: (row, b[comparison]) for comparison, row in a.items() if comparison in b}


def _difference(
    twins: Sequence[tuple[Row, Row]], metric: str, resamples: Resamples
) -> dict[str, Any]:
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
    if len(twins) > 1:
        if len(drawn) == len(twins):
            values = np.array([other.value - one.value for one, other in pairs])
            found, p = seeds_interval(values, over_seeds(np.stack(drawn), resamples))
            method = SEEDS_THEN_IMAGES
    elif metric == "auroc" and independent and first.scores and second.scores:
        (found, p), method = paired_auroc(*first.scores, *second.scores), PAIRED_DELONG
    elif drawn:
        found, p = percentile_interval(b - a, drawn[0]), p_value(drawn[0])
        if found.low is None:
            p = 1.0 if a == b and not drawn[0].any() else None
        method = PAIRED_CLUSTERS if first.same_images else PAIRED_BOOTSTRAP
    return {
        **{name: getattr(first, name) for name in ("id", "ood", "kind", "group")},
        "class": first.class_name,
        "score": first.score,
        "metric": metric,
        "seeds": len(twins),
        "n_id": first.n_id,
        "n_ood": first.n_ood,
        "a": a,
        "b": b,
        "difference": b - a,
        "low": found.low,
        "high": found.high,
        "p_value": p,
        "p_holm": None,
        "method": method,
        "labels_preserved": first.labels_preserved,
    }
