"""Legends that hide no data: over the page, in a corner of a panel that no line reaches, or over
the panel.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ahsar_eval.plots.fitting import text_width
from ahsar_eval.plots.layout import LINE_IN, Grid
from ahsar_eval.plots.style import Look

_HANDLE_IN = 0.45  # a legend's sample of a line with the space about it


def legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend, filled from the top, stand side by side in `width` inches."""
    widths = [text_width(label) + _HANDLE_IN for label in labels]
    for columns in range(len(labels), 1, -1):
        if sum(float(part.max()) for part in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def header_height(labels: Sequence[str], width: float) -> float:
    """Height that the legend above the panels takes."""
    return -(-len(labels) // legend_columns(labels, width)) * LINE_IN * 1.15 + 0.05


def header_legend(figure: Any, grid: Grid, handles: Sequence[Any], labels: Sequence[str]) -> Any:
    """The legend in the header of the page; labels must already fit."""
    from matplotlib.legend_handler import HandlerTuple

    return figure.legend(
        handles,
        labels,
        ncols=legend_columns(labels, grid.width - 0.1),
        loc="upper left",
        bbox_to_anchor=(0.05 / grid.width, 1 - 0.02 / grid.height),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        **_LEGEND,
    )


def legend_room(width: float) -> float:
    """Widest text an entry of the header's legend may have."""
    return width - 0.1 - _HANDLE_IN


_LEGEND: dict[str, Any] = {
    "frameon": False,
    "borderaxespad": 0,
    "borderpad": 0,
    "handlelength": 2.6,
    "handletextpad": 0.5,
    "columnspacing": 1.2,
    "labelspacing": 0.25,
}


def free_corner_legend(axes: Any, handles: Sequence[Any], texts: Sequence[str], title: str) -> bool:
    """A legend inside the axes where it meets no line, if there is such a corner; says whether
    there was.
    """
    settings = {
        **_LEGEND,
        "borderaxespad": 0.4,
        "borderpad": 0.2,
        "labelspacing": 0.1,
        "handlelength": 2.2,
        "alignment": "right",
    }
    legend = axes.legend(handles, texts, title=title, **settings)
    paths = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
    renderer = axes.figure.canvas.get_renderer()
    for corner in ("lower right", "upper left", "upper right", "lower left"):
        legend.set_loc(corner)
        box = legend.get_window_extent(renderer)
        if not any(path.intersects_bbox(box, filled=False) for path in paths):
            return True
    legend.remove()
    return False


def legend_above(axes: Any, handles: Sequence[Any], texts: Sequence[str], title: str) -> None:
    """The same legend over the axes, two entries a line under its title; `lines_above` says how
    many lines it takes.
    """
    axes.legend(
        handles,
        texts,
        title=title,
        ncols=2,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        **{**_LEGEND, "labelspacing": 0.1, "alignment": "right", "borderaxespad": 0.3},
    )


def lines_above(entries: int) -> int:
    """Lines of text that `legend_above` takes."""
    return 1 + -(-entries // 2)


def line_handle(look: Look, *, marker: bool = False) -> Any:
    """A checkpoint's line for a legend."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], color=look.colour, linestyle=look.line, marker=look.marker if marker else ""
    )
