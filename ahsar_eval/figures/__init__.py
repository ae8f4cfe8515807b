"""Figures; the only place that imports matplotlib and seaborn."""

from ahsar_eval.figures.raster import RasterPanel, RasterRow, firing_map, raster_figure, save_raster, shown_neurons
from ahsar_eval.figures.reliability import ReliabilityPanel, reliability_figures, save_reliability
from ahsar_eval.figures.risk_coverage import RiskCurve, risk_coverage_figures, save_risk_coverage
from ahsar_eval.figures.roc import RocCurve, roc_figures, save_roc
from ahsar_eval.figures.score_histograms import HistogramPanel, OodScores, save_score_histograms, score_histogram_figures
from ahsar_eval.figures.severity_curves import Band, SeverityCurve, save_severity_curves, severity_figures

__all__ = [
    "Band",
    "HistogramPanel",
    "OodScores",
    "RasterPanel",
    "RasterRow",
    "ReliabilityPanel",
    "RiskCurve",
    "RocCurve",
    "SeverityCurve",
    "firing_map",
    "raster_figure",
    "reliability_figures",
    "risk_coverage_figures",
    "roc_figures",
    "save_raster",
    "save_reliability",
    "save_risk_coverage",
    "save_roc",
    "save_score_histograms",
    "save_severity_curves",
    "score_histogram_figures",
    "severity_figures",
    "shown_neurons",
]
