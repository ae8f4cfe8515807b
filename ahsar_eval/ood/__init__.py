"""Out-of-distribution evaluation: scores, metrics, rows. Sees recordings only."""

from ahsar_eval.ood.evaluate import OodRow, accuracy, evaluate, mean_rate
from ahsar_eval.ood.metrics import Interval, auroc, auroc_interval, fpr_at_tpr, proportion_interval
from ahsar_eval.ood.scores import SCORES, predictive_entropy

__all__ = [
    "SCORES",
    "Interval",
    "OodRow",
    "accuracy",
    "auroc",
    "auroc_interval",
    "evaluate",
    "fpr_at_tpr",
    "mean_rate",
    "predictive_entropy",
    "proportion_interval",
]
