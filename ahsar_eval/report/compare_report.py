"""Paired differences as a table: a line per set and metric, significant ones in bold."""

from collections.abc import Sequence

from ahsar_eval.ood import PAIRED_BOOTSTRAP, PAIRED_CLUSTERS, SCORES, Difference
from ahsar_eval.report.ood_report import title_of
from ahsar_eval.results.document import Table, sectioned
from ahsar_eval.results.tables import cell

SHOWN = ("auroc", "fpr_at_tpr", "accuracy", "mean_rate")
SIGNIFICANT = 0.05


def compare_tables(found: Sequence[Difference], *, tpr: float = 0.95) -> list[Table]:
    """One table for each score; a difference is bold where its corrected p-value is below 0.05."""

    def cells(one: Difference, same: Sequence[Difference]) -> tuple[list[str], set[int]]:
        values = [cell(one.a), cell(one.b), _signed(one.difference), _span(one.low, one.high)]
        bold = {3} if one.p_holm is not None and one.p_holm < SIGNIFICANT else set()
        return [title_of(one.metric, tpr), *values, _p(one.p_value), _p(one.p_holm)], bold

    scores = list(dict.fromkeys(difference.score for difference in found))
    return [
        sectioned(
            SCORES[score].title if len(scores) > 1 else "",
            ["set", "metric", "A", "B", "B − A", "95 % interval", "p", "p (Holm)"],
            [difference for difference in found if difference.score == score],
            name=_name,
            cells=cells,
            headings=True,
            rules=True,
        )
        for score in scores
    ]


def compare_notes(
    found: Sequence[Difference], a: Sequence[str], b: Sequence[str], *, seed: int, replicates: int
) -> list[str]:
    """What a reader must know to read the table."""
    seeds = found[0].seeds
    notes = [
        f"A: {', '.join(a)}. B: {', '.join(b)}. Fractions, not percent; bold: p (Holm) below "
        f"{SIGNIFICANT:g}."
    ]
    tested = sum(one.p_value is not None for one in found)
    methods = ", ".join(dict.fromkeys(one.method for one in found if one.method))
    notes.append(
        f"Intervals (95 %) and p-values: {methods}; {replicates} replicates, seed {seed}. Holm: "
        f"over the {tested} lines with a p-value."
    )
    if any(one.method in (PAIRED_BOOTSTRAP, PAIRED_CLUSTERS) for one in found):
        notes.append(
            f"A bootstrap of {replicates} replicates gives no p-value below "
            f"{2 / (replicates + 1):.2g}."
        )
        if 2 * tested / (replicates + 1) >= SIGNIFICANT:
            notes.append(
                f"Over {tested} lines Holm's correction needs smaller ones; raise --bootstrap to "
                f"{50 * tested:,}."
            )
    if seeds == 1:
        notes.append(
            "The interval is of the images: it says what these two networks would show on other "
            "images, not what two methods would after "
            "another training. FPR@95TPR alone moves by 2 to 8 points from seed to seed; give "
            "several seeds of each (A1,A2,A3 B1,B2,B3)."
        )
    elif seeds < 5:
        notes.append(
            f"{seeds} seeds say little of how trainings vary; their intervals are wide, and may "
            "still be too narrow (docs/ood.md)."
        )
    if any(one.p_value is None for one in found):
        notes.append("– : not defined, or the data give no interval.")
    if any(one.labels_preserved and one.kind != "id" and one.metric == "auroc" for one in found):
        notes.append(
            "On shifts that keep the labels neither sign of a difference in AUROC is better: read "
            "accuracy there."
        )
    return notes


def _name(one: Difference) -> str:
    if one.kind == "class":
        return f"{one.ood}, class {one.class_name}"
    return f"mean of {one.ood}" if one.kind == "mean" else one.ood


def _span(low: float | None, high: float | None) -> str:
    return (
        "–" if low is None or high is None else f"{_signed(low)} … {_signed(high)}"
    )  # a dash between signs would be misread


def _signed(value: float) -> str:
    text = f"{value:+.3f}".replace("-", "−")
    return "0.000" if text in ("+0.000", "−0.000") else text


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
