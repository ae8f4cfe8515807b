"""Accuracy against energy as all thresholds are scaled: a line per network, the points that no
other beats, where each works, and the scales beside the points where there is room.
"""

from collections.abc import Iterator
from itertools import product
from math import isnan
from typing import Any

from matplotlib.transforms import Bbox
from pandas import DataFrame

from ahsar_eval.energy.result import network_of, on_front
from ahsar_eval.plots.energy import each_profile
from ahsar_eval.plots.pages import Band, Panel, draw_lines, draw_pages, is_wide, split
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
# Where a label stands: to the right and up, and how it is aligned there.
_BESIDE = [
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
    (1, 0, "left", "center_baseline"),
    (-1, 0, "right", "center_baseline"),
    (0.7, 0.7, "left", "bottom"),
    (-0.7, 0.7, "right", "bottom"),
    (0.7, -0.7, "left", "top"),
    (-0.7, -0.7, "right", "top"),
]


def pareto(results: Results) -> Iterator[Drawn]:
    """Accuracy against energy as all thresholds are scaled, where a network met several scales.

    Drawn: checkpoint, scale (empty for none), energy_pj, accuracy, own, front, common_front.
    """
    for folder, own, note in each_profile(results):
        named = {row["checkpoint"]: network_of(row) for row in own.records["result"]}
        columns = ["checkpoint", "scale", "total_energy_pj", "accuracy", "own", "front"]
        table = DataFrame(own.records["scale"], columns=columns)
        table = table.rename(columns={"total_energy_pj": "energy_pj"}).dropna(subset="accuracy")
        table["checkpoint"] = table.checkpoint.map(named)
        if table.checkpoint.duplicated().any():
            points = zip(table.accuracy, table.energy_pj, strict=True)
            table["common_front"] = on_front(list(points))
            page = pareto_page(table, looks(named.values(), table.checkpoint), note)
            yield Drawn(f"{folder}energy_pareto", [page], table)


def pareto_page(table: DataFrame, look: Looks, note: str) -> Any:
    """Accuracy over energy as one matplotlib figure: filled points are on their network's front,
    the pale stair is the front of all.

    `table` has a point a row: checkpoint, scale (NaN: thresholds of its own that are no single
    factor, apart from the line), energy_pj, accuracy, own, front, common_front. `note` stands
    behind the label of the energy axis.
    """
    unit, scale = energy_unit(table.energy_pj.max())
    table = table.assign(energy=table.energy_pj / scale)
    width, height = (SINGLE_IN, 2.3) if len(look) < 3 else (DOUBLE_IN, 3.0)

    def draw(axes: Any) -> None:
        networks = split(table, "checkpoint")
        for name, own in networks.items():
            scaled = own[own.scale.notna()]
            line = look[name] | {"marker": "", "linewidth": 0.9}
            axes.plot(scaled.energy, scaled.accuracy, **line)
        for own in networks.values():
            at = (look, "energy", "accuracy")
            said = "on its network's front"
            draw_lines(axes, own[own.front], *at, linestyle="", zorder=3, label=said)
            draw_lines(
                *(axes, own[~own.front], *at),
                linestyle="",
                zorder=3,
                markerfacecolor="white",
                label="beaten by its own network",
            )
            draw_lines(
                *(axes, own[own.own], *at),
                linestyle="",
                marker="o",
                markersize=_RING_PT,
                zorder=3.5,
                color=INK,
                markerfacecolor="none",
                markeredgewidth=0.8,
                label="the network's own setting",
            )
        axes.margins(0.07, 0.12)
        if is_wide(table.energy):
            axes.set_xscale("log")
        axes.set_xlim(axes.get_xlim())
        front = table[table.common_front].sort_values(["energy", "accuracy"])
        x, y = [*front.energy, axes.get_xlim()[1]], [*front.accuracy, front.accuracy.iloc[-1]]
        stair = "Pareto front of all"
        axes.step(
            x, y, where="post", label=stair, linewidth=2.6, color=PALE, alpha=0.65, zorder=0.5
        )

    panel = Panel("pareto", draw, note="×: factor on all thresholds")
    said = f"energy per inference ({unit}), {note}"
    (figure,) = draw_pages([Band([panel], (height,))], width, said, "accuracy")
    with styled():
        _name_points(figure, table, look)
    return figure


def _name_points(figure: Any, table: DataFrame, look: Looks) -> None:
    """Write its scale beside each point where it fits inside the axes and meets no point, label or
    line, the pale stair only where there is no other room; leave the others out. A network's own
    setting comes first, then the ends of its line.
    """
    figure.draw_without_rendering()  # places the axes
    (axes,) = figure.axes
    lines = [line for line in axes.lines if line.get_linestyle() != "None"]
    paths = [line.get_path().transformed(line.get_transform()) for line in lines]
    table = table.assign(size=4.5, rank=2)
    for _, line in table[table.scale.notna()].groupby("checkpoint"):
        table.loc[line.index[[0, -1]], "rank"] = 1
    table.loc[table.own, ["size", "rank"]] = [_RING_PT, 0]
    taken = []
    for point in table.itertuples():
        centre = axes.transData.transform((point.energy, point.accuracy))
        taken.append(Bbox([centre, centre]).padded(point.size * figure.dpi / 144))
    # The stair is the last line.
    ordered: Any = table.sort_values("rank", kind="stable").itertuples()
    for point in ordered:
        text = "own" if isnan(point.scale) else f"×{short_number(point.scale)}"
        # Pale is hard to read.
        colour = tuple(0.75 * part for part in look[point.checkpoint]["color"])
        for met, (across, up, ha, va) in product((paths, paths[:-1]), _BESIDE):
            away = 0.5 * point.size + 1.4
            label = axes.annotate(
                text,
                (point.energy, point.accuracy),
                xytext=(across * away, up * away),
                textcoords="offset points",
                color=colour,
                ha=ha,
                va=va,
                zorder=4,
            )
            box = label.get_window_extent()
            within = all(axes.bbox.contains(*corner) for corner in (box.p0, box.p1))
            crossed = any(path.intersects_bbox(box, filled=False) for path in met)
            if within and not crossed and not any(map(box.overlaps, taken)):
                taken.append(box)
                break
            label.remove()
