"""Pages of panels at the size they are printed at: every length in inches, so that no text can push
another aside; names are the user's, as long as they like, and cut to the room they have.
"""

from bisect import bisect
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.style import DOUBLE_IN, SINGLE_IN, TALLEST_IN, TEXT_PT, Look

if TYPE_CHECKING:
    from pandas import DataFrame

Key = TypeVar("Key", bound=Hashable)

LINE_IN = 0.125  # height of a line of text
_LONG_SIGN = "the network's own thresholds (mean factor)"
_MOST_LOOKS = 5  # as many as a sample has room for
_HANDLE_IN = 0.45  # a legend's sample of a line with the space about it
_LEGEND: dict[str, Any] = {
    "frameon": False,
    "borderaxespad": 0,
    "borderpad": 0,
    "handlelength": 2.6,
    "handletextpad": 0.5,
    "columnspacing": 1.2,
    "labelspacing": 0.25,
}


# --- pages


@dataclass(frozen=True)
class Grid:
    """A page: `rows` × `columns` cells, each a stack of axes of `heights`, under a header for the
    legend. Inches.
    """

    rows: int
    columns: int
    width: float
    heights: tuple[float, ...]
    header: float = 0.0
    left: float = 0.5  # y label and tick labels of the first column
    right: float = 0.1
    gap: float = 0.14  # between columns
    above: float = 0.18  # over each cell: its name
    between: float = 0.06  # axes of one cell
    below: float = 0.04  # under each cell
    bottom: float = 0.36  # tick labels and x label
    legend: float = 0.0  # kept free on a page for `finish_page`

    @property
    def panel_width(self) -> float:
        """Width of one panel."""
        return (self.width - self.left - self.right - self.gap * (self.columns - 1)) / self.columns

    @property
    def cell_height(self) -> float:
        """Height of one row with the space about it."""
        return self.above + sum(self.heights) + self.between * (len(self.heights) - 1) + self.below

    @property
    def height(self) -> float:
        """Height of the page."""
        return self.header + self.rows * self.cell_height + self.bottom

    @property
    def rows_that_fit(self) -> int:
        """Rows of such cells that a page of a paper can hold."""
        return max(
            1, int((TALLEST_IN - self.legend - self.header - self.bottom) / self.cell_height)
        )


@dataclass(frozen=True)
class Cell:
    """Where a panel stands: page, row and column, all from 0."""

    page: int
    row: int
    column: int


def columns_for(panels: int) -> int:
    """Columns for a number of panels that are set one after another."""
    return panels if panels < 5 else 3 if panels in (5, 6) else 4


def width_for(columns: int) -> float:
    """A single column of a paper for up to two panels side by side, both columns for more."""
    return SINGLE_IN if columns < 3 else DOUBLE_IN


def places(rows: int, per_page: int) -> list[tuple[int, int]]:
    """Page and row on it of each of `rows` rows, pages filled alike."""
    pages = -(-rows // per_page)
    each = -(-rows // pages)
    return [divmod(row, each) for row in range(rows)]


def wrapped(panels: int, columns: int, per_page: int) -> list[Cell]:
    """Cells of panels set one after another in rows of `columns`."""
    rows = places(-(-panels // columns), per_page)
    return [Cell(*rows[i // columns], i % columns) for i in range(panels)]


def page_by_page(
    grid: Grid, cells: Mapping[Key, Cell], x: str, y: str = ""
) -> Iterator[tuple[Any, dict[Key, list[Any]]]]:
    """Each page as a figure, with the axes in the cell of each key, from the top; a page has as
    many rows as are filled. When the next is asked for, it gets its legend and labels.
    """
    for page in range(max(cell.page for cell in cells.values()) + 1):
        here = {key: cell for key, cell in cells.items() if cell.page == page}
        filled = replace(grid, rows=max(cell.row for cell in here.values()) + 1)
        figure = empty_page(filled)
        stacks = {
            key: add_cell(figure, filled, cell.row, cell.column) for key, cell in here.items()
        }
        yield figure, stacks
        finish_page(figure, filled, x, y)


def finish_page(figure: Any, grid: Grid, x: str, y: str = "") -> None:
    """Put a legend of everything drawn that has a label over the page, whose header grows by it,
    and the labels of the axes beside the panels.

    A label that is drawn in several looks has them side by side, at most `_MOST_LOOKS`.
    """
    drawn: dict[str, dict[str, Any]] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            drawn.setdefault(label, {}).setdefault(_look_of(handle), handle)
    room = legend_room(grid.width)
    short = elided_names([label for label in drawn if text_width(label) > room], room)
    labels = [short.get(label, label) for label in drawn]
    handles = [tuple(each.values())[:_MOST_LOOKS] for each in drawn.values()]
    whole = replace(grid, header=grid.header + header_height(labels, grid.width - 0.1))
    figure.set_figheight(whole.height)
    for axes in figure.axes:
        left, low, width, height = axes.get_position(original=True).bounds
        shrunk = grid.height / whole.height
        axes.set_position((left, low * shrunk, width, height * shrunk))
    header_legend(figure, whole, handles, labels)
    outer_labels(figure, whole, x=x, y=y)


def _look_of(handle: Any) -> str:
    """What tells two looks of one label apart: colours."""
    one = handle[0] if isinstance(handle, tuple) else handle  # a container of bars
    if hasattr(one, "get_color"):
        return str((one.get_color(), one.get_markeredgecolor()))
    return str((one.get_facecolor(), one.get_edgecolor()))


def empty_page(grid: Grid) -> Any:
    """A matplotlib figure of the grid's size that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(grid.width, grid.height), dpi=300)
    FigureCanvasAgg(figure)  # measures text
    return figure


def add_cell(figure: Any, grid: Grid, row: int, column: int) -> list[Any]:
    """The axes of one cell, from the top."""
    x = grid.left + column * (grid.panel_width + grid.gap)
    y = grid.height - grid.header - row * grid.cell_height - grid.above
    axes = []
    for height in grid.heights:
        y -= height
        made = figure.add_axes(
            (x / grid.width, y / grid.height, grid.panel_width / grid.width, height / grid.height)
        )
        made.spines[["top", "right"]].set_visible(False)
        axes.append(made)
        y -= grid.between
    return axes


def heading(
    axes: Any, text: str, *, side: str = "left", line: int = 0, room: float | None = None
) -> None:
    """Text over the axes, `line` lines up; cut in its middle to `room` inches (default: the width
    of the axes).
    """
    width = axes.get_position().width * axes.figure.get_figwidth()
    axes.annotate(
        elided(text, width if room is None else room),
        ({"left": 0.0, "center": 0.5, "right": 1.0}[side], 1),
        xycoords="axes fraction",
        xytext=(0, 3 + 72 * LINE_IN * line),
        textcoords="offset points",
        ha=side,
        va="baseline",
        annotation_clip=False,
    )


def outer_labels(figure: Any, grid: Grid, *, x: str, y: str = "") -> None:
    """One x label under all panels and one y label beside them."""
    middle = (grid.left + grid.width - grid.right) / 2 / grid.width
    figure.text(middle, 0.05 / grid.height, elided(x, grid.width - 0.2), ha="center", va="bottom")
    if y:
        height = (grid.bottom + grid.height - grid.header) / 2 / grid.height
        text = elided(y, grid.height - grid.header)
        figure.text(0.04 / grid.width, height, text, rotation=90, ha="left", va="center")


# --- text in the room it has


@lru_cache(maxsize=4096)
def text_width(text: str) -> float:
    """Printed width of a line of text in inches, in the type of `styled`."""
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    return float(TextPath((0, 0), text, size=TEXT_PT).get_extents().width) / 72


def elided(text: str, room: float) -> str:
    """The text, its middle left out where it is wider than `room` inches: names differ at their
    ends.
    """
    text = " ".join(text.split())
    if text_width(text) <= room:
        return text

    def shortened(kept: int) -> str:
        return text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]

    fit = bisect(range(1, len(text)), room, key=lambda kept: text_width(shortened(kept)))
    return shortened(max(1, fit))


def elided_names(names: Sequence[str], room: float) -> dict[str, str]:
    """Each name with its `elided` form; where two would read the same, with what they do not share,
    and last of all numbered.
    """
    each = list(dict.fromkeys(names))
    short = [elided(name, room) for name in each]
    if len(set(short)) < len(each):
        start = _shared(each)
        end = min(_shared([name[::-1] for name in each]), min(map(len, each)) - start)
        short = [
            elided("…" * bool(start) + name[start : len(name) - end] + "…" * bool(end), room)
            for name in each
        ]
    if len(set(short)) < len(each):
        short = [f"{i} {elided(name, room - 0.15)}" for i, name in enumerate(each, start=1)]
    return dict(zip(each, short, strict=True))


def _shared(names: Sequence[str]) -> int:
    """Letters that all names begin with."""
    letters = zip(*names, strict=False)  # up to the end of the shortest
    return sum(1 for _ in takewhile(lambda each: len(set(each)) == 1, letters))


# --- legends that hide no data


def header_height(labels: Sequence[str], width: float) -> float:
    """Height that the legend above the panels takes."""
    return -(-len(labels) // _legend_columns(labels, width)) * LINE_IN * 1.15 + 0.05


def legend_space(names: Iterable[str], signs: int, width: float) -> float:
    """Height that a legend of these names and of so many signs takes at most."""
    return header_height([*names, *[_LONG_SIGN] * signs], width - 0.1)


def header_legend(figure: Any, grid: Grid, handles: Sequence[Any], labels: Sequence[str]) -> Any:
    """The legend in the header of the page; labels must already fit."""
    from matplotlib.legend_handler import HandlerTuple

    return figure.legend(
        handles,
        labels,
        ncols=_legend_columns(labels, grid.width - 0.1),
        loc="upper left",
        bbox_to_anchor=(0.05 / grid.width, 1 - 0.02 / grid.height),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        **_LEGEND,
    )


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """How many columns of a legend, filled from the top, stand side by side in `width` inches."""
    widths = [text_width(label) + _HANDLE_IN for label in labels]
    for columns in range(len(labels), 1, -1):
        if sum(float(part.max()) for part in np.array_split(widths, columns)) <= width:
            return columns
    return 1


def legend_room(width: float) -> float:
    """Widest text an entry of the header's legend may have."""
    return width - 0.1 - _HANDLE_IN


def line_handle(look: Look, *, marker: bool = False) -> Any:
    """A checkpoint's line for a legend."""
    from matplotlib.lines import Line2D

    shown = look.marker if marker else ""
    return Line2D([], [], color=look.colour, linestyle=look.line, marker=shown)


def line_signs(
    look: Mapping[str, Look], width: float, *, marker: bool = False
) -> list[tuple[Any, str]]:
    """The checkpoints' lines with their names as they fit a legend on a page of this width."""
    short = elided_names(list(look), legend_room(width))
    return [(line_handle(one, marker=marker), short[name]) for name, one in look.items()]


def numbers_legend(
    axes: Any, handles: Sequence[Any], texts: Sequence[str], title: str, *, above: bool
) -> bool:
    """A legend of numbers in a corner of the axes where it meets no line; says whether there was
    such a corner. `above`: over the axes, two a line, `lines_above` lines high.
    """
    tight = {**_LEGEND, "title": title, "labelspacing": 0.1, "alignment": "right"}
    if above:
        over = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.3}
        axes.legend(handles, texts, ncols=2, **tight | over)
        return True
    inside = {"borderaxespad": 0.4, "borderpad": 0.2, "handlelength": 2.2}
    legend = axes.legend(handles, texts, **tight | inside)
    paths = [line.get_path().transformed(line.get_transform()) for line in axes.lines]
    for corner in ("lower right", "upper left", "upper right", "lower left"):
        legend.set_loc(corner)
        box = legend.get_window_extent(axes.figure.canvas.get_renderer())
        if not any(path.intersects_bbox(box, filled=False) for path in paths):
            return True
    return False


def lines_above(entries: int) -> int:
    """Lines of text that a `numbers_legend` above its axes takes."""
    return 1 + -(-entries // 2)


# --- axes


def tidy_ticks(axis: Any, most: int = 4) -> None:
    """Few ticks, and numbers short enough to stand side by side: 2e6 for two million."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: short_number(float(value))))


def short_number(value: float) -> str:
    """A tick's number: 0.25, −3, 2e6."""
    value += 0.0  # −0 is 0
    text = f"{value:g}" if abs(value) < 1e5 else f"{value:.4g}"
    if "e" in text:
        digits, power = text.split("e")
        text = f"{digits}e{int(power)}"
    return text.replace("-", "−")


def unit_ticks(*axes: Any) -> None:
    """0, 0.5 and 1 on an axis of fractions."""
    for axis in axes:
        axis.set_ticks([0, 0.5, 1], ["0", "0.5", "1"])


def root_scale(axis: Any, most: float, ticks: Sequence[float] = ()) -> None:
    """A square-root scale from 0 to `most`: what is rare stays visible beside what is common.
    Ticks: those given, or three.
    """
    if not len(ticks):
        power = 10.0 ** np.floor(np.log10(most))
        top = max(part * power for part in (1, 2, 5) if part * power <= most)
        ticks = [0.0, top / 5, top]
    root = (lambda values: np.sqrt(np.maximum(values, 0)), np.square)
    axis.axes.set_yscale("function", functions=root)
    axis.axes.set_ylim(0, most)
    axis.set_ticks(ticks, [short_number(tick) for tick in ticks])


def extent(arrays: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Smallest and largest finite number of the arrays; (0, 1) where there is none."""
    every = np.concatenate([np.ravel(array) for array in arrays]) if arrays else np.empty(0)
    every = every[np.isfinite(every)]
    return (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)


def draw_band(axes: Any, own: "DataFrame", x: str, look: Look, alpha: float, **line: Any) -> None:
    """The line of `value` over the column `x`, and where there are intervals the band between `low`
    and `high`.
    """
    if own.low.notna().any():
        band = {"color": look.colour, "alpha": alpha, "linewidth": 0}
        axes.fill_between(own[x], own.low, own.high, **band)
    if len(own):
        axes.plot(own[x], own.value, color=look.colour, linestyle=look.line, **line)


def split(table: "DataFrame", by: str | list[str]) -> dict[Any, "DataFrame"]:
    """The rows of each value of the columns `by`, in the order of their appearance."""
    return dict(iter(table.groupby(by, sort=False)))


def with_margin(low: float, high: float) -> tuple[float, float]:
    """Limits of an axis a little beyond what it shows."""
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin
