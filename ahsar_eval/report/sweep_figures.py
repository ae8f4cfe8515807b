"""The figure of a threshold sweep, drawn from what it measured."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.evaluation.sweep import NetworkSweep, SweepPoint
from ahsar_eval.ood import Estimate
from ahsar_eval.plots.severity_grid import Band
from ahsar_eval.plots.sweep_content import (
    CONVERGENCE,
    GATES,
    ConvergenceSweep,
    ThresholdSweep,
    WorkingPoint,
)
from ahsar_eval.plots.threshold_sweep import save_threshold_sweep
from ahsar_eval.training.at_scales import TrainedRun, TrainedSweep

Floats = NDArray[np.float64]


def save_sweep_figure(
    sweeps: Sequence[NetworkSweep], trained: TrainedSweep | None, folder: Path, form: str = "pdf"
) -> list[Path]:
    """Write the sheet as threshold_sweep.FORM with its points as CSV to `folder`; returns the
    paths. Raises `OutputError`.
    """
    drawn = [_drawn(sweep) for sweep in sweeps]
    return save_threshold_sweep(
        drawn,
        folder / f"threshold_sweep.{form}",
        None if trained is None else convergence_of(trained),
    )


def _drawn(sweep: NetworkSweep) -> ThresholdSweep:
    points, own = sweep.points, sweep.own
    whole = [*points, own]
    curves: dict[str, Band] = {}
    here: dict[str, float] = {}
    if all(point.accuracy is not None for point in whole):
        curves["accuracy"] = _band([point.accuracy for point in points])
        here["accuracy"] = _known(own.accuracy)
    curves["mean rate (spikes per step)"] = _band([point.rate for point in points])
    here["mean rate (spikes per step)"] = own.rate.value
    curves["energy"], here["energy"] = (
        _band([Estimate(point.energy_pj) for point in points]),
        own.energy_pj,
    )
    for name in own.auroc:
        curves[f"AUROC, {name}"] = _band([point.auroc[name] for point in points])
        here[f"AUROC, {name}"] = own.auroc[name].value
    return ThresholdSweep(
        checkpoint=own.checkpoint,
        scales=np.array([point.scale for point in points]),
        curves=curves,
        layers=[layer.name for layer in own.gate.layers],
        gates={name: np.array([_layers(point, name) for point in points]) for name in GATES},
        own=WorkingPoint(
            own.scale, own.low, own.high, here, {name: own.gate.mean(name) for name in GATES}
        ),
    )


def convergence_of(trained: TrainedSweep) -> ConvergenceSweep:
    """Means over seeds of every epoch at every fixed scale and of AHSAR's; NaN from where one of
    the seeds ended early.
    """
    fixed = sorted({run.scale for run in trained.runs if run.is_fixed})
    regulated = [run for run in trained.runs if not run.is_fixed]
    epochs = max(run.request.epochs for run in trained.runs)
    values = {
        name: np.stack(
            [
                _epochs(
                    [run for run in trained.runs if run.is_fixed and run.scale == scale],
                    name,
                    epochs,
                )
                for scale in fixed
            ],
            axis=1,
        )
        for name in CONVERGENCE
    }
    ended = [run for run in regulated if not run.diverged]
    if not ended:
        return ConvergenceSweep(np.array(fixed), values)
    return ConvergenceSweep(
        np.array(fixed),
        values,
        {name: _epochs(ended, name, epochs) for name in CONVERGENCE},
        scale=float(np.mean([run.scale for run in ended])),
        low=min(run.low for run in ended),
        high=max(run.high for run in ended),
    )


def _epochs(runs: Sequence[TrainedRun], name: str, epochs: int) -> Floats:
    rows = [
        [row.get(name, np.nan) for row in run.history] + [np.nan] * (epochs - len(run.history))
        for run in runs
    ]
    means: Floats = np.mean(np.array(rows, dtype=np.float64), axis=0)
    return means


def _band(estimates: Sequence[Estimate | None]) -> Band:
    def values(end: str) -> Floats:
        found = [None if estimate is None else getattr(estimate, end) for estimate in estimates]
        return np.array([np.nan if one is None else one for one in found], dtype=np.float64)

    return Band(values("value"), values("low"), values("high"))


def _known(estimate: Estimate | None) -> float:
    return float("nan") if estimate is None else estimate.value


def _layers(point: SweepPoint, name: str) -> list[float]:
    return [float(getattr(layer, name)) for layer in point.gate.layers]
