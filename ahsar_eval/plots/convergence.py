"""How trainings converge: training loss over validation NLL by optimisation steps, a panel of both
for each combination of settings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.layout import (
    Grid,
    add_cell,
    columns_for,
    elided_names,
    empty_page,
    extent,
    header_height,
    header_legend,
    heading,
    legend_room,
    line_handle,
    outer_labels,
    width_for,
    wrapped,
)
from ahsar_eval.plots.panels import Band
from ahsar_eval.plots.style import Look, drawable, looks, ordered, save_pages, styled, vectors

if TYPE_CHECKING:
    from pandas import DataFrame

QUANTITIES = {"training_loss": "training loss", "validation_nll": "validation NLL"}


@dataclass(frozen=True)
class Convergence:
    """A method's course in one panel, over seeds: its training loss at `training_steps` [E] and
    validation NLL at `validation_steps` [E].

    A mean loss of an epoch belongs to the middle of its steps, a validation to their end.
    """

    method: str
    panel: str
    training_steps: NDArray[np.float64]
    training_loss: Band
    validation_steps: NDArray[np.float64]
    validation_nll: Band

    def course(self, quantity: str) -> tuple[NDArray[np.float64], Band]:
        """Steps and band of one of `QUANTITIES`."""
        if quantity == "training_loss":
            return self.training_steps, self.training_loss
        return self.validation_steps, self.validation_nll


def convergence_figures(
    courses: Sequence[Convergence], *, methods: Sequence[str] = ()
) -> list[Any]:
    """Pages of courses as matplotlib figures; losses on one logarithmic scale over all panels.

    `methods` is the order that decides the looks. Raises `DataError` for courses that do not fit or
    a loss that is not positive.
    """
    _check(courses)
    with styled():
        return _pages(courses, looks(ordered(methods, [course.method for course in courses])))


def save_convergence(
    courses: Sequence[Convergence], path: str | Path, *, methods: Sequence[str] = ()
) -> list[Path]:
    """Write the courses (PNG, PDF or SVG by suffix) and their points as CSV; returns the paths.
    Raises `OutputError`.
    """
    return save_pages(
        convergence_figures(courses, methods=methods), path, convergence_points(courses)
    )


def convergence_points(courses: Sequence[Convergence]) -> "DataFrame":
    """The points drawn, one a line: panel, method, quantity, steps, value, low, high; empty where
    there is none.
    """
    import pandas as pd

    parts = []
    for course in courses:
        for quantity in QUANTITIES:
            steps, band = course.course(quantity)
            columns = {"steps": steps, "value": band.value, "low": band.low, "high": band.high}
            parts.append(
                pd.DataFrame(
                    {
                        "panel": course.panel,
                        "method": course.method,
                        "quantity": quantity,
                        **columns,
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)


def _pages(courses: Sequence[Convergence], look: dict[str, Look]) -> list[Any]:
    panels = list(dict.fromkeys(course.panel for course in courses))
    present = {course.method for course in courses}
    shown = [name for name in look if name in present]
    columns = columns_for(len(panels))
    width = width_for(columns)
    short = elided_names(shown, legend_room(width))
    labels = [short[name] for name in shown]
    limits = {quantity: _limits(courses, quantity) for quantity in QUANTITIES}
    measures = {
        "header": header_height(labels, width - 0.1) + 0.02,
        "left": 0.56,
        "between": 0.08,
        "below": 0.2,
        "bottom": 0.2,
        "gap": 0.2,
    }
    heights = (1.0, 1.0)
    grid = Grid(1, columns, width, heights, **measures)
    cells = wrapped(len(panels), columns, grid.rows_that_fit)
    titles = elided_names(panels, grid.panel_width)
    pages = []
    for page in range(cells[-1].page + 1):
        here = {name: cell for name, cell in zip(panels, cells, strict=True) if cell.page == page}
        grid = Grid(
            max(cell.row for cell in here.values()) + 1, columns, width, heights, **measures
        )
        figure = empty_page(grid)
        for name, cell in here.items():
            stack = add_cell(figure, grid, cell.row, cell.column)
            own = sorted(
                (course for course in courses if course.panel == name),
                key=lambda course: shown.index(course.method),
            )
            most = max(
                float(course.course(quantity)[0][-1]) for course in own for quantity in QUANTITIES
            )
            for axes, (quantity, title) in zip(stack, QUANTITIES.items(), strict=True):
                axes.set_label(f"{name} {quantity}")
                for course in own:
                    _draw(axes, *course.course(quantity), look[course.method])
                _scales(axes, limits[quantity], most)
                axes.tick_params(labelleft=cell.column == 0, labelbottom=axes is stack[-1])
                if cell.column == 0:
                    axes.set_ylabel(title)
                    axes.yaxis.set_label_coords(-0.4 / grid.panel_width, 0.5)
            heading(stack[0], titles[name])
        header_legend(
            figure, grid, [line_handle(look[name], marker=True) for name in shown], labels
        )
        outer_labels(figure, grid, x="optimisation steps")
        pages.append(figure)
    return pages


def _draw(axes: Any, steps: NDArray[np.float64], band: Band, look: Look) -> None:
    if np.isfinite(band.low).any():
        axes.fill_between(steps, band.low, band.high, color=look.colour, alpha=0.15, linewidth=0)
    every = max(1, len(steps) // 10)  # markers of a long course would be a thick line
    axes.plot(
        steps,
        band.value,
        color=look.colour,
        linestyle=look.line,
        marker=look.marker,
        markersize=2.6,
        markevery=every,
        linewidth=0.9,
    )


def _scales(axes: Any, limits: tuple[float, float], most: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    from ahsar_eval.plots.layout import short_number, tidy_ticks

    axes.set_yscale("log")
    axes.set(xlim=(0, 1.03 * most), ylim=limits)
    decades = np.log10(limits[1] / limits[0])
    subs = (1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0) if decades < 3 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(float(value))))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(LogLocator(subs=()))
    tidy_ticks(axes.xaxis)


def _limits(courses: Sequence[Convergence], quantity: str) -> tuple[float, float]:
    bands = [course.course(quantity)[1] for course in courses]
    low, high = extent([part for band in bands for part in (band.value, band.low, band.high)])
    margin = (high / low) ** 0.05 if high > low else 1.1
    return low / margin, high * margin


def _check(courses: Sequence[Convergence]) -> None:
    drawable("convergence", courses, [(course.method, course.panel) for course in courses])
    for course in courses:
        what = f"the convergence of {course.method} on {course.panel}"
        for quantity, title in QUANTITIES.items():
            steps, band = course.course(quantity)
            arrays = vectors(
                what,
                {"steps": steps, title: band.value, "low": band.low, "high": band.high},
                gaps=True,
            )
            if (
                np.isnan(arrays[0]).any()
                or (np.diff(arrays[0], prepend=0) <= 0).any()
                or np.isnan(arrays[1]).any()
            ):
                raise DataError(
                    f"{what} has steps that do not rise from above 0, or a gap in its {title}; "
                    "expected one value per epoch"
                )
            if min(float(np.nanmin(part)) for part in arrays[1:] if np.isfinite(part).any()) <= 0:
                raise DataError(
                    f"{what} has a {title} that is not above 0; a logarithmic scale cannot show it"
                )
