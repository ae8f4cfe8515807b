"""What an evaluation yields: a row per comparison, each number with its interval, and the
replicates that further statistics need.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ahsar_eval.ood.metrics import SEPARATION, Estimate, Scores

QUALITY = ("accuracy", "nll", "brier", "ece", "ece_equal_mass", "misclassification_auroc", "aurc")
ACTIVITY_METRICS = ("mean_score", "mean_rate")
CORRUPTION_METRICS = ("corruption_error", "relative_corruption_error")
METRICS = (*SEPARATION, *QUALITY, *ACTIVITY_METRICS, *CORRUPTION_METRICS)

# The others are the same whatever the score.
OF_ONE_SCORE = (*SEPARATION, "misclassification_auroc", "aurc", "mean_score")

# 1: more is better, −1: less is better, 0: neither.
BETTER = {
    **dict.fromkeys(METRICS, -1),
    **dict.fromkeys(("auroc", "aupr_out", "aupr_in", "accuracy", "misclassification_auroc"), 1),
    **dict.fromkeys(ACTIVITY_METRICS, 0),
}

# What `to_dict` says before the metrics, and those it says of the ID set, too.
_FACTS = (
    *("checkpoint", "thresholds", "id", "ood", "kind", "group", "shift", "severity", "class_name"),
    *("members", "score", "n_id", "n_ood", "distinct_scores", "same_images", "tpr"),
)
_OF_BOTH = ("accuracy", *ACTIVITY_METRICS)


@dataclass(frozen=True)
class Row:
    """One comparison of an ID set with another, or one mean over such comparisons, by one score.
    Fractions, never percent.

    `kind` is "set", "class" (the samples of one class of a set), "mean" (unweighted, over the sets
    `members`) or "id" (the ID set itself, where nothing is separated). `metrics` holds what there
    is to say, by the names of `METRICS`: a metric that is not defined is absent. `replicates` are
    the bootstrap replicates [B] of each metric, NaN where one is not defined; `scores` are those of
    the ID set and of this one.
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
    scores: tuple[Scores, Scores] | None = field(default=None, repr=False, compare=False)

    def value(self, metric: str) -> float | None:
        """The number, None where it is not defined."""
        return self.metrics[metric].value if metric in self.metrics else None

    @property
    def label(self) -> str:
        """Checkpoint name, with the threshold override if there is one."""
        own = self.thresholds in ("replay", "base")
        return self.checkpoint if own else f"{self.checkpoint} ({self.thresholds})"

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready and flat: every metric with the ends and the kind of its interval; None where
        there is none.
        """
        out = {name.removesuffix("_name"): getattr(self, name) for name in _FACTS}
        out["members"] = len(self.members) or 1
        for metric in METRICS:
            estimate = self.metrics.get(metric)
            if estimate is None and (
                metric in CORRUPTION_METRICS or (self.kind == "id" and metric in SEPARATION)
            ):
                continue
            of_both = metric in _OF_BOTH and self.kind != "id"
            name = f"{metric}_ood" if of_both else metric
            out[name] = getattr(estimate, "value", None)
            out[f"{name}_low"] = getattr(estimate, "low", None)
            out[f"{name}_high"] = getattr(estimate, "high", None)
            out[f"{name}_interval"] = getattr(estimate, "method", None)
            if metric == "fpr_at_tpr" and self.tpr == 0.95:
                out["fpr_at_95_tpr"] = out[name]
            if of_both:
                out[f"{metric}_id"] = getattr(self.id_metrics.get(metric), "value", None)
        return out
