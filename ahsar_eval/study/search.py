"""The search for a controller's parameters: each setting by the objective that was named before it,
on validation data alone.
"""

from collections.abc import Sequence
from typing import Any

from ahsar_eval.results.document import Table
from ahsar_eval.study.claims import log_ratios, primary_endpoints
from ahsar_eval.study.matching import AHSAR, BASELINE, Matched, matched, title_of
from ahsar_eval.study.results import CellResult
from ahsar_eval.study.statistics import REPLICATES, Inference, pooled, table_of
from ahsar_eval.study.texts import p_text, ratio, ratio_span, signed

OBJECTIVE = "validation_area"


def search_table(
    results: Sequence[CellResult], *, replicates: int = REPLICATES, seed: int = 0
) -> Table:
    """Settings of the controller and other methods by the log ratio of the area under the
    validation NLL to the matched baseline's.

    A line for each, its mean over combinations and seeds with the interval of `pooled`, the best
    first, and the same ratio to AHSAR at its defaults where the study has it; empty without a pair.
    """
    return search_lines(matched(results), replicates=replicates, seed=seed)[0]


def search_lines(
    study: Matched, *, replicates: int = REPLICATES, seed: int = 0
) -> tuple[Table, list[dict[str, Any]]]:
    """`search_table` of grouped results, and the same as rows."""
    values = primary_endpoints(study)

    def compared(method: str, against: str) -> Inference | None:
        logs = [log_ratios(values[one], method, against, OBJECTIVE) for one in study.combinations]
        kept = [row for row in logs if row]
        return (
            pooled(table_of(kept), replicates=replicates, seed=seed)
            if kept and method != against
            else None
        )

    rows: list[dict[str, Any]] = []
    for method in study.methods:
        found, beside = compared(method, BASELINE), compared(method, AHSAR)
        if found is None:
            continue
        rows.append(
            {
                "method": method,
                "log_ratio": found.estimate,
                "low": found.low,
                "high": found.high,
                "p": found.p_value,
                "combinations": found.combinations,
                "pairs": found.pairs,
                "defaults.log_ratio": None if beside is None else beside.estimate,
                "defaults.low": None if beside is None else beside.low,
                "defaults.high": None if beside is None else beside.high,
            }
        )
    rows.sort(key=lambda row: (row["log_ratio"], row["method"]))
    body = [
        [
            title_of(str(row["method"])),
            signed(row["log_ratio"], 4),
            ratio(row["log_ratio"]),
            ratio_span(row["low"], row["high"]),
            p_text(row["p"]),
            ratio(row["defaults.log_ratio"]),
            ratio_span(row["defaults.low"], row["defaults.high"]),
            f"{row['combinations']}",
            f"{row['pairs']}",
        ]
        for row in rows
    ]
    header = ["method and settings", "mean log ratio", "ratio", "95 % interval", "p, each alone"]
    header += ["to AHSAR's defaults", "95 % interval", "combinations", "pairs"]
    return Table(
        "Search: area under the validation NLL, ratio to the matched baseline, the best first",
        header,
        body,
    ), rows


def is_search(study: Matched) -> bool:
    """Whether a method of the study stands in it with more than one setting of its controller."""
    bases = [study.bases[name] for name in study.settings]
    return len(bases) > len(set(bases))
