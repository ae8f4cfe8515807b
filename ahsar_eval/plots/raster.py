"""Figure 4 of the paper: spike rasters and firing-rate maps of one layer, one sample, at several
threshold scales.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.files import written_whole
from ahsar_eval.plots.style import embedded_type

MOST_NEURONS = 160
_SPIKE = "#1f3b57"
_INK = "#222222"


@dataclass(frozen=True)
class RasterPanel:
    """One column: `spikes` bool [T, *shape] of the shown layer. `scale` None is the replayed
    setting (r_AHSAR).
    """

    scale: float | None
    layer_scale: float  # effective threshold over base, of the shown layer
    threshold: float
    spikes: NDArray[np.bool_]

    @property
    def rate(self) -> float:
        """Mean spikes per neuron and time step."""
        return float(self.spikes.mean())

    @property
    def title(self) -> str:
        """Heading of the column."""
        return (
            rf"$s$ = {self.scale:g}"
            if self.scale is not None
            else rf"$r_{{\mathrm{{AHSAR}}}}$ = {self.layer_scale:.3f}"
        )


@dataclass(frozen=True)
class RasterRow:
    """One checkpoint's panels. `image` [C, H, W] is what the network saw (time mean for events)."""

    checkpoint: str
    layer: str
    sample: str
    image: NDArray[np.float32]
    panels: Sequence[
        RasterPanel | None
    ]  # None keeps its place: a setting the network does not have


def shown_neurons(neurons: int, most: int = MOST_NEURONS) -> NDArray[np.int64]:
    """Indices of the neurons a raster shows, ascending: all of them, or `most` drawn once and for
    all; the same for every panel.

    They are drawn, not evenly spaced: a regular stride over [C, H, W] meets the same few columns of
    every channel.
    """
    if neurons <= most:
        return np.arange(neurons)
    return np.sort(
        np.random.Generator(np.random.Philox(key=[neurons, most])).choice(
            neurons, most, replace=False
        )
    )


def firing_map(spikes: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Firing-rate map [H, W]: mean over time and channels of spikes [T, C, H, W]; a layer without
    space becomes a near-square sheet.

    The sheet of a layer [T, D] is filled row by row; cells past the last neuron are NaN.
    """
    rate = spikes.mean(axis=0, dtype=np.float64)
    if rate.ndim == 3:
        averaged: NDArray[np.float64] = rate.mean(axis=0)
        return averaged
    if rate.ndim == 2:
        return rate
    flat = rate.reshape(-1)
    side = int(np.ceil(np.sqrt(len(flat))))
    sheet = np.full(side * -(-len(flat) // side), np.nan)
    sheet[: len(flat)] = flat
    return sheet.reshape(-1, side)


def raster_figure(rows: Sequence[RasterRow]) -> Any:
    """A matplotlib figure: for each row a line of rasters above a line of firing-rate maps, the
    input beside them.

    All panels of a row show the same sample and neurons; all maps of the figure share one colour
    scale. The rate and the effective threshold stand in each panel.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    columns = max(len(row.panels) for row in rows)
    maps = [
        [None if panel is None else firing_map(panel.spikes) for panel in row.panels]
        for row in rows
    ]
    top = (
        max(
            (float(np.nanmax(one)) for line in maps for one in line if one is not None), default=1.0
        )
        or 1.0
    )
    style: Any = sns.axes_style("ticks")
    settings: Any = {
        "font.size": 8,
        "axes.linewidth": 0.6,
        "axes.edgecolor": _INK,
        "text.color": _INK,
    }
    with plt.rc_context(style | settings):
        width = 1.25 * (columns + 1) + 0.75
        figure = plt.figure(figsize=(width, 3.15 * len(rows)), dpi=200, layout="constrained")
        sections = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
        image = None
        for row, line, section in zip(rows, maps, sections, strict=True):
            section.suptitle(
                f"{row.checkpoint} · {row.layer} · {row.sample}", fontsize=8, x=0.01, ha="left"
            )
            grid = section.add_gridspec(2, columns + 1, height_ratios=[1.15, 1])
            _input_panel(section.add_subplot(grid[:, 0]), row)
            lowers = []
            for place in range(columns):
                upper, lower = (
                    section.add_subplot(grid[0, place + 1]),
                    section.add_subplot(grid[1, place + 1]),
                )
                lowers.append(lower)
                panel = row.panels[place] if place < len(row.panels) else None
                if panel is None:
                    upper.axis("off")
                    lower.axis("off")
                    upper.text(
                        0.5,
                        0.5,
                        "trained without\na controller",
                        ha="center",
                        va="center",
                        fontsize=7,
                        transform=upper.transAxes,
                    )
                    continue
                _raster_panel(upper, panel, first=place == 0)
                image = lower.imshow(
                    line[place], cmap="magma", vmin=0, vmax=top, interpolation="nearest"
                )
                lower.set(xticks=[], yticks=[])
                lower.set_xlabel(
                    f"rate {panel.rate:.3f}\n" + rf"$v_{{\mathrm{{th}}}}$ = {panel.threshold:.3f}",
                    fontsize=7,
                )
                if place == 0:
                    lower.set_ylabel("firing-rate map", fontsize=7)
            if image is not None:
                bar = section.colorbar(
                    image, ax=lowers, location="right", fraction=0.03, pad=0.01, aspect=12
                )
                bar.set_label("spikes per step", fontsize=7)
                bar.ax.tick_params(labelsize=6, width=0.4, length=2)
    return figure


def save_raster(rows: Sequence[RasterRow], path: str | Path) -> list[Path]:
    """Write the figure (PNG, PDF or SVG by suffix) and its arrays beside it as `NAME.arrays.npz`;
    returns both paths. Raises `OutputError`.

    The archive holds, per row i and panel j: `spikes_i_j` bool [T, *shape], `map_i_j`, `rate_i_j`,
    `threshold_i_j`, `scale_i_j` (NaN for the replayed setting), and per row `image_i`, `neurons_i`
    (the indices shown), `checkpoint_i`, `layer_i`.
    """
    import matplotlib.pyplot as plt

    target = Path(path)
    arrays: dict[str, Any] = {}
    for number, row in enumerate(rows):
        arrays[f"image_{number}"] = row.image
        arrays[f"checkpoint_{number}"], arrays[f"layer_{number}"] = (
            np.array(row.checkpoint),
            np.array(row.layer),
        )
        for place, panel in enumerate(row.panels):
            if panel is None:
                continue
            arrays[f"neurons_{number}"] = shown_neurons(panel.spikes[0].size)
            tag = f"{number}_{place}"
            arrays[f"spikes_{tag}"], arrays[f"map_{tag}"] = panel.spikes, firing_map(panel.spikes)
            arrays[f"rate_{tag}"], arrays[f"threshold_{tag}"] = (
                np.array(panel.rate),
                np.array(panel.threshold),
            )
            arrays[f"scale_{tag}"] = np.array(np.nan if panel.scale is None else panel.scale)
    # A suffix of its own: NAME.npz may be the data set the figure was made from. Both files appear,
    # or none.
    beside = target.with_suffix(".arrays.npz")
    figure = raster_figure(rows)
    try:
        with (
            embedded_type(),
            written_whole(beside) as arrays_file,
            written_whole(target) as figure_file,
        ):
            with open(arrays_file, "wb") as writer:
                np.savez_compressed(writer, **arrays)
            figure.savefig(figure_file)
    finally:
        plt.close(figure)
    return [target, beside]


def _input_panel(axes: Any, row: RasterRow) -> None:
    picture: NDArray[Any] = row.image
    if picture.shape[0] == 2:  # event polarities: red on, blue off
        largest = float(picture.max()) or 1.0
        picture = np.stack([picture[1], np.zeros_like(picture[0]), picture[0]]) / largest
    shown = picture[0] if picture.shape[0] == 1 else picture.transpose(1, 2, 0)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.set_title("input", fontsize=8)


def _raster_panel(axes: Any, panel: RasterPanel, *, first: bool) -> None:
    flat = panel.spikes.reshape(len(panel.spikes), -1)
    chosen = shown_neurons(flat.shape[1])
    steps, neurons = np.nonzero(flat[:, chosen])
    # One short line per spike, in data units: it prints the same at any size.
    axes.vlines(
        steps + 1,
        neurons - 0.45,
        neurons + 0.45,
        colors=_SPIKE,
        linewidths=3.0 if len(flat) <= 16 else 0.8,
        rasterized=True,
    )
    axes.set_xlim(0.4, len(flat) + 0.6)
    axes.set_ylim(len(chosen) - 0.5, -0.5)
    axes.set_xticks(sorted({1, len(flat) // 2 or 1, len(flat)}))
    axes.tick_params(labelsize=6, width=0.5, length=2)
    axes.set_title(panel.title, fontsize=8)
    axes.set_xlabel("time step", fontsize=7, labelpad=1)
    if first:
        axes.set_ylabel(f"neuron ({len(chosen)} of {flat.shape[1]})", fontsize=7)
    else:
        axes.set_yticklabels([])
