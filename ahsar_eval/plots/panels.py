"""Pages of panels: a row per set, or per shift, and a column per network, or per quantity; or a
panel per set with a line per network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from ahsar_eval.plots.layout import (
    LINE_IN,
    Cell,
    Grid,
    columns_for,
    draw_band,
    elided_names,
    heading,
    legend_space,
    line_handle,
    lines_above,
    numbers_legend,
    page_by_page,
    places,
    split,
    text_width,
    tidy_ticks,
    width_for,
    wrapped,
)
from ahsar_eval.plots.style import PALE, Look, looks

if TYPE_CHECKING:
    from pandas import DataFrame

Draw = Callable[[list[Any], "DataFrame", Mapping[str, Look]], None]  # a panel's rows into axes


def panel_pages(
    table: "DataFrame",
    look: Mapping[str, Look],
    *,
    draw: Draw,
    heights: Callable[[float], tuple[float, ...]],
    x: str,
    y: str = "",
    across: str = "",
    columns: Mapping[str, str] | None = None,
    note: "Callable[[DataFrame, float], str] | None" = None,
    number: str = "",
    above: bool = False,
    shared: bool = False,
    missing: str = "",
    **measures: Any,
) -> list[Any]:
    """Pages of panels, each drawn from its rows of `table`, whose first column names the set.

    There is a row per set and a column per value of the table's column `across`, titled as in
    `columns`; the sets of a single one stand side by side, as they do where nothing is `across`.
    `note` gives what stands over a panel. `number` is a column of the table, one number for each
    line of a panel: they stand in a corner that no line reaches, or where one panel has no such
    corner `above` all. `heights` gives those of a panel's axes by its width; where axes are
    `shared`, outer ones alone have tick labels; `missing` is said in a panel without rows;
    `measures` are those of `Grid`.
    """
    of, titles = table.columns[0], dict(columns or {})
    sets, several = list(table[of].unique()), len(titles) > 1
    panels = split(table, [of, across] if across else [of])
    keys = list(product(sets, titles)) if missing else list(panels)
    across_page = len(titles) if several else columns_for(len(sets))
    width = width_for(across_page)
    measures |= {"header": LINE_IN * several, "legend": legend_space(look, 5, width)}
    grid = Grid(1, across_page, width, (), **measures)
    room = grid.panel_width
    notes = {key: note(own, room) for key, own in panels.items()} if note else {}
    lines = lines_above(max(len(own.checkpoint.unique()) for own in panels.values())) * above
    if any(text_width(key[0]) + text_width(text) + 0.1 > room for key, text in notes.items()):
        lines = 1  # the name of the set stands over the note
    grid = replace(grid, heights=heights(room), above=0.08 + LINE_IN * (lines + 1))
    if several:
        spots = zip(sets, places(len(sets), grid.rows_that_fit), strict=True)
        cells = {
            (data, name): Cell(*spot, column)
            for data, spot in spots
            for column, name in enumerate(titles)
            if (data, name) in keys
        }
    else:
        cells = dict(zip(keys, wrapped(len(keys), across_page, grid.rows_that_fit), strict=True))
    names = elided_names(sets, width - grid.left - grid.right if several else room)
    short = elided_names(list(titles.values()), room)
    pages = []
    for figure, here in page_by_page(grid, cells, x, y):
        pages.append(figure)
        taken = {(cells[key].row, cells[key].column) for key in here}
        for key, stack in here.items():
            axes, row, column = stack[0], cells[key].row, cells[key].column
            axes.set_label(" ".join(key))
            if not several or column == 0:
                heading(axes, names[key[0]], line=lines, room=width if several else None)
            if several and row == 0:
                heading(axes, short[titles[key[1]]], side="center", line=lines + 1)
            if key not in panels:
                axes.set(xticks=[], yticks=[])
                middle = {"ha": "center", "va": "center", "transform": axes.transAxes}
                axes.text(0.5, 0.5, missing, **middle)
                continue
            draw(stack, panels[key], look)
            if note:
                heading(axes, notes[key], side="right")
            if shared:
                below = (row + 1, column) not in taken
                axes.tick_params(labelbottom=below, labelleft=column == 0)
            if number:
                values = panels[key].groupby("checkpoint", sort=False)[number.lower()].first()
                lines_drawn = [line_handle(look[str(name)]) for name in values.index]
                texts = [_rounded(value) for value in values]
                if not numbers_legend(axes, lines_drawn, texts, number, above=above):
                    axis = {"x": x, "y": y, "number": number, "shared": shared}
                    how = {"draw": draw, "heights": heights, **axis, **measures}
                    return panel_pages(table, look, above=True, **how)
    return pages


def _rounded(value: float) -> str:
    """Three decimals, or two digits of a number so small that they would all be 0."""
    return f"{value:.3f}" if value >= 0.1 or value == 0 else f"{value:#.2g}".replace("e-0", "e−")


def severity_pages(
    table: "DataFrame",
    checkpoints: Sequence[str],
    *,
    titles: Mapping[str, str],
    limits: Mapping[str, tuple[float, float]],
    lines: Mapping[str, float],
    below: str,
    missing: str = "labels not kept",
) -> list[Any]:
    """Quantities over severity: a row per shift, a column per quantity with one scale in all rows.

    `table` has a point a row: shift, checkpoint, quantity, severity (ascending), value, low, high.
    `titles` and `limits` are of each quantity; at the value in `lines` a pale line crosses it.
    `below` stands under the severities, `missing` where no checkpoint has the quantity;
    `checkpoints` is the order that decides the looks.
    """
    severities = sorted(table.severity.unique())

    def draw(stack: list[Any], own: "DataFrame", look: Mapping[str, Look]) -> None:
        (axes,), quantity = stack, own.quantity.iloc[0]
        if quantity in lines:
            axes.axhline(lines[quantity], color=PALE, linewidth=0.6, zorder=0.5)
        for name, part in split(own, "checkpoint").items():
            marks = {"marker": look[name].marker, "markersize": 3, "clip_on": False}
            draw_band(axes, part, "severity", look[name], 0.18, label=name, **marks)
        axes.set(xlim=(severities[0] - 0.25, severities[-1] + 0.25), ylim=limits[quantity])
        axes.set_xticks(severities)
        tidy_ticks(axes.yaxis)

    present = set(table.checkpoint)
    space: dict[str, Any] = {"left": 0.35, "gap": 0.36, "below": 0.19, "bottom": 0.22}
    return panel_pages(
        table,
        {name: one for name, one in looks(checkpoints).items() if name in present},
        draw=draw,
        heights=lambda width: (1.0,),
        x=below,
        across="quantity",
        columns=titles,
        missing=missing,
        **space,
    )
