"""How the trainings of a study converge: training loss over validation NLL by optimisation steps, a
panel of both for each combination of settings.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from pandas import DataFrame, concat

from ahsar_eval.errors import DataError
from ahsar_eval.plots.pages import draw_lines, panel_pages
from ahsar_eval.plots.style import Drawn, elided, looks
from ahsar_eval.results.results import Results

QUANTITIES = {"training_loss": "training loss", "validation_nll": "validation NLL"}


def convergence(results: Results) -> Iterator[Drawn]:
    """Pages of courses, losses on one logarithmic scale over all panels; nothing where there is no
    course. Drawn: `convergence_points`.

    Raises as `convergence_points`, and `DataError` for a loss that is not positive.
    """
    if "courses" not in results.records:
        return
    points = convergence_points(results)
    for row in points[points[["value", "low", "high"]].min(axis=1) <= 0].to_dict("records"):
        raise DataError(
            f"the convergence of {row['method']} on {row['panel']} has a "
            f"{QUANTITIES[row['quantity']]} that is not above 0; a logarithmic scale cannot show it"
        )
    look = looks(points.method)

    def draw(own: DataFrame, *stack: Any) -> None:
        for axes, (quantity, title) in zip(stack, QUANTITIES.items(), strict=True):
            for _, line in own[own.quantity == quantity].groupby("method", sort=False):
                every = max(1, len(line) // 10)  # markers of a long course are a thick line
                draw_lines(
                    *(axes, line, look, "steps"), by="method", markersize=2.6, markevery=every
                )
            axes.set_yscale("log")
            axes.set_ylabel(title if axes.get_subplotspec().is_first_col() else "")
            axes.set_xlim(0, 1.03 * own.steps.max())
            axes.set_label(f"{axes.get_label()} {quantity}")

    how: Any = {"heights": (0.65, 0.65), "x": "optimisation steps", "said": _said(results)}
    pages = panel_pages(points, draw, shared=True, **how)
    yield Drawn("convergence", pages, points)


def _said(results: Results) -> str:
    """The sets of the study, and the seeds of a line."""
    sets = dict.fromkeys(row["data"] for row in results.records.get("deltas", ()))
    seeds = len({row["seed"] for row in results.records["courses"]})
    drawn = f"mean and range of {seeds} seeds" if seeds > 1 else "1 seed"
    return f"hold-out of {elided(', '.join(sets), 1.5)}; {drawn}" if sets else drawn


def convergence_points(results: Results) -> DataFrame:
    """The points drawn, one a line: panel, method, quantity, steps, value, low, high; means and
    ranges over seeds, no range for one.

    A mean loss of an epoch belongs to the middle of its steps, a validation to their end. Raises
    `DataError` where seeds of a method have other steps.
    """
    courses = DataFrame(results.records["courses"])
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
            parts.append(DataFrame({**named, **points}))
    return concat(parts, ignore_index=True)
