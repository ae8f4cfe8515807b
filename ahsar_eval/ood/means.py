"""Unweighted means over sets: near, far, the severities of a shift, the corruptions and their
errors; near and far are never mixed (docs/ood.md).
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.ood.bootstrap import BOOTSTRAP, CLUSTER_BOOTSTRAP, percentile_interval
from ahsar_eval.ood.metrics import Estimate, Scores
from ahsar_eval.ood.rows import METRICS, Row

SEVERITIES = (1, 2, 3, 4, 5)
Key = tuple[str, int]  # corruption and severity


def with_means(rows: Sequence[Row]) -> list[Row]:
    """`rows` followed by the means over what belongs together, for each checkpoint and score.

    near and far over their sets; each shift of a set over its severities; each set over its shifts,
    whatever their number of severities. A mean of one is no row. Draws of the bootstrap are shared
    between sets that share images (the ID set is in every comparison), so the interval of a mean
    knows how its members move together.
    """
    found, alone = list(rows), [row for row in rows if row.kind == "set"]
    for sets in _grouped(alone, lambda row: (row.checkpoint, row.thresholds, row.score)):
        for group in ("near", "far"):
            found += _mean([row for row in sets if row.group == group and row.shift is None], group)
        shifted = [row for row in sets if row.shift is not None]
        for of_set in _grouped(shifted, lambda row: row.set_name):
            name, each_shift = of_set[0].set_name, []
            for severities in _grouped(of_set, lambda row: row.shift):
                mean = _mean(severities, f"{name}:{severities[0].shift}")
                found += mean
                each_shift += mean or severities
            found += _mean(each_shift, f"{name}, {len(each_shift)} shifts")
    return found


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
    grids: dict[tuple[str, str, str], dict[Key, Row]] = defaultdict(dict)
    for row in rows:
        judged = row.kind == "set" and row.same_images and row.labels_preserved
        # accuracy is the same whatever the score
        if judged and row.shift is not None and row.score == rows[0].score:
            grids[row.checkpoint, row.thresholds, row.set_name][row.shift, row.severity] = row
    for (checkpoint, _, set_name), grid in grids.items():
        reference = None if baseline is None else grids.get((*baseline, set_name))
        for title, names in corruptions.items():
            where = f"over {title} for {checkpoint} on {set_name}"
            try:
                errors = {"corruption_error": mean_corruption_error(grid, names)}
            except DataError as error:
                if len({name for name, _ in grid} & set(names)) > len(names) / 2:
                    notes.append(f"No mean {where}: {error}.")
                continue
            if reference is not None and reference is not grid:
                try:
                    relative = mean_corruption_error(grid, names, reference)
                    errors["relative_corruption_error"] = relative
                except DataError as error:
                    notes.append(f"No relative mean {where}: {error}.")
            used = [grid[name, level] for name in names for level in SEVERITIES]
            found.append(_mean_row(used, f"{set_name}, {title}", errors))
    return found, notes


def mean_corruption_error(
    rows: Mapping[Key, Row], corruptions: Sequence[str], baseline: Mapping[Key, Row] | None = None
) -> Estimate:
    """Mean corruption error, 1 − accuracy, of the rows at (corruption, severity) over the named
    `corruptions`, with its bootstrap interval.

    Without a baseline the unweighted mean of all corruptions × 5 severities, in [0, 1]. With the
    rows of a `baseline` the mean over corruptions of Σ_s E / Σ_s E_baseline (Hendrycks and
    Dietterich 2019; 1 is as good as the baseline). Nothing is averaged over a part: raises
    `DataError` where a severity was not measured or the baseline makes no error in a corruption (a
    replicate in which it makes none is NaN), and for no or repeated corruptions. Other rows are
    left out of account.
    """
    if isinstance(corruptions, str) or not corruptions or len(set(corruptions)) != len(corruptions):
        raise DataError(
            f"the corruptions are {corruptions!r}; expected at least one name, none of them twice"
        )
    networks = {"": rows} if baseline is None else {"": rows, " of the baseline": baseline}
    lacking = []
    for whose, grid in networks.items():
        missing = []
        for name in corruptions:
            absent = [f"{name}:{level}" for level in SEVERITIES if (name, level) not in grid]
            missing += [name] if len(absent) == len(SEVERITIES) else absent
        if missing:
            lacking.append(f"not measured{whose}: {', '.join(missing)}")
    if lacking:
        raise DataError("; ".join(lacking))
    sums = [_errors(grid, corruptions, "value") for grid in networks.values()]
    faultless = [name for name, total in zip(corruptions, sums[-1], strict=True) if not total]
    if baseline is not None and faultless:
        raise DataError(f"the baseline makes no error in {', '.join(faultless)}")
    drawn = [_errors(grid, corruptions, "replicates") for grid in networks.values()]
    return percentile_interval(float(_mean_error(*sums)), _mean_error(*drawn), CLUSTER_BOOTSTRAP)


def _errors(rows: Mapping[Key, Row], corruptions: Sequence[str], part: str) -> Scores:
    """1 − accuracy summed over severities, [corruptions], or in replicates [corruptions, B]."""
    accuracies = [
        [getattr(rows[name, level].metrics["accuracy"], part) for level in SEVERITIES]
        for name in corruptions
    ]
    return np.sum(1 - np.array(accuracies), axis=1)


def _mean_error(errors: Scores, baseline: Scores | None = None) -> Scores:
    """The mean over corruptions of `_errors`, or of their ratios to a baseline's; NaN where that
    makes none.
    """
    if baseline is None:
        return errors.mean(axis=0) / len(SEVERITIES)
    return (errors / np.where(baseline > 0, baseline, np.nan)).mean(axis=0)


def _grouped(rows: Sequence[Row], key: Any) -> list[list[Row]]:
    """Rows with the same key, in the order in which keys first stand."""
    groups: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
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
