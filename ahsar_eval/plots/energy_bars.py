"""Energy layer by layer: a bar for each layer, stacked by the part of the work, and the totals
below.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import DataError
from ahsar_eval.plots.bar_bands import (
    ABOVE_IN,
    LABEL_IN,
    ROW_IN,
    UNDER_IN,
    alike,
    bands_by_page,
    totals_height,
)
from ahsar_eval.plots.energy_axis import (
    amounts,
    draw_energy_label,
    energy_label,
    energy_text,
    energy_unit,
)
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    elided_names,
    empty_page,
    header_height,
    header_legend,
    heading,
    text_width,
    tidy_ticks,
    width_for,
)
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    INK,
    SINGLE_IN,
    TALLEST_IN,
    drawable,
    save_pages,
    styled,
)

if TYPE_CHECKING:
    from pandas import DataFrame

_GAP_IN = 0.16
_NAMES_IN = 1.45  # the widest name of a layer is cut to this


@dataclass(frozen=True)
class Part:
    """How one part of the work is drawn: not in the colour of a network, and light beside dark so
    that grey tells them apart.
    """

    title: str
    colour: str


PARTS = {
    "ac": Part("synapses (AC)", "#332288"),
    "mac": Part("synapses (MAC)", "#cc6677"),
    "products": Part("products of activations", "#117733"),
    "neurons": Part("neurons", "#88ccee"),
    "bias": Part("bias, normalisation", "#999933"),
    "residual": Part("residual additions", "#661144"),
    "pooling": Part("pooling", "#ddcc77"),
}


@dataclass(frozen=True)
class EnergyBars:
    """One checkpoint's `layers` [L] in network order; `energy_pj` has for each of `PARTS` that it
    knows the pJ [L] per inference.
    """

    checkpoint: str
    layers: Sequence[str]
    energy_pj: Mapping[str, NDArray[np.float64]]

    def part(self, name: str) -> NDArray[np.float64]:
        """pJ [L] of one of `PARTS`; zeros where it is not there."""
        return np.asarray(self.energy_pj.get(name, np.zeros(len(self.layers))), dtype=np.float64)

    @property
    def by_layer(self) -> NDArray[np.float64]:
        """pJ [L] of all parts."""
        return np.sum([self.part(name) for name in PARTS], axis=0)

    @property
    def total_pj(self) -> float:
        """pJ of all parts of all layers."""
        return float(self.by_layer.sum())


def energy_bar_figures(bars: Sequence[EnergyBars], *, note: str = "") -> list[Any]:
    """Pages of stacked bars as matplotlib figures: a column per network, a row per layer, the
    totals below; one scale for all networks.

    Networks whose layers have other names stand below one another. `note` stands behind the label
    of the axis: the profile of prices. Raises `DataError` for energies that are negative or not
    finite.
    """
    _check(bars)
    with styled():
        return list(_pages(bars, note))


def save_energy_bars(bars: Sequence[EnergyBars], path: str | Path, *, note: str = "") -> list[Path]:
    """Write the bars (PNG, PDF or SVG by suffix) and their numbers as CSV; returns the paths.
    Raises `OutputError`.
    """
    return save_pages(energy_bar_figures(bars, note=note), path, energy_bar_table(bars))


def energy_bar_table(bars: Sequence[EnergyBars]) -> "DataFrame":
    """The bars drawn, one a line: checkpoint, layer, part, energy_pj."""
    import pandas as pd

    parts = [
        pd.DataFrame(
            {
                "checkpoint": one.checkpoint,
                "layer": list(one.layers),
                "part": name,
                "energy_pj": one.part(name),
            }
        )
        for one in bars
        for name in PARTS
        if name in one.energy_pj
    ]
    return pd.concat(parts, ignore_index=True)


def _pages(bars: Sequence[EnergyBars], note: str) -> Iterator[Any]:
    shown = [name for name in PARTS if any(one.part(name).any() for one in bars)] or ["ac"]
    scale = Scale.of(bars)
    names = [one.layers for one in bars]
    columns = max(map(len, alike(names)))
    named = [
        name for one in bars for name in (*one.layers, one.checkpoint if len(bars) > 1 else "total")
    ]
    room = min(_NAMES_IN, max(map(text_width, named)))
    width = _width(bars, columns, room)
    labels = [PARTS[name].title for name in shown]
    header = header_height(labels, width - 0.1)
    said = energy_label(scale.unit, note, width, room + 0.12, Grid.right)
    more = LINE_IN * (len(said) - 1)
    for bands in bands_by_page(names, TALLEST_IN - header - more):
        networks = [
            one for number, one in enumerate(bars) if any(number in band.networks for band in bands)
        ]
        grid = Grid(
            1,
            columns,
            width,
            (sum(band.height for band in bands) - UNDER_IN,),  # all bands; each is placed within it
            header,
            left=room + 0.12,
            gap=_GAP_IN,
            above=0.0,
            below=0.0,
            bottom=UNDER_IN + totals_height(len(networks)) + more,
        )
        figure = empty_page(grid)
        top = grid.height - header
        titles = elided_names([one.checkpoint for one in networks], grid.panel_width)
        for band in bands:
            for column, one in enumerate(bars[number] for number in band.networks):
                axes = _band_axes(figure, grid, column, top - ABOVE_IN, len(band.rows))
                axes.set_label(one.checkpoint)
                _stack(axes, [one.part(name)[band.rows] / scale.pj for name in shown], shown)
                short = elided_names(one.layers, room)
                axes.set(xlim=(0, 1.04 * scale.most), ylim=(len(band.rows) - 0.5, -0.5))
                _name_rows(axes, [short[one.layers[row]] for row in band.rows], column == 0)
                tidy_ticks(axes.xaxis, 3 if grid.panel_width < 1.4 else 4)
                heading(axes, titles[one.checkpoint])
            top -= band.height
        _totals(figure, grid, networks, shown, scale, room, LABEL_IN + more)
        header_legend(figure, grid, [_patch(name) for name in shown], labels)
        draw_energy_label(figure, grid, said)
        yield figure


@dataclass(frozen=True)
class Scale:
    """The unit of all panels, the pJ in one of it, and the largest bar of a layer in it."""

    unit: str
    pj: float
    most: float

    @classmethod
    def of(cls, bars: Sequence[EnergyBars]) -> "Scale":
        """The unit for the largest total."""
        unit, pj = energy_unit(max(one.total_pj for one in bars))
        return cls(unit, pj, max(float(one.by_layer.max()) for one in bars) / pj or 1.0)


def _width(bars: Sequence[EnergyBars], columns: int, room: float) -> float:
    """As other figures, but both columns of a paper where in one the networks' names
    would be cut."""
    beside = (SINGLE_IN - room - 0.12 - Grid.right - _GAP_IN * (columns - 1)) / columns
    return (
        width_for(columns)
        if columns == 1 or all(text_width(one.checkpoint) <= beside for one in bars)
        else DOUBLE_IN
    )


def _band_axes(figure: Any, grid: Grid, column: int, top: float, rows: int) -> Any:
    height = rows * ROW_IN
    left = grid.left + column * (grid.panel_width + grid.gap)
    axes = figure.add_axes(
        (
            left / grid.width,
            (top - height) / grid.height,
            grid.panel_width / grid.width,
            height / grid.height,
        )
    )
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _totals(
    figure: Any,
    grid: Grid,
    networks: Sequence[EnergyBars],
    shown: Sequence[str],
    scale: Scale,
    room: float,
    below: float,
) -> None:
    """The panel of totals along the page, `below` inches from its foot, the number at the end of
    each bar.
    """
    across, height = grid.width - grid.left - grid.right, len(networks) * ROW_IN
    axes = figure.add_axes(
        (grid.left / grid.width, below / grid.height, across / grid.width, height / grid.height)
    )
    axes.set_label("total")
    axes.spines[["top", "right"]].set_visible(False)
    totals = [one.total_pj for one in networks]
    _stack(
        axes,
        [np.array([one.part(name).sum() for one in networks]) / scale.pj for name in shown],
        shown,
    )
    written = [energy_text(total) for total in totals]
    for place, (total, text) in enumerate(zip(totals, written, strict=True)):
        axes.annotate(
            text,
            (total / scale.pj, place),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="center_baseline",
        )
    beside = (max(map(text_width, written)) + 0.1) / across
    axes.set(
        xlim=(0, max(totals) / scale.pj / (1 - beside) or 1.0), ylim=(len(networks) - 0.5, -0.5)
    )
    names = elided_names([one.checkpoint for one in networks], room)
    _name_rows(
        axes, [names[one.checkpoint] for one in networks] if len(networks) > 1 else ["total"], True
    )
    tidy_ticks(axes.xaxis)
    if len(networks) > 1:
        heading(axes, "total")


def _stack(axes: Any, heights: Sequence[NDArray[np.float64]], shown: Sequence[str]) -> None:
    """Horizontal bars from above, the parts side by side; each part is a container with
    its name."""
    start = np.zeros(len(heights[0]))
    for name, part in zip(shown, heights, strict=True):
        axes.barh(
            np.arange(len(part)),
            part,
            left=start,
            height=0.72,
            color=PARTS[name].colour,
            linewidth=0,
            label=name,
        )
        start = start + part


def _name_rows(axes: Any, names: Sequence[str], visible: bool) -> None:
    axes.set_yticks(range(len(names)), names if visible else [""] * len(names))
    axes.tick_params(axis="y", length=0)


def _patch(name: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(facecolor=PARTS[name].colour, edgecolor=INK, linewidth=0)


def _check(bars: Sequence[EnergyBars]) -> None:
    drawable("energy bar", bars, [(one.checkpoint,) for one in bars])
    for one in bars:
        what = f"the energy bars of {one.checkpoint}"
        if len(set(one.layers)) < len(one.layers):
            raise DataError(f"{what} name a layer twice; give each layer one bar")
        unknown = [name for name in one.energy_pj if name not in PARTS]
        if unknown or not one.energy_pj:
            raise DataError(
                f"{what} have the parts {list(one.energy_pj)}; expected some of {', '.join(PARTS)}"
            )
        amounts(what, {"layers": np.zeros(len(one.layers)), **one.energy_pj})
