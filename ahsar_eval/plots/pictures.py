"""Figures of pictures: contact sheets of a set and its shifts, and Figure 4 of the paper: spike
rasters and firing-rate maps of one layer, one sample, at several threshold scales.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from ahsar_eval.plots.pages import say
from ahsar_eval.plots.style import Drawn, drawable, grouped, styled
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

_SIDE_IN = 0.9  # of a picture on a sheet
_SPIKE = "#1f3b57"
_LONG = 4  # times the shorter side


@dataclass(frozen=True)
class SheetRow:
    """One row of pictures under a label; `pictures` [n, C, H, W] in [0, 1], or counts of events
    where C is 2 (OFF, ON), or 1 with counts above 1.

    `full` [n] is the count that is shown in full colour: that of the clean recording, so that added
    and lost events can be seen.
    """

    label: str
    pictures: NDArray[np.float32]
    full: NDArray[np.float32]


def save_sheet(
    rows: Sequence[SheetRow], path: str | Path, *, title: str, captions: Sequence[str] = ()
) -> Path:
    """Write the rows below one another as PNG, PDF or SVG by suffix, `captions` above the columns
    of the first. Events: red ON, blue OFF, white none. Raises `OutputError`.
    """
    columns = max(len(row.pictures) for row in rows)
    height, width = rows[0].pictures.shape[-2:]
    size = (_SIDE_IN * columns + 1.5, _SIDE_IN * height / width * len(rows) + 0.55)
    with styled():
        close = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
        figure = Figure(size, dpi=200, layout=close)
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for line, row in zip(grid, rows, strict=True):
            for i, axes in enumerate(line):
                axes.spines[:].set_linewidth(0.3)
                if i < len(row.pictures):
                    draw_picture(axes, row.pictures[i], float(row.full[i]))
                else:
                    axes.axis("off")
            line[0].set_ylabel(row.label, rotation=0, ha="right", va="center")
        for axes, caption in zip(grid[0], captions, strict=False):
            axes.set_title(caption, fontsize="small", pad=2)
        figure.suptitle(title, x=0.01, ha="left", fontsize="large")
    return Drawn("sheet", [figure], None).save(path)[0]


def draw_picture(axes: Any, picture: NDArray[np.float32], full: float) -> None:
    """Grey, colours, or events, whose count `full` is shown in full colour. Long pictures, such as
    a row of channels over few steps, fill their place.
    """
    shown = picture[0] / max(full, 1.0) if len(picture) == 1 else picture.transpose(1, 2, 0)
    if len(picture) == 2:
        # On a linear scale a few busy pixels would hide all others.
        off, on = np.sqrt(picture / (full or 1.0))
        shown = np.stack([1 - off, 1 - np.maximum(off, on), 1 - on], axis=-1)
    axes.imshow(np.clip(shown, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height, width = picture.shape[-2:]
    aspect = "auto" if max(height, width) > _LONG * min(height, width) else "equal"
    axes.set(xticks=[], yticks=[], aspect=aspect)


def raster(results: Results) -> Iterator[Drawn]:
    """For each network a line of rasters above a line of firing-rate maps, the input beside them,
    rate and threshold of the layer below each.

    All panels of a network show the same sample and neurons; all maps share one colour scale. A
    setting that a network does not have keeps its place. Drawn, for network i and setting j:
    `spikes_i_j` bool [T, *shape], `map_i_j`, `rate_i_j`, `threshold_i_j`, `scale_i_j` (NaN for the
    replayed one), and `image_i`, `neurons_i` (the indices shown), `checkpoint_i`, `layer_i`.
    """
    networks, arrays = grouped(results.records["panel"], "checkpoint"), results.arrays
    drawable("raster", list(networks))
    columns = max(map(len, networks.values()))
    numbers: dict[str, NDArray[Any]] = {}
    for i, (name, rows) in enumerate(networks.items()):
        numbers |= {f"{part}_{i}": arrays[f"{name}/{part}"] for part in ("image", "neurons")}
        numbers |= {f"checkpoint_{i}": np.array(name), f"layer_{i}": np.array(_layer(rows[0]))}
        for j, row in enumerate(rows):
            if row["rate"] is not None:
                for part in ("spikes", "map"):
                    numbers[f"{part}_{i}_{j}"] = arrays[f"{name}/{row['setting']}/{part}"]
                for part in ("rate", "threshold", "scale"):
                    numbers[f"{part}_{i}_{j}"] = np.array(row[part], dtype=float)  # None is NaN
    maps = [np.nanmax(array) for name, array in numbers.items() if name.startswith("map_")]
    size = (1.25 * (columns + 1) + 0.75, 3.15 * len(networks))
    with styled():
        figure = Figure(size, dpi=200, layout="constrained")
        sections = figure.subfigures(len(networks), 1, squeeze=False)[:, 0]
        for section, rows in zip(sections, networks.values(), strict=True):
            _draw_network(section, rows, arrays, columns, max(maps, default=0) or 1.0)
    yield Drawn("raster", [figure], numbers)


def _draw_network(
    section: Any, rows: Sequence[Row], arrays: Mapping[str, Any], columns: int, top: float
) -> None:
    """One network's input, rasters and maps in a part of the figure; `top` is the largest rate of
    all maps, `arrays` are those of the results.
    """
    first = rows[0]
    name = first["checkpoint"]
    label = f", label {first['class']}" if first["class"] else ""
    said = f"{name} · {_layer(first)} · {first['set']} sample {first['sample']}{label}"
    section.suptitle(said, x=0.01, ha="left", fontsize="large")
    grid = section.add_gridspec(2, columns + 1, height_ratios=[1.15, 1])
    axes = section.add_subplot(grid[:, 0])
    picture = arrays[f"{name}/image"]
    draw_picture(axes, picture, float(arrays.get(f"{name}/full", picture.max())))
    axes.set_title("input")
    image, lowers = None, []
    for j in range(columns):
        upper, lower = (section.add_subplot(grid[row, j + 1]) for row in (0, 1))
        lowers.append(lower)
        if j >= len(rows) or rows[j]["rate"] is None:
            say(upper, "trained without\na controller")
            upper.axis("off")
            lower.axis("off")
            continue
        row = rows[j]
        spikes, rates = (arrays[f"{name}/{row['setting']}/{part}"] for part in ("spikes", "map"))
        _draw_raster(upper, row, spikes, arrays[f"{name}/neurons"], first=j == 0)
        image = lower.imshow(rates, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
        lower.set(xticks=[], yticks=[], ylabel="" if j else "firing-rate map")
        rate = f"rate {row['rate']:.3f}"
        if row["threshold"] is not None:
            rate += "\n" rf"$v_{{\mathrm{{th}}}}$ = {row['threshold']:.3f}"
        lower.set_xlabel(rate, parse_math=True)
    if image is not None:
        where = {"fraction": 0.03, "pad": 0.01, "aspect": 12}
        section.colorbar(image, ax=lowers, label="spikes per step", **where)


def _layer(row: Row) -> str:
    return f"layer {row['layer_index']} ({row['layer']})"


def _draw_raster(
    axes: Any, row: Row, spikes: NDArray[np.bool_], neurons: NDArray[np.int64], *, first: bool
) -> None:
    flat = spikes.reshape(len(spikes), -1)
    steps, places = np.nonzero(flat[:, neurons])
    # One short line per spike, in data units: it prints the same at any size.
    width, ends = 3.0 if len(flat) <= 16 else 0.8, (places - 0.45, places + 0.45)
    axes.vlines(steps + 1, *ends, colors=_SPIKE, linewidths=width, rasterized=True)
    axes.set(xlim=(0.4, len(flat) + 0.6), ylim=(len(neurons) - 0.5, -0.5))
    axes.set_xticks(sorted({1, len(flat) // 2 or 1, len(flat)}))
    title = "AHSAR" if row["scale"] is None else rf"$s$ = {row['scale']:g}"
    if row["scale"] is None and row["factor"] is not None:
        title = rf"$r_{{\mathrm{{AHSAR}}}}$ = {row['factor']:.3f}"
    axes.set_title(title, parse_math=True)
    axes.set_xlabel("time step", labelpad=1)
    if first:
        axes.set_ylabel(f"neuron ({len(neurons)} of {flat.shape[1]})")
    else:
        axes.set_yticklabels([])
