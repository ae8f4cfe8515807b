"""Energy sample by sample: a row per set, a box per network, the clean set first and its medians as
lines through all rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.energy_axis import amounts, draw_energy_label, energy_label, energy_unit
from ahsar_eval.plots.layout import (
    LINE_IN,
    Grid,
    add_cell,
    elided_names,
    empty_page,
    extent,
    header_height,
    header_legend,
    legend_room,
    places,
    text_width,
    tidy_ticks,
)
from ahsar_eval.plots.style import (
    INK,
    PALE,
    SINGLE_IN,
    TALLEST_IN,
    Look,
    drawable,
    looks,
    ordered,
    save_pages,
    styled,
)

if TYPE_CHECKING:
    from pandas import DataFrame

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FEW_SAMPLES = (
    30  # so many are drawn one by one: their outer quantiles would be made up between two samples
)
_BOX_IN = (0.17, 0.15, 0.125, 0.105)  # by networks: a box with the space about it
_NAMES_IN = 1.3


@dataclass(frozen=True)
class EnergySamples:
    """One checkpoint on one set: `energy_pj` [N] of each sample. `clean` marks the set that the
    others are compared with.
    """

    checkpoint: str
    data: str
    energy_pj: NDArray[np.float64]
    clean: bool = False

    @property
    def quantiles(self) -> NDArray[np.float64]:
        """pJ [5] at `QUANTILES`, between samples by straight lines."""
        found: NDArray[np.float64] = np.quantile(
            np.asarray(self.energy_pj, dtype=np.float64), QUANTILES
        )
        return found


def energy_distribution_figures(
    samples: Sequence[EnergySamples], *, note: str = "", checkpoints: Sequence[str] = ()
) -> list[Any]:
    """Pages of boxes as matplotlib figures: quartiles, median, quantiles 0.05 and 0.95, mean; one
    scale over all pages.

    Sets of at most `FEW_SAMPLES` show every sample instead of a box. `note` stands behind the label
    of the axis: the profile of prices; `checkpoints` is the order that decides the looks. Raises
    `DataError` for energies that are negative or not finite.
    """
    _check(samples)
    with styled():
        return list(_pages(samples, note, checkpoints))


def save_energy_distribution(
    samples: Sequence[EnergySamples],
    path: str | Path,
    *,
    note: str = "",
    checkpoints: Sequence[str] = (),
) -> list[Path]:
    """Write the boxes (PNG, PDF or SVG by suffix) and their numbers as CSV; returns the paths.
    Raises `OutputError`.
    """
    return save_pages(
        energy_distribution_figures(samples, note=note, checkpoints=checkpoints),
        path,
        energy_distribution_table(samples),
    )


def energy_distribution_table(samples: Sequence[EnergySamples]) -> "DataFrame":
    """The boxes drawn, one a line: data, checkpoint, n, mean_pj, and the energy at each of
    `QUANTILES`.
    """
    import pandas as pd

    rows = [
        {
            "data": one.data,
            "checkpoint": one.checkpoint,
            "n": len(one.energy_pj),
            "mean_pj": float(np.mean(one.energy_pj)),
            **{
                f"quantile_{level:g}_pj": float(value)
                for level, value in zip(QUANTILES, one.quantiles, strict=True)
            },
        }
        for one in samples
    ]
    return pd.DataFrame(rows)


def _pages(
    samples: Sequence[EnergySamples], note: str, checkpoints: Sequence[str]
) -> Iterator[Any]:
    present = {one.checkpoint for one in samples}
    look = looks(ordered(checkpoints, [one.checkpoint for one in samples]))
    shown = [name for name in look if name in present]
    sets = [
        *dict.fromkeys(one.data for one in samples if one.clean),
        *dict.fromkeys(one.data for one in samples),
    ]
    sets = list(dict.fromkeys(sets))
    unit, scale = energy_unit(max(float(np.max(one.energy_pj)) for one in samples))
    low, high = extent([_drawn(one) / scale for one in samples])
    margin = 0.04 * (high - low) or 0.05 * high or 1.0
    width = SINGLE_IN
    short = elided_names(shown, legend_room(width))
    handles, labels = _signs(samples, [look[name] for name in shown])
    labels = [*(short[name] for name in shown), *labels]
    titles = {name: name for name in sets}
    titles |= {one.data: f"{one.data} (clean)" for one in samples if one.clean and len(sets) > 1}
    room = min(_NAMES_IN, max(map(text_width, titles.values())))
    names = elided_names(list(titles.values()), room)
    box_in = _BOX_IN[min(len(shown), len(_BOX_IN)) - 1]
    row_in = len(shown) * box_in + 0.07
    header = header_height(labels, width - 0.1)
    said = energy_label(unit, note, width, room + 0.12, 0.14)
    bottom = Grid.bottom + LINE_IN * (len(said) - 1)
    rows = places(len(sets), max(1, int((TALLEST_IN - header - bottom - 0.1) / row_in)))
    for page in range(rows[-1][0] + 1):
        here = [name for name, (its_page, _) in zip(sets, rows, strict=True) if its_page == page]
        grid = Grid(
            1,
            1,
            width,
            (row_in * len(here),),
            header,
            left=room + 0.12,
            right=0.14,
            above=0.0,
            bottom=bottom,
        )
        figure = empty_page(grid)
        (axes,) = add_cell(figure, grid, 0, 0)
        axes.set_label("distribution")
        axes.set(
            xlim=(max(low - margin, 0.0) if low >= 0.3 * high else 0.0, high + margin),
            ylim=(len(here) - 0.5, -0.5),
        )
        for place, name in enumerate(here):
            if place % 2:
                axes.axhspan(place - 0.5, place + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
            for one in samples:
                if one.data == name:
                    _draw(axes, one, place, shown, look[one.checkpoint], scale, box_in / row_in)
        for one in samples:
            if one.clean and len(sets) > 1:
                axes.axvline(
                    one.quantiles[2] / scale,
                    color=look[one.checkpoint].colour,
                    linestyle=":",
                    linewidth=0.7,
                    zorder=0.6,
                )
        axes.set_yticks(range(len(here)), [names[titles[name]] for name in here])
        axes.tick_params(axis="y", length=0)
        tidy_ticks(axes.xaxis, 6)
        header_legend(figure, grid, handles, labels)
        draw_energy_label(figure, grid, said)
        yield figure


def _drawn(one: EnergySamples) -> NDArray[np.float64]:
    """What must lie within the axes: every sample of few, else the outer quantiles and the mean."""
    energies = np.asarray(one.energy_pj, dtype=np.float64)
    return energies if len(energies) <= FEW_SAMPLES else np.append(one.quantiles, energies.mean())


def _draw(
    axes: Any,
    one: EnergySamples,
    place: int,
    shown: Sequence[str],
    look: Look,
    scale: float,
    step: float,
) -> None:
    y = place + step * (shown.index(one.checkpoint) - (len(shown) - 1) / 2)
    label = f"{one.data} {one.checkpoint}"
    energies = np.asarray(one.energy_pj, dtype=np.float64) / scale
    low, first, median, third, high = one.quantiles / scale
    if len(energies) <= FEW_SAMPLES:
        axes.plot(
            energies,
            np.full(len(energies), y),
            color=look.colour,
            linestyle="",
            marker="|",
            markersize=4,
            label=f"{label} samples",
        )
    else:
        axes.plot(
            [low, high], [y, y], color=look.colour, linewidth=0.8, zorder=2, label=f"{label} range"
        )
        pale = tuple(1 - 0.4 * (1 - part) for part in look.colour)
        axes.barh(
            y,
            third - first,
            left=first,
            height=0.72 * step,
            color=pale,
            edgecolor=look.colour,
            linewidth=0.7,
            zorder=2.5,
            label=label,
        )
        axes.plot(
            [median, median],
            [y - 0.36 * step, y + 0.36 * step],
            color=INK,
            linewidth=1.1,
            solid_capstyle="butt",
            zorder=2.7,
            label=f"{label} median",
        )
    axes.plot(
        energies.mean(),
        y,
        color=look.colour,
        linestyle="",
        marker=look.marker,
        markersize=3.0,
        markeredgecolor="white",
        markeredgewidth=0.5,
        zorder=3,
        label=f"{label} mean",
    )


def _signs(samples: Sequence[EnergySamples], shown: Sequence[Look]) -> tuple[list[Any], list[str]]:
    """Handles of the networks and of the signs, and labels of the signs."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    networks: list[Any] = [
        Line2D(
            [],
            [],
            color=look.colour,
            linewidth=0.8,
            marker=look.marker,
            markeredgecolor="white",
            markeredgewidth=0.5,
        )
        for look in shown
    ]
    signs: list[tuple[Any, str]] = []
    if any(len(one.energy_pj) > FEW_SAMPLES for one in samples):
        signs += [
            (Patch(facecolor=PALE, edgecolor=INK, linewidth=0.7), "quartiles"),
            (
                Line2D(
                    [], [], color=INK, linestyle="", marker="|", markersize=6, markeredgewidth=1.1
                ),
                "median",
            ),
            (Line2D([], [], color=INK, linewidth=0.8), "quantiles 0.05–0.95"),
        ]
    if any(len(one.energy_pj) <= FEW_SAMPLES for one in samples):
        signs.append((Line2D([], [], color=INK, linestyle="", marker="|", markersize=4), "sample"))
    signs.append(
        (
            Line2D(
                [], [], color=INK, linestyle="", marker="o", markersize=3.0, markeredgecolor="white"
            ),
            "mean",
        )
    )
    if any(one.clean for one in samples) and len({one.data for one in samples}) > 1:
        signs.append((Line2D([], [], color=INK, linestyle=":", linewidth=0.7), "clean median"))
    return [*networks, *(handle for handle, _ in signs)], [text for _, text in signs]


def _check(samples: Sequence[EnergySamples]) -> None:
    drawable("energy distribution", samples, [(one.checkpoint, one.data) for one in samples])
    for one in samples:
        amounts(
            f"the energy distribution of {one.checkpoint} on {one.data}",
            {"the energies": one.energy_pj},
        )
