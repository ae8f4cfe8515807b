"""The paper's Figure 2 and its section 3 on one sheet: what a network does as one factor scales all
its thresholds, and why; and how trainings at each factor converge.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from pandas import DataFrame, concat

from ahsar_eval.plots.pages import Band, Panel, draw_lines, draw_pages, in_rows, is_wide, split
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    INK,
    PALE,
    Colour,
    Drawn,
    Looks,
    drawable,
    elided_names,
    energy_unit,
    looks,
    other_looks,
    samples_said,
    shades,
)
from ahsar_eval.results.results import Results

RATE, ENERGY = "mean rate (spikes per step)", "energy"  # names of curves
GATES = {"rate": "r, firing rate", "gate": "G, mean surrogate gate", "slope": "−∂r/∂θ, input held"}
CONVERGENCE = {
    "train_loss": "training loss",
    "validation_loss": "hold-out NLL",
    "validation_accuracy": "hold-out accuracy",
}
SCALE = ["scale", "scale_low", "scale_high"]
COLUMNS = [*("part", "checkpoint", "layer", "quantity", "epoch", "own"), *SCALE]
COLUMNS += ["value", "low", "high"]
AHSAR = "ahsar"  # the method
_RING: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5, "markeredgewidth": 1.1}
_RING |= {"markerfacecolor": "white", "zorder": 4}


def threshold_sweep(results: Results) -> Iterator[Drawn]:
    """A panel per curve, a panel of r, G and −∂r/∂θ per checkpoint, and the convergence of
    trainings. A ring is where a network works, a band the range of its factors over layers.

    Drawn: part (curve, network, layer, training), checkpoint, layer, quantity, epoch, own, scale
    with its range over layers, value, low, high; empty where there is none.
    """
    own = [row["checkpoint"] for row in results.records["point"] if row["own"]]
    if own or not results.records["epoch"]:
        drawable("threshold sweep", own)
    table, look = sweep_points(results), looks(own)
    parts = split(table, ["part", "quantity"])
    titles = {name: _title(name, rows) for (part, name), rows in parts.items() if part == "curve"}
    columns = 4 if len(titles) == 4 else 3
    short = elided_names([*titles.values(), *own], DOUBLE_IN / columns - 0.45)
    curves = [
        Panel(name, partial(_draw_curve, parts["curve", name], look), short[title], x_as="scale")
        for name, title in titles.items()
    ]
    gates = [
        Panel(
            *(f"gate {name}", partial(_draw_gates, rows, look[name]["color"]), short[name]),
            x_as="scale",
            y_as="gates",
        )
        for name, rows in split(table[table.part != "curve"], "checkpoint").items()
        if name in look
    ]
    trainings = [
        Panel(name, partial(_draw_training, rows), CONVERGENCE[name], x_as="scale")
        for (part, name), rows in parts.items()
        if part == "training"
    ]
    bands = [
        Band(row, (height,))
        for panels, columns, height in (
            (curves, columns, 1.1),
            (gates, 1 if len(gates) == 1 else 2, 1.9),
            (trainings, 3, 1.5),
        )
        for row in in_rows(panels, columns)
    ]
    pages = draw_pages(bands, DOUBLE_IN, "factor s on every threshold", said=_said(results))
    yield Drawn("threshold_sweep", pages, table)


def _said(results: Results) -> str:
    """The swept set and its samples, and seeds of trainings."""
    points = results.records["point"]
    sets = samples_said((row["set"], row["n"]) for row in points)
    seeds = len({row["seed"] for row in results.records["epoch"]})
    trained = f"trainings: {seeds} seed{'s' * (seeds > 1)} each" if seeds else ""
    return "; ".join(filter(None, (sets, trained)))


# --- the numbers drawn


def sweep_points(results: Results) -> DataFrame:
    """The points of the sheet, one a row, with the columns `COLUMNS`."""
    fixed = [row for row in results.records["point"] if row["row"] != "adapted"]
    points, layers = DataFrame(fixed), DataFrame(results.records["layer"])
    networks = points.groupby("checkpoint", sort=False) if len(points) else ()
    parts = [part for _, rows in networks for part in _swept_points(rows, layers)]
    parts += _training_points(results) if results.records["epoch"] else []
    table = concat(parts, ignore_index=True).reindex(columns=COLUMNS)
    return table.astype({**dict.fromkeys(("value", "low", "high"), float), "epoch": "Int64"})


def _swept_points(rows: DataFrame, layers: DataFrame) -> Iterator[DataFrame]:
    """Those of a network, from its rows and the layers of all: where all its thresholds have one
    factor, by that, and last where it works itself.
    """
    rows = rows.dropna(axis="columns", how="all")  # accuracy without labels, sets of other networks
    uniform = rows[rows.scale_low == rows.scale_high].sort_values("scale")
    setting = ["checkpoint", "own", "scale"]
    held = uniform[[*setting, *SCALE[1:]]].merge(layers, on=setting)
    sets = [key for key in map(str, rows) if key.startswith("auroc ") and f"{key}_low" in rows]
    curves = {"accuracy": "accuracy"} if "accuracy" in rows else {}
    curves |= {"mean_rate": RATE, "energy_pj": ENERGY}
    curves |= {key: key.replace("auroc ", "AUROC, ", 1) for key in sets}

    def part(name: str, rows: DataFrame, quantity: str, value: Any, **more: Any) -> DataFrame:
        return rows.assign(part=name, quantity=quantity, value=value, **{"own": False, **more})

    for key, name in curves.items():
        ends = {end: uniform.get(f"{key}_{end}") for end in ("low", "high")}
        yield part("curve", uniform, name, uniform[key], **ends)
    for name in GATES:
        means = [np.mean(own[name]) for _, own in held.groupby("scale", sort=False)]
        yield part("network", uniform, name, means)
        for _, layer in held.groupby("layer", sort=False):
            yield part("layer", layer, name, layer[name])
    own = rows[rows.own]
    for key, name in curves.items():
        yield part("curve", own, name, own[key], own=True)
    for name in GATES:
        yield part("network", own, name, own[name], own=True)


def _training_points(results: Results) -> Iterator[DataFrame]:
    """Means over seeds at every fixed scale and of AHSAR after every epoch; NaN from where one of
    the seeds ended early.
    """
    run = ["method", "seed"]
    columns = [*run, "epoch", "diverged", *SCALE, *CONVERGENCE]
    epochs = DataFrame(results.records["epoch"], columns=columns)
    epochs = epochs[(epochs.method != AHSAR) | (epochs.diverged == "")]
    last = max((asked["epochs"] for asked in results.facts.get("trainings", ())), default=0)
    ends = {"scale_low": ("scale_low", "min"), "scale_high": ("scale_high", "max")}
    firsts = epochs.drop_duplicates(run).groupby("method")
    at = firsts.agg(scale=("scale", "mean"), first=("scale", "first"), **ends)
    own = at.index == AHSAR
    at = at.assign(
        part="training",
        own=own,
        checkpoint=at.index.where(own),
        scale=at.scale.where(own, at["first"]),
    )
    for name in CONVERGENCE:
        seeds = epochs.drop_duplicates([*run, "epoch"]).pivot(
            index=run, columns="epoch", values=name
        )
        each: Any = seeds.reindex(columns=range(1, last + 1)).groupby("method")
        values = each.agg(lambda of_seeds: of_seeds.mean(skipna=False))
        points = values.melt(ignore_index=False, var_name="epoch").join(at)
        yield points.assign(quantity=name).sort_values(["own", "epoch", "scale"])


# --- panels


def _title(name: str, rows: DataFrame) -> str:
    if name != ENERGY:
        return name
    return f"energy per inference ({energy_unit(rows.value.max())[0]})"


def _draw_curve(own: DataFrame, look: Looks, axes: Any) -> None:
    if own.quantity.iloc[0] == ENERGY:
        values = ["value", "low", "high"]
        own = own.assign(**own[values] / energy_unit(own.value.max())[1])
    draw_lines(axes, own[~own.own], look, "scale", marker="")
    ring = _RING | {"label": "the network's own thresholds (mean factor)"}
    draw_lines(axes, own[own.own], look, "scale", **ring)
    for name, where in split(own[own.own], "checkpoint").items():
        _mark_range(axes, where, look[name]["color"])
    if own.quantity.iloc[0] in (RATE, ENERGY):
        axes.update_datalim([(1.0, 0.0)])


def _draw_gates(every: DataFrame, colour: Colour, axes: Any) -> None:
    """r, G and −∂r/∂θ of a network, thin lines for its layers."""
    for name, look in other_looks(GATES).items():
        own = every[every.quantity == name]
        line = {key: look[key] for key in ("color", "linestyle")}
        for layer in split(own[own.part == "layer"], "layer").values():
            axes.plot(layer.scale, layer.value, linewidth=0.5, alpha=0.28, zorder=1.5, **line)
        whole, ring = own[(own.part == "network") & ~own.own], own[own.own]
        axes.plot(whole.scale, whole.value, linewidth=1.6, zorder=3, label=GATES[name], **line)
        axes.plot(ring.scale, ring.value, color=look["color"], **_RING)
    axes.plot([], [], color=INK, linewidth=0.7, alpha=0.5, label="one layer")
    _mark_range(axes, every[every.own], colour)
    axes.update_datalim([(1.0, 0.0)])


def _draw_training(own: DataFrame, axes: Any) -> None:
    last = int(own.epoch.max())
    look = looks(["fixed", AHSAR])
    fixed, regulated = (shades(one["color"], last) for one in look.values())
    for epoch, part in split(own, "epoch").items():
        line, square = part[~part.own], part[part.own]
        said = f", epoch {epoch}" if epoch in (1, last) else ""
        label = said and f"trained at s{said}"
        axes.plot(line.scale, line.value, linewidth=0.9, color=fixed[epoch - 1], label=label)
        label, colour = said and f"AHSAR{said}", regulated[epoch - 1]
        axes.plot(
            *(square.scale, square.value, "s"), markersize=3, zorder=4, color=colour, label=label
        )
    _mark_range(axes, own[own.own], regulated[-1])
    if (own.scale[~own.own] == 1).any():
        said = "the baseline's factor"
        axes.axvline(1, label=said, color=PALE, linestyle=":", linewidth=0.9, zorder=0.5)
    if own.quantity.iloc[0].endswith("loss") and is_wide(own.value):
        axes.set_yscale("log")


def _mark_range(axes: Any, own: DataFrame, colour: Colour) -> None:
    for low, high in own[["scale_low", "scale_high"]].drop_duplicates().to_numpy():
        if low < high:
            said = "range of its factors over layers"
            axes.axvspan(low, high, label=said, color=colour, alpha=0.16, linewidth=0, zorder=0.4)
