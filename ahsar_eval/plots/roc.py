"""ROC curves: a panel per OOD set, a line per checkpoint, the vertex where 95 % of the set is
found.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.checks import drawable, vectors
from ahsar_eval.plots.style import PALE, Look, looks, ordered, save_pages, styled

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class RocCurve:
    """One checkpoint's ROC on one OOD set: `fpr` and `tpr` [V] of all its vertices from (0, 0) to
    (1, 1), OOD positive.
    """

    checkpoint: str
    ood: str
    fpr: NDArray[np.float64]
    tpr: NDArray[np.float64]
    auroc: float


def roc_figures(
    curves: Sequence[RocCurve], *, tpr: float = 0.95, checkpoints: Sequence[str] = ()
) -> list[Any]:
    """Pages of ROC curves as matplotlib figures; the first vertex with TPR ≥ `tpr` is marked, AUROC
    stands in each panel.

    `checkpoints` is the order that decides the looks (default: that of the curves). Raises
    `DataError` for curves that are no ROC.
    """
    from ahsar_eval.plots.curve_panels import CurvePanels, Line, curve_pages

    _check(curves, tpr)
    names = ordered(checkpoints, [curve.checkpoint for curve in curves])
    look = looks(names)

    def draw(axes: Any, curve: RocCurve, look: Look) -> None:
        axes.plot(
            curve.fpr, curve.tpr, color=look.colour, linestyle=look.line, label=curve.checkpoint
        )
        at = marked_vertex(curve, tpr)
        axes.plot(
            curve.fpr[at],
            curve.tpr[at],
            marker=look.marker,
            color=look.colour,
            markeredgecolor="white",
            markeredgewidth=0.4,
            clip_on=False,
        )

    def finish(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=PALE, linewidth=0.6, zorder=0.5)
        axes.set(
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
            xticks=[0, 0.5, 1],
            yticks=[0, 0.5, 1],
            aspect="equal",
        )
        axes.set_xticklabels(["0", "0.5", "1"])
        axes.set_yticklabels(["0", "0.5", "1"])

    panels = CurvePanels(
        x="false-positive rate",
        y="true-positive rate",
        number="AUROC",
        square=True,
        mark=f"TPR ≥ {tpr:g}",
    )
    with styled():
        return curve_pages(
            [Line(curve.ood, curve.checkpoint, f"{curve.auroc:.3f}", curve) for curve in curves],
            look,
            panels,
            draw,
            finish,
        )


def save_roc(
    curves: Sequence[RocCurve],
    path: str | Path,
    *,
    tpr: float = 0.95,
    checkpoints: Sequence[str] = (),
) -> list[Path]:
    """Write the ROC curves (PNG, PDF or SVG by suffix) and their vertices as CSV; returns the
    paths. Raises `OutputError`.
    """
    return save_pages(
        roc_figures(curves, tpr=tpr, checkpoints=checkpoints), path, roc_table(curves, tpr=tpr)
    )


def roc_table(curves: Sequence[RocCurve], *, tpr: float = 0.95) -> "DataFrame":
    """The vertices drawn, one a line: ood, checkpoint, auroc, vertex, fpr, tpr, marked."""
    import pandas as pd

    parts = []
    for curve in curves:
        vertex = np.arange(len(curve.fpr))
        columns = {
            "vertex": vertex,
            "fpr": curve.fpr,
            "tpr": curve.tpr,
            "marked": vertex == marked_vertex(curve, tpr),
        }
        parts.append(
            pd.DataFrame(
                {"ood": curve.ood, "checkpoint": curve.checkpoint, "auroc": curve.auroc, **columns}
            )
        )
    return pd.concat(parts, ignore_index=True)


def marked_vertex(curve: RocCurve, tpr: float) -> int:
    """Index of the first vertex that recalls at least `tpr`."""
    return int(np.argmax(np.asarray(curve.tpr) >= tpr))


def _check(curves: Sequence[RocCurve], tpr: float) -> None:
    drawable("ROC curve", curves, [(curve.checkpoint, curve.ood) for curve in curves])
    if not 0 < tpr <= 1:
        raise DataError(f"tpr is {tpr}; expected a number in (0, 1]")
    for curve in curves:
        rates = vectors(
            f"the ROC curve of {curve.checkpoint} on {curve.ood}",
            {"fpr": curve.fpr, "tpr": curve.tpr},
            least=2,
        )
        for name, rate in zip(("fpr", "tpr"), rates, strict=True):
            if (np.diff(rate) < 0).any() or rate[0] != 0 or rate[-1] != 1:
                raise DataError(
                    f"the {name} of {curve.checkpoint} on {curve.ood} does not rise from 0 to 1; "
                    "expected a ROC's vertices"
                )
