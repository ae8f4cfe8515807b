"""What a shift does as it grows: accuracy, AUROC, mean uncertainty and mean firing rate over severity, below one another."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.figures.checks import drawable, vectors
from ahsar_eval.figures.fitting import elided_names, in_two_lines
from ahsar_eval.figures.layout import LINE_IN, Grid, add_cell, empty_page, extent, heading, outer_labels, places, tidy_ticks, width_for
from ahsar_eval.figures.legends import header_height, header_legend, legend_room, line_handle
from ahsar_eval.figures.style import PALE, Look, looks, ordered, save_pages, styled

if TYPE_CHECKING:
    from pandas import DataFrame

QUANTITIES = ("accuracy", "auroc", "entropy", "rate")
MOST_SHIFTS = 5  # columns of a page
_NO_LABELS = "labels not kept"


@dataclass(frozen=True)
class Band:
    """A quantity [S] at each severity with the ends of its intervals; NaN where there is none."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class SeverityCurve:
    """One checkpoint under one shift at `severities` [S], ascending; 0 is the ID set as it is. `accuracy` None: labels are not kept.

    AUROC is drawn from severity 1: the ID set against itself is 0.5 by definition.
    """

    checkpoint: str
    shift: str
    severities: NDArray[np.int64]
    accuracy: Band | None
    auroc: Band
    entropy: Band
    rate: Band

    def drawn(self, quantity: str) -> Band | None:
        """The band of one of `QUANTITIES` as it is drawn; None where labels are not kept."""
        band: Band | None = getattr(self, quantity)
        if band is None:
            return None
        kept = np.asarray(self.severities) > 0 if quantity == "auroc" else np.ones(len(self.severities), dtype=bool)
        value, low, high = (np.where(kept, np.asarray(part, dtype=np.float64), np.nan) for part in (band.value, band.low, band.high))
        return Band(value, low, high)


def severity_figures(
    curves: Sequence[SeverityCurve],
    *,
    entropy: str = "mean predictive entropy (nats)",
    rate: str = "mean firing rate (spikes per step)",
    checkpoints: Sequence[str] = (),
) -> list[Any]:
    """Pages of severity curves as matplotlib figures: a column per shift, a row per quantity with one scale over all pages.

    `entropy` and `rate` label their rows; `checkpoints` is the order that decides the looks. Raises `DataError` for bands that do not fit.
    """
    _check(curves)
    with styled():
        return list(_pages(curves, {"accuracy": "accuracy", "auroc": "AUROC", "entropy": entropy, "rate": rate}, checkpoints))


def save_severity_curves(
    curves: Sequence[SeverityCurve],
    path: str | Path,
    *,
    entropy: str = "mean predictive entropy (nats)",
    rate: str = "mean firing rate (spikes per step)",
    checkpoints: Sequence[str] = (),
) -> list[Path]:
    """Write the curves (PNG, PDF or SVG by suffix) and their points as CSV; returns the paths. Raises `OutputError`."""
    return save_pages(severity_figures(curves, entropy=entropy, rate=rate, checkpoints=checkpoints), path, severity_table(curves))


def severity_table(curves: Sequence[SeverityCurve]) -> "DataFrame":
    """The points drawn, one a line: shift, checkpoint, quantity, severity, value, low, high; empty where there is none."""
    import pandas as pd

    parts = []
    for curve in curves:
        for quantity in QUANTITIES:
            band = curve.drawn(quantity)
            if band is not None:
                columns = {"severity": curve.severities, "value": band.value, "low": band.low, "high": band.high}
                parts.append(pd.DataFrame({"shift": curve.shift, "checkpoint": curve.checkpoint, "quantity": quantity, **columns}))
    return pd.concat(parts, ignore_index=True)


def _pages(curves: Sequence[SeverityCurve], titles: dict[str, str], checkpoints: Sequence[str]) -> Iterator[Any]:
    present = {curve.checkpoint for curve in curves}
    look = looks(ordered(checkpoints, [curve.checkpoint for curve in curves]))
    shown = [name for name in look if name in present]
    shifts = list(dict.fromkeys(curve.shift for curve in curves))
    spots = places(len(shifts), MOST_SHIFTS)
    columns = max(column for _, column in spots) + 1
    width = width_for(columns)
    short = elided_names(shown, legend_room(width))
    labels = [short[name] for name in shown]
    grid = Grid(4, columns, width, (1.15,), header_height(labels, width - 0.1) + LINE_IN, left=0.64, gap=0.12, above=0.09)
    limits = {quantity: _limits(quantity, curves) for quantity in QUANTITIES}
    headings = elided_names(shifts, grid.panel_width)
    severities = sorted({int(one) for curve in curves for one in curve.severities})
    for page in range(spots[-1][0] + 1):
        figure = empty_page(grid)
        for shift, (its_page, column) in zip(shifts, spots, strict=True):
            if its_page != page:
                continue
            own = sorted((curve for curve in curves if curve.shift == shift), key=lambda curve: shown.index(curve.checkpoint))
            for row, quantity in enumerate(QUANTITIES):
                (axes,) = add_cell(figure, grid, row, column)
                axes.set_label(f"{shift} {quantity}")
                if quantity == "auroc":
                    axes.axhline(0.5, color=PALE, linewidth=0.6, zorder=0.5)
                for curve in own:
                    _draw(axes, curve.severities, curve.drawn(quantity), look[curve.checkpoint])
                if all(curve.drawn(quantity) is None for curve in own):
                    axes.text(0.5, 0.5, _NO_LABELS, ha="center", va="center", transform=axes.transAxes)
                axes.set(xlim=(severities[0] - 0.25, severities[-1] + 0.25), ylim=limits[quantity], xticks=severities)
                tidy_ticks(axes.yaxis)
                axes.tick_params(labelbottom=row == len(QUANTITIES) - 1, labelleft=column == 0)
                if column == 0:
                    axes.set_ylabel(in_two_lines(titles[quantity], grid.cell_height - 0.04))
                    axes.yaxis.set_label_coords(-0.37 / grid.panel_width, 0.5)
                if row == 0:
                    heading(axes, headings[shift])
        header_legend(figure, grid, [line_handle(look[name], marker=True) for name in shown], labels)
        outer_labels(figure, grid, x="severity (0: the ID set as it is)" if severities[0] == 0 else "severity")
        yield figure


def _draw(axes: Any, severities: NDArray[np.int64], band: Band | None, look: Look) -> None:
    if band is None:
        return
    if np.isfinite(band.low).any():
        axes.fill_between(severities, band.low, band.high, color=look.colour, alpha=0.18, linewidth=0)
    axes.plot(severities, band.value, color=look.colour, linestyle=look.line, marker=look.marker, markersize=3, clip_on=False)


def _limits(quantity: str, curves: Sequence[SeverityCurve]) -> tuple[float, float]:
    bands = [band for curve in curves if (band := curve.drawn(quantity)) is not None]
    low, high = extent([part for band in bands for part in (band.value, band.low, band.high)])
    if quantity == "auroc":
        low, high = min(low, 0.5), max(high, 0.5)
    if quantity == "rate" or (quantity == "entropy" and low >= 0):
        low = 0.0 if low < 0.5 * high else low
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _check(curves: Sequence[SeverityCurve]) -> None:
    drawable("severity curve", curves, [(curve.checkpoint, curve.shift) for curve in curves])
    for curve in curves:
        what = f"the severity curve of {curve.checkpoint} under {curve.shift}"
        for quantity in QUANTITIES:
            band = getattr(curve, quantity)
            if band is None and quantity != "accuracy":
                raise DataError(f"{what} has no {quantity}; only accuracy may be missing")
            if band is not None:
                arrays = {"severities": curve.severities, quantity: band.value, "low": band.low, "high": band.high}
                severities = vectors(what, arrays, gaps=True)[0]
                if np.isnan(severities).any() or (np.diff(severities) <= 0).any():
                    raise DataError(f"{what} has the severities {list(curve.severities)}; expected them ascending")
