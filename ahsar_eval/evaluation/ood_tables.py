"""OOD results as a reader wants them: one line per set and checkpoint, near and far apart, means
below, the best in bold.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ahsar_eval.ood import BETTER, CLUSTER_BOOTSTRAP, SCORES, SEPARATION
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Column, Row, Table, with_best

SECTIONS = {
    "id": "the ID set",
    "near": "near",
    "far": "far",
    "": "other sets",
    "shift": "shifts of the ID set",
}
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
_OF_OOD = ("accuracy", "mean_score", "mean_rate")  # written with _ood and _id where both are there
_LABELLED = ("nll", "brier", "ece", "ece_equal_mass", "misclassification_auroc", "aurc")
_CORRUPTION = [
    Column("corruption_error", "error", better=-1, interval=True),
    Column("relative_corruption_error", "relative to baseline", better=-1, interval=True),
]


def title_of(metric: str, tpr: float = 0.95) -> str:
    """The name of a metric in a table; that of an FPR says at which TPR."""
    title = TITLES[metric]
    at = f"FPR@{100 * tpr:g}TPR"
    return title.replace("FPR", at, 1) if metric.startswith("fpr") else title


def key_of(metric: str) -> str:
    """The key of a metric in the record of a set."""
    return f"{metric}_ood" if metric in _OF_OOD else metric


def column(metric: str, title: str = "", *, tpr: float = 0.95, interval: bool = False) -> Column:
    """The column of a metric of sets."""
    better = BETTER.get(metric, 0)
    return Column(key_of(metric), title or title_of(metric, tpr), better=better, interval=interval)


def shown(records: Sequence[Row], by: Iterable[str]) -> list[Row]:
    """What a table shows of the records: sets or the means that stand for them, classes below their
    sets, wide means last."""

    def place(row: Row) -> tuple[Any, ...]:
        return row["label"], row["set"], row["shift"]

    means = {place(row) for row in records if row["kind"] == "mean" and row["shift"] is not None}
    found: list[Row] = []
    for row in records:
        if row["kind"] == "id" or (row["kind"] == "mean" and "corruption_error" in row):
            continue
        in_a_mean = row["shift"] is not None and place(row) in means
        if row["kind"] in ("set", "class") and in_a_mean and "severity" not in by:
            continue
        found.append(row)
    return found


def name_of(row: Row) -> str:
    """What a reader calls the set, class or mean of a record."""
    if row["kind"] == "class":
        return f"{row['ood']}, class {row['class']}"
    if row["kind"] != "mean":
        return str(row["ood"])
    if row["group"] in ("near", "far"):
        return f"mean of {row['members']}"
    if row["shift"] is None:
        return f"mean of {row['ood']}"
    return f"{row['ood']}:{row['severities']}"


def range_of(severities: Sequence[int]) -> str:
    """'1–5', or '1,3' where some between are missing."""
    first, last = min(severities), max(severities)
    whole = list(severities) == list(range(first, last + 1))
    return f"{first}–{last}" if whole else ",".join(map(str, severities))


def ood_tables(results: Results, detail: bool = False) -> list[Table]:
    """One table for each score, then corruption errors where there are any; with `detail` every
    other metric, too.

    A shift at several severities is one line, their mean; "severity" in `results.by` shows each.
    Best of several checkpoints are marked, but for separation on a set that keeps the labels: there
    neither direction is better (docs/ood.md).
    """
    records = _all(results)
    scores = list(dict.fromkeys(row["score"] for row in records))
    tables = []
    for score in scores:
        lines = shown([row for row in records if row["score"] == score], results.by)
        if not lines:
            continue
        tpr = lines[0]["tpr"]
        columns = [column(name, tpr=tpr, interval=True) for name in ("auroc", "fpr_at_tpr")]
        if score == scores[0] and any(row.get("accuracy_ood") is not None for row in lines):
            columns.append(column("accuracy", interval=True))
        tables.append(_table(SCORES[score].title if len(scores) > 1 else "", lines, columns))
        if detail:
            tables.append(_table(f"Separation by {score}, further", lines, _further(tpr)))
    if detail:
        labelled = [column("accuracy", interval=True), *map(column, _LABELLED)]
        for score in scores:
            lines = [
                _as_of_ood(row)
                for row in records
                if row["score"] == score and row["kind"] in ("id", "set") and _has_accuracy(row)
            ]
            title = f"Accuracy and calibration, uncertainty by {score}"
            tables.append(_table(title, lines, labelled))
    corrupted = [row for row in records if "corruption_error" in row and row["score"] == scores[0]]
    relative = any("relative_corruption_error" in row for row in corrupted)
    tables.append(_table("Mean corruption error", corrupted, _CORRUPTION[: 1 + relative]))
    return [table for table in tables if table.rows]


def _all(results: Results) -> list[Row]:
    """The records of every list, those of a network together."""
    records = [row for name in ("id", "rows", "means") for row in results.records[name]]
    labels = list(dict.fromkeys(row["label"] for row in records))
    return [row for label in labels for row in records if row["label"] == label]


def _as_of_ood(row: Row) -> Row:
    """The record of an ID set with the keys of other sets."""
    ends = ("", "_low", "_high")
    named = {f"{key_of(metric)}{end}": f"{metric}{end}" for metric in _OF_OOD for end in ends}
    return {**row, **{key: row.get(key, row.get(name)) for key, name in named.items()}}


def _has_accuracy(row: Row) -> bool:
    return row.get("accuracy_ood", row.get("accuracy")) is not None


def _further(tpr: float) -> list[Column]:
    return [
        column("fpr_at_tpr_id_positive", tpr=tpr),
        *map(column, ("aupr_out", "aupr_in", "detection_error")),
        Column("distinct_scores", "distinct scores"),
        Column("mean_score_id", "mean score, ID"),
        column("mean_score", "OOD"),
        Column("mean_rate_id", "mean rate, ID"),
        column("mean_rate", "OOD"),
    ]


def _table(title: str, records: Sequence[Row], columns: Sequence[Column]) -> Table:
    """A table of `records` by their groups (see `SECTIONS`), those of one name together."""
    groups: dict[str, dict[str, list[Row]]] = {section: {} for section in SECTIONS.values()}
    for row in records:
        section, name = SECTIONS[row["group"]], name_of(row)
        n = str(row["n_ood"] or row["n_id"])
        named = {**row, "section": section, "name": name, "n": n}
        groups[section].setdefault(name, []).append(named)
    together = [row for names in groups.values() for rows in names.values() for row in rows]
    separation = {key_of(metric) for metric in SEPARATION}
    return Table(
        title,
        [Column("name", "OOD set"), Column("n", "n"), Column("label", "checkpoint"), *columns],
        with_best(
            together,
            columns,
            ("section", "name"),
            lambda row, key: row["labels_preserved"] and key in separation,
        ),
        names=("name", "n"),
        section="section" if len({row["group"] for row in records}) > 1 else "",
        ruled=len({row["label"] for row in records}) > 1,
    )


def ood_notes(results: Results) -> list[str]:
    """What a reader must know to read the table."""
    rows, id_rows = list(results.records["rows"]), list(results.records["id"])
    scores = list(dict.fromkeys(row["score"] for row in (*id_rows, *rows)))
    tpr, replicates = id_rows[0]["tpr"], results.facts["bootstrap_replicates"]
    notes = []
    firsts = {row["label"]: row for row in reversed(id_rows)}
    for label in dict.fromkeys(row["label"] for row in id_rows):
        row = firsts[label]
        known = row["accuracy"]
        accuracy = "no labels" if known is None else f"accuracy {known:.4f}"
        notes.append(
            f"{row['checkpoint']} on {row['id']} (n = {row['n_id']}): {accuracy}, mean firing rate "
            f"{row['mean_rate']:.3f}, thresholds: {row['thresholds']}."
        )
    titles = [SCORES[score].title for score in scores]
    named = " and ".join(titles) if len(scores) < 4 else f"{len(scores)} scores"
    notes.append(
        f"AUROC and {title_of('fpr_at_tpr', tpr)} of {named}, out-of-distribution positive. "
        "Fractions, not percent."
    )
    notes.append(_intervals(rows, results.facts["seed"], replicates))
    notes += [
        f"{score}: {SCORES[score].second_pass}." for score in scores if SCORES[score].second_pass
    ]
    notes += _falling_auroc(_all(results), scores[0])
    if len({row["accuracy_ood"] is None for row in rows}) > 1:
        notes.append("– : the labels of that set do not correspond to the ID set's.")
    if any(_lacks_interval(row, metric) for row in rows for metric in ("auroc", "fpr_at_tpr")):
        notes.append(
            "No interval where the data give none: perfect separation, scores that are all equal, "
            "or a single sample."
        )
    few = min((row for row in rows if row["kind"] == "set"), key=_distinct_share)
    if _distinct_share(few) < 0.5:
        of_score = f" of {SCORES[few['score']].title}" if len(scores) > 1 else ""
        notes.append(
            f"Ties: {few['n_id'] + few['n_ood']} scores{of_score} on {few['ood']} take "
            f"{few['distinct_scores']} values; {title_of('fpr_at_tpr', tpr)} jumps where its "
            "threshold falls on a tie."
        )
    return notes


def _lacks_interval(row: Row, metric: str) -> bool:
    return row[metric] is not None and row[f"{metric}_low"] is None


def _distinct_share(row: Row) -> float:
    return float((row["distinct_scores"] or 0) / (row["n_id"] + row["n_ood"]))


def _intervals(rows: Sequence[Row], seed: int, replicates: int) -> str:
    """How the intervals were made, of what."""
    used = {row[key] for row in rows for key in row if key.endswith("_interval")} - {"", None}
    said = []
    if any(method.startswith("DeLong") for method in used):
        logit = " (on the logit scale near 0 and 1)" if "DeLong, logit scale" in used else ""
        said.append(f"DeLong{logit} for AUROC of sets with images of their own")
    if "Wilson" in used:
        said.append("Wilson for accuracy")
    if CLUSTER_BOOTSTRAP in used:
        said.append("cluster bootstrap by image where a set is the ID set's images, shifted")
    if not used:
        return "No set gives an interval."
    said.append("bootstrap for the rest" if said else "bootstrap")
    return f"95 % intervals: {', '.join(said)} ({replicates} replicates, seed {seed})."


def _falling_auroc(records: Sequence[Row], score: str) -> list[str]:
    """Where of a checkpoint and the first one is more accurate on a set that keeps the labels, and
    its AUROC lower: what that means.
    """
    lines = [
        row
        for row in shown([row for row in records if row["score"] == score], ())
        if row["labels_preserved"] and row["kind"] in ("set", "mean")
    ]
    labels = list(dict.fromkeys(row["label"] for row in records))
    first = {(row["kind"], row["ood"]): row for row in lines if row["label"] == labels[0]}
    said = []
    for label in labels[1:]:
        own = [row for row in lines if row["label"] == label and (row["kind"], row["ood"]) in first]
        twins = [(first[row["kind"], row["ood"]], row) for row in own]
        for better, worse, found in (
            (label, labels[0], [name_of(row) for one, row in twins if _rises(one, row)]),
            (labels[0], label, [name_of(row) for one, row in twins if _rises(row, one)]),
        ):
            if found:
                more = f" and {len(found) - 3} more" if len(found) > 3 else ""
                said.append(f"{better} than {worse} on {', '.join(found[:3])}{more}")
    if not said:
        return []
    return [
        f"More accurate and yet lower in AUROC: {'; '.join(said)}. The labels hold there, so "
        "nothing is to be detected but the shift itself: a network that reads such images as well "
        "as clean ones gives them the same entropy, and its AUROC falls towards 0.5. Read accuracy "
        "and calibration there."
    ]


def _rises(first: Row, row: Row) -> bool:
    values = [one.get(key) for key in ("accuracy_ood", "auroc") for one in (first, row)]
    if None in values:
        return False
    return bool(values[1] > values[0] and values[3] < values[2])  # type: ignore[operator]


def _content(results: Results) -> Mapping[str, Any]:
    return {name: list(results.records[name]) for name in ("rows", "means", "id")}


OOD = Kind(
    "ood",
    axes=tuple(
        "label checkpoint thresholds id ood kind group set shift severity class score".split()
    ),
    tables=ood_tables,
    notes=ood_notes,
    n="n_ood",
    aside=("members", "n_id", "tpr", "fpr_at_95_tpr"),
    content=_content,
    listed=("rows", "means"),
)
