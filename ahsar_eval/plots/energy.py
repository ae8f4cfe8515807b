"""Figures of an energy evaluation as functions of its results: by layer, under shift, accuracy
against energy, sample by sample, and from one counter's totals to another's.

With several profiles the files of each lie in a folder of its name.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.result import network_of, on_front, samples_key
from ahsar_eval.plots.energy_layers import layer_energies, layer_pages
from ahsar_eval.plots.energy_pareto import pareto_page
from ahsar_eval.plots.pages import (
    Band,
    Panel,
    draw_pages,
    label_of,
    name_rows,
    severity_pages,
    split,
)
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    INK,
    PALE,
    SINGLE_IN,
    Drawn,
    Look,
    drawable,
    elided_names,
    energy_unit,
    looks,
    three_digits,
)
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

if TYPE_CHECKING:
    from pandas import DataFrame

BANDS = "95 % interval of the change"
SEVERITY = {
    "accuracy": "accuracy",
    "rate": "rate (spikes per step)",
    "synops": "SynOps per inference",
    "energy": "energy (relative to clean)",
}
_VALUES = {"accuracy": "accuracy", "rate": "mean_rate", "synops": "total_acs"}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# So many are drawn one by one: their outer quantiles would be made up between two samples.
FEW_SAMPLES = 30
OPERATIONS = {"macs": "MACs", "acs": "ACs"}
_CHANGES = {"total": "#555555", "added": "#cc6677", "taken away": "#332288"}  # not of networks
_NAMES_IN = 1.3  # the widest name of a row is cut to this
_MOST_ROWS = 50  # boxes below one another
_MEAN: dict[str, Any] = {"markersize": 3.0, "markeredgecolor": "white", "markeredgewidth": 0.4}


def layers(results: Results) -> list[Drawn]:
    """Energy layer by layer: a column per network, a stacked bar per layer, the totals below.

    Drawn: checkpoint, layer, part, energy_pj. Raises `DataError` for two networks of one name.
    """
    import pandas as pd

    drawn = []
    for folder, found, note in _of_profiles(results):
        bars = {network_of(result): layer_energies(result) for result in found}
        parts = [
            one.melt(ignore_index=False, var_name="part", value_name="energy_pj")
            .reset_index(names="layer")
            .assign(checkpoint=name)
            for name, one in bars.items()
        ]
        table = pd.concat(parts, ignore_index=True)[["checkpoint", "layer", "part", "energy_pj"]]
        drawn.append((f"{folder}energy_layers", layer_pages(bars, note), table))
    return drawn


# --- under shift


def severities(results: Results) -> list[Drawn]:
    """Accuracy, mean rate, SynOps and energy over the severity of each shift that has several.

    Bands are the ends of each change's interval; the clean set, which does not differ from itself,
    is a point. Drawn: shift, checkpoint, quantity, severity, value, low, high.
    """
    import pandas as pd

    drawn = []
    shifts = pd.DataFrame(results.records.get("shift", ()))
    for folder, found, _ in _of_profiles(results) if len(shifts) else ():
        parts: list[DataFrame] = []
        for clean in found:
            same = shifts[["checkpoint", "profile"]] == [clean["checkpoint"], clean["profile"]]
            own = shifts[same.all(axis=1) & (shifts.kind == "set") & shifts.energy_change.notna()]
            found_of = split(own, ["set", "shift"])
            names = [shift for _, shift in found_of]
            for (of, shift), members in found_of.items():
                name = shift if names.count(shift) == 1 else f"{of}:{shift}"
                if len(members) > 1:
                    parts += _severity_parts(clean, members.sort_values("severity"), name)
        if parts:
            table = pd.concat(parts, ignore_index=True)
            banded = f"; bands: {BANDS}" if table.low.notna().any() else ""
            pages = severity_pages(
                table,
                looks(map(network_of, found), table.checkpoint),
                heads=SEVERITY,
                lines={"energy": 1.0},
                x=f"severity (0: clean){banded}",
                missing="no labels to compare",
            )
            drawn.append((f"{folder}energy_severity", pages, table))
    return drawn


def _severity_parts(clean: Row, members: "DataFrame", shift: str) -> "Iterator[DataFrame]":
    """The points of one network under one shift, for each quantity that is known; the first is the
    clean set.
    """
    import pandas as pd

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
        severities = [0, *members.severity.astype(int)]
        points = {"severity": severities, "value": [start, *values], "low": low, "high": high}
        yield pd.DataFrame(named | points)


# --- accuracy against energy


def pareto(results: Results) -> list[Drawn]:
    """Accuracy against energy as all thresholds are scaled, where a network met several scales.

    Drawn: checkpoint, scale (empty for none), energy_pj, accuracy, own, front, common_front.
    """
    import pandas as pd

    drawn = []
    points = pd.DataFrame(results.records.get("scale", ()))
    for folder, found, note in _of_profiles(results) if len(points) else ():
        named = {result["checkpoint"]: network_of(result) for result in found}
        own = points[(points.profile == found[0]["profile"]) & points.accuracy.notna()]
        table = own.assign(checkpoint=own.checkpoint.map(named), energy_pj=own.total_energy_pj)
        table = table[["checkpoint", "scale", "energy_pj", "accuracy", "own", "front"]]
        if table.checkpoint.duplicated().any():
            fronts = on_front(list(zip(table.accuracy, table.energy_pj, strict=True)))
            table = table.assign(common_front=fronts)
            page = pareto_page(table, looks(map(network_of, found), table.checkpoint), note)
            drawn.append((f"{folder}energy_pareto", [page], table))
    return drawn


# --- sample by sample


def distribution(results: Results) -> list[Drawn]:
    """Energy sample by sample on the set as it is and on the largest severity of each shift: a row
    per set, a box per network, the medians of the set as it is as lines through all rows.

    Drawn: data, checkpoint, n, mean_pj, and the energy at each of `QUANTILES`.
    """
    import pandas as pd

    drawn = []
    for folder, found, note in _of_profiles(results):
        strongest: dict[tuple[str, ...], Row] = {}
        for row in results.records.get("shift", ()):
            key = (row["checkpoint"], row["set"], row["shift"])
            if row["profile"] == found[0]["profile"] and row["kind"] == "set":
                strongest[key] = max(strongest.get(key, row), row, key=lambda one: one["severity"])
        named = {result["checkpoint"]: network_of(result) for result in found}
        samples, rows = {}, []
        for row in (*found, *strongest.values()):
            energies = results.arrays[samples_key(row)]
            of = {"data": row["data"], "checkpoint": named[row["checkpoint"]]}
            samples[of["data"], of["checkpoint"]] = energies
            mean = {"n": len(energies), "mean_pj": float(np.mean(energies))}
            quantiles = zip(QUANTILES, np.quantile(energies, QUANTILES), strict=True)
            rows.append(of | mean | {f"quantile_{level:g}_pj": pj for level, pj in quantiles})
        clean = list(dict.fromkeys(row["data"] for row in found))
        pages = _distribution_pages(samples, clean, looks(list(named.values())), note)
        drawn.append((f"{folder}energy_distribution", pages, pd.DataFrame(rows)))
    return drawn


def _distribution_pages(
    samples: Mapping[tuple[str, str], NDArray[np.float64]],
    clean: Sequence[str],
    look: Mapping[str, Look],
    note: str,
) -> list[Any]:
    """Pages of boxes: quartiles, median, quantiles 0.05 and 0.95, mean, in pJ [N] by set and
    network; sets of at most `FEW_SAMPLES` show every sample instead. One scale over all pages.
    """
    unit, scale = energy_unit(max(float(energies.max()) for energies in samples.values()))
    sets, several = list(dict.fromkeys(name for name, _ in samples)), len(samples) > len(look)
    marked = " (clean)" if several else ""
    names = elided_names([name + marked * (name in clean) for name in sets], _NAMES_IN).values()
    shown = dict(zip(sets, names, strict=True))
    most, row_in = _MOST_ROWS // len(look), 0.1 + 0.1 * len(look)

    def draw(here: Sequence[str], axes: Any) -> None:
        for row in range(1, len(here), 2):
            axes.axhspan(row - 0.5, row + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
        for name, one in look.items():
            sign = {"color": one.colour, "marker": one.marker, "linestyle": ""}
            axes.plot([], [], label=label_of(f"{name} (mean)"), **sign, **_MEAN)
        for i, (name, one) in enumerate(look.items()):
            own = {data: samples[data, name] / scale for data in sets if (data, name) in samples}
            for data in own.keys() & set(clean) if several else ():
                line = {"color": one.colour, "label": "median of the clean set", "zorder": 0.6}
                axes.axvline(np.median(own[data]), linestyle=":", linewidth=0.7, **line)
            for row, data in enumerate(here):
                if data in own:
                    y = row + (i - (len(look) - 1) / 2) * 0.8 / len(look)
                    _draw_samples(axes, own[data], y, 0.6 / len(look), one)
        name_rows(axes, [shown[data] for data in here])

    chunks = [sets[start : start + most] for start in range(0, len(sets), most)]
    bands = [
        Band([Panel("distribution", partial(draw, here), x_as="energy")], (row_in * len(here),))
        for here in chunks
    ]
    return draw_pages(bands, SINGLE_IN, f"energy per inference ({unit}), {note}")


def _draw_samples(
    axes: Any, energies: NDArray[np.float64], y: float, height: float, look: Look
) -> None:
    """A box, or every sample of few, around the mean."""
    points: dict[str, Any] = {"color": look.colour, "linestyle": "", "zorder": 3}
    if len(energies) <= FEW_SAMPLES:
        tick = {"linestyle": "", "marker": "|", "markersize": 4}
        axes.plot(energies, np.full(len(energies), y), **points | tick)
        axes.plot([], [], color=INK, label="sample", **tick)
    else:
        low, first, median, third, high = np.quantile(energies, QUANTILES)
        axes.plot([low, high], [y, y], color=look.colour, linewidth=0.8, zorder=2)
        pale = tuple(1 - 0.4 * (1 - part) for part in look.colour)
        box = {"color": pale, "edgecolor": look.colour, "linewidth": 0.7, "zorder": 2.5}
        axes.barh(y, third - first, left=first, height=height, **box)
        middle = {"color": INK, "solid_capstyle": "butt", "zorder": 2.7}
        axes.plot([median] * 2, [y - height / 2, y + height / 2], **middle)
        axes.fill_between([], [], facecolor=PALE, edgecolor=INK, linewidth=0.7, label="quartiles")
        axes.plot([], [], "|", color=INK, markersize=6, markeredgewidth=1.1, label="median")
        axes.plot([], [], color=INK, linewidth=0.8, label="quantiles 0.05–0.95")
    axes.plot(energies.mean(), y, marker=look.marker, **points | _MEAN)


# --- from one counter to another


def ledgers(results: Results) -> list[Drawn]:
    """From one counter's totals to another's: a waterfall for each pair, a row per network, MACs
    and ACs side by side; each step that changes something starts where the last one ended.

    Drawn: checkpoint, operation, bar (start, step, end), name, from, to, amount, per inference;
    fractions as decimals.
    """
    import pandas as pd

    found = results.records.get("ledgers", ())
    pairs: dict[tuple[str, str], list[Row]] = {}
    for one in found:
        pairs.setdefault((one["start"]["convention"], one["end"]["convention"]), []).append(one)
    drawn = []
    for (start, end), own in pairs.items():
        drawable("ledger", [network_of(one) for one in own])
        rows = [row for one in own for operation in OPERATIONS for row in _steps(one, operation)]
        table = pd.DataFrame(rows, dtype=object)  # exact integers
        sizes = sorted({one["start"]["batch_size"] for one in own})
        x = f"operations per inference, in batches of {', '.join(map(str, sizes))}"
        drawn.append((f"energy_ledger_{start}_{end}", _ledger_pages(table, x), table))
    return drawn


def _steps(found: Row, operation: str) -> Iterator[dict[str, Any]]:
    """The bars of one network: totals from 0, each step from where the last one ended."""
    start, end = found["start"], found["end"]

    def mean(one: Row, key: str = operation) -> Fraction:
        return Fraction(one[f"{key}_total"]) / start["samples"]

    steps = [step for step in found["steps"] if mean(step, "macs") or mean(step, "acs")]
    reached = list(accumulate(map(mean, steps), initial=mean(start)))
    ends = zip(steps, reached, reached[1:], strict=False)
    for bar, name, before, after in (
        ("start", start["convention"], Fraction(0), reached[0]),
        *(("step", step["name"], before, after) for step, before, after in ends),
        ("end", end["convention"], Fraction(0), mean(end)),
    ):
        row = {"checkpoint": network_of(found), "operation": operation, "bar": bar, "name": name}
        numbers = {"from": before, "to": after, "amount": after - before}
        whole = {key: int(n) if n.denominator == 1 else float(n) for key, n in numbers.items()}
        yield row | whole


def _ledger_pages(table: "DataFrame", x: str) -> list[Any]:
    networks, names = table.checkpoint.unique(), elided_names(table.name.unique(), _NAMES_IN)
    titles = elided_names(networks, DOUBLE_IN - 1)
    bands = []
    for network, own in split(table, "checkpoint").items():
        panels = []
        for operation, bars in split(own, "operation").items():
            first = operation == next(iter(OPERATIONS))
            said = [names[name] if first else "" for name in bars.name]
            title = titles[network] if first and len(networks) > 1 else ""
            draw, label = partial(_draw_steps, bars, said), f"{network} {operation}"
            panels.append(Panel(label, draw, title=title, note=OPERATIONS[operation]))
        bands.append(Band(panels, (0.15 * len(said),)))
    return draw_pages(bands, DOUBLE_IN, x)


def _draw_steps(bars: "DataFrame", names: Sequence[str], axes: Any) -> None:
    for i, (_, bar) in enumerate(bars.iterrows()):
        before, after, amount = (float(bar[key]) for key in ("from", "to", "amount"))
        kind = "total" if bar.bar != "step" else "added" if amount > 0 else "taken away"
        how = {"color": _CHANGES[kind], "linewidth": 0, "label": kind if amount else ""}
        drawn = axes.barh(i, abs(amount), left=min(before, after), height=0.7, **how)
        sign = "+" if bar.bar == "step" and amount > 0 else ""
        axes.bar_label(drawn, [sign + three_digits(amount)], padding=3)
        if i + 1 < len(bars):  # where the next bar starts
            axes.plot([after] * 2, [i - 0.35, i + 1.35], color=PALE, linewidth=0.6, zorder=0.5)
    axes.axvline(0, color=INK, linewidth=0.6)
    reached = bars[["from", "to"]].to_numpy(float)
    axes.set_xlim(reached.min(), reached.min() + (1.3 * np.ptp(reached) or 1.0))
    axes.spines["left"].set_visible(False)
    name_rows(axes, names)


# --- what figures share


def price_note(profile: str, found: Sequence[Row]) -> str:
    """The profile, and what was counted that it has no price for."""
    missing = dict.fromkeys(
        f"{line['operation'].upper()}s" if line["part"] == "synapses" else line["part"]
        for result in found
        for line in result["unpriced"]
        if "no price" in line["reason"]
    )
    return profile + (f" (no price: {', '.join(missing)})" if missing else "")


def _of_profiles(results: Results) -> Iterator[tuple[str, list[Row], str]]:
    """Of each profile the folder of its files, the networks on the set as it is, and what an axis
    says of its prices. Raises `DataError` for a network that is there twice.
    """
    every = results.records["result"]
    profiles = list(dict.fromkeys(row["profile"] for row in every))
    for profile in profiles:
        found = [row for row in every if row["profile"] == profile]
        drawable("energy", [network_of(row) for row in found])
        folder = f"{profile}/" if len(profiles) > 1 else ""
        yield folder, found, price_note(profile, found)


ENERGY_FIGURES: Mapping[str, Callable[[Results], list[Drawn]]] = {
    "layers": layers,
    "severity": severities,
    "pareto": pareto,
    "distribution": distribution,
    "ledger": ledgers,
}
