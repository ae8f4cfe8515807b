"""Quantities over severity: a column per shift, a row per quantity with one scale over all pages,
colour and marker per network.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.layout import (
    LINE_IN,
    Cell,
    Grid,
    draw_band,
    elided_names,
    heading,
    in_two_lines,
    page_by_page,
    places,
    tidy_ticks,
    width_for,
)
from ahsar_eval.plots.style import PALE, looks

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_SHIFTS = 5  # columns of a page


@dataclass(frozen=True)
class Band:
    """A quantity [S] at each severity with the ends of its intervals; NaN where there is none."""

    value: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def severity_pages(
    table: "DataFrame",
    checkpoints: Sequence[str],
    *,
    titles: Mapping[str, str],
    limits: Mapping[str, tuple[float, float]],
    lines: Mapping[str, float],
    below: str,
    left: float = 0.64,
    missing: str = "labels not kept",
) -> list[Any]:
    """Matplotlib figures of at most `MOST_SHIFTS` columns.

    `table` has a point a row: shift, checkpoint, quantity, severity (ascending), value, low, high.
    `titles` and `limits` are of each quantity; at the value in `lines` a pale line crosses it.
    `below` stands under the severities, `missing` where no checkpoint has the quantity;
    `checkpoints` is the order that decides the looks.
    """
    present, shifts = set(table.checkpoint), list(table["shift"].unique())
    look = {name: one for name, one in looks(checkpoints).items() if name in present}
    spots = places(len(shifts), MOST_SHIFTS)
    columns = max(column for _, column in spots) + 1
    width = width_for(columns)
    measures = {"header": LINE_IN, "left": left, "gap": 0.12, "above": 0.09}
    grid = Grid(len(titles), columns, width, (1.15,), **measures)
    cells = {
        (quantity, shift): Cell(page, row, column)
        for shift, (page, column) in zip(shifts, spots, strict=True)
        for row, quantity in enumerate(titles)
    }
    names = elided_names(shifts, grid.panel_width)
    severities = sorted(table.severity.unique())
    pages = []
    for figure, panels in page_by_page(grid, cells, x=below):
        pages.append(figure)
        for (quantity, shift), (axes,) in panels.items():
            axes.set_label(f"{shift} {quantity}")
            if quantity in lines:
                axes.axhline(lines[quantity], color=PALE, linewidth=0.6, zorder=0.5)
            own = table[(table["shift"] == shift) & (table.quantity == quantity)]
            for name, one in look.items():
                marks = {"marker": one.marker, "markersize": 3, "clip_on": False, "label": name}
                draw_band(axes, own[own.checkpoint == name], "severity", one, 0.18, **marks)
            if own.empty:
                middle = {"ha": "center", "va": "center", "transform": axes.transAxes}
                axes.text(0.5, 0.5, missing, **middle)
            row, column = cells[quantity, shift].row, cells[quantity, shift].column
            axes.set(xlim=(severities[0] - 0.25, severities[-1] + 0.25), ylim=limits[quantity])
            axes.set_xticks(severities)
            tidy_ticks(axes.yaxis)
            axes.tick_params(labelbottom=row == len(titles) - 1, labelleft=column == 0)
            if column == 0:
                axes.set_ylabel(in_two_lines(titles[quantity], grid.cell_height - 0.04))
                axes.yaxis.set_label_coords(-0.37 / grid.panel_width, 0.5)
            if row == 0:
                heading(axes, names[shift])
    return pages
