"""The paper's Figure 2 and its section 3 on one sheet: what a network does as one factor scales all
its thresholds, and why; and how trainings at each factor converge.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from ahsar_eval.plots.energy_axis import decimal_ticks, energy_unit
from ahsar_eval.plots.layout import (
    Grid,
    add_cell,
    draw_band,
    elided_names,
    empty_page,
    extent,
    finish_page,
    heading,
    legend_space,
    short_number,
    split,
    tidy_ticks,
    with_margin,
)
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    INK,
    PALE,
    TALLEST_IN,
    Colour,
    Look,
    drawable,
    looks,
    shades,
    styled,
    vectors,
)
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

if TYPE_CHECKING:
    from pandas import DataFrame

Panel = tuple[str, str, Callable[[Any], None]]  # name of its axes, heading, what draws it
Panels = tuple[int, float, list[Panel]]  # columns, height in inches, panels set in rows

RATE, ENERGY = "mean rate (spikes per step)", "energy"  # names of curves
GATES = {"rate": "r, firing rate", "gate": "G, mean surrogate gate", "slope": "−∂r/∂θ, input held"}
CONVERGENCE = {
    "train_loss": "training loss",
    "validation_loss": "hold-out NLL",
    "validation_accuracy": "hold-out accuracy",
}
SCALE, VALUE = ["scale", "scale_low", "scale_high"], ["value", "low", "high"]
COLUMNS = ["part", "checkpoint", "layer", "quantity", "epoch", "own", *SCALE, *VALUE]
AHSAR = "ahsar"  # the method
_WIDE_RANGE = 8.0
_GATE_LOOKS = {"rate": (7, "-"), "gate": (4, (0, (4, 1.4))), "slope": (2, (0, (1, 1.1)))}
_RANGE: dict[str, Any] = {"alpha": 0.16, "linewidth": 0, "zorder": 0.4}
_RING: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5, "markeredgewidth": 1.1}
_RING |= {"markerfacecolor": "white", "zorder": 4}
_SQUARE: dict[str, Any] = {"linestyle": "", "marker": "s", "markersize": 3, "zorder": 4}
_BASELINE: dict[str, Any] = {"color": PALE, "linestyle": ":", "linewidth": 0.9, "zorder": 0.5}


def threshold_sweep(results: Results) -> "list[tuple[str, list[Any], DataFrame]]":
    """A panel per curve, a panel of r, G and −∂r/∂θ per checkpoint, and the convergence of
    trainings. A ring is where a network works, a band the range of its factors over layers.

    Drawn: part (curve, network, layer, training), checkpoint, layer, quantity, epoch, own, scale
    with its range over layers, value, low, high; empty where there is none. Raises `DataError` for
    numbers that are not finite.
    """
    own = [row for row in results.records["point"] if row["own"]]
    epochs = results.records["epoch"]
    if own or not epochs:
        drawable("threshold sweep", own, [(row["checkpoint"],) for row in own])
    table = sweep_points(results)
    swept, trained = table[table.part != "training"], table[table.part == "training"]
    for (checkpoint, quantity), part in split(swept, ["checkpoint", "quantity"]).items():
        vectors(f"the threshold sweep of {checkpoint}", {quantity: part.value})
    with styled():
        look = looks([row["checkpoint"] for row in own])
        panels = [_curve_panels(swept, look), _gate_panels(swept, look)] if own else []
        if epochs:
            panels.append((3, 1.5, [_training_panel(name, trained) for name in CONVERGENCE]))
        return [("threshold_sweep", list(_pages(panels, look)), table)]


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


def _curve_panels(table: "DataFrame", look: Mapping[str, Look]) -> Panels:
    """Every curve, four side by side where there are four, else three."""
    names = list(table.quantity[table.part == "curve"].unique())
    panels = [_curve_panel(name, table, look) for name in names]
    return (4 if len(names) == 4 else 3), 1.1, panels


def _curve_panel(name: str, table: "DataFrame", look: Mapping[str, Look]) -> Panel:
    own, title = table[(table.part == "curve") & (table.quantity == name)], name
    if name == ENERGY:
        unit, pj = energy_unit(own.value[~own.own].max())
        own, title = own.assign(**(own[VALUE] / pj)), f"energy per inference ({unit})"

    def draw(axes: Any) -> None:
        for checkpoint, part in split(own, "checkpoint").items():
            draw_band(axes, part[~part.own], "scale", look[checkpoint], 0.15, label=checkpoint)
        for checkpoint, ring in split(own[own.own], "checkpoint").items():
            colour, said = look[checkpoint].colour, "the network's own thresholds (mean factor)"
            axes.plot(ring.scale, ring.value, markeredgecolor=colour, label=said, **_RING)
            _mark_range(axes, ring, colour)
        low, high = extent([own[column].to_numpy() for column in VALUE])
        axes.set_ylim(*with_margin(0.0 if name in (RATE, ENERGY) else low, high))
        tidy_ticks(axes.yaxis)
        _limit_scales(axes, table)

    return name, title, draw


def _gate_panels(table: "DataFrame", look: Mapping[str, Look]) -> Panels:
    """r, G and −∂r/∂θ of each checkpoint, all with one scale."""
    columns = 1 if len(look) == 1 else 2
    short = elided_names(list(look), DOUBLE_IN / columns - 0.8)
    panels = [(f"gate {name}", short[name], _gate_panel(name, table, look)) for name in look]
    return columns, 1.9, panels


def _gate_panel(
    checkpoint: str, table: "DataFrame", look: Mapping[str, Look]
) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        import seaborn as sns

        every = table[(table.checkpoint == checkpoint) & (table.part != "curve")]
        for name, (place, style) in _GATE_LOOKS.items():
            own, colour = every[every.quantity == name], sns.color_palette("colorblind")[place]
            line = {"color": colour, "linestyle": style}
            for layer in split(own[own.part == "layer"], "layer").values():
                axes.plot(layer.scale, layer.value, linewidth=0.5, alpha=0.28, zorder=1.5, **line)
            whole, ring = own[(own.part == "network") & ~own.own], own[own.own]
            thick = {"linewidth": 1.6, "zorder": 3, "label": GATES[name]}
            axes.plot(whole.scale, whole.value, **line, **thick)
            axes.plot(ring.scale, ring.value, markeredgecolor=colour, **_RING)
        axes.plot([], [], color=INK, linewidth=0.7, alpha=0.5, label="one layer")
        _mark_range(axes, every[every.own], look[checkpoint].colour)
        axes.set_ylim(*with_margin(0.0, table.value[table.part == "layer"].max()))
        tidy_ticks(axes.yaxis, 6)
        _limit_scales(axes, table)

    return draw


def _limit_scales(axes: Any, table: "DataFrame") -> None:
    axes.set_xlim(*with_margin(*extent([table[column].to_numpy() for column in SCALE])))
    tidy_ticks(axes.xaxis, 5)


def _mark_range(axes: Any, own: "DataFrame", colour: Colour) -> None:
    low, high = own.scale_low.iloc[0], own.scale_high.iloc[0]
    if low < high:
        said = "range of its factors over layers"
        axes.axvspan(low, high, color=colour, label=said, **_RANGE)


def _training_panel(name: str, table: "DataFrame") -> Panel:
    own, last = table[table.quantity == name], int(table.epoch.max())

    def draw(axes: Any) -> None:
        import seaborn as sns

        fixed, regulated = (shades(hue, last) for hue in sns.color_palette("colorblind")[:2])
        for epoch, part in split(own, "epoch").items():
            line, square = part[~part.own], part[part.own]
            said = f", epoch {epoch}" if epoch in (1, last) else ""
            by = {"color": fixed[epoch - 1], "label": said and f"trained at s{said}"}
            axes.plot(line.scale, line.value, linewidth=0.9, **by)
            by = {"color": regulated[epoch - 1], "label": said and f"AHSAR{said}"}
            axes.plot(square.scale, square.value, **by, **_SQUARE)
        if own.own.any():
            _mark_range(axes, own[own.own], regulated[-1])
        if (own.scale[~own.own] == 1).any():
            axes.axvline(1, label="the baseline's factor", **_BASELINE)
        _limit_values(axes, *extent([own.value.to_numpy()]), is_loss=name.endswith("loss"))
        _limit_scales(axes, table)

    return name, CONVERGENCE[name], draw


def _limit_values(axes: Any, low: float, high: float, *, is_loss: bool) -> None:
    if not is_loss or low <= 0 or high / low <= _WIDE_RANGE:
        axes.set_ylim(*with_margin(low, high))
        return tidy_ticks(axes.yaxis)
    low, high = low / (high / low) ** 0.05, high * (high / low) ** 0.05
    axes.set_yscale("log")
    ticks = decimal_ticks(low, high)
    axes.set_yticks(ticks, [short_number(tick) for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.set_ylim(low, high)


def _pages(panels: Sequence[Panels], names: Iterable[str]) -> Iterator[Any]:
    """Rows of panels below one another; `names` are of checkpoints."""
    legend = legend_space(names, 11, DOUBLE_IN)
    space = {"left": 0.4, "gap": 0.42, "above": 0.2, "below": 0.16, "bottom": 0.22}
    rows = [
        (Grid(1, columns, DOUBLE_IN, (height,), 0.0, **space), each[i : i + columns])
        for columns, height, each in panels
        for i in range(0, len(each), columns)
    ]
    pages: list[list[tuple[Grid, list[Panel]]]] = [[]]
    for grid, each in rows:
        above = sum(one.cell_height for one, _ in pages[-1])
        if pages[-1] and above + grid.height > TALLEST_IN - legend:
            pages.append([])
        pages[-1].append((grid, each))
    for page in pages:
        under = sum(grid.cell_height for grid, _ in page)
        whole = replace(page[0][0], rows=0, bottom=space["bottom"] + under)
        figure = empty_page(whole)
        for grid, each in page:
            over, under = whole.height - grid.bottom - under, under - grid.cell_height
            placed = replace(grid, header=over, bottom=grid.bottom + under)
            for column, (name, title, draw) in enumerate(each):
                (axes,) = add_cell(figure, placed, 0, column)
                axes.set_label(name)
                draw(axes)
                heading(axes, title)
        finish_page(figure, whole, "factor s on every threshold")
        yield figure
