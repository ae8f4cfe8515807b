"""Accuracy against energy as all thresholds are scaled: a line per network, the points that no
other beats, and where each works.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ahsar_eval.errors import DataError
from ahsar_eval.plots.energy_axis import (
    amounts,
    draw_energy_label,
    energy_label,
    energy_unit,
    limit_energies,
)
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    add_cell,
    elided_names,
    empty_page,
    header_height,
    header_legend,
    heading,
    legend_room,
    line_handle,
    outer_labels,
    short_number,
    tidy_ticks,
)
from ahsar_eval.plots.point_labels import PointLabel, label_points
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    INK,
    PALE,
    SINGLE_IN,
    Look,
    drawable,
    looks,
    ordered,
    save_pages,
    styled,
)

if TYPE_CHECKING:
    from pandas import DataFrame

_RING_PT = 8.0
_FRONT: dict[str, Any] = {"linewidth": 2.6, "color": PALE, "alpha": 0.65}


@dataclass(frozen=True)
class Setting:
    """A network at one `scale` of its thresholds (None: thresholds of its own that are no single
    factor): pJ per inference, accuracy.

    `own` marks the setting that the network is used with; `front` and `common_front`: no setting of
    this network, or of any, beats it.
    """

    scale: float | None
    energy_pj: float
    accuracy: float
    own: bool = False
    front: bool = False
    common_front: bool = False


@dataclass(frozen=True)
class ScaleCurve:
    """One checkpoint's settings, scales ascending; one without a scale stands apart
    from the line."""

    checkpoint: str
    settings: Sequence[Setting]


def pareto_figures(
    curves: Sequence[ScaleCurve], *, note: str = "", checkpoints: Sequence[str] = ()
) -> list[Any]:
    """Accuracy over energy as one matplotlib figure: filled points are on their network's front,
    the pale stair is the front of all.

    `note` stands behind the label of the energy axis: the profile of prices; `checkpoints` is the
    order that decides the looks. Raises `DataError` for numbers that are negative or not finite,
    and for a front that does not rise.
    """
    _check(curves)
    with styled():
        return [_page(curves, note, checkpoints)]


def save_pareto(
    curves: Sequence[ScaleCurve],
    path: str | Path,
    *,
    note: str = "",
    checkpoints: Sequence[str] = (),
) -> list[Path]:
    """Write the figure (PNG, PDF or SVG by suffix) and its points as CSV; returns the paths. Raises
    `OutputError`.
    """
    return save_pages(
        pareto_figures(curves, note=note, checkpoints=checkpoints), path, pareto_table(curves)
    )


def pareto_table(curves: Sequence[ScaleCurve]) -> "DataFrame":
    """The points drawn, one a line: checkpoint, scale (empty for none), energy_pj, accuracy, own,
    front, common_front.
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {"checkpoint": curve.checkpoint, **vars(setting)}
            for curve in curves
            for setting in curve.settings
        ]
    )


def _page(curves: Sequence[ScaleCurve], note: str, checkpoints: Sequence[str]) -> Any:
    present = {curve.checkpoint for curve in curves}
    look = looks(ordered(checkpoints, [curve.checkpoint for curve in curves]))
    shown = [name for name in look if name in present]
    drawn = sorted(curves, key=lambda curve: shown.index(curve.checkpoint))
    settings = [setting for curve in drawn for setting in curve.settings]
    width = SINGLE_IN if len(shown) < 3 else DOUBLE_IN
    short = elided_names(shown, legend_room(width))
    handles, labels = _signs(settings, len(shown) > 1)
    handles, labels = (
        [*(line_handle(look[name], marker=True) for name in shown), *handles],
        [*(short[name] for name in shown), *labels],
    )
    unit, scale = energy_unit(max(setting.energy_pj for setting in settings))
    said = energy_label(unit, note, width, 0.55, Grid.right)
    heights, bottom = (2.3 if width == SINGLE_IN else 3.0,), Grid.bottom + LINE_IN * (len(said) - 1)
    grid = Grid(
        1,
        1,
        width,
        heights,
        header_height(labels, width - 0.1),
        left=0.55,
        above=0.14,
        bottom=bottom,
    )
    figure = empty_page(grid)
    (axes,) = add_cell(figure, grid, 0, 0)
    axes.set_label("pareto")
    limit_energies(axes, [setting.energy_pj / scale for setting in settings])
    _limit_accuracy(axes, [setting.accuracy for setting in settings])
    _draw_front(axes, settings, scale)
    points = [
        label for curve in drawn for label in _draw(axes, curve, look[curve.checkpoint], scale)
    ]
    header_legend(figure, grid, handles, labels)
    draw_energy_label(figure, grid, said)
    outer_labels(figure, grid, x="", y="accuracy")
    heading(axes, "×: factor on all thresholds", side="right")
    front, *lines = [line for line in axes.lines if line.get_linestyle() != "None"]
    label_points(axes, points, lines, pale=[front])
    return figure


def _limit_accuracy(axes: Any, accuracy: Sequence[float]) -> None:
    low, high = min(accuracy), max(accuracy)
    margin = 0.09 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    tidy_ticks(axes.yaxis, 6)


def _common_front(settings: Sequence[Setting]) -> list[Setting]:
    return sorted(
        (setting for setting in settings if setting.common_front),
        key=lambda setting: (setting.energy_pj, setting.accuracy),
    )


def _draw_front(axes: Any, settings: Sequence[Setting], scale: float) -> None:
    """The accuracy that each energy can buy: a stair to the right."""
    front = _common_front(settings)
    x, y = [setting.energy_pj / scale for setting in front], [setting.accuracy for setting in front]
    axes.step(
        [*x, axes.get_xlim()[1]],
        [*y, y[-1]],
        where="post",
        zorder=0.5,
        label="front of all",
        **_FRONT,
    )


def _draw(axes: Any, curve: ScaleCurve, look: Look, scale: float) -> list[PointLabel]:
    """The line through the scales and each setting's marker; returns what to write beside them."""
    line = [setting for setting in curve.settings if setting.scale is not None]
    axes.plot(
        [setting.energy_pj / scale for setting in line],
        [setting.accuracy for setting in line],
        color=look.colour,
        linestyle=look.line,
        linewidth=0.9,
        label=curve.checkpoint,
    )
    for on_front, face in ((False, "white"), (True, look.colour)):
        kept = [setting for setting in curve.settings if setting.front == on_front]
        axes.plot(
            [setting.energy_pj / scale for setting in kept],
            [setting.accuracy for setting in kept],
            color=look.colour,
            linestyle="",
            marker=look.marker,
            markerfacecolor=face,
            markeredgewidth=0.8,
            zorder=3,
            label=f"{curve.checkpoint}, {'on its front' if on_front else 'beaten'}",
        )
    for setting in curve.settings:
        if setting.own:
            axes.plot(
                setting.energy_pj / scale,
                setting.accuracy,
                zorder=3.5,
                label=f"{curve.checkpoint}, own",
                **_ring(),
            )
    return [
        PointLabel(
            x=setting.energy_pj / scale,
            y=setting.accuracy,
            text=_scale_text(setting.scale),
            colour=look.colour,
            size_pt=_RING_PT if setting.own else 4.5,
            rank=0 if setting.own else 1 if setting in (*line[:1], *line[-1:]) else 2,
        )
        for setting in curve.settings
    ]


def _ring() -> dict[str, Any]:
    return {
        "linestyle": "",
        "marker": "o",
        "markersize": _RING_PT,
        "markerfacecolor": "none",
        "markeredgecolor": INK,
        "markeredgewidth": 0.8,
    }


def _scale_text(scale: float | None) -> str:
    return "own" if scale is None else f"×{short_number(float(f'{scale:.4g}'))}"


def _signs(settings: Sequence[Setting], several: bool) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    dot: dict[str, Any] = {"color": INK, "linestyle": "", "marker": "o", "markeredgewidth": 0.8}
    signs: list[tuple[Any, str]] = [
        (Line2D([], [], **_FRONT), "Pareto front of all" if several else "Pareto front")
    ]
    if several:
        signs.append((Line2D([], [], **dot), "on its network's front"))
    if not all(setting.front for setting in settings):
        signs.append((Line2D([], [], **dot, markerfacecolor="white"), "beaten by its own network"))
    if any(setting.own for setting in settings):
        signs.append((Line2D([], [], **_ring()), "the network's own setting"))
    handles, labels = zip(*signs, strict=True)
    return list(handles), list(labels)


def _check(curves: Sequence[ScaleCurve]) -> None:
    drawable("accuracy–energy curve", curves, [(curve.checkpoint,) for curve in curves])
    for curve in curves:
        what = f"the accuracy–energy curve of {curve.checkpoint}"
        scales = [setting.scale for setting in curve.settings if setting.scale is not None]
        columns = {
            "energy": [one.energy_pj for one in curve.settings],
            "accuracy": [one.accuracy for one in curve.settings],
        }
        accuracy = amounts(what, columns)[1]
        if scales and (np.diff(amounts(what, {"scales": scales})[0]) <= 0).any():
            raise DataError(f"{what} has the scales {scales}; expected them ascending, each once")
        if (accuracy > 1).any():
            raise DataError(
                f"{what} has the accuracy {accuracy.max():g}; expected fractions in [0, 1]"
            )
    front = _common_front([setting for curve in curves for setting in curve.settings])
    if not front:
        raise DataError(
            "no point of the accuracy–energy curves is on the common front; mark those that no "
            "other beats"
        )
    if any(later.accuracy < earlier.accuracy for earlier, later in pairwise(front)):
        raise DataError(
            "the common front of the accuracy–energy curves falls where energy grows; mark only "
            "points that no other beats"
        )
