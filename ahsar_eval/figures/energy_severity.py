"""What a shift costs as it grows: accuracy, mean firing rate, synaptic operations and energy over severity, below one another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.figures.checks import drawable
from ahsar_eval.figures.energy_axis import amounts
from ahsar_eval.figures.fitting import elided_names, in_two_lines
from ahsar_eval.figures.layout import LINE_IN, Grid, add_cell, empty_page, extent, heading, outer_labels, places, tidy_ticks, width_for
from ahsar_eval.figures.legends import header_height, header_legend, legend_room, line_handle
from ahsar_eval.figures.severity_curves import MOST_SHIFTS, Band
from ahsar_eval.figures.style import PALE, Look, looks, ordered, save_pages, styled

if TYPE_CHECKING:
    from pandas import DataFrame

TITLES = {
    "accuracy": "accuracy",
    "rate": "mean firing rate (spikes per step)",
    "synops": "SynOps per inference",
    "energy": "energy (relative to clean)",
}
_NO_LABELS = "labels not kept"


@dataclass(frozen=True)
class EnergySeverity:
    """One checkpoint under one shift at `severities` [S], ascending; 0 is the clean set. `accuracy` None: labels are not kept.

    `rate` are mean spikes per neuron and time step, `synops` per inference, `energy` multiples of the clean set's.
    """

    checkpoint: str
    shift: str
    severities: NDArray[np.int64]
    accuracy: Band | None
    rate: Band
    synops: Band
    energy: Band

    def band(self, quantity: str) -> Band | None:
        """The band of one of `TITLES`."""
        found: Band | None = getattr(self, quantity)
        return found


def energy_severity_figures(curves: Sequence[EnergySeverity], *, bands: str = "", checkpoints: Sequence[str] = ()) -> list[Any]:
    """Pages of severity curves as matplotlib figures: a column per shift, a row per quantity with one scale over all pages.

    `bands` says what the bands are; `checkpoints` is the order that decides the looks. Raises `DataError` for numbers that do not fit, are
    negative or not finite.
    """
    _check(curves)
    with styled():
        return list(_pages(curves, bands, checkpoints))


def save_energy_severity(
    curves: Sequence[EnergySeverity], path: str | Path, *, bands: str = "", checkpoints: Sequence[str] = ()
) -> list[Path]:
    """Write the curves (PNG, PDF or SVG by suffix) and their points as CSV; returns the paths. Raises `OutputError`."""
    return save_pages(energy_severity_figures(curves, bands=bands, checkpoints=checkpoints), path, energy_severity_table(curves))


def energy_severity_table(curves: Sequence[EnergySeverity]) -> "DataFrame":
    """The points drawn, one a line: shift, checkpoint, quantity, severity, value, low, high; empty where there is no interval."""
    import pandas as pd

    parts = []
    for curve in curves:
        for quantity in TITLES:
            band = curve.band(quantity)
            if band is not None:
                columns = {"severity": curve.severities, "value": band.value, "low": band.low, "high": band.high}
                parts.append(pd.DataFrame({"shift": curve.shift, "checkpoint": curve.checkpoint, "quantity": quantity, **columns}))
    return pd.concat(parts, ignore_index=True)


def _pages(curves: Sequence[EnergySeverity], bands: str, checkpoints: Sequence[str]) -> Iterator[Any]:
    present = {curve.checkpoint for curve in curves}
    look = looks(ordered(checkpoints, [curve.checkpoint for curve in curves]))
    shown = [name for name in look if name in present]
    shifts = list(dict.fromkeys(curve.shift for curve in curves))
    spots = places(len(shifts), MOST_SHIFTS)
    columns = max(column for _, column in spots) + 1
    width = width_for(columns)
    short = elided_names(shown, legend_room(width))
    labels = [short[name] for name in shown]
    grid = Grid(len(TITLES), columns, width, (1.15,), header_height(labels, width - 0.1) + LINE_IN, left=0.66, gap=0.12, above=0.09)
    limits = {quantity: _limits(quantity, curves) for quantity in TITLES}
    headings = elided_names(shifts, grid.panel_width)
    drawn = any(np.isfinite(band.low).any() for curve in curves for quantity in TITLES if (band := curve.band(quantity)) is not None)
    severities = sorted({int(one) for curve in curves for one in curve.severities})
    for page in range(spots[-1][0] + 1):
        figure = empty_page(grid)
        for shift, (its_page, column) in zip(shifts, spots, strict=True):
            if its_page != page:
                continue
            own = sorted((curve for curve in curves if curve.shift == shift), key=lambda curve: shown.index(curve.checkpoint))
            for row, quantity in enumerate(TITLES):
                (axes,) = add_cell(figure, grid, row, column)
                axes.set_label(f"{shift} {quantity}")
                if quantity == "energy":
                    axes.axhline(1.0, color=PALE, linewidth=0.6, zorder=0.5)
                for curve in own:
                    _draw(axes, curve.severities, curve.band(quantity), look[curve.checkpoint])
                if all(curve.band(quantity) is None for curve in own):
                    axes.text(0.5, 0.5, _NO_LABELS, ha="center", va="center", transform=axes.transAxes)
                axes.set(xlim=(severities[0] - 0.25, severities[-1] + 0.25), ylim=limits[quantity], xticks=severities)
                tidy_ticks(axes.yaxis)
                axes.tick_params(labelbottom=row == len(TITLES) - 1, labelleft=column == 0)
                if column == 0:
                    axes.set_ylabel(in_two_lines(TITLES[quantity], grid.cell_height - 0.04))
                    axes.yaxis.set_label_coords(-0.37 / grid.panel_width, 0.5)
                if row == 0:
                    heading(axes, headings[shift])
        header_legend(figure, grid, [line_handle(look[name], marker=True) for name in shown], labels)
        below = "severity (0: clean)" if severities[0] == 0 else "severity"
        outer_labels(figure, grid, x=f"{below}; bands: {bands}" if bands and drawn else below)
        yield figure


def _draw(axes: Any, severities: NDArray[np.int64], band: Band | None, look: Look) -> None:
    if band is None:
        return
    if np.isfinite(band.low).any():
        axes.fill_between(severities, band.low, band.high, color=look.colour, alpha=0.18, linewidth=0)
    axes.plot(severities, band.value, color=look.colour, linestyle=look.line, marker=look.marker, markersize=3, clip_on=False)


def _limits(quantity: str, curves: Sequence[EnergySeverity]) -> tuple[float, float]:
    bands = [band for curve in curves if (band := curve.band(quantity)) is not None]
    low, high = extent([np.asarray(part, dtype=np.float64) for band in bands for part in (band.value, band.low, band.high)])
    if quantity == "energy":
        low, high = min(low, 1.0), max(high, 1.0)
    elif quantity != "accuracy" and low < 0.5 * high:
        low = 0.0
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _check(curves: Sequence[EnergySeverity]) -> None:
    drawable("energy severity curve", curves, [(curve.checkpoint, curve.shift) for curve in curves])
    for curve in curves:
        what = f"the energy severity curve of {curve.checkpoint} under {curve.shift}"
        for quantity in TITLES:
            band = curve.band(quantity)
            if band is None:
                if quantity != "accuracy":
                    raise DataError(f"{what} has no {quantity}; only accuracy may be missing")
                continue
            severities, _ = amounts(what, {"severities": curve.severities, quantity: band.value})
            amounts(
                what, {quantity: band.value, f"the low end of {quantity}": band.low, f"the high end of {quantity}": band.high}, gaps=True
            )
            if (np.diff(severities) <= 0).any():
                raise DataError(f"{what} has the severities {[int(one) for one in severities]}; expected them ascending")
