"""The OOD result as a reader wants it: one line per set and checkpoint, near and far apart, means
below, the best in bold.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from ahsar_eval.ood import BETTER, CLUSTER_BOOTSTRAP, SCORES, SEPARATION, Row
from ahsar_eval.results.document import Table, sectioned
from ahsar_eval.results.tables import cell, span

TITLES = {
    "auroc": "AUROC",
    "fpr_at_tpr": "FPR",
    "fpr_at_tpr_id_positive": "FPR, ID positive",
    "aupr_out": "AUPR out",
    "aupr_in": "AUPR in",
    "detection_error": "detection error",
    "accuracy": "accuracy",
    "nll": "NLL",
    "brier": "Brier",
    "ece": "ECE",
    "ece_equal_mass": "ECE, equal mass",
    "misclassification_auroc": "AUROC of errors",
    "aurc": "AURC",
    "mean_score": "mean score",
    "mean_rate": "mean rate",
    "corruption_error": "corruption error",
    "relative_corruption_error": "relative corruption error",
}


@dataclass(frozen=True)
class Column:
    """A heading and what stands below it; `metric` names what is compared for the best, '' for
    none.
    """

    title: str
    text: Callable[[Row], str]
    metric: str = ""


def ood_tables(rows: Sequence[Row], *, by: Iterable[str] = (), detail: bool = False) -> list[Table]:
    """One table for each score, then corruption errors where there are any; with `detail` every
    other metric, too.

    A shift at several severities is one line, their mean; `by` "severity" shows each. Best of
    several checkpoints are marked, but for separation on a set that keeps the labels: there neither
    direction is better (docs/ood.md).
    """
    by = set(by)
    scores = list(dict.fromkeys(row.score for row in rows))
    tables = []
    for score in scores:
        own = [row for row in rows if row.score == score]
        title = SCORES[score].title if len(scores) > 1 else ""
        lines = shown(own, by)
        tables.append(_table(title, lines, _separation_columns(lines, accuracy=score == scores[0])))
        if detail:
            tables.append(_table(f"Separation by {score}, further", lines, _further_columns(lines)))
    if detail:
        labelled = [row for row in rows if row.kind in ("id", "set") and "accuracy" in row.metrics]
        for score in scores:
            tables.append(
                _table(
                    f"Accuracy and calibration, uncertainty by {score}",
                    [r for r in labelled if r.score == score],
                    _LABEL_COLUMNS,
                )
            )
    corrupted = [
        row for row in rows if "corruption_error" in row.metrics and row.score == scores[0]
    ]
    if corrupted:
        relative = any("relative_corruption_error" in row.metrics for row in corrupted)
        tables.append(
            _table(
                "Mean corruption error", corrupted, _CORRUPTION_COLUMNS[: None if relative else 2]
            )
        )
    return [table for table in tables if table.body]


def shown(rows: Sequence[Row], by: set[str]) -> list[Row]:
    """What a table shows of the rows: sets or the means that stand for them, classes below their
    sets, wide means last.
    """
    means = {
        (row.checkpoint, row.thresholds, row.set_name, row.shift): row
        for row in rows
        if row.kind == "mean" and row.shift is not None
    }
    found: list[Row] = []
    for row in rows:
        if row.kind == "id" or (row.kind == "mean" and "corruption_error" in row.metrics):
            continue
        mean = (
            means.get((row.checkpoint, row.thresholds, row.set_name, row.shift))
            if row.shift is not None
            else None
        )
        if row.kind in ("set", "class") and mean is not None and "severity" not in by:
            continue
        found.append(row)
    return found


def _table(title: str, rows: Sequence[Row], columns: Sequence[Column]) -> Table:
    def cells(row: Row, same: Sequence[Row]) -> tuple[list[str], set[int]]:
        texts = [
            f"{row.n_ood or row.n_id}" if row is same[0] else "",
            row.label,
            *(column.text(row) for column in columns),
        ]
        return texts, {
            2 + at for at, column in enumerate(columns) if _is_best(row, same, column.metric)
        }

    return sectioned(
        title,
        ["OOD set", "n", "checkpoint", *(column.title for column in columns)],
        rows,
        name=_name,
        cells=cells,
        headings=len({row.group for row in rows}) > 1,
        rules=len({row.label for row in rows}) > 1,
    )


def _name(row: Row) -> str:
    if row.kind == "class":
        return f"{row.ood}, class {row.class_name}"
    if row.kind != "mean":
        return row.ood
    if row.group in ("near", "far"):
        return f"mean of {len(row.members)}"
    if row.shift is None:
        return f"mean of {row.ood}"
    severities = [int(member.rsplit(":", 1)[1]) for member in row.members]
    whole = severities == list(range(min(severities), max(severities) + 1))
    return (
        f"{row.ood}:{min(severities)}–{max(severities)}"
        if whole
        else f"{row.ood}:{','.join(map(str, severities))}"
    )


def _is_best(row: Row, same: Sequence[Row], metric: str) -> bool:
    values = [value for one in same if (value := one.value(metric)) is not None] if metric else []
    if len(values) < 2 or (row.labels_preserved and metric in SEPARATION):
        return False
    return row.value(metric) == (max(values) if BETTER[metric] > 0 else min(values))


def title_of(metric: str, tpr: float = 0.95) -> str:
    """The name of a metric in a table; that of an FPR says at which TPR."""
    title = TITLES[metric]
    return title.replace("FPR", f"FPR@{100 * tpr:g}TPR", 1) if metric.startswith("fpr") else title


def _number(metric: str, title: str = "", tpr: float = 0.95) -> Column:
    return Column(
        title or title_of(metric, tpr),
        lambda row: cell(row.value(metric)),
        metric if BETTER.get(metric) else "",
    )


def _interval(metric: str) -> Column:
    def text(row: Row) -> str:
        estimate = row.metrics.get(metric)
        return "–" if estimate is None else span(estimate.low, estimate.high)

    return Column("95 % interval", text)


def _separation_columns(rows: Sequence[Row], *, accuracy: bool) -> list[Column]:
    columns = [
        _number("auroc"),
        _interval("auroc"),
        _number("fpr_at_tpr", tpr=rows[0].tpr),
        _interval("fpr_at_tpr"),
    ]
    if accuracy and any("accuracy" in row.metrics for row in rows):
        columns += [_number("accuracy"), _interval("accuracy")]
    return columns


def _further_columns(rows: Sequence[Row]) -> list[Column]:
    return [
        _number("fpr_at_tpr_id_positive", tpr=rows[0].tpr),
        *map(_number, ("aupr_out", "aupr_in", "detection_error")),
        Column("distinct scores", lambda row: cell(row.distinct_scores)),
        Column("mean score, ID", lambda row: cell(row.id_metrics["mean_score"].value)),
        _number("mean_score", "OOD"),
        Column("mean rate, ID", lambda row: cell(row.id_metrics["mean_rate"].value)),
        _number("mean_rate", "OOD"),
    ]


_LABEL_COLUMNS = [
    _number("accuracy"),
    _interval("accuracy"),
    *map(_number, ("nll", "brier", "ece", "ece_equal_mass", "misclassification_auroc", "aurc")),
]
_CORRUPTION_COLUMNS = [
    _number("corruption_error", "error"),
    _interval("corruption_error"),
    _number("relative_corruption_error", "relative to baseline"),
    _interval("relative_corruption_error"),
]


def ood_notes(rows: Sequence[Row], *, seed: int, replicates: int) -> list[str]:
    """What a reader must know to read the table."""
    notes = []
    first_score = rows[0].score
    id_rows = [row for row in rows if row.kind == "id"]
    for row in (row for row in id_rows if row.score == first_score):
        accuracy = (
            "no labels"
            if row.value("accuracy") is None
            else f"accuracy {row.value('accuracy'):.4f}"
        )
        notes.append(
            f"{row.checkpoint} on {row.id} (n = {row.n_id}): {accuracy}, mean firing rate "
            f"{row.value('mean_rate'):.3f}, "
            f"thresholds: {row.thresholds}."
        )
    scores = list(dict.fromkeys(row.score for row in rows))
    named = (
        " and ".join(SCORES[score].title for score in scores)
        if len(scores) < 4
        else f"{len(scores)} scores"
    )
    notes.append(
        f"AUROC and {title_of('fpr_at_tpr', rows[0].tpr)} of {named}, out-of-distribution "
        "positive. Fractions, not percent."
    )
    sets = [row for row in rows if row.kind in ("set", "class")]
    notes.append(_intervals(sets, seed, replicates))
    notes += [
        f"{score}: {SCORES[score].second_pass}." for score in scores if SCORES[score].second_pass
    ]
    notes += _falling_auroc(rows, first_score)
    if any("accuracy" in row.metrics for row in sets) and any(
        "accuracy" not in row.metrics for row in sets
    ):
        notes.append("– : the labels of that set do not correspond to the ID set's.")
    if any(
        metric in row.metrics and row.metrics[metric].low is None
        for row in sets
        for metric in ("auroc", "fpr_at_tpr")
    ):
        notes.append(
            "No interval where the data give none: perfect separation, scores that are all equal, "
            "or a single sample."
        )
    few = min((row for row in sets if row.kind == "set"), key=_distinct_share)
    if _distinct_share(few) < 0.5:
        of_score = f" of {SCORES[few.score].title}" if len(scores) > 1 else ""
        notes.append(
            f"Ties: {few.n_id + few.n_ood} scores{of_score} on {few.ood} take "
            f"{few.distinct_scores} values; "
            f"{title_of('fpr_at_tpr', rows[0].tpr)} jumps where its threshold falls on a tie."
        )
    return notes


def _distinct_share(row: Row) -> float:
    return (row.distinct_scores or 0) / (row.n_id + row.n_ood)


def _intervals(sets: Sequence[Row], seed: int, replicates: int) -> str:
    """How the intervals were made, of what."""
    used = {estimate.method for row in sets for estimate in row.metrics.values()} - {""}
    said = []
    if any(method.startswith("DeLong") for method in used):
        logit = " (on the logit scale near 0 and 1)" if "DeLong, logit scale" in used else ""
        said.append(f"DeLong{logit} for AUROC of sets with images of their own")
    if "Wilson" in used:
        said.append("Wilson for accuracy")
    if CLUSTER_BOOTSTRAP in used:
        said.append("cluster bootstrap by image where a set is the ID set's images, shifted")
    if used:
        said.append("bootstrap for the rest" if said else "bootstrap")
    return (
        f"95 % intervals: {', '.join(said)} ({replicates} replicates, seed {seed})."
        if said
        else "No set gives an interval."
    )


def _falling_auroc(rows: Sequence[Row], score: str) -> list[str]:
    """Where of a checkpoint and the first one is more accurate on a set that keeps the labels, and
    its AUROC lower: what that means.
    """
    own = shown([row for row in rows if row.score == score], set())
    lines = [row for row in own if row.labels_preserved and row.kind in ("set", "mean")]
    labels = list(dict.fromkeys(row.label for row in rows))
    first = {(row.kind, row.ood): row for row in lines if row.label == labels[0]}
    said = []
    for label in labels[1:]:
        twins = [
            (first[row.kind, row.ood], row)
            for row in lines
            if row.label == label and (row.kind, row.ood) in first
        ]
        for better, worse, found in (
            (label, labels[0], [_name(row) for one, row in twins if _rises(one, row)]),
            (labels[0], label, [_name(row) for one, row in twins if _rises(row, one)]),
        ):
            if found:
                listed = ", ".join(found[:3]) + (
                    f" and {len(found) - 3} more" if len(found) > 3 else ""
                )
                said.append(f"{better} than {worse} on {listed}")
    if not said:
        return []
    return [
        f"More accurate and yet lower in AUROC: {'; '.join(said)}. The labels hold there, so "
        "nothing is to be detected but the shift "
        "itself: a network that reads such images as well as clean ones gives them the same "
        "entropy, and its AUROC falls towards 0.5. "
        "Read accuracy and calibration there."
    ]


def _rises(first: Row, row: Row) -> bool:
    accuracies, aurocs = (
        (first.value("accuracy"), row.value("accuracy")),
        (first.value("auroc"), row.value("auroc")),
    )
    if None in accuracies or None in aurocs:
        return False
    return accuracies[1] > accuracies[0] and aurocs[1] < aurocs[0]  # type: ignore[operator]
