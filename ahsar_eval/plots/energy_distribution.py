"""Energy sample by sample: a row per set, a box per network, the clean set first and its medians as
lines through all rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.energy_axis import draw_energy_label, energy_label, energy_unit
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    add_cell,
    elided_names,
    empty_page,
    extent,
    header_height,
    header_legend,
    line_signs,
    places,
    text_width,
    tidy_ticks,
)
from ahsar_eval.plots.style import INK, PALE, SINGLE_IN, TALLEST_IN, Look, looks

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# So many are drawn one by one: their outer quantiles would be made up between two samples.
FEW_SAMPLES = 30
_BOX_IN = (0.17, 0.15, 0.125, 0.105)  # by networks: a box with the space about it
_NAMES_IN = 1.3
_RIGHT_IN = 0.14
_EDGE: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5}
_MEDIAN: dict[str, Any] = {"color": INK, "linewidth": 1.1, "solid_capstyle": "butt"}


@dataclass(frozen=True)
class Samples:
    """One network on one set: `energy_pj` [N] of each sample. `clean` marks the set that the others
    are compared with.
    """

    checkpoint: str
    data: str
    energy_pj: NDArray[np.float64]
    clean: bool = False

    @property
    def quantiles(self) -> list[float]:
        """pJ at `QUANTILES`, between samples by straight lines."""
        return [float(pj) for pj in np.quantile(self.energy_pj, QUANTILES)]

    @property
    def few(self) -> bool:
        """Whether every sample is drawn."""
        return len(self.energy_pj) <= FEW_SAMPLES

    @property
    def drawn(self) -> NDArray[np.float64]:
        """What must lie within the axes: every sample of few, else the outer quantiles and the
        mean.
        """
        if self.few:
            return self.energy_pj
        return np.array([*self.quantiles, self.energy_pj.mean()])


def distribution_pages(
    samples: Sequence[Samples], order: Sequence[str], note: str
) -> Iterator[Any]:
    """Pages of boxes as matplotlib figures: quartiles, median, quantiles 0.05 and 0.95, mean; one
    scale over all pages.

    Sets of at most `FEW_SAMPLES` show every sample instead of a box. `note` stands behind the label
    of the axis; `order` decides the looks.
    """
    present = {one.checkpoint for one in samples}
    look = {name: one for name, one in looks(order).items() if name in present}
    clean = [one for one in samples if one.clean]
    sets = list(dict.fromkeys([*(one.data for one in clean), *(one.data for one in samples)]))
    unit, scale = energy_unit(max(float(one.energy_pj.max()) for one in samples))
    low, high = extent([one.drawn / scale for one in samples])
    margin = 0.04 * (high - low) or 0.05 * high or 1.0
    signs = [*line_signs(look, SINGLE_IN, marker=True), *_signs(samples, len(sets) > 1)]
    titles = {name: name for name in sets}
    titles |= {one.data: f"{one.data} (clean)" for one in clean if len(sets) > 1}
    room = min(_NAMES_IN, max(map(text_width, titles.values())))
    names = elided_names(list(titles.values()), room)
    box_in = _BOX_IN[min(len(look), len(_BOX_IN)) - 1]
    row_in = len(look) * box_in + 0.07
    header = header_height([text for _, text in signs], SINGLE_IN - 0.1)
    said = energy_label(unit, note, SINGLE_IN, room + 0.12, _RIGHT_IN)
    bottom = Grid.bottom + LINE_IN * (len(said) - 1)
    space = {"left": room + 0.12, "right": _RIGHT_IN, "above": 0.0, "bottom": bottom}
    spots = places(len(sets), max(1, int((TALLEST_IN - header - bottom - 0.1) / row_in)))
    for page in range(spots[-1][0] + 1):
        here = [name for name, (at, _) in zip(sets, spots, strict=True) if at == page]
        grid = Grid(1, 1, SINGLE_IN, (row_in * len(here),), header, **space)
        figure = empty_page(grid)
        (axes,) = add_cell(figure, grid, 0, 0)
        axes.set_label("distribution")
        for row in range(1, len(here), 2):
            axes.axhspan(row - 0.5, row + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
        for one in samples:
            if one.data in here:
                across = list(look).index(one.checkpoint) - (len(look) - 1) / 2
                y = here.index(one.data) + across * box_in / row_in
                _draw(axes, one, y, 0.72 * box_in / row_in, look[one.checkpoint], scale)
        for one in clean if len(sets) > 1 else []:
            line = {"color": look[one.checkpoint].colour, "linestyle": ":", "linewidth": 0.7}
            axes.axvline(one.quantiles[2] / scale, zorder=0.6, **line)
        axes.set_xlim(max(low - margin, 0.0) if low >= 0.3 * high else 0.0, high + margin)
        axes.set_ylim(len(here) - 0.5, -0.5)
        axes.set_yticks(range(len(here)), [names[titles[name]] for name in here])
        axes.tick_params(axis="y", length=0)
        tidy_ticks(axes.xaxis, 6)
        header_legend(figure, grid, *zip(*signs, strict=True))
        draw_energy_label(figure, grid, said)
        yield figure


def _draw(axes: Any, one: Samples, y: float, height: float, look: Look, scale: float) -> None:
    label, energies = f"{one.data} {one.checkpoint}", one.energy_pj / scale
    low, first, median, third, high = (pj / scale for pj in one.quantiles)
    points: dict[str, Any] = {"color": look.colour, "linestyle": ""}
    if one.few:
        ticks = {"marker": "|", "markersize": 4, "label": f"{label} samples"}
        axes.plot(energies, np.full(len(energies), y), **points | ticks)
    else:
        reach = {"color": look.colour, "linewidth": 0.8, "label": f"{label} range"}
        axes.plot([low, high], [y, y], zorder=2, **reach)
        pale = tuple(1 - 0.4 * (1 - part) for part in look.colour)
        box = {"color": pale, "edgecolor": look.colour, "linewidth": 0.7, "label": label}
        axes.barh(y, third - first, left=first, height=height, zorder=2.5, **box)
        ends = [y - height / 2, y + height / 2]
        axes.plot([median] * 2, ends, zorder=2.7, label=f"{label} median", **_MEDIAN)
    mean = {"marker": look.marker, "markersize": 3.0, "label": f"{label} mean"}
    axes.plot(energies.mean(), y, zorder=3, **points | mean | _EDGE)


def _signs(samples: Sequence[Samples], several: bool) -> Iterator[tuple[Any, str]]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    tick: dict[str, Any] = {"color": INK, "linestyle": "", "marker": "|"}
    if not all(one.few for one in samples):
        yield Patch(facecolor=PALE, edgecolor=INK, linewidth=0.7), "quartiles"
        yield Line2D([], [], markersize=6, markeredgewidth=1.1, **tick), "median"
        yield Line2D([], [], color=INK, linewidth=0.8), "quantiles 0.05–0.95"
    if any(one.few for one in samples):
        yield Line2D([], [], markersize=4, **tick), "sample"
    yield Line2D([], [], **tick | {"marker": "o", "markersize": 3.0} | _EDGE), "mean"
    if several and any(one.clean for one in samples):
        yield Line2D([], [], color=INK, linestyle=":", linewidth=0.7), "clean median"
