"""Figures of an energy evaluation as functions of its results: under shift, sample by sample, and
from one counter's totals to another's.

With several profiles the files of each lie in a folder of its name.
"""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from pandas import DataFrame, concat, factorize

from ahsar_eval.energy.result import label_of, network_of, samples_key
from ahsar_eval.plots.pages import (
    STEPS,
    Band,
    Panel,
    draw_lines,
    draw_pages,
    name_rows,
    severity_pages,
    split,
)
from ahsar_eval.plots.style import (
    DOUBLE_IN,
    INK,
    PALE,
    RIM,
    SINGLE_IN,
    Colour,
    Drawn,
    Looks,
    drawable,
    elided_names,
    energy_unit,
    grouped,
    looks,
    samples_said,
    three_digits,
)
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

BANDS = "95 % interval of the change"
SEVERITY = {
    "accuracy": "accuracy",
    "rate": "rate (spikes per step)",
    "synops": "SynOps per inference",
    "energy": "energy (relative to clean)",
}
_VALUES = {"rate": "mean_rate", "synops": "total_acs"}  # others have their quantity's name
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# So many are drawn one by one: their outer quantiles would be made up between two samples.
FEW_SAMPLES = 30
OPERATIONS = {"macs": "MACs", "acs": "ACs"}
_CHANGES = {"total": "#555555", "added": "#cc6677", "taken away": "#332288"}  # not of networks
_PARTLY = {"regulation": "some of regulation"}
_NAMES_IN = 1.3  # the widest name of a row is cut to this
_MOST_ROWS = 50  # boxes below one another
_MEAN: dict[str, Any] = {"linestyle": "", "markersize": 3.0, "zorder": 3, **RIM}


# --- under shift


def severities(results: Results) -> Iterator[Drawn]:
    """Accuracy, mean rate, SynOps and energy over the severity of each shift that has several.

    Bands are the ends of each change's interval; the clean set, which does not differ from itself,
    is a point. Drawn: shift, checkpoint, quantity, severity, value, low, high.
    """
    for folder, own, _ in each_profile(results):
        parts: list[DataFrame] = []
        priced = [row for row in own["shift"] if row["energy_change"] is not None]
        clean = {label_of(row): row for row in own["result"]}
        named = [{**row, "label": label_of(row)} for row in priced]
        shifts = grouped(named, "label", "set", "shift")
        names = [(network, shift) for network, _, shift in shifts]
        for (network, of, shift), members in shifts.items():
            name = shift if names.count((network, shift)) == 1 else f"{of}:{shift}"
            if len(members) > 1:
                parts += _severity_parts(clean[network], members, name)
        if parts:
            table = concat(parts, ignore_index=True)
            banded = f"; bands: {BANDS}" if table.low.notna().any() else ""
            pages = severity_pages(
                table,
                looks(map(network_of, own["result"])),
                heads=SEVERITY,
                lines={"energy": 1.0},
                x=f"severity (0: clean){banded}",
                missing="no labels to compare",
                said=data_said(own["result"]),
            )
            yield Drawn(f"{folder}energy_severity", pages, table)


def _severity_parts(clean: Row, members: Sequence[Row], shift: str) -> Iterator[DataFrame]:
    """The points of one network under one shift, for each quantity that is known; the first is the
    clean set.
    """
    first = {**clean, "severity": 0, "energy_change": 0.0}
    rows = DataFrame([first, *sorted(members, key=lambda row: row["severity"])])
    rows["energy"] = 1 + rows.energy_change
    for quantity in SEVERITY:
        value = rows[_VALUES.get(quantity, quantity)].astype(float)
        sides = [f"{quantity}_change_{side}" for side in ("low", "high")]
        change = rows.reindex(columns=sides).astype(float)
        if change.notna().any(axis=None):
            change.iloc[0] = 0
        # What the end of a change leads to cannot fall below 0.
        start, most = value.iloc[0], 1 if quantity == "accuracy" else np.inf
        ends = start + change if quantity == "accuracy" else start * (1 + change)
        low, high = (ends[side].clip(0, most) for side in sides)
        named = {"shift": shift, "checkpoint": network_of(clean), "quantity": quantity}
        points = {"severity": rows.severity, "value": value, "low": low, "high": high}
        if value.notna().all():
            yield DataFrame(named | points)


# --- sample by sample


def distribution(results: Results) -> Iterator[Drawn]:
    """Energy sample by sample on the set as it is and on the largest severity of each shift: a row
    per set, a box per network, the medians of the set as it is as lines through all rows.

    Drawn: data, checkpoint, n, mean_pj, and the energy at each of `QUANTILES`.
    """
    for folder, own, note in each_profile(results):
        clean = own["result"]
        named = [{**row, "label": label_of(row)} for row in own["shift"]]
        shifts = grouped(named, "label", "set", "shift").values()
        shown = [*clean, *(max(one, key=itemgetter("severity")) for one in shifts)]
        samples: Any = [results.arrays[samples_key(row)] for row in shown]
        rows = []
        for row, energies in zip(shown, samples, strict=True):
            quantiles = zip(QUANTILES, np.quantile(energies, QUANTILES), strict=True)
            numbers = {f"quantile_{level:g}_pj": pj for level, pj in quantiles}
            of = {"data": row["data"], "checkpoint": network_of(row), "n": len(energies)}
            rows.append({**of, "mean_pj": float(np.mean(energies)), **numbers})
        table = DataFrame(rows)
        drawn = table.assign(clean=table.index < len(clean), energies=samples)
        look, said = looks(map(network_of, clean)), data_said(clean)
        pages = _distribution_pages(drawn, look, note, said)
        yield Drawn(f"{folder}energy_distribution", pages, table)


def _distribution_pages(table: Any, look: Looks, note: str, said: str) -> list[Any]:
    """Pages of boxes: quartiles, median, quantiles 0.05 and 0.95, mean; sets of at most
    `FEW_SAMPLES` show every sample instead. One scale over all pages.

    `table` has a row for each network on a set: what is written beside the figure, whether the set
    is `clean`, and the `energies` of its samples.
    """
    unit, scale = energy_unit(max(map(np.max, table.energies)))
    count, clean = len(look), set(table.data[table.clean])
    several, most, row_in = len(table) > count, _MOST_ROWS // count, 0.1 + 0.1 * count
    rows, sets = factorize(table.data)
    names = elided_names([f"{s} (clean)" if several and s in clean else s for s in sets], _NAMES_IN)
    places = table.checkpoint.map({name: i for i, name in enumerate(look)})
    table = table.assign(page=rows // most, row=rows % most, mean=table.mean_pj / scale)
    table = table.assign(y=table.row + (places - (count - 1) / 2) * 0.8 / count)
    means = {name: one | {"label": f"{one['label']} (mean)"} for name, one in look.items()}

    shown = np.concatenate([_shown_ends(one) for one in table.energies]) / scale
    ticks = MaxNLocator(5, steps=STEPS).tick_values(shown.min(), shown.max())  # around all data

    def draw(here: Any, axes: Any) -> None:
        for row in range(1, here.row.max() + 1, 2):
            axes.axhspan(row - 0.5, row + 0.5, color="#f3f3f3", linewidth=0, zorder=0)
        draw_lines(axes, here, means, "mean", "y", **_MEAN)
        medians = {"label": "median of the clean set", "linestyle": ":", "linewidth": 0.7}
        for one in table[table.clean & several].itertuples():
            colour = look[one.checkpoint]["color"]
            axes.axvline(np.median(one.energies / scale), color=colour, zorder=0.6, **medians)
        for one in here.itertuples():
            colour = look[one.checkpoint]["color"]
            _draw_samples(axes, one.energies / scale, one.y, 0.6 / count, colour)
        axes.set_xticks(ticks)
        axes.set_xlim(ticks[0], ticks[-1])
        first = most * here.page.iloc[0]
        name_rows(axes, list(names.values())[first : first + most])

    bands = []
    for here in split(table, "page").values():
        panel = Panel("distribution", partial(draw, here), x_as="energy")
        bands.append(Band([panel], (row_in * here.data.nunique(),)))
    return draw_pages(bands, SINGLE_IN, f"energy per inference ({unit}), {note}", said=said)


def _shown_ends(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """The least and the largest energy that `_draw_samples` shows."""
    ends = (0.0, 1.0) if len(energies) <= FEW_SAMPLES else QUANTILES[:: len(QUANTILES) - 1]
    return np.quantile(energies, ends)


def _draw_samples(
    axes: Any, energies: NDArray[np.float64], y: float, height: float, colour: Colour
) -> None:
    """A box, or every sample of few."""
    if len(energies) <= FEW_SAMPLES:
        every = np.full(len(energies), y)
        axes.plot(energies, every, "|", color=colour, markersize=4, zorder=3, label="sample")
        return
    low, first, median, third, high = np.quantile(energies, QUANTILES)
    pale = tuple(1 - 0.4 * (1 - part) for part in colour)
    outer = {"linewidth": 0.8, "zorder": 2, "label": "quantiles 0.05–0.95"}
    axes.plot([low, high], [y, y], color=colour, **outer)
    box = {"linewidth": 0.7, "zorder": 2.5, "label": "quartiles"}
    axes.barh(y, third - first, height, first, color=pale, edgecolor=colour, **box)
    middle = {"markersize": 6, "markeredgewidth": 1.1, "zorder": 2.7, "label": "median"}
    axes.plot(median, y, "|", color=INK, **middle)


# --- from one counter to another


def ledgers(results: Results) -> Iterator[Drawn]:
    """From one counter's totals to another's: a waterfall for each pair, a row per network, MACs
    and ACs side by side; each step that changes something starts where the last one ended.

    Drawn: checkpoint, operation, bar (start, step, end), name, from, to, amount, per inference;
    fractions as decimals.
    """
    pairs: dict[tuple[str, str], list[Row]] = {}
    for one in results.records.get("ledgers", ()):
        pairs.setdefault((one["start"]["convention"], one["end"]["convention"]), []).append(one)
    for (start, end), own in pairs.items():
        drawable("ledger", [network_of(one) for one in own])
        rows = [row for one in own for operation in OPERATIONS for row in _steps(one, operation)]
        table = DataFrame(rows, dtype=object)  # exact integers
        sizes = sorted({one["start"]["batch_size"] for one in own})
        x = f"operations per inference, in batches of {', '.join(map(str, sizes))}"
        said = samples_said((one["data"], one["start"]["samples"]) for one in own)
        yield Drawn(f"energy_ledger_{start}_{end}", _ledger_pages(table, x, said), table)


def _steps(found: Row, operation: str) -> Iterator[dict[str, Any]]:
    """The bars of one network: totals from 0, each step from where the last one ended."""
    start, reached = found["start"], Fraction(0)
    steps = [
        ("step", step)
        for step in found["steps"]
        if any(Fraction(step[f"{one}_total"]) for one in OPERATIONS)
    ]
    for bar, one in (("start", start), *steps, ("end", found["end"])):
        before = reached if bar == "step" else Fraction(0)
        amount = Fraction(one[f"{operation}_total"]) / start["samples"]
        reached = before + amount
        name = one["name" if bar == "step" else "convention"]
        row = {"checkpoint": network_of(found), "operation": operation, "bar": bar, "name": name}
        numbers = {"from": before, "to": reached, "amount": amount}
        whole = {key: int(n) if n.denominator == 1 else float(n) for key, n in numbers.items()}
        yield row | whole


def _ledger_pages(table: DataFrame, x: str, said: str) -> list[Any]:
    networks, names = table.checkpoint.unique(), elided_names(table.name.unique(), _NAMES_IN)
    titles = elided_names(networks, DOUBLE_IN - 1)
    bands = []
    for network, own in split(table, "checkpoint").items():
        panels: list[Panel] = []
        for operation, bars in split(own, "operation").items():
            draw = partial(_draw_steps, bars, list(bars.name.map(names)))
            title = "" if panels or len(networks) == 1 else titles[network]
            panels.append(Panel(f"{network} {operation}", draw, title, OPERATIONS[operation]))
        bands.append(Band(panels, (0.15 * len(bars),)))
    return draw_pages(bands, DOUBLE_IN, x, said=said)


def _draw_steps(bars: DataFrame, names: Sequence[str], axes: Any) -> None:
    for i, bar in enumerate(bars.to_dict("records")):
        before, after, amount = (float(bar[key]) for key in ("from", "to", "amount"))
        step = bar["bar"] == "step"
        kind = "total" if not step else "added" if amount > 0 else "taken away"
        length, start, label = abs(amount), min(before, after), kind if amount else ""
        drawn = axes.barh(i, length, 0.7, start, color=_CHANGES[kind], linewidth=0, label=label)
        sign = "+" if step and amount > 0 else ""
        axes.bar_label(drawn, [sign + three_digits(amount)], padding=3)
        if i + 1 < len(bars):  # where the next bar starts
            axes.plot([after] * 2, [i - 0.35, i + 1.35], color=PALE, linewidth=0.6, zorder=0.5)
    axes.axvline(0, color=INK, linewidth=0.6)
    reached = bars[["from", "to"]].to_numpy(float)
    axes.set_xlim(reached.min(), reached.min() + (1.3 * np.ptp(reached) or 1.0))
    axes.spines["left"].set_visible(False)
    name_rows(axes, names)


# --- what figures share


def data_said(found: Sequence[Row]) -> str:
    """Which set was run, and how many samples of it."""
    return samples_said((row["data"], row["n"]) for row in found)


def price_note(profile: str, found: Sequence[Row]) -> str:
    """The profile, and what was counted that it has no price for."""
    missing = dict.fromkeys(
        f"{line['operation'].upper()}s"
        if line["part"] == "synapses"
        else _PARTLY.get(line["part"], line["part"])
        for result in found
        for line in result["unpriced"]
        if "no price" in line["reason"]
    )
    return profile + (f" (no price: {', '.join(missing)})" if missing else "")


def each_profile(results: Results) -> Iterator[tuple[str, dict[str, list[Row]], str]]:
    """Of each profile the folder of its files, its records without means over shifts, and what an
    axis says of its prices. Raises `DataError` for a network that is there twice.
    """
    profiles = dict.fromkeys(row["profile"] for row in results.records["result"])
    for profile in profiles:
        own = {
            name: [
                row
                for row in results.records.get(name, ())
                if row["profile"] == profile and row.get("kind") != "mean"
            ]
            for name in ("result", "shift", "scale")
        }
        drawable("energy", [network_of(row) for row in own["result"]])
        folder = f"{profile}/" if len(profiles) > 1 else ""
        yield folder, own, price_note(profile, own["result"])
