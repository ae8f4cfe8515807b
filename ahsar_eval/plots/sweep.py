"""The paper's Figure 2 and its section 3 on one sheet: what a network does as one factor scales all
its thresholds, and why; and how trainings at each factor converge.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ahsar_eval.plots.pages import (
    Band,
    Panel,
    draw_line,
    draw_pages,
    in_rows,
    is_wide,
    label_of,
    split,
)
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    INK,
    PALE,
    Colour,
    Drawn,
    Look,
    drawable,
    elided_names,
    energy_unit,
    looks,
    shades,
)
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

if TYPE_CHECKING:
    from pandas import DataFrame

RATE, ENERGY = "mean rate (spikes per step)", "energy"  # names of curves
GATES = {"rate": "r, firing rate", "gate": "G, mean surrogate gate", "slope": "−∂r/∂θ, input held"}
CONVERGENCE = {
    "train_loss": "training loss",
    "validation_loss": "hold-out NLL",
    "validation_accuracy": "hold-out accuracy",
}
SCALE = ["scale", "scale_low", "scale_high"]
COLUMNS = [
    "part",
    "checkpoint",
    "layer",
    "quantity",
    "epoch",
    "own",
    *SCALE,
    "value",
    "low",
    "high",
]
AHSAR = "ahsar"  # the method
_GATE_LOOKS = {"rate": (7, "-"), "gate": (4, (0, (4, 1.4))), "slope": (2, (0, (1, 1.1)))}
_RING: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5, "markeredgewidth": 1.1}
_RING |= {"markerfacecolor": "white", "zorder": 4}
_BASELINE: dict[str, Any] = {"color": PALE, "linestyle": ":", "linewidth": 0.9, "zorder": 0.5}


def threshold_sweep(results: Results) -> list[Drawn]:
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

    def panel(name: str, title: str, draw: Any, y_as: str = "") -> Panel:
        return Panel(name, draw, title=title, x_as="scale", y_as=y_as)

    curves = [
        panel(name, short[title], partial(_draw_curve, parts["curve", name], look))
        for name, title in titles.items()
    ]
    gates = [
        panel(f"gate {name}", short[name], partial(_draw_gates, rows, look[name].colour), "gates")
        for name, rows in split(table[table.part != "curve"], "checkpoint").items()
        if name in look
    ]
    trainings = [
        panel(name, CONVERGENCE[name], partial(_draw_training, rows))
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
    return [("threshold_sweep", draw_pages(bands, DOUBLE_IN, "factor s on every threshold"), table)]


# --- the numbers drawn


def sweep_points(results: Results) -> "DataFrame":
    """The points of the sheet, one a row, with the columns `COLUMNS`."""
    import pandas as pd

    rows = [*_swept_points(results), *_training_points(results)]
    return pd.DataFrame(rows).reindex(columns=COLUMNS).astype({"epoch": "Int64"})


def _swept_points(results: Results) -> Iterator[dict[str, Any]]:
    points, layers = results.records["point"], results.records["layer"]
    for own in (row for row in points if row["own"]):
        rows = [row for row in points if row["checkpoint"] == own["checkpoint"]]
        uniform = [row for row in rows if row["scale_low"] == row["scale_high"]]
        uniform.sort(key=lambda row: row["scale"])
        held = [[layer for layer in layers if _is_of(layer, row)] for row in uniform]
        curves = _curves_of(own, rows)
        for key, name in curves.items():
            for row in uniform:
                ends = {"low": row.get(f"{key}_low"), "high": row.get(f"{key}_high")}
                yield _point("curve", row, name, row[key], **ends)
        for name in GATES:
            for row, each in zip(uniform, held, strict=True):
                yield _point("network", row, name, np.mean([layer[name] for layer in each]))
            for across in zip(*held, strict=True):
                for row, layer in zip(uniform, across, strict=True):
                    yield _point("layer", row, name, layer[name], layer=layer["layer"])
        for key, name in curves.items():
            yield _point("curve", own, name, own[key], own=True)
        for name in GATES:
            yield _point("network", own, name, own[name], own=True)


def _point(part: str, row: Row, quantity: str, value: float, **more: Any) -> dict[str, Any]:
    of = {"part": part, "checkpoint": row["checkpoint"], "quantity": quantity, "own": False}
    return {**of, **{key: row[key] for key in SCALE}, "value": value, **more}


def _is_of(layer: Row, row: Row) -> bool:
    return all(layer[key] == row[key] for key in ("checkpoint", "own", "scale"))


def _curves_of(own: Row, rows: Sequence[Row]) -> dict[str, str]:
    """The curves of a network: key of a row, name of the panel."""
    sets = [key for key in own if key.startswith("auroc ") and f"{key}_low" in own]
    known = all(row["accuracy"] is not None for row in rows)
    curves = {"accuracy": "accuracy"} if known else {}
    curves |= {"mean_rate": RATE, "energy_pj": ENERGY}
    return curves | {key: key.replace("auroc ", "AUROC, ", 1) for key in sets}


def _training_points(results: Results) -> Iterator[dict[str, Any]]:
    """Means over seeds at every fixed scale and of AHSAR after every epoch; NaN from where one of
    the seeds ended early.
    """
    runs: dict[tuple[str, int], list[Row]] = {}
    for row in results.records["epoch"]:
        runs.setdefault((row["method"], row["seed"]), []).append(row)
    methods: dict[str, list[list[Row]]] = {}
    for (method, _), rows in runs.items():
        if method != AHSAR or not rows[0]["diverged"]:
            methods.setdefault(method, []).append(rows)
    each = sorted(methods.items(), key=lambda one: (one[0] == AHSAR, one[1][0][0]["scale"]))
    last = max((asked["epochs"] for asked in results.facts.get("trainings", ())), default=0)
    for name, own, epoch in product(CONVERGENCE, (False, True), range(1, last + 1)):
        for method, several in each:
            if (method == AHSAR) != own:
                continue
            firsts = [rows[0] for rows in several]
            at = {
                "scale": np.mean([row["scale"] for row in firsts]) if own else firsts[0]["scale"],
                "scale_low": min(row["scale_low"] for row in firsts),
                "scale_high": max(row["scale_high"] for row in firsts),
            }
            values = [
                next((row[name] for row in rows if row.get("epoch") == epoch), np.nan)
                for rows in several
            ]
            of = {"part": "training", "checkpoint": AHSAR if own else None, "quantity": name}
            yield {**of, "own": own, **at, "epoch": epoch, "value": float(np.mean(values))}


# --- panels


def _title(name: str, rows: "DataFrame") -> str:
    if name != ENERGY:
        return name
    return f"energy per inference ({energy_unit(rows.value.max())[0]})"


def _draw_curve(own: "DataFrame", look: Mapping[str, Look], axes: Any) -> None:
    if own.quantity.iloc[0] == ENERGY:
        values = ["value", "low", "high"]
        own = own.assign(**own[values] / energy_unit(own.value.max())[1])
    for name, part in split(own[~own.own], "checkpoint").items():
        draw_line(axes, part, "scale", look[name], label=label_of(name))
    for name, ring in split(own[own.own], "checkpoint").items():
        colour, said = look[name].colour, "the network's own thresholds (mean factor)"
        axes.plot(ring.scale, ring.value, color=colour, label=said, **_RING)
        _mark_range(axes, ring, colour)
    if own.quantity.iloc[0] in (RATE, ENERGY):
        axes.update_datalim([(1.0, 0.0)])


def _draw_gates(every: "DataFrame", colour: Colour, axes: Any) -> None:
    """r, G and −∂r/∂θ of a network, thin lines for its layers."""
    import seaborn as sns

    for name, (place, style) in _GATE_LOOKS.items():
        own, hue = every[every.quantity == name], sns.color_palette("colorblind")[place]
        line = {"color": hue, "linestyle": style}
        for layer in split(own[own.part == "layer"], "layer").values():
            axes.plot(layer.scale, layer.value, linewidth=0.5, alpha=0.28, zorder=1.5, **line)
        whole, ring = own[(own.part == "network") & ~own.own], own[own.own]
        axes.plot(whole.scale, whole.value, linewidth=1.6, zorder=3, label=GATES[name], **line)
        axes.plot(ring.scale, ring.value, color=hue, **_RING)
    axes.plot([], [], color=INK, linewidth=0.7, alpha=0.5, label="one layer")
    _mark_range(axes, every[every.own], colour)
    axes.update_datalim([(1.0, 0.0)])


def _draw_training(own: "DataFrame", axes: Any) -> None:
    import seaborn as sns

    last = int(own.epoch.max())
    fixed, regulated = (shades(hue, last) for hue in sns.color_palette("colorblind")[:2])
    for epoch, part in split(own, "epoch").items():
        line, square = part[~part.own], part[part.own]
        said = f", epoch {epoch}" if epoch in (1, last) else ""
        by = {"color": fixed[epoch - 1], "label": said and f"trained at s{said}"}
        axes.plot(line.scale, line.value, linewidth=0.9, **by)
        by = {"color": regulated[epoch - 1], "label": said and f"AHSAR{said}", "zorder": 4}
        axes.plot(square.scale, square.value, "s", markersize=3, **by)
    _mark_range(axes, own[own.own], regulated[-1])
    if (own.scale[~own.own] == 1).any():
        axes.axvline(1, label="the baseline's factor", **_BASELINE)
    if own.quantity.iloc[0].endswith("loss") and is_wide(own.value):
        axes.set_yscale("log")


def _mark_range(axes: Any, own: "DataFrame", colour: Colour) -> None:
    for low, high in own[["scale_low", "scale_high"]].drop_duplicates().to_numpy():
        if low < high:
            shade = {"color": colour, "alpha": 0.16, "linewidth": 0, "zorder": 0.4}
            axes.axvspan(low, high, label="range of its factors over layers", **shade)
