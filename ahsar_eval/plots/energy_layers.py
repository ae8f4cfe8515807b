"""Energy layer by layer: a bar for each layer, stacked by the part of the work, and the totals
below. Networks whose layers have the same names stand side by side, the others below them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from string import ascii_letters
from typing import Any

from pandas import DataFrame, concat

from ahsar_eval.energy.result import network_of
from ahsar_eval.files import table_beside
from ahsar_eval.plots.energy import data_said, each_profile
from ahsar_eval.plots.pages import Band, Panel, draw_pages, in_rows, name_rows, width_for
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    SINGLE_IN,
    Drawn,
    elided_names,
    energy_unit,
    text_width,
    three_digits,
)
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

# Title and colour of each part of the work: not the colours of networks, and light beside dark so
# that grey tells them apart.
PARTS = table_beside(__file__, "words.toml")["parts"]
MOST_NETWORKS, MOST_BARS = 4, 45  # side by side, and below one another
NAMES_IN = 1.45  # the widest name of a layer is cut to this
_BAR_IN = 0.135  # a bar with the space about it


def layers(results: Results) -> Iterator[Drawn]:
    """Energy layer by layer: a column per network, a stacked bar per layer, the totals below.

    Drawn: checkpoint, layer, part, energy_pj. Raises `DataError` for two networks of one name.
    """
    for folder, own, note in each_profile(results):
        bars = {network_of(row): layer_energies(row) for row in own["result"]}
        parts = {
            name: one.melt(var_name="part", value_name="energy_pj", ignore_index=False)
            for name, one in bars.items()
        }
        table = concat(parts, names=["checkpoint", "layer"]).reset_index()
        yield Drawn(
            f"{folder}energy_layers", layer_pages(bars, note, data_said(own["result"])), table
        )


def layer_energies(result: Row) -> DataFrame:
    """pJ per inference by layer (index) and part of the work (columns); they sum to the result's
    total energy.

    The rows are the layers with weights in network order, then what could not be placed with one of
    them. What has no price is left out.
    """
    sources = {layer["name"]: layer["source"] for layer in result["layers"]}
    rows: dict[str, dict[str, float]] = {name: {} for name in sources}
    for line in result["parts"]:
        energy, row = line["energy_pj"], row_of(line["layer"], sources)
        if (energy or 0) > 0:
            rows.setdefault(row, {})
        if energy is not None and row in rows:
            # Synapses are shown by their operation, normalisation beside the biases.
            part = line["operation"] if line["part"] == "synapses" else line["part"]
            part = "bias" if part == "normalisation" else part
            rows[row][part] = rows[row].get(part, 0.0) + energy
    parts = [part for part in PARTS if any(part in row for row in rows.values())]
    return DataFrame(rows, index=parts or ["ac"], dtype=float).T.fillna(0.0)


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
    number = own.lstrip(ascii_letters)  # '1_2' of 'bn1_2'
    same = [layer for sibling, layer in beside.items() if sibling.lstrip(ascii_letters) == number]
    return same[0] if number and len(same) == 1 else name


def layer_pages(bars: Mapping[str, DataFrame], note: str, said: str) -> list[Any]:
    """Pages as matplotlib figures; `bars` has for each network pJ by layer (index) and part of
    `PARTS` (columns). One scale for all networks; `note` stands behind the label of the axis,
    `said` below it.
    """
    totals = DataFrame({name: one.sum() for name, one in bars.items()}).T.fillna(0.0)
    shown = [part for part in PARTS if part in totals and totals[part].any()] or ["ac"]
    unit, scale = energy_unit(totals.sum(axis=1).max())
    alike: dict[tuple[str, ...], list[str]] = {}
    for name, one in bars.items():
        alike.setdefault(tuple(one.index), []).append(name)
    columns = min(MOST_NETWORKS, max(map(len, alike.values())))
    room = min(NAMES_IN, max(text_width(layer) for layers in alike for layer in layers))
    beside = (SINGLE_IN - room) / columns - 0.2
    cut = columns > 1 and max(map(text_width, bars)) > beside
    width = DOUBLE_IN if cut else width_for(columns)
    titles = elided_names(bars, (width - room) / columns - 0.2)
    bands = []
    for layers, networks in alike.items():
        names = list(elided_names(layers, NAMES_IN).values())
        for start in range(0, len(layers), MOST_BARS):
            part = slice(start, start + MOST_BARS)
            panels = []
            for name in networks:
                lengths = bars[name].reindex(columns=shown, fill_value=0.0)[part] / scale
                draw = partial(_stack, lengths, names[part])
                panels.append(Panel(name, draw, title=titles[name], x_as="layers"))
            height = _BAR_IN * len(names[part])
            bands += [Band(row, (height,)) for row in in_rows(panels, columns)]
    short = elided_names(bars, NAMES_IN).values() if len(bars) > 1 else ["total"]
    sums = [three_digits(pj * 1e-12, "J") for pj in totals.sum(axis=1)]
    draw = partial(_stack, totals[shown] / scale, list(short), sums=sums)
    title = "total" if len(bars) > 1 else ""
    bands.append(Band([Panel("total", draw, title=title)], (_BAR_IN * len(bars),)))
    return draw_pages(bands, width, f"energy per inference ({unit}), {note}", said=said)


def _stack(lengths: DataFrame, names: Sequence[str], axes: Any, sums: Sequence[str] = ()) -> None:
    """Horizontal bars from above, the parts side by side, `sums` written at their ends."""
    start = lengths.sum(axis=1) * 0
    for part, own in lengths.items():
        title, colour = PARTS[str(part)]
        row = range(len(own))
        bar = axes.barh(row, own, 0.72, start, color=colour, linewidth=0, label=title)
        start = start + own
    if sums:
        axes.bar_label(bar, sums, padding=3)
        axes.margins(x=0.25)
    name_rows(axes, names)
