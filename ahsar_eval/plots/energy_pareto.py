"""Accuracy against energy as all thresholds are scaled: a line per network, the points that no
other beats, where each works, and the scales beside the points where there is room.
"""

from collections.abc import Iterator
from math import isnan
from typing import Any

from matplotlib.transforms import Bbox
from pandas import DataFrame

from ahsar_eval.energy.result import label_of, network_of, on_front
from ahsar_eval.plots.energy import data_said, each_profile
from ahsar_eval.plots.pages import Band, Panel, draw_lines, draw_pages, is_wide
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    INK,
    PALE,
    SINGLE_IN,
    Drawn,
    Looks,
    energy_unit,
    looks,
    short_number,
    styled,
)
from ahsar_eval.results.results import Results

_RING_PT = 8.0
# How the points of a network are drawn, by the column that marks them.
_MARKS: dict[str, dict[str, Any]] = {
    "front": {"label": "on its network's front"},
    "beaten": {"label": "beaten by its own network", "markerfacecolor": "white"},
    "own": {
        "label": "the network's own setting",
        "marker": "o",
        "markersize": _RING_PT,
        "color": INK,
        "markerfacecolor": "none",
        "markeredgewidth": 0.8,
    },
}
# Where a label stands beside a point, in points.
_BESIDE: list[dict[str, Any]] = [
    {"xytext": (0, 5.4), "ha": "center", "va": "bottom"},
    {"xytext": (0, -5.4), "ha": "center", "va": "top"},
    {"xytext": (5.4, 0), "ha": "left", "va": "center_baseline"},
    {"xytext": (-5.4, 0), "ha": "right", "va": "center_baseline"},
    {"xytext": (-4, 4), "ha": "right", "va": "bottom"},
]


def pareto(results: Results) -> Iterator[Drawn]:
    """Accuracy against energy as all thresholds are scaled, where a network met several scales.

    Drawn: checkpoint, scale (empty for none), energy_pj, accuracy, own, front, common_front.
    """
    for folder, own, note in each_profile(results):
        named = {label_of(row): network_of(row) for row in own["result"]}
        points = [{**row, "checkpoint": label_of(row)} for row in own["scale"]]
        columns = ["checkpoint", "scale", "total_energy_pj", "accuracy", "own", "front"]
        table = DataFrame(points, columns=columns)
        table = table.rename(columns={"total_energy_pj": "energy_pj"}).dropna(subset="accuracy")
        table["checkpoint"] = table.checkpoint.map(named)
        if table.checkpoint.duplicated().any():
            both = zip(table.accuracy, table.energy_pj, strict=True)
            table["common_front"] = on_front(list(both))
            page = pareto_page(table, looks(named.values()), note, data_said(own["result"]))
            yield Drawn(f"{folder}energy_pareto", [page], table)


def pareto_page(table: DataFrame, look: Looks, note: str, said: str) -> Any:
    """Accuracy over energy as one matplotlib figure: filled points are on their network's front,
    the pale stair is the front of all.

    `table` has a point a row: checkpoint, scale (NaN: thresholds of its own that are no single
    factor, apart from the line), energy_pj, accuracy, own, front, common_front. `note` stands
    behind the label of the energy axis, `said` below it.
    """
    unit, scale = energy_unit(table.energy_pj.max())
    table = table.assign(energy=table.energy_pj / scale, beaten=~table.front)
    at = look, "energy", "accuracy"
    width, height = (SINGLE_IN, 2.3) if table.checkpoint.nunique() < 3 else (DOUBLE_IN, 3.0)

    def draw(axes: Any) -> None:
        draw_lines(axes, table[table.scale.notna()], *at, marker="", linewidth=0.9)
        for mark, style in _MARKS.items():
            draw_lines(axes, table[table[mark]], *at, linestyle="", zorder=3, **style)
        axes.margins(0.07, 0.12)
        if is_wide(table.energy):
            axes.set_xscale("log")
        axes.set_xlim(axes.get_xlim())
        front = table[table.common_front].sort_values(["energy", "accuracy"])
        x, y = [*front.energy, axes.get_xlim()[1]], [*front.accuracy, front.accuracy.iloc[-1]]
        stair = {"label": "Pareto front of all", "linewidth": 2.6, "color": PALE, "alpha": 0.65}
        axes.step(x, y, where="post", zorder=0.5, **stair)

    panel = Panel("pareto", draw, note="×: factor on all thresholds")
    x = f"energy per inference ({unit}), {note}"
    (figure,) = draw_pages([Band([panel], (height,))], width, x, "accuracy", said)
    with styled():
        _name_points(figure, table, look)
    return figure


def _name_points(figure: Any, table: DataFrame, look: Looks) -> None:
    """Write its scale beside each point where it meets no point, label or line, nor the edge of the
    axes; leave the others out. A network's own setting comes first.
    """
    figure.draw_without_rendering()  # places the axes
    (axes,) = figure.axes
    lines = [one for one in (axes.patch, *axes.lines) if one.get_linestyle() != "None"]
    paths = [line.get_path().transformed(line.get_transform()) for line in lines]
    points = axes.transData.transform(table[["energy", "accuracy"]])
    taken = [Bbox([point, point]).padded(_RING_PT * figure.dpi / 144) for point in points]
    ordered: Any = table.sort_values("own", ascending=False, kind="stable").itertuples()
    for point in ordered:
        text = "own" if isnan(point.scale) else f"×{short_number(point.scale)}"
        # Pale is hard to read.
        colour = tuple(0.75 * part for part in look[point.checkpoint]["color"])
        how = {"textcoords": "offset points", "color": colour, "zorder": 4}
        for beside in _BESIDE:
            label = axes.annotate(text, (point.energy, point.accuracy), **how, **beside)
            box = label.get_window_extent()
            crossed = any(path.intersects_bbox(box, filled=False) for path in paths)
            if not crossed and not box.count_overlaps(taken):
                taken.append(box)
                break
            label.remove()
