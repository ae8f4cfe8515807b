"""Figures of OOD results as networks give them, until an evaluation gives `Results` itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ahsar_eval.evaluation.ood import NetworkResult
from ahsar_eval.ood.calibration import outcomes
from ahsar_eval.plots.of_results import save_all
from ahsar_eval.results.results import Kind, Results


def save_ood_figures(
    results: Sequence[NetworkResult], folder: Path, form: str = "pdf"
) -> list[Path]:
    """Write every figure and beside it the drawn numbers as CSV; returns the files. Raises
    `OutputError`.
    """
    return save_all(results_of(results), folder, form)


def results_of(results: Sequence[NetworkResult]) -> Results:
    """Rows and arrays as figures want them."""
    records: dict[str, list[Any]] = {"rows": [], "means": [], "id": []}
    arrays: dict[str, Any] = {}
    for result in results:
        for row in result.rows:
            said = {"label": row.label, "set": row.set_name}
            record = {**row.to_dict(), **said, "labels_preserved": row.labels_preserved}
            records["id" if row.kind == "id" else "rows"].append(record)
        rows = [row for row in result.rows if row.kind in ("id", "set")]
        sets = {some.name: some for some in (result.id_set, *result.others)}
        for row in rows:
            key, some = f"{row.label}/{row.ood}", sets[row.ood]
            arrays[f"{key}/{row.score}"] = some.scores[row.score]
            if row.labels_preserved:
                judged = outcomes(some.logits, some.labels)
                arrays[f"{key}/confidence"] = judged.confidence
                arrays[f"{key}/correct"] = judged.correct
    kind = Kind("ood", axes=(), tables=lambda results, detail: [], notes=lambda results: [])
    return Results(kind, records, {}, arrays=arrays)
