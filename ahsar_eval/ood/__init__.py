"""Out-of-distribution evaluation: scores, metrics, statistics, rows. Sees recordings only."""

import sys

from ahsar_eval.called import CalledFolder
from ahsar_eval.ood.bootstrap import Images, Resamples
from ahsar_eval.ood.calibration import reliability
from ahsar_eval.ood.compare import Difference, differences
from ahsar_eval.ood.corruption_error import mean_corruption_error
from ahsar_eval.ood.delong import auroc_interval, paired_auroc
from ahsar_eval.ood.evaluate import Evaluation, evaluate
from ahsar_eval.ood.means import with_corruption_errors, with_means
from ahsar_eval.ood.metrics import (
    SEPARATION,
    Interval,
    auroc,
    fpr_at_tpr,
    proportion_interval,
    roc_curve,
    separation,
)
from ahsar_eval.ood.quality import QUALITY, quality
from ahsar_eval.ood.rows import BETTER, METRICS, Estimate, Row
from ahsar_eval.ood.scored import ScoredSet, scored
from ahsar_eval.ood.scores import (
    SCORES,
    Fitting,
    Score,
    ScoreFunction,
    fit_scores,
    needs_of,
    predictive_entropy,
)
from ahsar_eval.ood.selective import risk_coverage

__all__ = [
    "BETTER",
    "METRICS",
    "QUALITY",
    "SCORES",
    "SEPARATION",
    "Difference",
    "Estimate",
    "Evaluation",
    "Fitting",
    "Images",
    "Interval",
    "Resamples",
    "Row",
    "Score",
    "ScoreFunction",
    "ScoredSet",
    "auroc",
    "auroc_interval",
    "differences",
    "evaluate",
    "fit_scores",
    "fpr_at_tpr",
    "mean_corruption_error",
    "needs_of",
    "paired_auroc",
    "predictive_entropy",
    "proportion_interval",
    "quality",
    "reliability",
    "risk_coverage",
    "roc_curve",
    "scored",
    "separation",
    "with_corruption_errors",
    "with_means",
]

sys.modules[__name__].__class__ = CalledFolder  # `ahsar_eval.ood(…)` is the verb
