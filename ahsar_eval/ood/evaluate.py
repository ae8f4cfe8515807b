"""From recordings to rows: one in-distribution recording against any number of others."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.ood.metrics import Interval, auroc_interval, fpr_at_tpr, proportion_interval
from ahsar_eval.ood.scores import SCORES
from ahsar_eval.recording import Recording


@dataclass(frozen=True)
class OodRow:
    """One comparison. Rates, accuracies and FPR are fractions; `accuracy_ood` is None where labels do not correspond."""

    checkpoint: str
    thresholds: str  # replay, or the factor that replaced it
    id: str
    ood: str
    severity: int  # 0 for a set that is not shifted
    score: str
    n_id: int
    n_ood: int
    auroc: float
    auroc_low: float | None
    auroc_high: float | None
    fpr_at_95_tpr: float
    accuracy_id: float | None
    accuracy_ood: float | None
    accuracy_ood_low: float | None
    accuracy_ood_high: float | None
    mean_rate_id: float
    mean_rate_ood: float
    distinct_scores: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping."""
        return asdict(self)


def evaluate(
    id_recording: Recording, others: Iterable[Recording], *, checkpoint: str, thresholds: str = "replay", score: str = "entropy"
) -> list[OodRow]:
    """One `OodRow` for each recording of `others` against `id_recording`, by `score` of the logits.

    Intervals are 95 %: DeLong for AUROC, Wilson for accuracy. Raises `DataError` for an unknown score or a set compared with itself.
    """
    if score not in SCORES:
        raise DataError(f"unknown score {score!r}; known are {', '.join(SCORES)}")
    id_scores = SCORES[score](id_recording.logits)
    accuracy_id = accuracy(id_recording, id_recording)
    rows = []
    for recording in others:
        if recording.split["identity"] == id_recording.split["identity"]:
            raise DataError(f"the OOD set {recording.split['name']} is the ID set itself; choose another, or a shift of it")
        ood_scores = SCORES[score](recording.logits)
        separated = auroc_interval(id_scores, ood_scores)
        accuracy_ood = accuracy(recording, id_recording)
        rows.append(
            OodRow(
                checkpoint=checkpoint,
                thresholds=thresholds,
                id=str(id_recording.split["name"]),
                ood=str(recording.split["name"]),
                severity=int(recording.split["severity"]),
                score=score,
                n_id=len(id_recording),
                n_ood=len(recording),
                auroc=separated.value,
                auroc_low=separated.low,
                auroc_high=separated.high,
                fpr_at_95_tpr=fpr_at_tpr(id_scores, ood_scores),
                accuracy_id=None if accuracy_id is None else accuracy_id.value,
                accuracy_ood=None if accuracy_ood is None else accuracy_ood.value,
                accuracy_ood_low=None if accuracy_ood is None else accuracy_ood.low,
                accuracy_ood_high=None if accuracy_ood is None else accuracy_ood.high,
                mean_rate_id=mean_rate(id_recording),
                mean_rate_ood=mean_rate(recording),
                distinct_scores=len(np.unique(np.concatenate([id_scores, ood_scores]))),
            )
        )
    return rows


def accuracy(recording: Recording, id_recording: Recording) -> Interval | None:
    """Top-1 accuracy with its interval, where the recording's labels mean what the ID set's do; None elsewhere."""
    split = recording.split
    if split["label_space"] != id_recording.split["label_space"] or not split["labels_preserved"] or bool((recording.labels < 0).any()):
        return None
    return proportion_interval(int((recording.predictions == recording.labels).sum()), len(recording))


def mean_rate(recording: Recording) -> float:
    """Unweighted mean over the spiking layers of their spikes per neuron and time step."""
    return float(np.mean([recording.rate(layer) for layer in recording.layers])) if recording.layers else 0.0
