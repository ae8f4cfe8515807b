"""Out-of-distribution evaluation: scores, metrics, statistics, rows. Sees recordings only."""

import sys

from ahsar_eval import CalledFolder
from ahsar_eval.ood.bootstrap import CLUSTER_BOOTSTRAP, Resamples
from ahsar_eval.ood.detectors import ScoreFunction
from ahsar_eval.ood.evaluate import Evaluation, ScoredSet, evaluate, scored
from ahsar_eval.ood.metrics import (
    SEPARATION,
    Estimate,
    auroc,
    outcomes,
    reliability,
    risk_coverage,
    roc_curve,
    separation,
)
from ahsar_eval.ood.rows import (
    METRICS,
    PAIRED_BOOTSTRAP,
    PAIRED_CLUSTERS,
    Row,
    differences,
    with_corruption_errors,
    with_holm,
    with_means,
)
from ahsar_eval.ood.scores import SCORES, fit_scores, needs_of, predictive_entropy

__all__ = [
    "CLUSTER_BOOTSTRAP",
    "METRICS",
    "PAIRED_BOOTSTRAP",
    "PAIRED_CLUSTERS",
    "SCORES",
    "SEPARATION",
    "Estimate",
    "Evaluation",
    "Resamples",
    "Row",
    "ScoreFunction",
    "ScoredSet",
    "auroc",
    "differences",
    "evaluate",
    "fit_scores",
    "needs_of",
    "outcomes",
    "predictive_entropy",
    "reliability",
    "risk_coverage",
    "roc_curve",
    "scored",
    "separation",
    "with_corruption_errors",
    "with_holm",
    "with_means",
]

sys.modules[__name__].__class__ = CalledFolder  # `ahsar_eval.ood(…)` is the verb
