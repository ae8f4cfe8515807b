"""The threshold sweep of the paper's Figure 2 with its section 3 measured: one checkpoint at many
scales, and a training at each.
"""

from ahsar_eval.sweep.measured import (
    SWEPT_ON,
    NetworkSweep,
    SweepPlan,
    SweepPoint,
    SweepRequest,
    check_plan,
    plan,
    run,
)
from ahsar_eval.sweep.trained import TrainedRun, TrainedSweep, sweep_requests, train_sweep

__all__ = [
    "SWEPT_ON",
    "NetworkSweep",
    "SweepPlan",
    "SweepPoint",
    "SweepRequest",
    "TrainedRun",
    "TrainedSweep",
    "check_plan",
    "plan",
    "run",
    "sweep_requests",
    "train_sweep",
]
