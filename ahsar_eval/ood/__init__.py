"""Out-of-distribution evaluation: scores, metrics, statistics, rows. Sees recordings only."""

import sys

from ahsar_eval import CalledFolder
from ahsar_eval.ood.bootstrap import CLUSTER_BOOTSTRAP, Resamples, holm
from ahsar_eval.ood.compare import PAIRED_BOOTSTRAP, PAIRED_CLUSTERS, Difference, differences
from ahsar_eval.ood.detectors import Fitting, ScoreFunction
from ahsar_eval.ood.evaluate import (
    Evaluation,
    ScoredSet,
    evaluate,
    labels_correspond,
    on_images_of,
    scored,
)
from ahsar_eval.ood.means import with_corruption_errors, with_means
from ahsar_eval.ood.metrics import SEPARATION, Estimate, auroc, roc_curve, separation
from ahsar_eval.ood.quality import outcomes, reliability, risk_coverage
from ahsar_eval.ood.rows import BETTER, METRICS, Row
from ahsar_eval.ood.scores import SCORES, fit_scores, needs_of, predictive_entropy

__all__ = [
    "BETTER",
    "CLUSTER_BOOTSTRAP",
    "METRICS",
    "PAIRED_BOOTSTRAP",
    "PAIRED_CLUSTERS",
    "SCORES",
    "SEPARATION",
    "Difference",
    "Estimate",
    "Evaluation",
    "Fitting",
    "Resamples",
    "Row",
    "ScoreFunction",
    "ScoredSet",
    "auroc",
    "differences",
    "evaluate",
    "fit_scores",
    "holm",
    "labels_correspond",
    "needs_of",
    "on_images_of",
    "outcomes",
    "predictive_entropy",
    "reliability",
    "risk_coverage",
    "roc_curve",
    "scored",
    "separation",
    "with_corruption_errors",
    "with_means",
]

sys.modules[__name__].__class__ = CalledFolder  # `ahsar_eval.ood(…)` is the verb
