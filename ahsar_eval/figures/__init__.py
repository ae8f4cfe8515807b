"""Figures; the only place that imports matplotlib and seaborn."""

from ahsar_eval.figures.raster import RasterPanel, RasterRow, firing_map, raster_figure, save_raster, shown_neurons

__all__ = ["RasterPanel", "RasterRow", "firing_map", "raster_figure", "save_raster", "shown_neurons"]
