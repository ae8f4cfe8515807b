"""Quantities over severity: a column per shift, a row per quantity with one scale over all pages,
colour and marker per network.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.fitting import elided_names, in_two_lines
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    add_cell,
    empty_page,
    heading,
    outer_labels,
    places,
    tidy_ticks,
    width_for,
)
from ahsar_eval.plots.legends import header_height, header_legend, legend_room, line_handle
from ahsar_eval.plots.style import PALE, Look, looks, ordered

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_SHIFTS = 5  # columns of a page


@dataclass(frozen=True)
class Band:
    """A quantity [S] at each severity with the ends of its intervals; NaN where there is none."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Curve(Protocol):
    """One checkpoint under one shift at `severities` [S], ascending."""

    @property
    def checkpoint(self) -> str:
        """Its name."""

    @property
    def shift(self) -> str:
        """What is done to the images."""

    @property
    def severities(self) -> NDArray[np.int64]:
        """Severities [S], ascending."""

    def drawn(self, quantity: str) -> Band | None:
        """The band of a quantity as it is drawn; None where labels are not kept."""


@dataclass(frozen=True)
class Rows:
    """The rows of a page: title and limits of each quantity, and the value at which a pale line
    crosses it, if any.
    """

    titles: Mapping[str, str]
    limits: Mapping[str, tuple[float, float]]
    lines: Mapping[str, float]
    below: str  # what stands under the severities
    left: float = 0.64
    missing: str = "labels not kept"  # what a panel says where no curve has the quantity


def bands_of(curves: Sequence[Curve], quantity: str) -> list[Band]:
    """The bands of a quantity that are drawn."""
    return [band for curve in curves if (band := curve.drawn(quantity)) is not None]


def with_margin(low: float, high: float) -> tuple[float, float]:
    """Limits of an axis a little beyond what it shows."""
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def severity_points(curves: Sequence[Curve], quantities: Sequence[str]) -> "DataFrame":
    """The points drawn, one a line: shift, checkpoint, quantity, severity, value, low, high; empty
    where there is none.
    """
    import pandas as pd

    parts = []
    for curve in curves:
        for quantity in quantities:
            band = curve.drawn(quantity)
            if band is not None:
                columns = {
                    "severity": curve.severities,
                    "value": band.value,
                    "low": band.low,
                    "high": band.high,
                }
                parts.append(
                    pd.DataFrame(
                        {
                            "shift": curve.shift,
                            "checkpoint": curve.checkpoint,
                            "quantity": quantity,
                            **columns,
                        }
                    )
                )
    return pd.concat(parts, ignore_index=True)


def severity_pages(
    curves: Sequence[Curve], rows: Rows, checkpoints: Sequence[str]
) -> Iterator[Any]:
    """Matplotlib figures of at most `MOST_SHIFTS` columns; `checkpoints` is the order that decides
    the looks.
    """
    present = {curve.checkpoint for curve in curves}
    look = looks(ordered(checkpoints, [curve.checkpoint for curve in curves]))
    shown = [name for name in look if name in present]
    shifts = list(dict.fromkeys(curve.shift for curve in curves))
    spots = places(len(shifts), MOST_SHIFTS)
    columns = max(column for _, column in spots) + 1
    width = width_for(columns)
    short = elided_names(shown, legend_room(width))
    labels = [short[name] for name in shown]
    grid = Grid(
        len(rows.titles),
        columns,
        width,
        (1.15,),
        header_height(labels, width - 0.1) + LINE_IN,
        left=rows.left,
        gap=0.12,
        above=0.09,
    )
    headings = elided_names(shifts, grid.panel_width)
    severities = sorted({int(one) for curve in curves for one in curve.severities})
    for page in range(spots[-1][0] + 1):
        figure = empty_page(grid)
        for shift, (its_page, column) in zip(shifts, spots, strict=True):
            if its_page != page:
                continue
            own = sorted(
                (curve for curve in curves if curve.shift == shift),
                key=lambda curve: shown.index(curve.checkpoint),
            )
            for row, (quantity, title) in enumerate(rows.titles.items()):
                (axes,) = add_cell(figure, grid, row, column)
                axes.set_label(f"{shift} {quantity}")
                if quantity in rows.lines:
                    axes.axhline(rows.lines[quantity], color=PALE, linewidth=0.6, zorder=0.5)
                for curve in own:
                    _draw(axes, curve.severities, curve.drawn(quantity), look[curve.checkpoint])
                if all(curve.drawn(quantity) is None for curve in own):
                    axes.text(
                        0.5, 0.5, rows.missing, ha="center", va="center", transform=axes.transAxes
                    )
                axes.set(
                    xlim=(severities[0] - 0.25, severities[-1] + 0.25),
                    ylim=rows.limits[quantity],
                    xticks=severities,
                )
                tidy_ticks(axes.yaxis)
                axes.tick_params(labelbottom=row == len(rows.titles) - 1, labelleft=column == 0)
                if column == 0:
                    axes.set_ylabel(in_two_lines(title, grid.cell_height - 0.04))
                    axes.yaxis.set_label_coords(-0.37 / grid.panel_width, 0.5)
                if row == 0:
                    heading(axes, headings[shift])
        header_legend(
            figure, grid, [line_handle(look[name], marker=True) for name in shown], labels
        )
        outer_labels(figure, grid, x=rows.below)
        yield figure


def _draw(axes: Any, severities: NDArray[np.int64], band: Band | None, look: Look) -> None:
    if band is None:
        return
    if np.isfinite(band.low).any():
        axes.fill_between(
            severities, band.low, band.high, color=look.colour, alpha=0.18, linewidth=0
        )
    axes.plot(
        severities,
        band.value,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=3,
        clip_on=False,
    )
