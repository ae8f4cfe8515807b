"""Figures of an energy evaluation as functions of its results: by layer, under shift, accuracy
against energy, sample by sample, and from one counter's totals to another's.

With several profiles the files of each lie in a folder of its name.
"""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from ahsar_eval.energy.result import network_of, on_front, samples_key
from ahsar_eval.errors import DataError
from ahsar_eval.plots.energy_axis import amounts
from ahsar_eval.plots.energy_bars import PARTS, bar_pages, row_of
from ahsar_eval.plots.energy_distribution import QUANTILES, Samples, distribution_pages
from ahsar_eval.plots.energy_pareto import pareto_page
from ahsar_eval.plots.energy_waterfall import OPERATIONS, waterfall_pages
from ahsar_eval.plots.layout import extent, split, with_margin
from ahsar_eval.plots.panels import severity_pages
from ahsar_eval.plots.style import drawable, styled
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

if TYPE_CHECKING:
    from pandas import DataFrame

Drawn = tuple[str, list[Any], "DataFrame"]  # file stem, pages, the numbers drawn

BANDS = "95 % interval of the change"
SEVERITY = {
    "accuracy": "accuracy",
    "rate": "rate (spikes per step)",
    "synops": "SynOps per inference",
    "energy": "energy (relative to clean)",
}
_VALUES = {"accuracy": "accuracy", "rate": "mean_rate", "synops": "total_acs"}


def layers(results: Results) -> list[Drawn]:
    """Energy layer by layer: a column per network, a stacked bar per layer, the totals below.

    Drawn: checkpoint, layer, part, energy_pj. Raises `DataError` for two networks of one name.
    """
    import pandas as pd

    drawn = []
    for folder, profile, found in _of_profiles(results):
        drawable("energy bar", found, [(network_of(result),) for result in found])
        bars = {network_of(result): layer_energies(result) for result in found}
        table = pd.concat(
            [
                pd.DataFrame(
                    {"checkpoint": name, "layer": one.index, "part": part, "energy_pj": one[part]}
                )
                for name, one in bars.items()
                for part in one
            ],
            ignore_index=True,
        )
        amounts("the energy of layers", {"energy_pj": table.energy_pj})
        with styled():
            pages = list(bar_pages(bars, price_note(profile, found)))
        drawn.append((f"{folder}energy_layers", pages, table))
    return drawn


def layer_energies(result: Row) -> "DataFrame":
    """pJ per inference by layer (index) and part of the work (columns); they sum to the result's
    total energy.

    The rows are the layers with weights in network order, then what could not be placed with one of
    them. What has no price is left out.
    """
    import pandas as pd

    sources = {layer["name"]: layer["source"] for layer in result["layers"]}
    rows, placed = list(sources), []
    for line in result["parts"]:
        energy, row = line["energy_pj"], row_of(line["layer"], sources)
        if row not in rows and (energy or 0) > 0:
            rows.append(row)
        if energy is not None and row in rows:
            # Synapses are shown by their operation, normalisation beside the biases.
            part = line["operation"] if line["part"] == "synapses" else line["part"]
            placed.append((row, "bias" if part == "normalisation" else part, energy))
    parts = [part for part in PARTS if part in {part for _, part, _ in placed}] or ["ac"]
    table = pd.DataFrame(0.0, index=rows, columns=parts)
    for row, part, energy in placed:
        table.loc[row, part] += energy
    return table


def severities(results: Results) -> list[Drawn]:
    """Accuracy, mean rate, SynOps and energy over the severity of each shift that has several.

    Bands are the ends of each change's interval; the clean set, which does not differ from itself,
    is a point. Drawn: shift, checkpoint, quantity, severity, value, low, high. Raises `DataError`
    for numbers that are negative or not finite.
    """
    import pandas as pd

    drawn = []
    for folder, profile, found in _of_profiles(results):
        shifts = pd.DataFrame(results.records.get("shift", ()))
        parts: list[DataFrame] = []
        for clean in found if len(shifts) else []:
            same = (shifts.checkpoint == clean["checkpoint"]) & (shifts.profile == profile)
            own = shifts[same & (shifts.kind == "set") & shifts.energy_change.notna()]
            names = [shift for _, shift in own.groupby(["set", "shift"]).groups]
            for (of, shift), members in split(own, ["set", "shift"]).items():
                name = shift if names.count(shift) == 1 else f"{of}:{shift}"
                if len(members) > 1:
                    parts += _severity_parts(clean, members.sort_values("severity"), name)
        if parts:
            table = pd.concat(parts, ignore_index=True)
            pages = _severity_pages(table, [network_of(result) for result in found])
            drawn.append((f"{folder}energy_severity", pages, table))
    return drawn


def _severity_parts(clean: Row, members: "DataFrame", shift: str) -> "Iterator[DataFrame]":
    """The points of one network under one shift, for each quantity that is known; the first is the
    clean set.
    """
    import pandas as pd

    severities = [0, *members.severity.astype(int)]
    if len(set(severities)) < len(severities):
        raise DataError(
            f"the energy severity curve of {network_of(clean)} under {shift} has the severities "
            f"{severities}; expected them ascending"
        )
    for quantity in SEVERITY:
        if quantity == "energy":
            start, values = 1.0, 1 + members.energy_change
        else:
            start, values = clean[_VALUES[quantity]], members[_VALUES[quantity]]
        if start is None or values.isna().any():
            continue
        # What the end of a change leads to cannot fall below 0.
        sides = [f"{quantity}_change_{side}" for side in ("low", "high")]
        change = members.reindex(columns=sides).astype(float)
        ends = (start + change).clip(0, 1) if quantity == "accuracy" else start * (1 + change)
        ends = ends.clip(lower=0)
        first = start if ends.notna().any(axis=None) else np.nan
        low, high = ([first, *ends[side]] for side in sides)
        named = {"shift": shift, "checkpoint": network_of(clean), "quantity": quantity}
        points = {"severity": severities, "value": [start, *values], "low": low, "high": high}
        yield pd.DataFrame(named | points)


def _severity_pages(table: "DataFrame", order: Sequence[str]) -> list[Any]:
    what = "the energy severity curve"
    amounts(what, {"value": table.value})
    amounts(what, {"the low end": table.low, "the high end": table.high}, gaps=True)
    banded = f"; bands: {BANDS}" if table.low.notna().any() else ""
    with styled():
        return severity_pages(
            table,
            order,
            titles=SEVERITY,
            limits={name: _severity_limits(table, name) for name in SEVERITY},
            lines={"energy": 1.0},
            below=f"severity (0: clean){banded}",
            missing="no labels to compare",
        )


def _severity_limits(table: "DataFrame", quantity: str) -> tuple[float, float]:
    own = table[table.quantity == quantity]
    low, high = extent([own[["value", "low", "high"]].to_numpy(float)])
    if quantity == "energy":
        low, high = min(low, 1.0), max(high, 1.0)
    elif quantity != "accuracy" and low < 0.5 * high:
        low = 0.0
    return with_margin(low, high)


def pareto(results: Results) -> list[Drawn]:
    """Accuracy against energy as all thresholds are scaled, where a network met several scales.

    Drawn: checkpoint, scale (empty for none), energy_pj, accuracy, own, front, common_front. Raises
    `DataError` for a point that is there twice, and numbers that are negative or not finite.
    """
    import pandas as pd

    drawn = []
    points = pd.DataFrame(results.records.get("scale", ()))
    for folder, profile, found in _of_profiles(results) if len(points) else ():
        named = {result["checkpoint"]: network_of(result) for result in found}
        own = points[(points.profile == profile) & points.accuracy.notna()]
        table = own.assign(checkpoint=own.checkpoint.map(named), energy_pj=own.total_energy_pj)
        table = table[["checkpoint", "scale", "energy_pj", "accuracy", "own", "front"]]
        if not table.checkpoint.duplicated().any():
            continue
        keys = list(zip(table.checkpoint, table.scale.astype(str), strict=True))
        drawable("accuracy–energy curve", keys, keys)
        amounts(
            "the accuracy–energy curves", {key: table[key] for key in ("energy_pj", "accuracy")}
        )
        fronts = on_front(list(zip(table.accuracy, table.energy_pj, strict=True)))
        table = table.assign(common_front=fronts)
        with styled():
            page = pareto_page(table, list(named.values()), price_note(profile, found))
        drawn.append((f"{folder}energy_pareto", [page], table))
    return drawn


def distribution(results: Results) -> list[Drawn]:
    """Energy sample by sample on the set as it is and on the largest severity of each shift.

    Drawn: data, checkpoint, n, mean_pj, and the energy at each of `QUANTILES`. Raises `DataError`
    for two networks of one name, and energies that are negative or not finite.
    """
    import pandas as pd

    drawn = []
    for folder, profile, found in _of_profiles(results):
        strongest: dict[tuple[str, ...], Row] = {}
        for row in results.records.get("shift", ()):
            key = (row["checkpoint"], row["set"], row["shift"])
            if row["profile"] == profile and row["kind"] == "set":
                strongest[key] = max(strongest.get(key, row), row, key=lambda one: one["severity"])
        named = {result["checkpoint"]: network_of(result) for result in found}
        samples, rows = [], []
        for row in (*found, *strongest.values()):
            name, energies = named[row["checkpoint"]], results.arrays[samples_key(row)]
            what = f"the energy distribution of {name} on {row['data']}"
            amounts(what, {"the energies": energies})
            one = Samples(name, row["data"], energies, "severity" not in row)
            samples.append(one)
            quantiles = dict(zip(QUANTILES, one.quantiles, strict=True))
            rows.append(
                {
                    "data": one.data,
                    "checkpoint": name,
                    "n": len(energies),
                    "mean_pj": float(np.mean(energies)),
                    **{f"quantile_{level:g}_pj": pj for level, pj in quantiles.items()},
                }
            )
        drawable("energy distribution", samples, [(one.checkpoint, one.data) for one in samples])
        with styled():
            note = price_note(profile, found)
            pages = list(distribution_pages(samples, list(named.values()), note))
        drawn.append((f"{folder}energy_distribution", pages, pd.DataFrame(rows)))
    return drawn


def ledgers(results: Results) -> list[Drawn]:
    """From one counter's totals to another's: a waterfall for each pair, all networks in one.

    Drawn: checkpoint, operation, bar (start, step, end), name, from, to, amount; fractions as
    decimals.
    """
    import pandas as pd

    found = results.records.get("ledgers", ())
    pairs = dict.fromkeys((one["start"]["convention"], one["end"]["convention"]) for one in found)
    drawn = []
    for pair in pairs:
        own = [
            one for one in found if (one["start"]["convention"], one["end"]["convention"]) == pair
        ]
        drawable("ledger", own, [(network_of(one),) for one in own])
        bars = {
            (network_of(one), operation): _bars(one, operation)
            for one in own
            for operation in OPERATIONS
        }
        sizes = sorted({one["start"]["batch_size"] for one in own})
        with styled():
            per = f"operations per inference, in batches of {', '.join(map(str, sizes))}"
            pages = list(waterfall_pages(bars, per))
        rows = []
        for (checkpoint, operation), own_bars in bars.items():
            for bar, name, before, after in own_bars:
                ends = {"from": before, "to": after, "amount": after - before}
                row = {"checkpoint": checkpoint, "operation": operation, "bar": bar, "name": name}
                rows.append({**row, **{key: _number(end) for key, end in ends.items()}})
        table = pd.DataFrame(rows, dtype=object)  # exact integers
        drawn.append((f"energy_ledger_{pair[0]}_{pair[1]}", pages, table))
    return drawn


def _bars(found: Row, operation: str) -> list[tuple[str, str, Fraction, Fraction]]:
    """(kind, name, from, to) of each bar, per inference: the totals from 0, each step that changes
    something from where the last one ended.
    """
    start, end = found["start"], found["end"]

    def mean(one: Row, key: str = operation) -> Fraction:
        return Fraction(one[f"{key}_total"]) / start["samples"]

    steps = [step for step in found["steps"] if mean(step, "macs") or mean(step, "acs")]
    reached = list(accumulate(map(mean, steps), initial=mean(start)))
    ends = zip(steps, reached, reached[1:], strict=False)
    return [
        ("start", start["convention"], Fraction(0), reached[0]),
        *(("step", step["name"], before, after) for step, before, after in ends),
        ("end", end["convention"], Fraction(0), mean(end)),
    ]


def _number(count: Fraction) -> int | float:
    return int(count) if count.denominator == 1 else float(count)


def price_note(profile: str, found: Sequence[Row]) -> str:
    """The profile, and what was counted that it has no price for."""
    missing = dict.fromkeys(
        f"{line['operation'].upper()}s" if line["part"] == "synapses" else line["part"]
        for result in found
        for line in result["unpriced"]
        if "no price" in line["reason"]
    )
    return profile + (f" (no price: {', '.join(missing)})" if missing else "")


def _of_profiles(results: Results) -> Iterator[tuple[str, str, list[Row]]]:
    """Of each profile the folder of its files, its name, and the networks on the set as it is."""
    found = results.records["result"]
    profiles = list(dict.fromkeys(row["profile"] for row in found))
    for profile in profiles:
        folder = f"{profile}/" if len(profiles) > 1 else ""
        yield folder, profile, [row for row in found if row["profile"] == profile]


ENERGY_FIGURES: Mapping[str, Any] = {
    "layers": layers,
    "severity": severities,
    "pareto": pareto,
    "distribution": distribution,
    "ledger": ledgers,
}
