"""What network B has over network A on the same samples, or one method over another with matched
seeds, or a network that adapts at test time over itself without: each difference with its interval
and p-value.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation import ood
from ahsar_eval.evaluation.adapting import side_of
from ahsar_eval.evaluation.inputs import Plan, listed_ways, set_notes
from ahsar_eval.evaluation.ood_tables import sectioned, shown, title_of
from ahsar_eval.evaluation.requests import Request, listed_names
from ahsar_eval.ood import METRICS, PAIRED_BOOTSTRAP, PAIRED_CLUSTERS, SCORES, differences
from ahsar_eval.ood import Row as Comparison
from ahsar_eval.ood.bootstrap import least_p
from ahsar_eval.results.results import Kind, Results
from ahsar_eval.results.table import Table, read_columns

SHOWN = ("auroc", "fpr_at_tpr", "accuracy", "mean_rate")
# A comparison has no third checkpoint that a corruption error could be relative to.
COMPARED = tuple(name for name in METRICS if name != "relative_corruption_error")
SIGNIFICANT = 0.05
COLUMNS = read_columns(__file__, "compare")["differences"]


plan = ood.plan


def requested(request: Request) -> Request:
    """`request` as `ood` completes it, with its metrics by name: `SHOWN` where none is named, and
    every one for "all". Raises `UsageError` and `DataError`.
    """
    names = listed_names(request.metrics, COMPARED, "metric")
    for name in names:
        if name not in COMPARED:
            known = ", ".join(COMPARED)
            raise UsageError(f"unknown metric {name!r}; known are {known} and all")
    if len(ways := listed_ways(request.adapt)) > 1:
        raise UsageError(
            f"--adapt names {len(ways)} ways to adapt, and B can have one; leave the others out"
        )
    return replace(ood.requested(request), metrics=names or SHOWN)


def check_lengths(a: Sequence[Any], b: Sequence[Any], adapt: Sequence[str] = ()) -> None:
    """That the sides have as many networks each, and one at least; of networks that adapt, A alone
    will do. Raises `UsageError`.
    """
    if a and not b and listed_ways(adapt):
        return
    if len(a) != len(b) or not a:
        raise UsageError(
            f"A names {len(a)} checkpoints and B {len(b)}; expected as many of each: they are "
            "compared seed by seed"
        )


def matched(a: Sequence[Plan], b: Sequence[Plan]) -> tuple[list[Plan], str]:
    """`b` in the order of the seeds of `a`, and what was done about it.

    Raises `UsageError` where one side names a file twice.
    """
    for side in (a, b):
        hashes = [plan.runner.checkpoint.sha256 for plan in side]
        if len(set(hashes)) < len(hashes):
            raise UsageError(
                "two checkpoints of one side are the same file; seeds must be trainings of their "
                "own"
            )
    if len(a) == 1:
        return list(b), ""
    of_a, of_b = ([one.runner.checkpoint.provenance.get("seed") for one in side] for side in (a, b))
    if None not in of_a and len(set(of_a)) == len(a) and set(of_a) == set(of_b):
        ordered = [b[of_b.index(seed)] for seed in of_a]
        return ordered, f"Matched by seed: {', '.join(map(str, of_a))}."
    return list(b), "Matched in the order given: the checkpoints do not tell their seeds apart."


def sides(plans: Sequence[Plan], pairs: int) -> tuple[Sequence[Plan], Sequence[Plan]]:
    """A, which are the first `pairs` networks, and B, the others. Where networks adapt, each plan
    without is followed by one with: then A and B adapt, or where there is no B, it is A, adapting.
    """
    adapted = [plan for plan in plans if plan.runner.adaptation]
    plain = [plan for plan in plans if not plan.runner.adaptation]
    if len(adapted) == pairs:
        return plain, adapted
    both = adapted or plain
    return both[:pairs], both[pairs:]


def evaluation(request: Request, plans: Sequence[Plan], pairs: int) -> Results:
    """B − A for every set and metric, of as many `pairs` (see `sides`).

    Raises `UsageError` where one side names a file twice, or no metric is defined on these sets.
    """
    (a, b), metrics = sides(plans, pairs), request.metrics
    b, said = matched(a, b)
    networks = [ood.run(request, one) for one in (*a, *b)]
    summaries = [ood.summarised([network]) for network in networks]
    # A score that one network cannot have is compared for none (the notes list it).
    scores = set.intersection(*({row.score for row in rows} for rows, _ in summaries))
    visible = [
        [row for row in visible_rows(rows, request.by) if row.score in scores]
        for rows, _ in summaries
    ]
    both = list(zip(visible[:pairs], visible[pairs:], strict=True))
    found = differences(both, ood.statistics_of(request).resamples, metrics)
    if not found:
        raise UsageError(
            f"nothing to compare: none of {', '.join(metrics)} is defined on these sets"
        )
    names = [[side_of(plan) for plan in side] for side in (a, b)]
    adapting = ood.network_notes([one for one in networks if one.plan.runner.adaptation])
    fitted = dict.fromkeys(note for _, notes in summaries for note in notes)
    facts = ood.provenance_of(request, [network.plan for network in networks])
    return Results(
        COMPARE,
        {"differences": found},
        {**facts, "a": names[0], "b": names[1]},
        said=[*([said] if said else []), *fitted, *adapting, *set_notes(a)],
    )


def visible_rows(rows: Sequence[Comparison], by: Sequence[str]) -> list[Comparison]:
    """Without "severity" in `by` a shift at several severities is one line, as in OOD tables."""
    first = [row for row in rows if row.kind == "id"]
    last = [row for row in rows if "corruption_error" in row.metrics]
    between = [
        {**vars(row), **row.metrics, "row": row, "label": row.label, "set": row.set_name}
        for row in rows
    ]
    return [*first, *(one["row"] for one in shown(between, by)), *last]


def compare_tables(results: Results, detail: bool = False) -> list[Table]:
    """One table for each score; a difference is bold where its corrected p-value is below 0.05."""
    found = results.records["differences"]
    scores = list(dict.fromkeys(row["score"] for row in found))
    tables = []
    for score in scores:
        rows = [
            {
                **row,
                "title": title_of(row["metric"], results.facts["tpr"]),
                "difference_low": row["low"],
                "difference_high": row["high"],
                "bold": {"difference"}
                if row["p_holm"] is not None and row["p_holm"] < SIGNIFICANT
                else (),
            }
            for row in sectioned([row for row in found if row["score"] == score])
        ]
        title = SCORES[score].title if len(scores) > 1 else ""
        tables.append(Table(title, COLUMNS, rows, names=("name",), section="section"))
    return tables


def compare_notes(results: Results) -> list[str]:
    """What a reader must know to read the table."""
    found, facts = results.records["differences"], results.facts
    seeds, replicates = found[0]["seeds"], facts["bootstrap_replicates"]
    notes = [
        f"A: {', '.join(facts['a'])}. B: {', '.join(facts['b'])}. Fractions, not percent; bold: p "
        f"(Holm) below {SIGNIFICANT:g}."
    ]
    tested = sum(row["p_value"] is not None for row in found)
    used = [method for method in dict.fromkeys(row["method"] for row in found) if method]
    notes.append(
        f"Intervals (95 %) and p-values: {', '.join(used)}; {replicates} replicates, seed "
        f"{facts['seed']}. Holm: over the {tested} lines with a p-value."
    )
    if {PAIRED_BOOTSTRAP, PAIRED_CLUSTERS} & set(used):
        notes.append(
            f"A bootstrap of {replicates} replicates gives no p-value below "
            f"{least_p(replicates):.2g}."
        )
        if tested * least_p(replicates) >= SIGNIFICANT:
            notes.append(
                f"Over {tested} lines Holm's correction needs smaller ones; raise --bootstrap to "
                f"{50 * tested:,}."
            )
    if seeds == 1:
        notes.append(
            "The interval is of the images: it says what these two networks would show on other "
            "images, not what two methods would after another training. FPR@95TPR alone moves by 2 "
            "to 8 points from seed to seed; give several seeds of each (A1,A2,A3 B1,B2,B3)."
        )
    elif seeds < 5:
        notes.append(
            f"{seeds} seeds say little of how trainings vary; their intervals are wide, and may "
            "still be too narrow (docs/ood.md)."
        )
    if tested < len(found):
        notes.append("– : not defined, or the data give no interval.")
    if any(
        row["labels_preserved"] and row["kind"] != "id" and row["metric"] == "auroc"
        for row in found
    ):
        notes.append(
            "On shifts that keep the labels neither sign of a difference in AUROC is better: read "
            "accuracy there."
        )
    return notes


COMPARE = Kind(
    "compare",
    axes=("id", "ood", "kind", "group", "class", "score", "metric"),
    tables=compare_tables,
    notes=compare_notes,
    n="n_ood",
    content=lambda results: {
        "a": results.facts["a"],
        "b": results.facts["b"],
        "differences": list(results.records["differences"]),
    },
    listed=("differences",),
    value="difference",
)
