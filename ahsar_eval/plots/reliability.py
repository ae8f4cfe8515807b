"""Reliability diagrams: how often a network is right where it claims a confidence."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.checks import drawable, vectors
from ahsar_eval.plots.fitting import elided_names, text_width
from ahsar_eval.plots.layout import add_cell, empty_page, heading, outer_labels, root_scale
from ahsar_eval.plots.legends import header_height, header_legend
from ahsar_eval.plots.matrix import Matrix
from ahsar_eval.plots.style import INK, PALE, Look, looks, ordered, save_pages, styled

if TYPE_CHECKING:
    from pandas import DataFrame

_GAP = "#c0392b"
_SIGNS = (
    "accuracy",
    "gap to the mean confidence",
    "samples, √ scale",
    "ECE: equal width · equal mass",
)


@dataclass(frozen=True)
class ReliabilityPanel:
    """One checkpoint on one set: `edges` [B + 1] of its bins of confidence; mean `confidence`,
    `accuracy`, `count` [B] of each.

    `confidence` and `accuracy` are NaN in a bin without samples. `ece` is by equal width,
    `ece_equal_mass` by equal mass.
    """

    checkpoint: str
    data: str
    edges: NDArray[np.float64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    count: NDArray[np.int64]
    ece: float
    ece_equal_mass: float


def reliability_figures(
    panels: Sequence[ReliabilityPanel], *, checkpoints: Sequence[str] = ()
) -> list[Any]:
    """Pages of reliability diagrams as matplotlib figures: a column per checkpoint, a row per set,
    the counts below each diagram.

    The sets of a single checkpoint are set side by side. `checkpoints` is the order that decides
    the looks. Raises `DataError`.
    """
    _check(panels)
    with styled():
        return list(_pages(panels, checkpoints))


def save_reliability(
    panels: Sequence[ReliabilityPanel], path: str | Path, *, checkpoints: Sequence[str] = ()
) -> list[Path]:
    """Write the diagrams (PNG, PDF or SVG by suffix) and their bins as CSV; returns the paths.
    Raises `OutputError`.
    """
    return save_pages(
        reliability_figures(panels, checkpoints=checkpoints), path, reliability_table(panels)
    )


def reliability_table(panels: Sequence[ReliabilityPanel]) -> "DataFrame":
    """The bins drawn, one a line: data, checkpoint, ece, ece_equal_mass, low, high, confidence,
    accuracy, count.
    """
    import pandas as pd

    parts = []
    for panel in panels:
        numbers = {
            "ece": panel.ece,
            "ece_equal_mass": panel.ece_equal_mass,
            "low": panel.edges[:-1],
            "high": panel.edges[1:],
        }
        bins = {"confidence": panel.confidence, "accuracy": panel.accuracy, "count": panel.count}
        parts.append(
            pd.DataFrame({"data": panel.data, "checkpoint": panel.checkpoint, **numbers, **bins})
        )
    return pd.concat(parts, ignore_index=True)


def _pages(panels: Sequence[ReliabilityPanel], checkpoints: Sequence[str]) -> Iterator[Any]:
    look = looks(ordered(checkpoints, [panel.checkpoint for panel in panels]))
    present = {panel.checkpoint for panel in panels}
    shown = [name for name in look if name in present]
    sets = list(dict.fromkeys(panel.data for panel in panels))
    matrix = Matrix.of(sets, shown)
    measures = {"gap": 0.36, "between": 0.11, "header": header_height(_SIGNS, matrix.width - 0.1)}
    side = min(matrix.grid((1,), 1, **measures).panel_width, 1.9)
    heights = (side, 0.32)
    room = matrix.grid(heights, 1, **measures).panel_width
    titles = elided_names(shown, room)
    tight = all(text_width(panel.data) + text_width(_ece(panel)) + 0.1 <= room for panel in panels)
    for page in matrix.pages(heights, 0 if tight else 1, **measures):
        figure = empty_page(page.grid)
        for panel in panels:
            spot = page.spot(panel.data, panel.checkpoint)
            if spot is None:
                continue
            diagram, counts = add_cell(figure, page.grid, spot.row, spot.column)
            diagram.set_label(f"{panel.data} {panel.checkpoint}")
            counts.set_label(f"{panel.data} {panel.checkpoint} samples")
            _diagram(diagram, panel, look[panel.checkpoint])
            _counts(counts, panel, look[panel.checkpoint])
            heading(diagram, _ece(panel), side="right")
            page.label(diagram, spot, panel.data, titles[panel.checkpoint])
        header_legend(figure, page.grid, _handles([look[name] for name in shown]), _SIGNS)
        outer_labels(figure, page.grid, x="confidence", y="accuracy")
        yield figure


def _ece(panel: ReliabilityPanel) -> str:
    return f"ECE {panel.ece:.3f} · {panel.ece_equal_mass:.3f}"


def _diagram(axes: Any, panel: ReliabilityPanel, look: Look) -> None:
    axes.stairs(
        np.nan_to_num(panel.accuracy),
        panel.edges,
        fill=True,
        color=look.colour,
        alpha=0.75,
        linewidth=0,
    )
    filled = np.asarray(panel.count) > 0
    left, right = np.asarray(panel.edges)[:-1][filled], np.asarray(panel.edges)[1:][filled]
    gap = np.asarray(panel.confidence)[filled] - np.asarray(panel.accuracy)[filled]
    axes.bar(
        left,
        gap,
        right - left,
        bottom=np.asarray(panel.accuracy)[filled],
        align="edge",
        facecolor=(*_rgb(_GAP), 0.18),
        edgecolor=_GAP,
        linewidth=0.5,
        hatch="//////",
    )
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_yticklabels(["0", "0.5", "1"])
    axes.tick_params(labelbottom=False)


def _counts(axes: Any, panel: ReliabilityPanel, look: Look) -> None:
    axes.stairs(panel.count, panel.edges, fill=True, color=PALE, linewidth=0)
    most = int(np.max(panel.count))
    axes.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    axes.set_xticklabels(["0", "0.5", "1"])
    root_scale(axes.yaxis, most, (0, most))
    axes.set_yticklabels(["0", str(most)])


def _handles(shown: Sequence[Look]) -> list[Any]:
    from matplotlib.patches import Patch

    accuracy = tuple(Patch(facecolor=look.colour, alpha=0.75) for look in shown)
    gap = Patch(facecolor=(*_rgb(_GAP), 0.18), edgecolor=_GAP, linewidth=0.5, hatch="//////")
    return [accuracy, gap, Patch(facecolor=PALE), Patch(alpha=0)]


def _rgb(colour: str) -> tuple[float, float, float]:
    from matplotlib.colors import to_rgb

    return to_rgb(colour)


def _check(panels: Sequence[ReliabilityPanel]) -> None:
    drawable("reliability diagram", panels, [(panel.checkpoint, panel.data) for panel in panels])
    for panel in panels:
        what = f"the reliability diagram of {panel.checkpoint} on {panel.data}"
        (edges,) = vectors(what, {"edges": panel.edges}, least=2)
        arrays = {"confidence": panel.confidence, "accuracy": panel.accuracy, "count": panel.count}
        confidence, accuracy, count = vectors(what, arrays, gaps=True)
        if len(edges) != len(count) + 1:
            raise DataError(
                f"{what} has {len(edges)} edges for {len(count)} bins; expected {len(count) + 1}"
            )
        if (np.diff(edges) < 0).any() or edges[0] < 0 or edges[-1] > 1:
            raise DataError(
                f"{what} has edges from {edges[0]:g} to {edges[-1]:g}; expected them ascending in "
                "[0, 1]"
            )
        empty = count == 0
        if (
            not count.sum() > 0
            or np.isnan(confidence[~empty]).any()
            or np.isnan(accuracy[~empty]).any()
        ):
            raise DataError(
                f"{what} has a bin with samples but without accuracy or confidence, or no samples; "
                "expected numbers"
            )
