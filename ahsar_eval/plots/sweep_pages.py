"""Rows of panels with as many columns as each needs, set below one another on pages a paper can
hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ahsar_eval.plots.layout import Grid, add_cell, empty_page, outer_labels
from ahsar_eval.plots.legends import header_height, header_legend
from ahsar_eval.plots.style import DOUBLE_IN, TALLEST_IN


@dataclass(frozen=True)
class PanelRow:
    """Panels side by side, each `height` inches tall: the name of its axes and what draws it. The
    last row may fill fewer `columns`.
    """

    columns: int
    height: float
    panels: Sequence[tuple[str, Callable[[Any], None]]]


def sweep_pages(
    rows: Sequence[PanelRow], signs: Sequence[tuple[Any, str]], below: str
) -> list[Any]:
    """Matplotlib figures of all rows, the legend of `signs` over each page and `below` under it."""
    labels = [text for _, text in signs]
    header = header_height(labels, DOUBLE_IN - 0.1)
    pages: list[list[Grid]] = [[]]
    figures = []
    for row in rows:
        grid = Grid(
            1,
            row.columns,
            DOUBLE_IN,
            (row.height,),
            header,
            left=0.4,
            gap=0.42,
            above=0.2,
            below=0.16,
            bottom=0.22,
        )
        used = sum(one.cell_height for one in pages[-1])
        if pages[-1] and header + used + grid.cell_height + grid.bottom > TALLEST_IN:
            pages.append([])
        pages[-1].append(grid)
    following = iter(rows)
    for grids in pages:
        over, under = header, sum(grid.cell_height for grid in grids)
        whole = replace(
            grids[0], header=header, bottom=grids[0].bottom + under - grids[0].cell_height
        )
        figure = empty_page(whole)
        for grid in grids:
            row, under = next(following), under - grid.cell_height
            placed = replace(grid, header=over, bottom=grid.bottom + under)
            over += grid.cell_height
            for column, (name, draw) in enumerate(row.panels):
                (axes,) = add_cell(figure, placed, 0, column)
                axes.set_label(name)
                draw(axes)
        header_legend(figure, whole, [handle for handle, _ in signs], labels)
        outer_labels(figure, whole, x=below)
        figures.append(figure)
    return figures
