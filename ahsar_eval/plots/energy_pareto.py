"""Accuracy against energy as all thresholds are scaled: a line per network, the points that no
other beats, where each works, and the scales beside the points where there is room.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from ahsar_eval.plots.energy_axis import (
    draw_energy_label,
    energy_label,
    energy_unit,
    limit_energies,
)
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    add_cell,
    empty_page,
    header_height,
    header_legend,
    heading,
    line_signs,
    outer_labels,
    short_number,
    tidy_ticks,
)
from ahsar_eval.plots.style import DOUBLE_IN, INK, PALE, SINGLE_IN, Look, looks

if TYPE_CHECKING:
    from pandas import DataFrame

_RING_PT = 8.0
_FRONT: dict[str, Any] = {"linewidth": 2.6, "color": PALE, "alpha": 0.65}
_RING: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": _RING_PT}
_RING |= {"markerfacecolor": "none", "markeredgecolor": INK, "markeredgewidth": 0.8}
_DOT: dict[str, Any] = {"color": INK, "linestyle": "", "marker": "o", "markeredgewidth": 0.8}
_DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1))
_HORIZONTAL = {0: "center", 1: "left", -1: "right"}
_VERTICAL = {0: "center_baseline", 1: "bottom", -1: "top"}


def pareto_page(table: "DataFrame", order: Sequence[str], note: str) -> Any:
    """Accuracy over energy as one matplotlib figure: filled points are on their network's front,
    the pale stair is the front of all.

    `table` has a point a row: checkpoint, scale (NaN: thresholds of its own that are no single
    factor, apart from the line), energy_pj, accuracy, own, front, common_front. `note` stands
    behind the label of the energy axis; `order` decides the looks.
    """
    own = dict(iter(table.groupby("checkpoint", sort=False)))
    look = {name: one for name, one in looks(order).items() if name in own}
    width = SINGLE_IN if len(look) < 3 else DOUBLE_IN
    signs = [*line_signs(look, width, marker=True), *_signs(table, len(look) > 1)]
    unit, scale = energy_unit(table.energy_pj.max())
    table = table.assign(energy=table.energy_pj / scale)
    said = energy_label(unit, note, width, 0.55, Grid.right)
    header = header_height([text for _, text in signs], width - 0.1)
    bottom = Grid.bottom + LINE_IN * (len(said) - 1)
    heights = (2.3 if width == SINGLE_IN else 3.0,)
    grid = Grid(1, 1, width, heights, header, left=0.55, above=0.14, bottom=bottom)
    figure = empty_page(grid)
    (axes,) = add_cell(figure, grid, 0, 0)
    axes.set_label("pareto")
    limit_energies(axes, table.energy.tolist())
    low, high = table.accuracy.min(), table.accuracy.max()
    margin = 0.09 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    tidy_ticks(axes.yaxis, 6)
    front = _draw_front(axes, table)
    for name, one in look.items():
        _draw(axes, table[table.checkpoint == name], one)
    header_legend(figure, grid, *zip(*signs, strict=True))
    draw_energy_label(figure, grid, said)
    outer_labels(figure, grid, x="", y="accuracy")
    heading(axes, "×: factor on all thresholds", side="right")
    lines = [line for line in axes.lines if line.get_linestyle() != "None" and line is not front]
    _name_points(axes, list(_labels(table, look)), lines, front)
    return figure


def _signs(table: "DataFrame", several: bool) -> Iterator[tuple[Any, str]]:
    from matplotlib.lines import Line2D

    yield Line2D([], [], **_FRONT), "Pareto front of all" if several else "Pareto front"
    if several:
        yield Line2D([], [], **_DOT), "on its network's front"
    if not table.front.all():
        yield Line2D([], [], **_DOT, markerfacecolor="white"), "beaten by its own network"
    if table.own.any():
        yield Line2D([], [], **_RING), "the network's own setting"


def _draw_front(axes: Any, table: "DataFrame") -> Any:
    """The accuracy that each energy can buy: a stair to the right."""
    front = table[table.common_front].sort_values(["energy", "accuracy"])
    x, y = [*front.energy, axes.get_xlim()[1]], [*front.accuracy, front.accuracy.iloc[-1]]
    (line,) = axes.step(x, y, where="post", zorder=0.5, label="front of all", **_FRONT)
    return line


def _draw(axes: Any, own: "DataFrame", look: Look) -> None:
    """The line of a network through its scales and each setting's marker."""
    name, line = own.checkpoint.iloc[0], own[own.scale.notna()]
    drawn = {"color": look.colour, "linestyle": look.line, "linewidth": 0.9}
    axes.plot(line.energy, line.accuracy, label=name, **drawn)
    marker = {"color": look.colour, "linestyle": "", "marker": look.marker, "markeredgewidth": 0.8}
    for on_front, face in ((False, "white"), (True, look.colour)):
        kept = own[own.front == on_front]
        label = f"{name}, {'on its front' if on_front else 'beaten'}"
        marked = {"markerfacecolor": face, "zorder": 3, "label": label}
        axes.plot(kept.energy, kept.accuracy, **marker | marked)
    for setting in own[own.own].itertuples():
        axes.plot(setting.energy, setting.accuracy, zorder=3.5, label=f"{name}, own", **_RING)


def _labels(table: "DataFrame", look: dict[str, Look]) -> Iterator[dict[str, Any]]:
    """What to write beside each point, whose marker is `size_pt` wide; lower ranks come first: a
    network's own setting, then the ends of its line.
    """
    for name, one in look.items():
        own = table[table.checkpoint == name]
        line = own[own.scale.notna()].index
        ends = {*line[:1], *line[-1:]}
        for setting in own.itertuples():
            scale = "own"
            if setting.Index in line:
                scale = f"×{short_number(float(f'{setting.scale:.4g}'))}"
            yield {
                "place": (setting.energy, setting.accuracy),
                "text": scale,
                # a pale line is no colour for type
                "colour": tuple(0.75 * part for part in one.colour),
                "size_pt": _RING_PT if setting.own else 4.5,
                "rank": 0 if setting.own else 1 if setting.Index in ends else 2,
            }


def _name_points(
    axes: Any, labels: Sequence[dict[str, Any]], lines: Sequence[Any], pale: Any
) -> None:
    """Write each label where it fits inside the axes, whose limits are final, and leave the others
    out.

    No label crosses `lines`; the `pale` one is crossed where there is no other room.
    """
    from matplotlib.transforms import Bbox

    renderer, pixels = axes.figure.canvas.get_renderer(), axes.figure.dpi / 72
    crossed, avoided = (
        [line.get_path().transformed(line.get_transform()) for line in some]
        for some in (lines, [*lines, pale])
    )
    taken = []
    for label in labels:
        x, y = axes.transData.transform(label["place"])
        half = label["size_pt"] * pixels / 2
        taken.append(Bbox.from_extents(x - half, y - half, x + half, y + half))
    for label in sorted(labels, key=lambda label: label["rank"]):
        for paths, (across, up) in product((avoided, crossed), _DIRECTIONS):
            away = (0.5 * label["size_pt"] + 1.4) * (0.75 if across and up else 1)
            aligned = {"ha": _HORIZONTAL[across], "va": _VERTICAL[up], "zorder": 4}
            text = axes.annotate(
                label["text"],
                label["place"],
                xytext=(across * away, up * away),
                textcoords="offset points",
                color=label["colour"],
                **aligned,
            )
            box = text.get_window_extent(renderer)
            within = all(axes.bbox.contains(*corner) for corner in (box.p0, box.p1))
            met = any(path.intersects_bbox(box, filled=False) for path in paths)
            if within and not met and not any(map(box.overlaps, taken)):
                taken.append(box)
                break
            text.remove()
