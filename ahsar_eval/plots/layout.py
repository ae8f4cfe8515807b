"""Pages of panels at the size they are printed at: every length in inches, so that no text can push
another aside.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.fitting import elided
from ahsar_eval.plots.style import DOUBLE_IN, SINGLE_IN, TALLEST_IN

LINE_IN = 0.125  # height of a line of text


@dataclass(frozen=True)
class Grid:
    """A page: `rows` × `columns` cells, each a stack of axes of `heights`, under a header for the
    legend. Inches.
    """

    rows: int
    columns: int
    width: float
    heights: tuple[float, ...]
    header: float
    left: float = 0.5  # y label and tick labels of the first column
    right: float = 0.1
    gap: float = 0.14  # between columns
    above: float = 0.18  # over each cell: its name
    between: float = 0.06  # axes of one cell
    below: float = 0.04  # under each cell
    bottom: float = 0.36  # tick labels and x label

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
        return max(1, int((TALLEST_IN - self.header - self.bottom) / self.cell_height))


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
    return [Cell(*rows[number // columns], number % columns) for number in range(panels)]


def empty_page(grid: Grid) -> Any:
    """A matplotlib figure of the grid's size that belongs to no window."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(grid.width, grid.height), dpi=200)
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
    width, _ = size_of(axes)
    x = {"left": 0.0, "center": 0.5, "right": 1.0}[side]
    axes.annotate(
        elided(text, width if room is None else room),
        (x, 1),
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
        figure.text(
            0.04 / grid.width,
            height,
            elided(y, grid.height - grid.header),
            rotation=90,
            ha="left",
            va="center",
        )


def size_of(axes: Any) -> tuple[float, float]:
    """Width and height of the axes in inches."""
    box, (width, height) = axes.get_position(), axes.figure.get_size_inches()
    return float(box.width * width), float(box.height * height)


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


def root_scale(axis: Any, most: float, ticks: Sequence[float] = ()) -> None:
    """A square-root scale from 0 to `most`: what is rare stays visible beside what is common.
    Ticks: those given, or three.
    """
    if not len(ticks):
        power = 10.0 ** np.floor(np.log10(most))
        top = max(part * power for part in (1, 2, 5) if part * power <= most)
        ticks = [0.0, top / 5, top]
    axis.axes.set_yscale("function", functions=(_root, np.square))
    axis.axes.set_ylim(0, most)
    axis.set_ticks(ticks, [short_number(tick) for tick in ticks])


def _root(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.maximum(values, 0))


def extent(arrays: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Smallest and largest finite number of the arrays; (0, 1) where there is none."""
    every = np.concatenate([array.ravel() for array in arrays]) if arrays else np.empty(0)
    every = every[np.isfinite(every)]
    return (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
