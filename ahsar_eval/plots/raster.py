"""Figure 4 of the paper: spike rasters and firing-rate maps of one layer, one sample, at several
threshold scales.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.plots.sheet import draw_picture
from ahsar_eval.plots.style import drawable, styled
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

_SPIKE = "#1f3b57"
_SMALL_PT = 6


def raster(results: Results) -> list[tuple[str, list[Any], dict[str, Any]]]:
    """For each network a line of rasters above a line of firing-rate maps, the input beside them,
    rate and threshold of the layer below each.

    All panels of a network show the same sample and neurons; all maps share one colour scale. A
    setting that a network does not have keeps its place. Drawn, for network i and setting j:
    `spikes_i_j` bool [T, *shape], `map_i_j`, `rate_i_j`, `threshold_i_j`, `scale_i_j` (NaN for the
    replayed one), and `image_i`, `neurons_i` (the indices shown), `checkpoint_i`, `layer_i`.
    """
    networks: dict[str, list[Row]] = {}
    for row in results.records["panel"]:
        networks.setdefault(row["checkpoint"], []).append(row)
    drawable("raster", list(networks), [])
    with styled():
        return [("raster", [_figure(results, networks)], _numbers(results, networks))]


def _numbers(results: Results, networks: dict[str, list[Row]]) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for i, (name, rows) in enumerate(networks.items()):
        drawn[f"image_{i}"] = results.arrays[f"{name}/image"]
        drawn[f"checkpoint_{i}"] = np.array(name)
        drawn[f"layer_{i}"] = np.array(_layer(rows[0]))
        drawn[f"neurons_{i}"] = results.arrays[f"{name}/neurons"]
        for j, row in enumerate(rows):
            if row["threshold"] is None:
                continue
            for part in ("spikes", "map"):
                drawn[f"{part}_{i}_{j}"] = results.arrays[f"{name}/{row['setting']}/{part}"]
            for part in ("rate", "threshold", "scale"):
                drawn[f"{part}_{i}_{j}"] = np.array(np.nan if row[part] is None else row[part])
    return drawn


def _figure(results: Results, networks: dict[str, list[Row]]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = max(map(len, networks.values()))
    maps = [array for name, array in results.arrays.items() if name.endswith("/map")]
    top = max((float(np.nanmax(one)) for one in maps), default=1.0) or 1.0
    size = (1.25 * (columns + 1) + 0.75, 3.15 * len(networks))
    figure = Figure(size, dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    sections = figure.subfigures(len(networks), 1, squeeze=False)[:, 0]
    for section, (name, rows) in zip(sections, networks.items(), strict=True):
        title = f"{name} · {_layer(rows[0])} · {_sample(rows[0])}"
        section.suptitle(title, x=0.01, ha="left", fontsize="large")
        grid = section.add_gridspec(2, columns + 1, height_ratios=[1.15, 1])
        picture, axes = results.arrays[f"{name}/image"], section.add_subplot(grid[:, 0])
        draw_picture(axes, picture, float(picture.max()))
        axes.set_title("input")
        neurons, image, lowers = results.arrays[f"{name}/neurons"], None, []
        for j in range(columns):
            upper, lower = (section.add_subplot(grid[row, j + 1]) for row in (0, 1))
            lowers.append(lower)
            row = rows[j] if j < len(rows) else {"threshold": None}
            if row["threshold"] is None:
                upper.axis("off")
                lower.axis("off")
                middle = {"ha": "center", "va": "center", "transform": upper.transAxes}
                upper.text(0.5, 0.5, "trained without\na controller", **middle)
                continue
            spikes, rates = (
                results.arrays[f"{name}/{row['setting']}/{part}"] for part in ("spikes", "map")
            )
            _draw_raster(upper, row, spikes, neurons, first=j == 0)
            image = lower.imshow(rates, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
            lower.set(xticks=[], yticks=[], ylabel="" if j else "firing-rate map")
            said = (
                rf"rate {row['rate']:.3f}" "\n" rf"$v_{{\mathrm{{th}}}}$ = {row['threshold']:.3f}"
            )
            lower.set_xlabel(said, parse_math=True)
        if image is not None:
            beside = {"location": "right", "fraction": 0.03, "pad": 0.01, "aspect": 12}
            bar = section.colorbar(image, ax=lowers, **beside)
            bar.set_label("spikes per step")
            bar.ax.tick_params(labelsize=_SMALL_PT, width=0.4)
    return figure


def _layer(row: Row) -> str:
    return f"layer {row['layer_index']} ({row['layer']})"


def _sample(row: Row) -> str:
    return f"{row['set']} sample {row['sample']}" + (
        f", label {row['class']}" if row["class"] else ""
    )


def _draw_raster(
    axes: Any, row: Row, spikes: NDArray[np.bool_], neurons: NDArray[np.int64], *, first: bool
) -> None:
    flat = spikes.reshape(len(spikes), -1)
    steps, places = np.nonzero(flat[:, neurons])
    # One short line per spike, in data units: it prints the same at any size.
    line = {"colors": _SPIKE, "linewidths": 3.0 if len(flat) <= 16 else 0.8, "rasterized": True}
    axes.vlines(steps + 1, places - 0.45, places + 0.45, **line)
    axes.set(xlim=(0.4, len(flat) + 0.6), ylim=(len(neurons) - 0.5, -0.5))
    axes.set_xticks(sorted({1, len(flat) // 2 or 1, len(flat)}))
    axes.tick_params(labelsize=_SMALL_PT, width=0.5)
    replayed = rf"$r_{{\mathrm{{AHSAR}}}}$ = {row['factor']:.3f}"
    title = replayed if row["scale"] is None else rf"$s$ = {row['scale']:g}"
    axes.set_title(title, parse_math=True)
    axes.set_xlabel("time step", labelpad=1)
    if first:
        axes.set_ylabel(f"neuron ({len(neurons)} of {flat.shape[1]})")
    else:
        axes.set_yticklabels([])
