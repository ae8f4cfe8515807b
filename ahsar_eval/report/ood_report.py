"""The OOD result as a reader wants it: one line per set, checkpoints side by side."""

from collections.abc import Sequence

from ahsar_eval.ood import OodRow
from ahsar_eval.report.tables import cell


def ood_table(rows: Sequence[OodRow]) -> tuple[list[str], list[list[str]]]:
    """Header and body: for each OOD set the counts, then AUROC with its interval, FPR@95TPR and accuracy of every checkpoint."""
    columns = list(dict.fromkeys((row.checkpoint, row.thresholds) for row in rows))
    header = ["OOD set", "n"]
    for checkpoint, thresholds in columns:
        label = checkpoint if thresholds == "replay" else f"{checkpoint} ({thresholds})"
        header += [f"{label} AUROC", "95 % interval", "FPR@95TPR", "accuracy"]
    by_place = {(row.ood, row.checkpoint, row.thresholds): row for row in rows}
    body: list[list[str]] = []
    previous = ""
    for ood in dict.fromkeys(row.ood for row in rows):
        family = ood.rsplit(":", 1)[0] if ood.count(":") >= 2 else ood
        if previous and family != previous:
            body.append(["---"])
        previous = family
        line = [ood, str(next(row.n_ood for row in rows if row.ood == ood))]
        for checkpoint, thresholds in columns:
            row = by_place.get((ood, checkpoint, thresholds))
            if row is None:
                line += ["–"] * 4
            else:
                line += [cell(row.auroc), f"{row.auroc_low:.3f}–{row.auroc_high:.3f}", cell(row.fpr_at_95_tpr), cell(row.accuracy_ood)]
        body.append(line)
    return header, body


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
        "AUROC and FPR@95TPR of predictive entropy, out-of-distribution positive; 95 % intervals by DeLong. Fractions, not percent."
    )
    if any(row.accuracy_ood is not None for row in rows):
        notes.append(
            "On a shift that keeps the labels a more robust network is less uncertain: its AUROC may fall while its accuracy rises. "
            "ID and shifted images are the same images; DeLong's interval is then wider than it need be."
        )
    if any(row.accuracy_ood is None for row in rows):
        notes.append("– : the labels of that set do not correspond to the ID set's.")
    few = min(rows, key=lambda row: row.distinct_scores / (row.n_id + row.n_ood), default=None)
    if few is not None and few.distinct_scores < 0.5 * (few.n_id + few.n_ood):
        notes.append(f"Ties: {few.ood} has only {few.distinct_scores} distinct scores among {few.n_id + few.n_ood}.")
    return notes
