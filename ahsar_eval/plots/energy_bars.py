"""Energy layer by layer: a bar for each layer, stacked by the part of the work, and the totals
below. Networks whose layers have the same names stand side by side, the others below them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.energy_axis import draw_energy_label, energy_label, energy_text, energy_unit
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    elided_names,
    empty_page,
    header_height,
    header_legend,
    heading,
    places,
    text_width,
    tidy_ticks,
    width_for,
)
from ahsar_eval.plots.style import DOUBLE_IN, SINGLE_IN, TALLEST_IN

if TYPE_CHECKING:
    from pandas import DataFrame

# Title and colour of each part of the work: not the colours of networks, and light beside dark so
# that grey tells them apart.
PARTS = {
    "ac": ("synapses (AC)", "#332288"),
    "mac": ("synapses (MAC)", "#cc6677"),
    "products": ("products of activations", "#117733"),
    "neurons": ("neurons", "#88ccee"),
    "bias": ("bias, normalisation", "#999933"),
    "residual": ("residual additions", "#661144"),
    "pooling": ("pooling", "#ddcc77"),
}
MOST_NETWORKS = 4  # side by side
ROW_IN = 0.135  # a bar with the space about it
ABOVE_IN = 0.18  # names of networks
UNDER_IN = 0.2  # tick labels
TOTALS_IN = 0.2  # heading of the totals
LABEL_IN = 0.36  # tick labels and x label under the totals
_GAP_IN = 0.16
_NAMES_IN = 1.45  # the widest name of a layer is cut to this


def row_of(name: str, sources: Mapping[str, str]) -> str:
    """The layer with weights that `name` belongs to or follows; `name` itself where neither its
    place nor its name tells. `sources` are the layers in network order, with what feeds them.

    A spiking layer stands with the layer before the first one that it feeds. An operation in a
    block's own forward stands with the last layer of the block. Else the layer of the same module
    decides: the only one, one of the same number, or the last with a smaller index.
    """
    layers, module = list(sources), name.partition(":")[0]
    if module in layers:
        return module
    for i, source in enumerate(sources.values()):
        if source == name:
            return layers[max(0, i - 1)]
    inside = [layer for layer in layers if layer.startswith(f"{module}.")]
    if inside:
        return inside[-1]
    parent, _, own = module.rpartition(".")
    beside = {
        layer.rpartition(".")[2]: layer for layer in layers if layer.rpartition(".")[0] == parent
    }
    if parent and len(beside) == 1:  # the network itself does not say where something belongs
        return next(iter(beside.values()))
    if own.isdigit():
        before = [sibling for sibling in beside if sibling.isdigit() and int(sibling) < int(own)]
        return beside[max(before, key=int)] if before else name
    number = _number(own)
    same = [layer for sibling, layer in beside.items() if number and _number(sibling) == number]
    return same[0] if len(same) == 1 else name


def _number(name: str) -> str:
    """What follows the letters: '1_2' of 'bn1_2'."""
    return name.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@dataclass(frozen=True)
class Band:
    """Panels side by side: the numbers of their `networks`, and which of the bars that all of them
    have are drawn (`rows`).
    """

    networks: list[int]
    rows: list[int]

    @property
    def height(self) -> float:
        """Inches with the names above and the tick labels below."""
        return ABOVE_IN + len(self.rows) * ROW_IN + UNDER_IN


def alike(names: Sequence[Sequence[str]]) -> list[list[int]]:
    """Numbers of networks with the same `names` of bars, at most `MOST_NETWORKS` together, so that
    the names are needed once.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, one in enumerate(names):
        groups.setdefault(tuple(one), []).append(i)
    return [
        group[start : start + MOST_NETWORKS]
        for group in groups.values()
        for start in range(0, len(group), MOST_NETWORKS)
    ]


def totals_height(networks: int) -> float:
    """Inches of the panel of totals with everything about it."""
    return TOTALS_IN + networks * ROW_IN + LABEL_IN


def bands_by_page(names: Sequence[Sequence[str]], room: float) -> list[list[Band]]:
    """The bands of each page of `room` inches; a network with more bars than a page holds goes on
    on the next.
    """
    pages: list[list[Band]] = [[]]
    for networks in alike(names):
        most = int((room - totals_height(len(networks)) - ABOVE_IN - UNDER_IN) / ROW_IN)
        spots = places(len(names[networks[0]]), most)
        for page in range(spots[-1][0] + 1):
            band = Band(networks, [row for row, (at, _) in enumerate(spots) if at == page])
            filled = [*pages[-1], band]
            totals = totals_height(sum(len(one.networks) for one in filled))
            if pages[-1] and sum(one.height for one in filled) + totals > room:
                pages.append([])
            pages[-1].append(band)
    return pages


def bar_pages(bars: "Mapping[str, DataFrame]", note: str) -> Iterator[Any]:
    """Pages as matplotlib figures; `bars` has for each network pJ by layer (index) and part of
    `PARTS` (columns). One scale for all networks; `note` stands behind the label of the axis.
    """
    shown = [
        name for name in PARTS if any(name in one and one[name].any() for one in bars.values())
    ]
    tables = {
        name: one.reindex(columns=shown or ["ac"], fill_value=0.0) for name, one in bars.items()
    }
    totals = {name: one.sum() for name, one in tables.items()}
    unit, scale = energy_unit(max(float(one.sum()) for one in totals.values()))
    most = max(float(one.sum(axis=1).max()) for one in tables.values()) / scale or 1.0
    layers = [list(one.index) for one in tables.values()]
    columns = max(map(len, alike(layers)))
    ends = list(tables) if len(tables) > 1 else ["total"]
    room = min(_NAMES_IN, max(text_width(name) for names in (*layers, ends) for name in names))
    width = _width(list(tables), columns, room)
    signs = [_sign(name) for name in shown or ["ac"]]
    header = header_height([text for _, text in signs], width - 0.1)
    said = energy_label(unit, note, width, room + 0.12, Grid.right)
    more = LINE_IN * (len(said) - 1)
    for bands in bands_by_page(layers, TALLEST_IN - header - more):
        here = {i for band in bands for i in band.networks}
        names = [name for i, name in enumerate(tables) if i in here]
        # One cell for all bands; each is placed within it.
        heights = (sum(band.height for band in bands) - UNDER_IN,)
        bottom = UNDER_IN + totals_height(len(names)) + more
        space = {"left": room + 0.12, "gap": _GAP_IN, "above": 0.0, "below": 0.0, "bottom": bottom}
        grid = Grid(1, columns, width, heights, header, **space)
        figure, top = empty_page(grid), grid.height - header
        titles = elided_names(names, grid.panel_width)
        for band in bands:
            height = len(band.rows) * ROW_IN
            for column, i in enumerate(band.networks):
                name = list(tables)[i]
                left = grid.left + column * (grid.panel_width + grid.gap)
                axes = _axes(figure, grid, left, top - ABOVE_IN - height, grid.panel_width, height)
                axes.set_label(name)
                short = elided_names(layers[i], room)
                rows = [short[layers[i][row]] if column == 0 else "" for row in band.rows]
                _stack(axes, tables[name].iloc[band.rows] / scale, rows)
                axes.set_xlim(0, 1.04 * most)
                tidy_ticks(axes.xaxis, 3 if grid.panel_width < 1.4 else 4)
                heading(axes, titles[name])
            top -= band.height
        _totals(figure, grid, {name: totals[name] for name in names}, scale, room, LABEL_IN + more)
        header_legend(figure, grid, *zip(*signs, strict=True))
        draw_energy_label(figure, grid, said)
        yield figure


def _width(names: Sequence[str], columns: int, room: float) -> float:
    """As other figures, but both columns of a paper where one would cut the networks' names."""
    beside = (SINGLE_IN - room - 0.12 - Grid.right - _GAP_IN * (columns - 1)) / columns
    fit = columns == 1 or all(text_width(name) <= beside for name in names)
    return width_for(columns) if fit else DOUBLE_IN


def _axes(figure: Any, grid: Grid, left: float, low: float, width: float, height: float) -> Any:
    """Axes at a place on the page, all in inches."""
    made = figure.add_axes(
        (left / grid.width, low / grid.height, width / grid.width, height / grid.height)
    )
    made.spines[["top", "right"]].set_visible(False)
    return made


def _totals(
    figure: Any,
    grid: Grid,
    totals: "Mapping[str, Any]",
    scale: float,
    room: float,
    low: float,
) -> None:
    """The panel of totals along the page, `low` inches from its foot, the number at the end of each
    bar.
    """
    import pandas as pd

    across, several = grid.width - grid.left - grid.right, len(totals) > 1
    axes = _axes(figure, grid, grid.left, low, across, len(totals) * ROW_IN)
    axes.set_label("total")
    names = elided_names(list(totals), room)
    _stack(
        axes,
        pd.DataFrame(totals).T / scale,
        [names[one] for one in totals] if several else ["total"],
    )
    sums = [float(one.sum()) for one in totals.values()]
    written = [energy_text(total) for total in sums]
    beside = {"xytext": (3, 0), "textcoords": "offset points", "va": "center_baseline"}
    for i, (total, text) in enumerate(zip(sums, written, strict=True)):
        axes.annotate(text, (total / scale, i), ha="left", **beside)
    share = (max(map(text_width, written)) + 0.1) / across
    axes.set_xlim(0, max(sums) / scale / (1 - share) or 1.0)
    tidy_ticks(axes.xaxis)
    if several:
        heading(axes, "total")


def _stack(axes: Any, lengths: "DataFrame", names: Sequence[str]) -> None:
    """Horizontal bars from above, the parts side by side, each a container with its name."""
    rows = np.arange(len(lengths))
    start: NDArray[np.float64] = np.zeros(len(lengths))
    for part, (_, colour) in PARTS.items():
        if part not in lengths:
            continue
        own = lengths[part].to_numpy()
        axes.barh(rows, own, left=start, height=0.72, color=colour, linewidth=0, label=part)
        start = start + own
    axes.set_ylim(len(lengths) - 0.5, -0.5)
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", length=0)


def _sign(part: str) -> tuple[Any, str]:
    from matplotlib.patches import Patch

    title, colour = PARTS[part]
    return Patch(facecolor=colour, linewidth=0), title
