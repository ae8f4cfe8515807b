"""What an evaluation yields: a row per comparison, each number with its interval, and the
replicates that further statistics need.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.ood.metrics import SEPARATION, Scores
from ahsar_eval.ood.quality import QUALITY

ACTIVITY_METRICS = ("mean_score", "mean_rate")
CORRUPTION_METRICS = ("corruption_error", "relative_corruption_error")
METRICS = (*SEPARATION, *QUALITY, *ACTIVITY_METRICS, *CORRUPTION_METRICS)

OF_ONE_SCORE = (
    *SEPARATION,
    "misclassification_auroc",
    "aurc",
    "mean_score",
)  # the others are the same whatever the score

# 1: more is better, −1: less is better, 0: neither.
BETTER = {
    **dict.fromkeys(("auroc", "aupr_out", "aupr_in", "accuracy", "misclassification_auroc"), 1),
    **dict.fromkeys(
        (
            "fpr_at_tpr",
            "fpr_at_tpr_id_positive",
            "detection_error",
            "nll",
            "brier",
            "ece",
            "ece_equal_mass",
            "aurc",
        ),
        -1,
    ),
    **dict.fromkeys(CORRUPTION_METRICS, -1),
    **dict.fromkeys(ACTIVITY_METRICS, 0),
}


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval (None where there is none) and how the interval was made."""

    value: float
    low: float | None = None
    high: float | None = None
    method: str = ""


@dataclass(frozen=True)
class Row:
    """One comparison of an ID set with another, or one mean over such comparisons, by one score.
    Fractions, never percent.

    `kind` is "set", "class" (the samples of one class of a set), "mean" (unweighted, over the sets
    `members`) or "id" (the ID set itself, where nothing is separated). `metrics` holds what there
    is to say, by the names of `METRICS`: a metric that is not defined is absent. `replicates` are
    the bootstrap replicates [B] of each metric, NaN where one is not defined.
    """

    checkpoint: str
    thresholds: str
    id: str
    ood: str
    kind: str
    score: str
    n_id: int
    n_ood: int
    metrics: Mapping[str, Estimate]
    id_metrics: Mapping[str, Estimate] = field(default_factory=dict)
    set_name: str = ""  # the set without its shift
    group: str = ""  # near, far, shift, or none of these
    shift: str | None = None
    severity: int = 0  # 0 for a set that is not shifted
    class_name: str = ""
    members: tuple[str, ...] = ()
    distinct_scores: int | None = None
    same_images: bool = False  # the set holds the ID set's images, shifted
    labels_preserved: bool = False  # its labels mean what the ID set's do
    tpr: float = 0.95
    replicates: Mapping[str, NDArray[np.float64]] = field(
        default_factory=dict, repr=False, compare=False
    )
    scores: tuple[Scores, Scores] | None = field(
        default=None, repr=False, compare=False
    )  # of the ID set and of this one

    def value(self, metric: str) -> float | None:
        """The number, None where it is not defined."""
        return self.metrics[metric].value if metric in self.metrics else None

    @property
    def label(self) -> str:
        """Checkpoint and, where thresholds were not its own, what they were."""
        return (
            self.checkpoint
            if self.thresholds in ("replay", "base")
            else f"{self.checkpoint} ({self.thresholds})"
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready and flat: every metric with the ends and the kind of its interval; None where
        there is none.
        """
        out: dict[str, Any] = {
            "checkpoint": self.checkpoint,
            "thresholds": self.thresholds,
            "id": self.id,
            "ood": self.ood,
            "kind": self.kind,
            "group": self.group,
            "shift": self.shift,
            "severity": self.severity,
            "class": self.class_name,
            "members": len(self.members) or 1,
            "score": self.score,
            "n_id": self.n_id,
            "n_ood": self.n_ood,
            "distinct_scores": self.distinct_scores,
            "same_images": self.same_images,
            "tpr": self.tpr,
        }
        for metric in METRICS:
            estimate = self.metrics.get(metric)
            name = metric if self.kind == "id" else _WRITTEN.get(metric, metric)
            if estimate is None and (
                metric in CORRUPTION_METRICS or (self.kind == "id" and metric in SEPARATION)
            ):
                continue
            out[name] = None if estimate is None else estimate.value
            out[f"{name}_low"] = None if estimate is None else estimate.low
            out[f"{name}_high"] = None if estimate is None else estimate.high
            out[f"{name}_interval"] = None if estimate is None else estimate.method
            if metric == "fpr_at_tpr" and self.tpr == 0.95:
                out["fpr_at_95_tpr"] = out[name]
            if metric in _WRITTEN and self.kind != "id":
                known = self.id_metrics.get(metric)
                out[f"{metric}_id"] = None if known is None else known.value
        return out


_WRITTEN = {
    "accuracy": "accuracy_ood",
    "mean_score": "mean_score_ood",
    "mean_rate": "mean_rate_ood",
}
