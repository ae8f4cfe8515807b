"""Unweighted means over sets: near, far, the severities of a shift, the corruptions; near and far
are never mixed (docs/ood.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.ood.corruption_error import (
    SEVERITIES,
    corruption_error_replicates,
    mean_corruption_error,
)
from ahsar_eval.ood.evaluate import BOOTSTRAP, CLUSTER_BOOTSTRAP, estimate_of
from ahsar_eval.ood.rows import METRICS, Estimate, Row

Key = tuple[str, str, str]  # checkpoint, thresholds, score
Grid = dict[tuple[str, int], Row]  # (shift, severity) → row


def with_means(rows: Sequence[Row]) -> list[Row]:
    """`rows` followed by the means over what belongs together, for each checkpoint and score.

    near and far over their sets; each shift of a set over its severities; each set over its shifts,
    whatever their number of severities. A mean of one is no row. Draws of the bootstrap are shared
    between sets that share images (the ID set is in every comparison), so the interval of a mean
    knows how its members move together.
    """
    found = list(rows)
    sets = [row for row in rows if row.kind == "set"]
    for key in dict.fromkeys(map(key_of, sets)):
        own = [row for row in sets if key_of(row) == key]
        for group in ("near", "far"):
            found += _mean(
                [row for row in own if row.group == group and row.shift is None], group, group
            )
        shifted = [row for row in own if row.shift is not None]
        for name in dict.fromkeys(row.set_name for row in shifted):
            each_shift = []
            for shift in dict.fromkeys(row.shift for row in shifted if row.set_name == name):
                severities = [row for row in shifted if (row.set_name, row.shift) == (name, shift)]
                mean = _mean(severities, f"{name}:{shift}", None)
                found += mean
                each_shift += mean or severities
            found += _mean(each_shift, f"{name}, {len(each_shift)} shifts", None)
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
    groups: dict[tuple[Key, str], Grid] = {}
    first_score = rows[0].score if rows else ""  # accuracy is the same whatever the score
    for row in rows:
        if (
            row.kind == "set"
            and row.score == first_score
            and row.same_images
            and row.labels_preserved
            and row.shift is not None
        ):
            groups.setdefault((key_of(row), row.set_name), {})[row.shift, row.severity] = row
    for (key, set_name), grid in groups.items():
        reference = (
            None if baseline in (None, key[:2]) else groups.get(((*baseline, key[2]), set_name))
        )  # type: ignore[misc]
        for title, names in corruptions.items():
            error = mean_corruption_error(_errors(grid), names)
            if error.value is None:
                if len({name for name, _ in grid} & set(names)) > len(names) / 2:
                    notes.append(
                        f"No mean over {title} for {key[0]} on {set_name}: {error.reason}."
                    )
                continue
            replicates = {
                "corruption_error": corruption_error_replicates(_drawn_errors(grid), names)
            }
            metrics = {
                "corruption_error": estimate_of(
                    error.value, replicates["corruption_error"], CLUSTER_BOOTSTRAP
                )
            }
            if reference is not None:
                relative = mean_corruption_error(_errors(grid), names, _errors(reference))
                if relative.value is None:
                    notes.append(
                        f"No relative mean over {title} for {key[0]} on {set_name}: "
                        f"{relative.reason}."
                    )
                else:
                    drawn = corruption_error_replicates(
                        _drawn_errors(grid), names, _drawn_errors(reference)
                    )
                    replicates["relative_corruption_error"] = drawn
                    metrics["relative_corruption_error"] = estimate_of(
                        relative.value, drawn, CLUSTER_BOOTSTRAP
                    )
            used = [grid[name, severity] for name in names for severity in SEVERITIES]
            found.append(_mean_row(used, f"{set_name}, {title}", "shift", metrics, replicates))
    return found, notes


def key_of(row: Row) -> Key:
    """What rows are compared within: one network at one threshold setting, by one score."""
    return row.checkpoint, row.thresholds, row.score


def _errors(grid: Grid) -> dict[tuple[str, int], float]:
    return {place: 1 - row.metrics["accuracy"].value for place, row in grid.items()}


def _drawn_errors(grid: Grid) -> dict[tuple[str, int], NDArray[np.float64]]:
    return {place: 1 - row.replicates["accuracy"] for place, row in grid.items()}


def _mean(members: Sequence[Row], name: str, group: str | None) -> list[Row]:
    if len(members) < 2:
        return []
    method = CLUSTER_BOOTSTRAP if all(row.same_images for row in members) else BOOTSTRAP
    shared = [metric for metric in METRICS if all(metric in row.metrics for row in members)]
    drawn = [metric for metric in shared if all(metric in row.replicates for row in members)]
    replicates = {
        metric: np.mean([row.replicates[metric] for row in members], axis=0) for metric in drawn
    }
    metrics = {
        metric: estimate_of(
            float(np.mean([row.metrics[metric].value for row in members])),
            replicates.get(metric),
            method,
        )
        for metric in shared
    }
    return [
        _mean_row(members, name, members[0].group if group is None else group, metrics, replicates)
    ]


def _mean_row(
    members: Sequence[Row],
    name: str,
    group: str,
    metrics: Mapping[str, Estimate],
    replicates: Mapping[str, NDArray[np.float64]],
) -> Row:
    first = members[0]
    return replace(
        first,
        ood=name,
        kind="mean",
        group=group,
        shift=first.shift if len({row.shift for row in members}) == 1 else None,
        severity=0,
        members=tuple(name for row in members for name in (row.members or (row.ood,))),
        n_ood=sum(row.n_ood for row in members),
        distinct_scores=None,
        metrics=metrics,
        replicates=replicates,
        same_images=all(row.same_images for row in members),
        labels_preserved=all(row.labels_preserved for row in members),
        scores=None,
    )
