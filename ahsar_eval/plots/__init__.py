"""Figures; the only place that imports matplotlib and seaborn."""

from ahsar_eval.plots.energy_bars import EnergyBars, energy_bar_figures, save_energy_bars
from ahsar_eval.plots.energy_distribution import (
    EnergySamples,
    energy_distribution_figures,
    save_energy_distribution,
)
from ahsar_eval.plots.energy_severity import (
    EnergySeverity,
    energy_severity_figures,
    save_energy_severity,
)
from ahsar_eval.plots.ledger_waterfall import (
    Waterfall,
    WaterfallStep,
    save_waterfall,
    waterfall_figures,
)
from ahsar_eval.plots.pareto import ScaleCurve, Setting, pareto_figures, save_pareto
from ahsar_eval.plots.raster import (
    RasterPanel,
    RasterRow,
    firing_map,
    raster_figure,
    save_raster,
    shown_neurons,
)
from ahsar_eval.plots.reliability import ReliabilityPanel, reliability_figures, save_reliability
from ahsar_eval.plots.risk_coverage import RiskCurve, risk_coverage_figures, save_risk_coverage
from ahsar_eval.plots.roc import RocCurve, roc_figures, save_roc
from ahsar_eval.plots.score_histograms import (
    HistogramPanel,
    OodScores,
    save_score_histograms,
    score_histogram_figures,
)
from ahsar_eval.plots.severity_curves import SeverityCurve, save_severity_curves, severity_figures
from ahsar_eval.plots.severity_grid import Band
from ahsar_eval.plots.sweep_content import ConvergenceSweep, ThresholdSweep, WorkingPoint
from ahsar_eval.plots.threshold_sweep import save_threshold_sweep, threshold_sweep_figures

__all__ = [
    "Band",
    "ConvergenceSweep",
    "EnergyBars",
    "EnergySamples",
    "EnergySeverity",
    "HistogramPanel",
    "OodScores",
    "RasterPanel",
    "RasterRow",
    "ReliabilityPanel",
    "RiskCurve",
    "RocCurve",
    "ScaleCurve",
    "Setting",
    "SeverityCurve",
    "ThresholdSweep",
    "Waterfall",
    "WaterfallStep",
    "WorkingPoint",
    "energy_bar_figures",
    "energy_distribution_figures",
    "energy_severity_figures",
    "firing_map",
    "pareto_figures",
    "raster_figure",
    "reliability_figures",
    "risk_coverage_figures",
    "roc_figures",
    "save_energy_bars",
    "save_energy_distribution",
    "save_energy_severity",
    "save_pareto",
    "save_raster",
    "save_reliability",
    "save_risk_coverage",
    "save_roc",
    "save_score_histograms",
    "save_severity_curves",
    "save_threshold_sweep",
    "save_waterfall",
    "score_histogram_figures",
    "severity_figures",
    "shown_neurons",
    "threshold_sweep_figures",
    "waterfall_figures",
]
