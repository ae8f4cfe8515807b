"""A panel per set with a line per checkpoint and a number for each line; what ROC and risk–coverage
figures share.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ahsar_eval.plots.fitting import elided_names
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    add_cell,
    columns_for,
    empty_page,
    heading,
    outer_labels,
    width_for,
    wrapped,
)
from ahsar_eval.plots.legends import (
    free_corner_legend,
    header_height,
    header_legend,
    legend_above,
    legend_room,
    line_handle,
    lines_above,
)
from ahsar_eval.plots.style import INK, Look


@dataclass(frozen=True)
class CurvePanels:
    """What is said about the panels: axis labels, the name of each line's number, and what a marker
    stands for ('' for none).
    """

    x: str
    y: str
    number: str
    square: bool
    mark: str = ""
    dotted: str = ""  # what a thin dotted line is
    own_y: bool = False  # each panel has its own y axis


@dataclass(frozen=True)
class Line:
    """One line: the set whose panel it stands in, its checkpoint, its number, and what `draw` needs
    to draw it.
    """

    name: str
    checkpoint: str
    number: str
    content: Any


def curve_pages(
    lines: Sequence[Line],
    look: Mapping[str, Look],
    said: CurvePanels,
    draw: Callable[[Any, Any, Look], None],
    finish: Callable[[Any], None],
    *,
    above: bool = False,
) -> list[Any]:
    """Figures of all lines. `draw` draws one line into its axes, `finish` sets the limits of an
    axes whose lines are drawn.

    The numbers stand in a corner that no line reaches. Where one panel has no such corner they
    stand `above` every panel.
    """
    names = list(dict.fromkeys(line.name for line in lines))
    shown = [
        checkpoint for checkpoint in look if any(line.checkpoint == checkpoint for line in lines)
    ]
    columns = columns_for(len(names))
    width = width_for(columns)
    short = elided_names(shown, legend_room(width))
    handles, labels = [line_handle(look[name]) for name in shown], [short[name] for name in shown]
    handles, labels = _with_signs(handles, labels, said)
    most = max(sum(line.name == name for line in lines) for name in names)
    measures = {
        "above": 0.18 + (LINE_IN * lines_above(most) + 0.02) * above,
        "header": header_height(labels, width - 0.1),
    }
    measures |= (
        {"gap": 0.42, "below": 0.19, "bottom": 0.2} if said.own_y else {"gap": 0.14, "below": 0.06}
    )
    side = Grid(1, columns, width, (1,), **measures).panel_width
    heights = (side if said.square else 0.72 * side,)
    grid = Grid(1, columns, width, heights, **measures)
    cells = wrapped(len(names), columns, grid.rows_that_fit)
    titles = elided_names(names, grid.panel_width)
    pages = []
    for page in range(cells[-1].page + 1):
        here = {name: cell for name, cell in zip(names, cells, strict=True) if cell.page == page}
        taken = {(cell.row, cell.column) for cell in here.values()}
        grid = Grid(max(row for row, _ in taken) + 1, columns, width, heights, **measures)
        figure = empty_page(grid)
        for name, cell in here.items():
            (axes,) = add_cell(figure, grid, cell.row, cell.column)
            axes.set_label(name)
            own = sorted(
                (line for line in lines if line.name == name),
                key=lambda line: shown.index(line.checkpoint),
            )
            for line in own:
                draw(axes, line.content, look[line.checkpoint])
            finish(axes)
            if not said.own_y:
                axes.tick_params(
                    labelbottom=(cell.row + 1, cell.column) not in taken, labelleft=cell.column == 0
                )
            inside = (
                [line_handle(look[line.checkpoint]) for line in own],
                [line.number for line in own],
                said.number,
            )
            heading(axes, titles[name], line=lines_above(most) if above else 0)
            if above:
                legend_above(axes, *inside)
            elif not free_corner_legend(axes, *inside):
                return curve_pages(lines, look, said, draw, finish, above=True)
        header_legend(figure, grid, handles, labels)
        outer_labels(figure, grid, x=said.x, y=said.y)
        pages.append(figure)
    return pages


def _with_signs(
    handles: list[Any], labels: list[str], said: CurvePanels
) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    if said.mark:
        sign = Line2D(
            [],
            [],
            color=INK,
            linestyle="",
            marker="o",
            markeredgecolor="white",
            markeredgewidth=0.4,
        )
        handles, labels = [*handles, sign], [*labels, said.mark]
    if said.dotted:
        handles, labels = (
            [*handles, Line2D([], [], color=INK, linestyle=":", linewidth=0.7)],
            [*labels, said.dotted],
        )
    return handles, labels
