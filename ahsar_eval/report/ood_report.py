"""The OOD result as a reader wants it: one line per set, checkpoints side by side."""

from collections.abc import Sequence

from ahsar_eval.ood import OodRow
from ahsar_eval.report.tables import cell, span

HEADER = ["OOD set", "n", "checkpoint", "AUROC", "95 % interval", "FPR@95TPR", "accuracy", "95 % interval"]


def ood_table(rows: Sequence[OodRow]) -> list[list[str]]:
    """Body of the table: for each OOD set one line per checkpoint, so that what is compared stands together."""
    body: list[list[str]] = []
    several = len({(row.checkpoint, row.thresholds) for row in rows}) > 1
    for ood in dict.fromkeys(row.ood for row in rows):
        if several and body:
            body.append(["---"])
        for place, row in enumerate(same for same in rows if same.ood == ood):
            body.append(
                [
                    ood if place == 0 else "",
                    str(row.n_ood) if place == 0 else "",
                    row.checkpoint if row.thresholds in ("replay", "base") else f"{row.checkpoint} ({row.thresholds})",
                    cell(row.auroc),
                    span(row.auroc_low, row.auroc_high),
                    cell(row.fpr_at_95_tpr),
                    cell(row.accuracy_ood),
                    span(row.accuracy_ood_low, row.accuracy_ood_high),
                ]
            )
    return body


def ood_notes(rows: Sequence[OodRow]) -> list[str]:
    """What a reader must know to read the table."""
    notes = []
    for checkpoint, thresholds in dict.fromkeys((row.checkpoint, row.thresholds) for row in rows):
        row = next(row for row in rows if (row.checkpoint, row.thresholds) == (checkpoint, thresholds))
        accuracy = "no labels" if row.accuracy_id is None else f"accuracy {row.accuracy_id:.4f}"
        notes.append(
            f"{checkpoint} on {row.id} (n = {row.n_id}): {accuracy}, mean firing rate {row.mean_rate_id:.3f}, thresholds: {thresholds}."
        )
    notes.append(
        "AUROC and FPR@95TPR of predictive entropy, out-of-distribution positive. Fractions, not percent; "
        "95 % intervals: DeLong for AUROC, Wilson for accuracy."
    )
    if any(row.accuracy_ood is not None for row in rows):
        notes.append("Where the labels are kept a more robust network is less uncertain: its AUROC may fall while its accuracy rises.")
    if any(row.severity and row.ood.startswith(f"{row.id}:") for row in rows):
        notes.append("ID and shifted samples are the same samples; DeLong's interval is then wider than it need be.")
    if any(row.accuracy_ood is None for row in rows):
        notes.append("– : the labels of that set do not correspond to the ID set's.")
    few = min(rows, key=lambda row: row.distinct_scores / (row.n_id + row.n_ood), default=None)
    if few is not None and few.distinct_scores < 0.5 * (few.n_id + few.n_ood):
        notes.append(
            f"Ties: of {few.n_id + few.n_ood} scores on {few.ood}, {few.distinct_scores} are distinct (spike counts at few time steps); "
            "FPR@95TPR jumps where its threshold falls on a tie."
        )
    return notes
