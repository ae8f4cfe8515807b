"""Figures of pictures: contact sheets of a set and its shifts, and Figure 4 of the paper: spike
rasters and firing-rate maps of one layer, one sample, at several threshold scales.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ahsar_eval.plots.style import (
    DOUBLE_IN,
    TALLEST_IN,
    Drawn,
    drawable,
    elided,
    elided_names,
    grouped,
    styled,
    text_width,
)
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

_SIDE_IN, _LEAST_IN = 0.9, 0.35  # of a picture on a sheet, at most and at least
_SHEET_TOP_IN, _SHEET_NAME_IN = 0.4, 1.1
# A raster above a map: their sides, the steps from one column to the next, and what is beside.
_RASTER_IN, _MAP_IN, _PITCH_IN = 1.15, 1.04, 1.18
_LEFT_IN, _RIGHT_IN, _BELOW_IN = 0.6, 0.5, 0.36
_NETWORK_IN, _INPUT_IN = 0.42 + _RASTER_IN + 0.4 + _MAP_IN + _BELOW_IN + 0.08, 0.9
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
    """Write the rows below one another as PNG, PDF or SVG by suffix, in as many blocks side by side
    as a page needs, `captions` above the columns of each. Events: red ON, blue OFF, white
    none. Raises `OutputError`.
    """
    columns = max(len(row.pictures) for row in rows)
    shape = rows[0].pictures.shape[-2:]
    with styled():
        names = elided_names([row.label for row in rows], _SHEET_NAME_IN)
        left = max(map(text_width, names.values())) + 0.08
        lines, side = _blocks(len(rows), columns, left, shape[0] / shape[1])
        height = side * shape[0] / shape[1]
        width = left + columns * side + 0.1  # of a block
        size = (-(-len(rows) // lines) * width, lines * height + _SHEET_TOP_IN + 0.05)
        figure = Figure((max(size[0], text_width(title) * 1.2 + 0.2), size[1]), dpi=300)
        for i, row in enumerate(rows):
            x, y = i // lines * width + left, size[1] - _SHEET_TOP_IN - (i % lines + 1) * height
            _text(figure, x - 0.05, y + height / 2, names[row.label], ha="right", va="center")
            for j, picture in enumerate(row.pictures):
                axes = _axes(figure, x + j * side, y, 0.96 * side, 0.96 * height)
                axes.spines[:].set_linewidth(0.3)
                draw_picture(axes, picture, float(row.full[j]))
                if j < len(captions) and i % lines == 0:
                    said = elided(captions[j], side)
                    axes.set_title(said, fontsize="small", pad=2)
        _text(figure, 0.05, size[1] - 0.05, title, va="top", fontsize="large")
    return Drawn("sheet", [figure], None).save(path)[0]


def _blocks(rows: int, columns: int, left: float, ratio: float) -> tuple[int, float]:
    """Rows of a block, and the width of a picture in inches, of a sheet that fits a page, perhaps
    made smaller: its pictures as large as the page is wide, but not smaller than `_LEAST_IN`.

    `left` is the room for names beside a block, `ratio` the height of a picture over its width.
    """
    for blocks in range(1, rows + 1):
        lines = -(-rows // blocks)
        side = min(_SIDE_IN, (DOUBLE_IN / blocks - left - 0.1) / columns)
        side = max(side, _LEAST_IN)
        width = blocks * (left + columns * side + 0.1)
        if lines * side * ratio + _SHEET_TOP_IN <= TALLEST_IN * max(1.0, width / DOUBLE_IN):
            break
    return lines, side


def _axes(figure: Any, x: float, y: float, width: float, height: float) -> Any:
    """Axes whose lower left corner is at (x, y), in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((x / across, y / up, width / across, height / up))


def _text(figure: Any, x: float, y: float, said: str, **how: Any) -> Any:
    """A text at (x, y), in inches."""
    across, up = figure.get_size_inches()
    return figure.text(x / across, y / up, said, **how)


def coloured(picture: NDArray[np.float32], full: float) -> NDArray[np.float32]:
    """Grey [H, W] or colours [H, W, 3] in [0, 1] of a picture [C, H, W]; of events, whose count
    `full` is shown in full colour, red ON, blue OFF, white none.
    """
    shown = picture[0] / max(full, 1.0) if len(picture) == 1 else picture.transpose(1, 2, 0)
    if len(picture) == 2:
        # On a linear scale a few busy pixels would hide all others.
        off, on = np.sqrt(picture / (full or 1.0))
        shown = np.stack([1 - off, 1 - np.maximum(off, on), 1 - on], axis=-1)
    return np.clip(shown, 0, 1)


def draw_picture(axes: Any, picture: NDArray[np.float32], full: float) -> None:
    """A picture as `coloured`. Long ones, such as a row of channels over few steps, fill their
    place.
    """
    shown = coloured(picture, full)
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    height, width = picture.shape[-2:]
    aspect = "auto" if max(height, width) > _LONG * min(height, width) else "equal"
    axes.set(xticks=[], yticks=[], aspect=aspect)


def raster(results: Results) -> Iterator[Drawn]:
    """For each network a line of rasters, and below each its firing-rate map with rate and
    threshold of the layer; the input once above the networks that see it.

    All panels of a network show the same sample and neurons; all maps share one colour scale. A
    setting that one network lacks leaves its place empty. Drawn, for network i and setting j:
    `spikes_i_j` bool [T, *shape], `map_i_j`, `rate_i_j`, `threshold_i_j`, `scale_i_j` (NaN for the
    replayed one), and `image_i`, `neurons_i` (the indices shown), `checkpoint_i`, `layer_i`.
    """
    networks, arrays = grouped(results.records["panel"], "checkpoint"), results.arrays
    drawable("raster", list(networks))
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
    each = [[row for row in rows if row["rate"] is not None] for rows in networks.values()]
    columns = list(dict.fromkeys(row["setting"] for rows in networks.values() for row in rows))
    held = {row["setting"] for rows in each for row in rows}
    columns = [setting for setting in columns if setting in held]
    top = max(maps, default=0) or 1.0
    with styled():
        pages = [_raster_page(page, arrays, columns, top) for page in _on_pages(each, arrays)]
    yield Drawn("raster", pages, numbers)


def _on_pages(
    networks: Sequence[Sequence[Row]], arrays: Mapping[str, Any]
) -> list[list[tuple[bool, Sequence[Row]]]]:
    """Networks by page, each with whether its input is drawn: it is where it is not the one drawn
    above on the same page.
    """
    pages: list[list[tuple[bool, Sequence[Row]]]] = [[]]
    height, last = 0.0, None
    for rows in networks:
        image = arrays[f"{rows[0]['checkpoint']}/image"]
        with_input = last is None or not np.array_equal(image, last)
        height += _NETWORK_IN + with_input * _INPUT_IN
        if pages[-1] and height > TALLEST_IN:
            pages.append([])
            height, with_input = _NETWORK_IN + _INPUT_IN, True
        pages[-1].append((with_input, rows))
        last = image
    return pages


def _raster_page(
    networks: Sequence[tuple[bool, Sequence[Row]]],
    arrays: Mapping[str, Any],
    columns: Sequence[str],
    top: float,
) -> Any:
    """Networks below one another; `columns` are the settings, `top` is the largest rate of all
    maps, `arrays` are those of the results.
    """
    width = max(DOUBLE_IN, _LEFT_IN + _PITCH_IN * len(columns) + _RIGHT_IN)
    height = sum(_NETWORK_IN + with_input * _INPUT_IN for with_input, _ in networks)
    figure, y = Figure((width, height), dpi=300), height
    for with_input, rows in networks:
        if with_input:
            _draw_input(figure, y, rows[0], arrays)
            y -= _INPUT_IN
        image = _draw_network(figure, y, rows, arrays, columns, top)
        y -= _NETWORK_IN
    place = _LEFT_IN + _PITCH_IN * len(columns) - 0.06, y + _BELOW_IN, 0.08, _MAP_IN
    figure.colorbar(image, cax=_axes(figure, *place), label="spikes per step")
    return figure


def _draw_input(figure: Any, y: float, row: Row, arrays: Mapping[str, Any]) -> None:
    """The input of the networks below the height `y`, and what it is."""
    image = arrays[f"{row['checkpoint']}/image"]
    axes = _axes(figure, _LEFT_IN, y - _INPUT_IN + 0.05, _INPUT_IN - 0.1, _INPUT_IN - 0.1)
    full = arrays.get(f"{row['checkpoint']}/full", image.max())
    draw_picture(axes, image, float(full))
    axes.set_label("input")
    label = f", label {row['class']}" if row["class"] else ""
    said = elided(f"input: {row['set']}, sample {row['sample']}{label}", DOUBLE_IN - 2)
    _text(figure, _LEFT_IN + _INPUT_IN, y - _INPUT_IN / 2, said, va="center")


def _draw_network(
    figure: Any,
    y: float,
    rows: Sequence[Row],
    arrays: Mapping[str, Any],
    columns: Sequence[str],
    top: float,
) -> Any:
    """One network's rasters and maps below the height `y`; returns the last map."""
    name = rows[0]["checkpoint"]
    said = f"{elided(name, DOUBLE_IN - 3)} · {elided(_layer(rows[0]), 2.0)}"
    _text(figure, _LEFT_IN, y - 0.05, said, va="top")
    low = y - _NETWORK_IN
    places = {setting: _LEFT_IN + j * _PITCH_IN for j, setting in enumerate(columns)}
    for setting, x in places.items():
        if setting not in {row["setting"] for row in rows}:
            at = x + _MAP_IN / 2, y - 0.42 - _RASTER_IN / 2
            _text(figure, *at, "trained without\na controller", ha="center", va="center")
    for j, row in enumerate(rows):
        x = places[row["setting"]]
        upper = _axes(figure, x, y - 0.42 - _RASTER_IN, _MAP_IN, _RASTER_IN)
        lower = _axes(figure, x, low + _BELOW_IN, _MAP_IN, _MAP_IN)
        spikes, rates = (arrays[f"{name}/{row['setting']}/{part}"] for part in ("spikes", "map"))
        _draw_raster(upper, row, spikes, arrays[f"{name}/neurons"], first=j == 0)
        image = lower.imshow(rates, cmap="magma", vmin=0, vmax=top, interpolation="nearest")
        lower.set(xticks=[], yticks=[], ylabel="" if j else "firing-rate map")
        rate = f"rate {row['rate']:.3f}"
        if row["threshold"] is not None:
            rate += "\n" rf"$v_{{\mathrm{{th}}}}$ = {row['threshold']:.3f}"
        lower.set_xlabel(rate, parse_math=True)
    return image


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
