"""Scores of the ID set against those of OOD sets as histograms, with the threshold that finds 95 %
of the OOD samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.bins import score_edges, shown_range
from ahsar_eval.plots.checks import drawable, vectors
from ahsar_eval.plots.fitting import elided_names, text_width
from ahsar_eval.plots.layout import (
    add_cell,
    empty_page,
    heading,
    outer_labels,
    root_scale,
    tidy_ticks,
)
from ahsar_eval.plots.legends import header_height, header_legend
from ahsar_eval.plots.matrix import Matrix
from ahsar_eval.plots.style import INK, PALE, Look, looks, ordered, save_pages, shades, styled

if TYPE_CHECKING:
    from pandas import DataFrame

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class OodScores:
    """Scores [n] of an OOD set (`severity` 0) or of one severity of a shift; `threshold`: where 95
    % of them are found, None for none.
    """

    scores: NDArray[np.float64]
    auroc: float
    threshold: float | None = None
    severity: int = 0


@dataclass(frozen=True)
class HistogramPanel:
    """One checkpoint on one OOD set, or on one shift with its severities: `id_scores` [n] against
    each of `others`.
    """

    checkpoint: str
    ood: str
    id_scores: NDArray[np.float64]
    others: Sequence[OodScores]

    @cached_property
    def edges(self) -> NDArray[np.float64]:
        """The common edges of the panel's bins."""
        return score_edges([self.id_scores, *(other.scores for other in self.others)])

    def probability(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Fraction of the scores in each of the panel's bins; they add up to 1."""
        return np.histogram(scores, self.edges)[0] / len(scores)


def score_histogram_figures(
    panels: Sequence[HistogramPanel],
    *,
    score: str = "score",
    tpr: float = 0.95,
    checkpoints: Sequence[str] = (),
) -> list[Any]:
    """Pages of histograms as matplotlib figures: a row per OOD set, a column per checkpoint; the
    sets of a single one side by side.

    `score` labels the x axis, with its unit; `tpr` names the thresholds; `checkpoints` is the order
    that decides the looks. Raises `DataError` for scores that are not finite.
    """
    _check(panels)
    with styled():
        return list(_pages(panels, score, tpr, checkpoints))


def save_score_histograms(
    panels: Sequence[HistogramPanel],
    path: str | Path,
    *,
    score: str = "score",
    tpr: float = 0.95,
    checkpoints: Sequence[str] = (),
) -> list[Path]:
    """Write the histograms (PNG, PDF or SVG by suffix) and their bins as CSV; returns the paths.
    Raises `OutputError`.
    """
    figures = score_histogram_figures(panels, score=score, tpr=tpr, checkpoints=checkpoints)
    return save_pages(figures, path, score_histogram_table(panels))


def score_histogram_table(panels: Sequence[HistogramPanel]) -> "DataFrame":
    """The bins drawn, one a line: ood, checkpoint, kind (id, ood), severity, n, auroc, threshold,
    low, high, probability.
    """
    import pandas as pd

    parts = []
    for panel in panels:
        edges = panel.edges
        sets = [
            ("id", OodScores(panel.id_scores, np.nan)),
            *(("ood", other) for other in panel.others),
        ]
        for kind, one in sets:
            facts = {
                "kind": kind,
                "severity": one.severity,
                "n": len(one.scores),
                "auroc": one.auroc,
            }
            facts["threshold"] = np.nan if one.threshold is None else one.threshold
            bins = {
                "low": edges[:-1],
                "high": edges[1:],
                "probability": panel.probability(one.scores),
            }
            parts.append(
                pd.DataFrame({"ood": panel.ood, "checkpoint": panel.checkpoint, **facts, **bins})
            )
    return pd.concat(parts, ignore_index=True)


def _pages(
    panels: Sequence[HistogramPanel], score: str, tpr: float, checkpoints: Sequence[str]
) -> Iterator[Any]:
    look = looks(ordered(checkpoints, [panel.checkpoint for panel in panels]))
    present = {panel.checkpoint for panel in panels}
    shown = [name for name in look if name in present]
    matrix = Matrix.of(list(dict.fromkeys(panel.ood for panel in panels)), shown)
    handles, labels = _signs(panels, [look[name] for name in shown], tpr)
    measures = {"gap": 0.42, "header": header_height(labels, matrix.width - 0.1)}
    heights = (1.6 if matrix.columns == 1 else 0.62 if len(shown) > 1 else 0.85,)
    room = matrix.grid(heights, 1, **measures).panel_width
    titles = elided_names(shown, room)
    notes = [auroc_text([other.auroc for other in panel.others], room) for panel in panels]
    tight = all(
        text_width(panel.ood) + text_width(note) + 0.1 <= room
        for panel, note in zip(panels, notes, strict=True)
    )
    for page in matrix.pages(heights, 0 if tight else 1, **measures):
        figure = empty_page(page.grid)
        for panel, note in zip(panels, notes, strict=True):
            spot = page.spot(panel.ood, panel.checkpoint)
            if spot is None:
                continue
            (axes,) = add_cell(figure, page.grid, spot.row, spot.column)
            axes.set_label(f"{panel.ood} {panel.checkpoint}")
            _draw(axes, panel, look[panel.checkpoint])
            heading(axes, note, side="right")
            page.label(axes, spot, panel.ood, titles[panel.checkpoint])
        header_legend(figure, page.grid, handles, labels)
        outer_labels(figure, page.grid, x=score, y="probability, √ scale")
        yield figure


def auroc_text(values: Sequence[float], room: float) -> str:
    """AUROC as it stands over a panel: of several severities all, or where there is no room the
    first and last.
    """
    if len(values) == 1:
        return f"AUROC {values[0]:.3f}"
    every = "AUROC " + " ".join(_two_digits(value) for value in values)
    return (
        every
        if text_width(every) <= room
        else f"AUROC {_two_digits(values[0])} … {_two_digits(values[-1])}"
    )


def _two_digits(value: float) -> str:
    return f"{value:.2f}".removeprefix("0")


def _draw(axes: Any, panel: HistogramPanel, look: Look) -> None:
    edges = panel.edges
    axes.stairs(panel.probability(panel.id_scores), edges, fill=True, color=PALE, linewidth=0)
    for other, colour in zip(panel.others, _colours(panel, look), strict=True):
        if len(panel.others) == 1:
            axes.stairs(
                panel.probability(other.scores),
                edges,
                fill=True,
                color=colour,
                alpha=0.3,
                linewidth=0,
            )
        axes.stairs(
            panel.probability(other.scores), edges, color=colour, linewidth=1.0, baseline=None
        )
        if other.threshold is not None and len(panel.others) == 1:
            axes.axvline(other.threshold, color=INK, linestyle=(0, (3, 1.5)), linewidth=0.8)
        elif other.threshold is not None:
            axes.plot(
                other.threshold,
                1.0,
                marker="v",
                color=colour,
                markersize=3.2,
                clip_on=False,
                transform=axes.get_xaxis_transform(),
            )
    low, high = shown_range(edges)
    axes.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    tidy_ticks(axes.xaxis)
    most = max(
        float(panel.probability(one).max())
        for one in (panel.id_scores, *(other.scores for other in panel.others))
    )
    root_scale(axes.yaxis, 1.05 * most)


def _colours(panel: HistogramPanel, look: Look) -> list[Colour]:
    return [look.colour] if len(panel.others) == 1 else shades(look.colour, len(panel.others))


def _signs(
    panels: Sequence[HistogramPanel], shown: Sequence[Look], tpr: float
) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=PALE)]
    labels = ["ID"]
    threshold = f"threshold, TPR {tpr:g}"
    if any(len(panel.others) == 1 for panel in panels):
        handles.append(
            tuple(
                Patch(facecolor=(*look.colour, 0.3), edgecolor=look.colour, linewidth=1.0)
                for look in shown
            )
        )
        labels.append("OOD")
        if any(
            len(panel.others) == 1 and panel.others[0].threshold is not None for panel in panels
        ):
            handles.append(Line2D([], [], color=INK, linestyle=(0, (3, 1.5)), linewidth=0.8))
            labels.append(threshold)
    several = max(
        (panel for panel in panels if len(panel.others) > 1),
        key=lambda panel: len(panel.others),
        default=None,
    )
    if several is not None:
        hue = (
            shown[0].colour if len(shown) == 1 else (0.5, 0.5, 0.5)
        )  # each checkpoint's panels have its own
        handles.append(tuple(Patch(facecolor=shade) for shade in shades(hue, len(several.others))))
        labels.append(
            f"severity {several.others[0].severity} … {several.others[-1].severity}, light to dark"
        )
        if any(other.threshold is not None for other in several.others):
            handles.append(
                Line2D([], [], color=shades(hue, 2)[-1], linestyle="", marker="v", markersize=3.2)
            )
            labels.append("threshold of each severity")
    return handles, labels


def _check(panels: Sequence[HistogramPanel]) -> None:
    drawable("histogram", panels, [(panel.checkpoint, panel.ood) for panel in panels])
    for panel in panels:
        what = f"the histogram of {panel.checkpoint} on {panel.ood}"
        if not panel.others:
            raise DataError(f"{what} has no OOD scores; give at least one set of them")
        vectors(what, {"the ID scores": panel.id_scores})
        for other in panel.others:
            vectors(what, {"the OOD scores": other.scores})
            if other.threshold is not None and not np.isfinite(other.threshold):
                raise DataError(
                    f"{what} has the threshold {other.threshold}; expected a number, or None for "
                    "none"
                )
