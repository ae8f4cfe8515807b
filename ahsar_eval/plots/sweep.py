"""The paper's Figure 2 and its section 3 on one sheet: what a network does as one factor scales all
its thresholds, and why; and how trainings at each factor converge.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ahsar_eval.plots.energy_axis import decimal_ticks, energy_unit
from ahsar_eval.plots.layout import (
    Grid,
    Signs,
    add_cell,
    draw_band,
    elided_names,
    empty_page,
    extent,
    header_height,
    header_legend,
    heading,
    line_signs,
    outer_labels,
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
_OF_LAYERS: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.28}
_RANGE: dict[str, Any] = {"alpha": 0.16, "linewidth": 0}
_RING: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 5, "markeredgewidth": 1.1}
_RING |= {"markerfacecolor": "white"}
_SQUARE: dict[str, Any] = {"linestyle": "", "marker": "s", "markersize": 3}
_BASELINE: dict[str, Any] = {"color": PALE, "linestyle": ":", "linewidth": 0.9}


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
        signs, panels = [*line_signs(look, DOUBLE_IN)], []
        if own:
            panels += [_curve_panels(swept, look), _gate_panels(swept, look)]
            signs += _own_signs(swept)
        if epochs:
            panels.append((3, 1.5, [_training_panel(name, trained) for name in CONVERGENCE]))
            signs += _epoch_signs(trained)
        return [("threshold_sweep", list(_pages(panels, signs)), table)]


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
    fixed: dict[float, list[list[Row]]] = {}
    for (method, _), rows in runs.items():
        if method != AHSAR:
            fixed.setdefault(rows[0]["scale"], []).append(rows)
    ended = [
        rows for (method, _), rows in runs.items() if method == AHSAR and not rows[0]["diverged"]
    ]
    last = max((asked["epochs"] for asked in results.facts.get("trainings", ())), default=0)
    for name in CONVERGENCE:
        of = {"part": "training", "quantity": name}
        for epoch in range(1, last + 1):
            for scale in sorted(fixed):
                at = {"own": False, **dict.fromkeys(SCALE, scale), "epoch": epoch}
                yield {**of, **at, "value": _mean_at(epoch, name, fixed[scale])}
        for epoch in range(1, last + 1 if ended else 1):
            lows, scales, highs = (
                [rows[0][key] for rows in ended] for key in ("scale_low", "scale", "scale_high")
            )
            at = {"scale": np.mean(scales), "scale_low": min(lows), "scale_high": max(highs)}
            of_ahsar = {"checkpoint": AHSAR, "own": True, **at, "epoch": epoch}
            yield {**of, **of_ahsar, "value": _mean_at(epoch, name, ended)}


def _mean_at(epoch: int, name: str, runs: Sequence[Sequence[Row]]) -> float:
    found = [[row[name] for row in rows if row.get("epoch") == epoch] for rows in runs]
    return float(np.mean([values[0] if values else np.nan for values in found]))


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
            one, ring = look[checkpoint], part[part.own]
            draw_band(axes, part[~part.own], "scale", one, 0.15, label=checkpoint)
            _draw_own(axes, ring, one.colour, f"{checkpoint}, own")
            _mark_range(axes, ring, one.colour)
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
        for name in GATES:
            own = table[(table.checkpoint == checkpoint) & (table.quantity == name)]
            one = _gate_look(name)
            line = {"color": one.colour, "linestyle": one.line}
            for layer in split(own[own.part == "layer"], "layer").values():
                axes.plot(layer.scale, layer.value, zorder=1.5, **line, **_OF_LAYERS)
            whole = own[(own.part == "network") & ~own.own]
            axes.plot(whole.scale, whole.value, linewidth=1.6, zorder=3, label=name, **line)
            _draw_own(axes, own[own.own], one.colour, f"{name}, own")
        _mark_range(axes, own[own.own], look[checkpoint].colour)
        axes.set_ylim(*with_margin(0.0, table.value[table.part == "layer"].max()))
        tidy_ticks(axes.yaxis, 6)
        _limit_scales(axes, table)

    return draw


def _gate_look(name: str) -> Look:
    import seaborn as sns

    place, line = _GATE_LOOKS[name]
    return Look(sns.color_palette("colorblind")[place], line, "")


def _limit_scales(axes: Any, table: "DataFrame") -> None:
    axes.set_xlim(*with_margin(*extent([table[column].to_numpy() for column in SCALE])))
    tidy_ticks(axes.xaxis, 5)


def _draw_own(axes: Any, ring: "DataFrame", colour: Colour, label: str) -> None:
    sign = {"markeredgecolor": colour, "zorder": 4, "label": label}
    axes.plot(ring.scale, ring.value, **sign, **_RING)


def _mark_range(axes: Any, own: "DataFrame", colour: Colour) -> None:
    low, high = own.scale_low.iloc[0], own.scale_high.iloc[0]
    if low < high:
        axes.axvspan(low, high, color=colour, zorder=0.4, **_RANGE)


def _training_panel(name: str, table: "DataFrame") -> Panel:
    own = table[table.quantity == name]

    def draw(axes: Any) -> None:
        colours = _epoch_colours(table)
        for epoch, part in split(own, "epoch").items():
            fixed, regulated = (colour[epoch - 1] for colour in colours)
            line, square = part[~part.own], part[part.own]
            axes.plot(line.scale, line.value, color=fixed, linewidth=0.9, label=f"epoch {epoch}")
            said = f"AHSAR, epoch {epoch}"
            axes.plot(square.scale, square.value, color=regulated, zorder=4, label=said, **_SQUARE)
        if own.own.any():
            _mark_range(axes, own[own.own], colours[1][-1])
        if (own.scale[~own.own] == 1).any():
            axes.axvline(1, zorder=0.5, label="baseline", **_BASELINE)
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


def _epoch_colours(table: "DataFrame") -> tuple[list[Colour], list[Colour]]:
    """Shades for trainings at fixed factors and for AHSAR's, from the first epoch to the last."""
    import seaborn as sns

    fixed, regulated = sns.color_palette("colorblind")[:2]
    return shades(fixed, table.epoch.max()), shades(regulated, table.epoch.max())


# --- what the signs mean, and pages


def _own_signs(table: "DataFrame") -> Signs:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    ring = Line2D([], [], markeredgecolor=INK, **_RING)
    signs: list[tuple[Any, str]] = [(ring, "the network's own thresholds (mean factor)")]
    if (table.scale_low < table.scale_high).any():
        signs.append((Patch(facecolor=INK, **_RANGE), "range of its factors over layers"))
    for name, text in GATES.items():
        one = _gate_look(name)
        line = Line2D([], [], color=one.colour, linestyle=one.line, linewidth=1.6)
        signs.append((line, text))
    return [*signs, (Line2D([], [], color=INK, linewidth=0.7, alpha=0.5), "one layer")]


def _epoch_signs(table: "DataFrame") -> Signs:
    from matplotlib.lines import Line2D

    fixed, regulated = _epoch_colours(table)
    ends = sorted({1, len(fixed)})
    signs = [
        (Line2D([], [], color=fixed[end - 1], linewidth=0.9), f"trained at s, epoch {end}")
        for end in ends
    ]
    if (table.scale[~table.own] == 1).any():
        signs.append((Line2D([], [], **_BASELINE), "the baseline's factor"))
    if table.own.any():
        signs += [
            (Line2D([], [], color=regulated[end - 1], **_SQUARE), f"AHSAR, epoch {end}")
            for end in ends
        ]
    return signs


def _pages(panels: Sequence[Panels], signs: Signs) -> Iterator[Any]:
    """Rows of panels below one another, the legend over each page."""
    handles, labels = zip(*signs, strict=True)
    header = header_height(labels, DOUBLE_IN - 0.1)
    measures = {"left": 0.4, "gap": 0.42, "above": 0.2, "below": 0.16, "bottom": 0.22}
    rows = [
        (Grid(1, columns, DOUBLE_IN, (height,), header, **measures), each[i : i + columns])
        for columns, height, each in panels
        for i in range(0, len(each), columns)
    ]
    pages: list[list[tuple[Grid, list[Panel]]]] = [[]]
    for grid, each in rows:
        if pages[-1] and grid.height + sum(one.cell_height for one, _ in pages[-1]) > TALLEST_IN:
            pages.append([])
        pages[-1].append((grid, each))
    for page in pages:
        under = sum(grid.cell_height for grid, _ in page)
        whole = replace(page[0][0], rows=0, bottom=measures["bottom"] + under)
        figure = empty_page(whole)
        over = header
        for grid, each in page:
            under -= grid.cell_height
            placed = replace(grid, header=over, bottom=grid.bottom + under)
            over += grid.cell_height
            for column, (name, title, draw) in enumerate(each):
                (axes,) = add_cell(figure, placed, 0, column)
                axes.set_label(name)
                draw(axes)
                heading(axes, title)
        header_legend(figure, whole, handles, labels)
        outer_labels(figure, whole, x="factor s on every threshold")
        yield figure
