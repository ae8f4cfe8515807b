"""What a growing shift does to a network, and what is left of it where the network adapts at test
time: accuracy, mean rate and energy over severity, without and with.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from pandas import DataFrame, concat

from ahsar_eval.energy.result import network_of
from ahsar_eval.plots.pages import draw_lines, panel_pages, split
from ahsar_eval.plots.style import (
    INK,
    PALE,
    RIM,
    Drawn,
    Looks,
    energy_unit,
    grouped,
    looks,
    samples_said,
)
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

WITHOUT, MEAN = "without adaptation", "mean"
QUANTITIES = ("accuracy", "mean_rate", "energy_pj")


def adaptation_curves(results: Results) -> Iterator[Drawn]:
    """Accuracy, mean rate and energy over the severity of shifts: a row per network, a line for
    each way to adapt, the mean over shifts, and a light one for each shift; 0 is the ID set.

    Drawn: data (network and set), checkpoint (how it adapts), quantity, shift (or the mean),
    severity, value.
    """
    rows = results.records.get("test_time", ())
    parts = [part for own in grouped(rows, "checkpoint", "id").values() for part in _curves(own)]
    if parts:
        table = concat(parts, ignore_index=True).astype({"value": float})
        unit, scale = energy_unit(table.value[table.quantity == "energy_pj"].max())
        heads = {"accuracy": "accuracy", "mean_rate": "mean rate (spikes per step)"}
        heads |= {"energy_pj": f"energy per inference ({unit})"}
        pages = panel_pages(
            table,
            partial(_draw, _looks(rows), scale),
            heights=(0.78,),
            x="severity (0: the ID set as it is)",
            across="quantity",
            heads=heads,
            shared=True,
            missing="labels not kept",
            said=samples_said([(row["id"], row["n"]) for row in rows], "ID set"),
        )
        yield Drawn("test_time", pages, table.rename(columns={"checkpoint": "adaptation"}))


def _curves(rows: Sequence[Row]) -> Iterator[DataFrame]:
    """The points of one network: each shift at several severities, and their mean where each shift
    has the severity.
    """
    for thresholds, own in grouped(rows, "thresholds").items():
        (clean,) = [row for row in own if row["ood"] == row["id"]]
        shifted = [row for row in own if row["shift"] and row["set"] == clean["set"]]
        grown = {name: each for name, each in grouped(shifted, "shift").items() if len(each) > 1}
        points = [{**row, "shift": name} for name, each in grown.items() for row in (clean, *each)]
        table = DataFrame(points)
        for metric in QUANTITIES if points else ():
            known = table.groupby("shift")[metric].transform(lambda values: values.notna().all())
            kept = table[known.astype(bool)]
            by_severity = kept.groupby("severity")[metric].agg(["mean", "count"])
            whole = by_severity[by_severity["count"] == kept["shift"].nunique()]
            label = _told(thresholds)
            named = {"data": _data(clean), "checkpoint": label}
            named |= {"quantity": metric}
            mean = {"shift": MEAN, "severity": whole.index, "value": whole["mean"].to_numpy()}
            each = {name: kept[name] for name in ("shift", "severity")}
            yield DataFrame(named | each | {"value": kept[metric]}).sort_values("severity")
            yield DataFrame(named | mean)


def _data(row: Row) -> str:
    return f"{row['checkpoint']} on {row['id']}"


def _told(thresholds: str) -> str:
    """How a network adapts, as a legend says it."""
    way, comma, protocol = thresholds.rpartition(", ")
    return f"{way} ({protocol})" if comma else WITHOUT


def _looks(rows: Sequence[Row]) -> dict[str, Looks]:
    """For each network on its set a look of every way to adapt: those that it has in all figures,
    under the names of the ways.
    """
    every = looks(map(network_of, rows))
    found: dict[str, Looks] = {}
    for row in rows:
        way = _told(row["thresholds"])
        found.setdefault(_data(row), {})[way] = every[network_of(row)] | {"label": way}
    return found


def _draw(every: Mapping[str, Looks], scale: float, own: DataFrame, axes: Any) -> None:
    look = every[own.data.iloc[0]]
    if own.quantity.iloc[0] == "energy_pj":
        own = own.assign(value=own.value / scale)
    mean, shifts = own[own["shift"] == MEAN], own[own["shift"] != MEAN]
    bold = {"linewidth": 1.7, "markersize": 4.5, "zorder": 3, "clip_on": False, **RIM}
    draw_lines(axes, mean, look, "severity", **bold)
    if shifts["shift"].nunique() > 1:
        for (name, _), one in split(shifts, ["checkpoint", "shift"]).items():
            axes.plot(one.severity, one.value, color=look[name]["color"], linewidth=0.6, alpha=0.3)
        axes.plot([], [], color=INK, linewidth=0.6, alpha=0.4, label="one shift")
    clean = mean[(mean.checkpoint == WITHOUT) & (mean.severity == 0)].value
    for value in clean:
        said = "the ID set, without adaptation"
        axes.axhline(value, color=PALE, linestyle=":", linewidth=0.9, zorder=0.5, label=said)
    axes.set_xticks(mean.severity.unique())
    if own.quantity.iloc[0] == "accuracy":
        axes.set_ylim(0, 1)
