"""How the trainings of a study converge: training loss over validation NLL by optimisation steps, a
panel of both for each combination of settings.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.plots.layout import (
    Grid,
    columns_for,
    draw_band,
    elided_names,
    extent,
    heading,
    legend_space,
    page_by_page,
    short_number,
    split,
    tidy_ticks,
    width_for,
    wrapped,
)
from ahsar_eval.plots.style import looks, styled
from ahsar_eval.results.results import Results

if TYPE_CHECKING:
    from pandas import DataFrame

QUANTITIES = {"training_loss": "training loss", "validation_nll": "validation NLL"}
# Their order decides how they look: the same for a study that is still running as for the whole.
METHODS = ("baseline", "AHSAR", "frozen", "best fixed factor")


def convergence(results: Results) -> "list[tuple[str, list[Any], DataFrame]]":
    """Pages of courses, losses on one logarithmic scale over all panels; nothing where there is no
    course. Drawn: `convergence_points`.

    Raises as `convergence_points`, and `DataError` for a loss that is not positive.
    """
    if "courses" not in results.records:
        return []
    points = convergence_points(results)
    for row in points[points[["value", "low", "high"]].min(axis=1) <= 0].to_dict("records"):
        raise DataError(
            f"the convergence of {row['method']} on {row['panel']} has a "
            f"{QUANTITIES[row['quantity']]} that is not above 0; a logarithmic scale cannot show it"
        )
    with styled():
        return [("convergence", _pages(points), points)]


def convergence_points(results: Results) -> "DataFrame":
    """The points drawn, one a line: panel, method, quantity, steps, value, low, high; means and
    ranges over seeds, no range for one.

    A mean loss of an epoch belongs to the middle of its steps, a validation to their end. Raises
    `DataError` where seeds of a method have other steps.
    """
    import pandas as pd

    courses = pd.DataFrame(results.records["courses"])
    parts = []
    for (panel, method), course in courses.groupby(["panel", "method"], sort=False):
        seeds = [own for _, own in course.groupby("seed")]
        ends = seeds[0]["steps"].to_numpy(float)
        if any(not np.array_equal(own["steps"], ends) for own in seeds):
            raise DataError(
                f"{method} on {panel} has seeds with other numbers of optimisation steps; draw "
                "studies of one length"
            )
        middles = ends - np.diff(ends, prepend=0.0) / 2
        drawn = zip(QUANTITIES, (middles, ends), ("train_loss", "validation_loss"), strict=True)
        for quantity, steps, column in drawn:
            values = np.stack([own[column] for own in seeds])
            points = {"steps": steps, "value": values.mean(0), "low": np.nan, "high": np.nan}
            if len(values) > 1:
                points |= {"low": values.min(0), "high": values.max(0)}
            named = {"panel": panel, "method": method, "quantity": quantity}
            parts.append(pd.DataFrame({**named, **points}))
    return pd.concat(parts, ignore_index=True)


def _pages(points: "DataFrame") -> list[Any]:
    panels = split(points, "panel")
    methods = list(points["method"].unique())
    look = looks([*METHODS, *methods])
    columns = columns_for(len(panels))
    width = width_for(columns)
    space = {"left": 0.56, "between": 0.08, "below": 0.2, "bottom": 0.2, "gap": 0.2}
    legend = legend_space(methods, 0, width)
    grid = Grid(1, columns, width, (1.0, 1.0), header=0.02, legend=legend, **space)
    cells = dict(zip(panels, wrapped(len(panels), columns, grid.rows_that_fit), strict=True))
    titles = elided_names(list(panels), grid.panel_width)
    pages = []
    for figure, here in page_by_page(grid, cells, "optimisation steps"):
        pages.append(figure)
        for panel, stack in here.items():
            own, first = panels[panel], cells[panel].column == 0
            heading(stack[0], titles[panel])
            for axes, (quantity, title) in zip(stack, QUANTITIES.items(), strict=True):
                axes.set_label(f"{panel} {quantity}")
                for name, line in split(own[own["quantity"] == quantity], "method").items():
                    every = max(1, len(line) // 10)  # markers of a long course are a thick line
                    marks = {"marker": look[name].marker, "markersize": 2.6, "markevery": every}
                    draw_band(axes, line, "steps", look[name], 0.15, label=name, **marks)
                _scales(axes, points[points["quantity"] == quantity])
                axes.set_xlim(0, 1.03 * own["steps"].max())
                axes.tick_params(labelleft=first, labelbottom=axes is stack[-1])
                if first:
                    axes.set_ylabel(title)
                    axes.yaxis.set_label_coords(-0.4 / grid.panel_width, 0.5)
    return pages


def _scales(axes: Any, points: "DataFrame") -> None:
    """One logarithmic scale for all points of a quantity."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = extent([points[name].to_numpy() for name in ("value", "low", "high")])
    margin = (high / low) ** 0.05 if high > low else 1.1
    axes.set_yscale("log")
    axes.set_ylim(low / margin, high * margin)
    decades = np.log10(high * margin * margin / low)
    subs = (1.0, 2.0, 5.0) if decades < 2 else (1.0, 3.0) if decades < 3 else (1.0,)
    axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(float(value))))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(LogLocator(subs=()))
    tidy_ticks(axes.xaxis)
