"""OOD results as a reader wants them: one line per set and checkpoint, near and far apart, means
below, the best in bold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ahsar_eval.evaluation.requirement_tables import requirement_notes, requirement_tables
from ahsar_eval.ood import CLUSTER_BOOTSTRAP, SCORES, SEPARATION
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Column, Row, Table, read_columns, with_best

SECTIONS = {
    "id": "the ID set",
    "near": "near",
    "far": "far",
    "": "other sets",
    "shift": "shifts of the ID set",
}
COLUMNS = read_columns(__file__, "ood")
_ENDS = ("", "_low", "_high")
_TITLES = {
    one.key: one.title for table in ("separated", "further", "labelled") for one in COLUMNS[table]
}


def title_of(metric: str, tpr: float = 0.95) -> str:
    """The name of a metric in a table; that of an FPR says at which TPR."""
    return _with_tpr(_TITLES.get(metric, metric.replace("_", " ")), tpr)


def _with_tpr(title: str, tpr: float) -> str:
    return title.replace("FPR", f"FPR@{100 * tpr:g}TPR", 1)


def shown(records: Sequence[Row], by: Iterable[str]) -> list[Row]:
    """What a table shows of the records: sets or the means that stand for them, classes below their
    sets, wide means last."""

    def place(row: Row) -> tuple[Any, ...]:
        return row["label"], row["set"], row["shift"]

    means = {place(row) for row in records if row["kind"] == "mean" and row["shift"] is not None}
    return [
        row
        for row in records
        if row["kind"] != "id"
        and not (row["kind"] == "mean" and "corruption_error" in row)
        and (row["kind"] == "mean" or place(row) not in means or "severity" in by)
    ]


def name_of(row: Row) -> str:
    """What a reader calls the set, class or mean of a record."""
    if row["kind"] == "class":
        return f"{row['ood']}, class {row['class']}"
    if row["kind"] != "mean":
        return str(row["ood"])
    if row["group"] in ("near", "far") and "members" in row:
        return f"mean of {row['members']}"
    if row.get("shift") is None:
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
    tables, calibration = [], []
    for score in scores:
        rows = [row for row in records if row["score"] == score]
        lines, measured = shown(rows, results.by), COLUMNS["separated"]
        if score != scores[0] or all(row.get("accuracy_ood") is None for row in lines):
            measured = COLUMNS["separated"][:2]
        tables.append(_table(SCORES[score].title if len(scores) > 1 else "", lines, measured))
        if detail:
            tables.append(_table(f"Separation by {score}, further", lines, COLUMNS["further"]))
            judged = [
                {**{f"accuracy_ood{end}": row.get(f"accuracy{end}") for end in _ENDS}, **row}
                for row in rows
                if row["kind"] in ("id", "set")
            ]
            judged = [row for row in judged if row["accuracy_ood"] is not None]
            title = f"Accuracy and calibration, uncertainty by {score}"
            calibration.append(_table(title, judged, COLUMNS["labelled"]))
    corrupted = [row for row in records if "corruption_error" in row and row["score"] == scores[0]]
    relative = any("relative_corruption_error" in row for row in corrupted)
    tables += [
        *calibration,
        _table("Mean corruption error", corrupted, COLUMNS["corruption"][: 1 + relative]),
    ]
    if detail:
        costs = list(results.records.get("test_time", ()))
        sets = list(dict.fromkeys(row["ood"] for row in costs))
        costs.sort(key=lambda row: sets.index(row["ood"]))
        tables.append(Table("At test time", COLUMNS["test_time"], costs, names=("ood", "n")))
    tables += requirement_tables(results.records.get("requirements", ()))
    return [table for table in tables if table.rows]


def _all(results: Results) -> list[Row]:
    """The records of every list, those of a network together."""
    records = [row for name in ("id", "rows", "means") for row in results.records[name]]
    labels = list(dict.fromkeys(row["label"] for row in records))
    return sorted(records, key=lambda row: labels.index(row["label"]))


def sectioned(records: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows with their names, by their groups (see `SECTIONS`), those of one name together."""
    rows = [{**row, "section": SECTIONS[row["group"]], "name": name_of(row)} for row in records]
    groups, names = list(SECTIONS), list(dict.fromkeys(row["name"] for row in rows))
    rows.sort(key=lambda row: (groups.index(row["group"]), names.index(row["name"])))
    return rows


def _table(title: str, records: Sequence[Row], measured: Sequence[Column]) -> Table:
    """A table of `records`, the best in bold."""
    rows = [{**row, "n": str(row["n_ood"] or row["n_id"])} for row in sectioned(records)]
    tpr = records[0]["tpr"] if records else 0.95
    marked = [replace(one, title=_with_tpr(one.title, tpr)) for one in measured]
    return Table(
        title,
        [*COLUMNS["names"], *marked],
        with_best(
            rows,
            marked,
            ("section", "name"),
            lambda row, key: row["labels_preserved"] and key in SEPARATION,
        ),
        names=("name", "n"),
        section="section" if len({row["group"] for row in records}) > 1 else "",
        ruled=len({row["label"] for row in records}) > 1,
    )


def ood_notes(results: Results) -> list[str]:
    """What a reader must know to read the table."""
    rows, id_rows = list(results.records["rows"]), list(results.records["id"])
    scores = list(dict.fromkeys(row["score"] for row in (*id_rows, *rows)))
    fpr = title_of("fpr_at_tpr", id_rows[0]["tpr"])
    notes = []
    for row in {row["label"]: row for row in id_rows}.values():
        known = row["accuracy"]
        accuracy = "no labels" if known is None else f"accuracy {known:.4f}"
        rate = "unknown" if row["mean_rate"] is None else f"{row['mean_rate']:.3f}"
        notes.append(
            f"{row['checkpoint']} on {row['id']} (n = {row['n_id']}): {accuracy}, mean firing rate "
            f"{rate}, thresholds: {row['thresholds']}."
        )
    titles = [SCORES[score].title for score in scores]
    named = " and ".join(titles) if len(scores) < 4 else f"{len(scores)} scores"
    notes.append(
        f"AUROC and {fpr} of {named}, out-of-distribution positive. Fractions, not percent."
    )
    notes.append(_intervals(rows, results.facts))
    notes += [
        f"{score}: {SCORES[score].second_pass}." for score in scores if SCORES[score].second_pass
    ]
    notes += _falling_auroc(_all(results), scores[0])
    if len({row["accuracy_ood"] is None for row in rows}) > 1:
        notes.append("– : the labels of that set do not correspond to the ID set's.")
    if any(
        row[metric] is not None and row[f"{metric}_low"] is None
        for row in rows
        for metric in ("auroc", "fpr_at_tpr")
    ):
        notes.append(
            "No interval where the data give none: perfect separation, scores that are all equal, "
            "or a single sample."
        )
    few = min((row for row in rows if row["kind"] == "set"), key=_distinct_share)
    if _distinct_share(few) < 0.5:
        of_score = f" of {SCORES[few['score']].title}" if len(scores) > 1 else ""
        notes.append(
            f"Ties: {few['n_id'] + few['n_ood']} scores{of_score} on {few['ood']} take "
            f"{few['distinct_scores']} values; {fpr} jumps where its "
            "threshold falls on a tie."
        )
    return [*notes, *requirement_notes(results.records.get("requirements", ()))]


def _distinct_share(row: Row) -> float:
    return float((row["distinct_scores"] or 0) / (row["n_id"] + row["n_ood"]))


def _intervals(rows: Sequence[Row], facts: Mapping[str, Any]) -> str:
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
    drawn = f"{facts['bootstrap_replicates']} replicates, seed {facts['seed']}"
    return f"95 % intervals: {', '.join(said)} ({drawn})."


def _falling_auroc(records: Sequence[Row], score: str) -> list[str]:
    """Where of a checkpoint and the first one is more accurate on a set that keeps the labels, and
    its AUROC lower: what that means.
    """
    found: dict[str, dict[Any, Row]] = {row["label"]: {} for row in records}
    for row in shown([row for row in records if row["score"] == score], ()):
        known = None not in (row.get("accuracy_ood"), row.get("auroc"))
        if known and row["labels_preserved"] and row["kind"] in ("set", "mean"):
            found[row["label"]][row["kind"], row["ood"]] = row
    first, *others = found
    said = []
    for better, worse in (pair for label in others for pair in ((label, first), (first, label))):
        names = [
            name_of(row)
            for key, row in found[better].items()
            if (other := found[worse].get(key))
            and row["accuracy_ood"] > other["accuracy_ood"]
            and row["auroc"] < other["auroc"]
        ]
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            said.append(f"{better} than {worse} on {', '.join(names[:3])}{more}")
    if not said:
        return []
    return [
        f"More accurate and yet lower in AUROC: {'; '.join(said)}. The labels hold there, so "
        "nothing is to be detected but the shift itself: a network that reads such images as well "
        "as clean ones gives them the same entropy, and its AUROC falls towards 0.5. Read accuracy "
        "and calibration there."
    ]


OOD = Kind(
    "ood",
    axes="label checkpoint thresholds id ood kind group set shift severity class score".split(),
    tables=ood_tables,
    notes=ood_notes,
    n="n_ood",
    aside=("members", "n_id", "tpr", "fpr_at_95_tpr"),
    listed=("rows", "means"),
)
