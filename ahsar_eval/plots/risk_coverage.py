"""Risk–coverage curves: the error among the samples that are kept when the most uncertain are left
to someone else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.checks import drawable, vectors
from ahsar_eval.plots.style import Look, looks, ordered, save_pages, styled

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class RiskCurve:
    """One checkpoint on one set: selective `risk` [n] at each `coverage` [n] in (0, 1], ascending
    to 1; fractions.
    """

    checkpoint: str
    data: str
    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    aurc: float


def oracle_risk(curve: RiskCurve) -> NDArray[np.float64]:
    """The least risk [n] at each coverage c for the same accuracy: all errors left out first,
    max(0, 1 − (1 − risk at 1) / c).
    """
    right = 1 - curve.risk[-1]
    return np.maximum(0.0, 1 - right / np.asarray(curve.coverage, dtype=np.float64))


def risk_coverage_figures(
    curves: Sequence[RiskCurve], *, checkpoints: Sequence[str] = ()
) -> list[Any]:
    """Pages of risk–coverage curves as matplotlib figures, a panel per set, AURC in each panel, the
    oracle thin and dotted.

    `checkpoints` is the order that decides the looks (default: that of the curves). Raises
    `DataError` for curves that are none.
    """
    from ahsar_eval.plots.curve_panels import CurvePanels, Line, curve_pages
    from ahsar_eval.plots.layout import tidy_ticks

    _check(curves)
    look = looks(ordered(checkpoints, [curve.checkpoint for curve in curves]))

    def draw(axes: Any, curve: RiskCurve, look: Look) -> None:
        axes.plot(
            curve.coverage,
            curve.risk,
            color=look.colour,
            linestyle=look.line,
            label=curve.checkpoint,
            clip_on=False,
        )
        axes.plot(
            curve.coverage,
            oracle_risk(curve),
            color=look.colour,
            linestyle=":",
            linewidth=0.7,
            clip_on=False,
        )

    def finish(axes: Any) -> None:
        highest = max(float(np.max(line.get_ydata())) for line in axes.lines)
        axes.set(xlim=(0, 1), ylim=(0, 1.03 * highest or 1), xticks=[0, 0.5, 1])
        axes.set_xticklabels(["0", "0.5", "1"])
        tidy_ticks(axes.yaxis)

    panels = CurvePanels(
        x="coverage (fraction of samples kept)",
        y="selective risk",
        number="AURC",
        square=False,
        dotted="oracle: all errors left out first",
        own_y=True,
    )
    with styled():
        lines = [
            Line(curve.data, curve.checkpoint, _rounded(curve.aurc), curve) for curve in curves
        ]
        return curve_pages(lines, look, panels, draw, finish)


def save_risk_coverage(
    curves: Sequence[RiskCurve], path: str | Path, *, checkpoints: Sequence[str] = ()
) -> list[Path]:
    """Write the curves (PNG, PDF or SVG by suffix) and their points as CSV; returns the paths.
    Raises `OutputError`.
    """
    return save_pages(
        risk_coverage_figures(curves, checkpoints=checkpoints), path, risk_coverage_table(curves)
    )


def risk_coverage_table(curves: Sequence[RiskCurve]) -> "DataFrame":
    """The points drawn, one a line: data, checkpoint, aurc, coverage, risk, oracle_risk."""
    import pandas as pd

    parts = []
    for curve in curves:
        columns = {
            "coverage": curve.coverage,
            "risk": curve.risk,
            "oracle_risk": oracle_risk(curve),
        }
        parts.append(
            pd.DataFrame(
                {"data": curve.data, "checkpoint": curve.checkpoint, "aurc": curve.aurc, **columns}
            )
        )
    return pd.concat(parts, ignore_index=True)


def _rounded(aurc: float) -> str:
    """Three decimals, or two digits of a number so small that they would all be 0."""
    return f"{aurc:.3f}" if aurc >= 0.1 or aurc == 0 else f"{aurc:#.2g}".replace("e-0", "e−")


def _check(curves: Sequence[RiskCurve]) -> None:
    drawable("risk–coverage curve", curves, [(curve.checkpoint, curve.data) for curve in curves])
    for curve in curves:
        what = f"the risk–coverage curve of {curve.checkpoint} on {curve.data}"
        coverage, risk = vectors(what, {"coverage": curve.coverage, "risk": curve.risk})
        if (np.diff(coverage) <= 0).any() or coverage[0] <= 0 or coverage[-1] != 1:
            raise DataError(
                f"{what} has a coverage that does not ascend from above 0 to 1; order it by "
                "coverage"
            )
        if risk.min() < 0 or risk.max() > 1:
            raise DataError(
                f"{what} has risks from {risk.min():g} to {risk.max():g}; expected fractions"
            )
