"""What an energy evaluation found, as records: nested, as JSON holds them, and flat rows beside
them, one number a column; and the notes that are read from them.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.conventions import CONVENTIONS
from ahsar_eval.energy.result import (
    EnergyResult,
    Samples,
    accuracy_per_uj,
    label_of,
    network_of,
    samples_key,
    with_fronts,
)
from ahsar_eval.energy.shift import METHOD, ShiftedEnergy, contrasts_of
from ahsar_eval.evaluation.inputs import Plan
from ahsar_eval.evaluation.requirement_tables import requirement_notes
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

ORIGIN = ("checkpoint", "thresholds", "data")


@dataclass(frozen=True, eq=False)
class NetworkEnergy:
    """What one network gave under one profile: the result on the set as it is, shifts with their
    means, points of the curve; conventions and ledgers, which are the same whatever the profile.
    """

    plan: Plan
    clean: EnergyResult
    shifted: Sequence[ShiftedEnergy] = ()
    curve: Sequence[Row] = ()
    conventions: Sequence[Row] = ()
    ledgers: Sequence[Row] = ()


def records_of(
    networks: Sequence[Sequence[NetworkEnergy]],
) -> tuple[dict[str, list[Row]], dict[str, NDArray[np.float64]]]:
    """Everything found of each network under each profile, networks in the order given below each
    profile: "result" (everything of a network on the set as it is, nested), its rows "layer",
    "neurons", "operations", "account" and "total"; "shifts" (nested) with rows "shift" and "shift
    layer": every shift and severity, then the means of a shift over its severities and of all
    shifts; "contrast" where exactly two networks met the same samples; "scale", ascending;
    "conventions" and "ledgers" (nested) with rows "convention" and "ledger". And the energy of each
    sample as arrays (`samples_key`).
    """
    records: dict[str, list[Row]] = defaultdict(list)
    arrays = {}
    for under_profile in zip(*networks, strict=True):
        for network in under_profile:
            _add_result(records, network.clean)
            for one in network.shifted:
                _add_shift(records, one)
            single = [(vars(one), one) for one in network.shifted if one.members == 1]
            for named, some in [(network.clean.row, network.clean), *single]:
                arrays[samples_key(named)] = some.samples["energy_pj"]
        records["contrast"] += _contrasts(under_profile)
        records["scale"] += with_fronts([row for each in under_profile for row in each.curve])
    for network, *_ in networks:
        named = _of(network.clean.row, ORIGIN)
        for found in network.conventions:
            records["conventions"].append({**named, **found})
            records["convention"] += _convention_rows(named, found)
        for found in network.ledgers:
            records["ledgers"].append({**named, **found})
            records["ledger"] += _ledger_rows(named, found)
    return {name: rows for name, rows in records.items() if rows}, arrays


def _contrasts(networks: Sequence[NetworkEnergy]) -> Iterator[dict[str, Any]]:
    """Changes of two networks compared, where both met the same samples."""
    sources = {network.plan.id_split.source.identity for network in networks}
    if len(networks) != 2 or len(sources) > 1:
        return
    first, second = networks
    twins = {(one.data, one.members): one for one in second.shifted}
    for one in first.shifted:
        if (one.data, one.members) in twins:
            other = twins[one.data, one.members]
            yield from contrasts_of(one, other, [each.clean.samples for each in networks])


def _of(one: Row, names: Sequence[str] = (*ORIGIN, "profile")) -> dict[str, Any]:
    """What a flat row is of; of a network that adapts, how."""
    adapts = {"adaptation": one["adaptation"]} if one.get("adaptation") else {}
    return {name: one[name] for name in names} | adapts


def _summary(result: Mapping[str, Any]) -> dict[str, Any]:
    names = ("n", "accuracy", "mean_rate", "total_acs", "total_macs", "total_energy_pj")
    return {
        **{name: result[name] for name in names},
        "accuracy_per_uj": accuracy_per_uj(result["accuracy"], result["total_energy_pj"]),
    }


def point_of(result: EnergyResult, scale: float | None, own: bool) -> dict[str, Any]:
    """A network at one setting of its thresholds: `scale` is the factor on every base threshold,
    None where its own thresholds have no single one; `own` marks the setting it is used with.
    """
    return {**_of(result.row), "scale": scale, "own": own, **_summary(result.row)}


def _add_result(records: dict[str, list[Row]], result: EnergyResult) -> None:
    found = result.row
    records["result"].append(found)
    names = {"name": "layer", "updates": "neuron_updates", "operations": "count"}
    parts = {"layer": "layers", "neurons": "neurons", "operations": "operators", "account": "parts"}
    for row, part in parts.items():
        unsaid = ("acs", "macs") if row == "operations" else ()
        for one in found[part]:
            kept = {names.get(key, key): one[key] for key in one if key not in unsaid}
            records[row].append({**_of(found), **kept})
    spread = _spread(result.samples)
    spread |= {f"energy_quantile_{at}_pj": value for at, value in found["quantiles_pj"].items()}
    records["total"].append({**_of(found), **_summary(found), **spread})


def _add_shift(records: dict[str, list[Row]], one: ShiftedEnergy) -> None:
    mean = {quantity: float(values.mean()) for quantity, values in one.samples.items()}
    row = {
        **_of(vars(one)),
        "kind": "set" if one.members == 1 else "mean",
        "set": one.set,
        "shift": one.shift or None,
        "severity": one.severities[0] if one.members == 1 else None,
        "members": one.members,
        "n": len(one.samples["energy_pj"]),
        "accuracy": mean.get("accuracy"),
        "mean_rate": mean.get("rate"),
        "total_acs": mean["synops"],
        "total_energy_pj": mean["energy_pj"],
        **_spread(one.samples),
    }
    nested = asdict(replace(one, samples={}))
    changes, layers = nested["changes"], nested["layers"]
    records["shifts"].append({**row, "changes": changes, "layers": list(layers)})
    records["shift"].append({**row, **_flat(changes)})
    of = {**_of(vars(one)), "shift": one.shift, "severity": one.severities[0]}
    for layer in layers:
        numbers = {name: layer[name] for name in ("kind", "rate", "acs", "energy_pj")}
        flat = _flat(layer["changes"])
        records["shift layer"].append({**of, "layer": layer["name"], **numbers, **flat})


def _spread(samples: Samples) -> dict[str, float]:
    """Standard deviations over samples."""
    keys = {"energy_pj": "energy_std_pj", "synops": "synops_std", "rate": "rate_std"}
    return {
        key: float(samples[name].std(ddof=1)) if len(samples[name]) > 1 else 0.0
        for name, key in keys.items()
        if name in samples
    }


def _flat(changes: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    return {
        f"{name.removesuffix('_pj')}_change{end}": change[part]
        for name, change in changes.items()
        for part, end in (("value", ""), ("low", "_low"), ("high", "_high"))
    }


def _convention_rows(named: Row, found: Row) -> list[Row]:
    """One per convention and layer, and one for the whole (layer 'total'); totals exact, over all
    samples.
    """
    of = {**named, **{name: found[name] for name in ("convention", "samples", "batch_size")}}
    extra = found["extra_total"].items()
    beside = [{"part": name, "macs_total": 0, "acs_total": count} for name, count in extra]
    lines = [{"part": "", **found}, *found["layers"], *beside]
    return [_counted(of, ("layer", "part"), line) for line in lines]


def _ledger_rows(named: Row, found: Row) -> list[Row]:
    """Start, every step that changes something (layer 'total' and each layer), end; totals exact,
    over all samples.
    """
    start, end = found["start"], found["end"]
    of = {**named, "start": start["convention"], "end": end["convention"]}
    of |= {name: start[name] for name in ("samples", "batch_size")}
    steps = [
        {**one, "step": step["name"]} for step in found["steps"] for one in (step, *step["layers"])
    ]
    lines = [{**start, "step": "start"}, *steps, {**end, "step": "end"}]
    return [_counted(of, ("step", "layer"), line) for line in lines]


def _counted(of: Row, names: Sequence[str], line: Row) -> Row:
    """A row with MACs and ACs per inference, and exact over all samples."""
    exact = {name: line[name] for name in ("macs_total", "acs_total")}
    means = {
        name.replace("total", "per_inference"): float(Fraction(value) / of["samples"])
        for name, value in exact.items()
    }
    return {**of, **{name: line.get(name, "total") for name in names}, **means, **exact}


# --- what a reader must know of them


def records_like(results: Results, like: Row, *keys: str) -> dict[str, list[Row]]:
    """The records that agree with `like` in `keys`; no rows of what was not asked for."""
    return defaultdict(
        list,
        {
            name: [row for row in rows if all(row.get(key) == like[key] for key in keys)]
            for name, rows in results.records.items()
        },
    )


def by_profile(results: Results) -> list[dict[str, list[Row]]]:
    """The records under each profile, in the order asked for."""
    profiles = {row["profile"]: row for row in results.records["result"]}
    return [records_like(results, row, "profile") for row in profiles.values()]


def energy_notes(results: Results) -> list[str]:
    """What a reader must know to read the numbers: prices, choices, what is left out, intervals,
    fronts, and what other tools count.
    """
    notes: list[str] = []
    for found in by_profile(results):
        networks = found["result"]
        notes += _profile_notes(networks[0])
        if len(networks) > 1:
            notes.append(
                "Bold: the highest accuracy; the lowest energy only where no other network is more "
                "accurate, for errors can be had cheaply."
            )
        notes += [note for result in networks for note in _network_notes(result)]
        if "memory" in results.by:
            notes += [note for result in networks for note in _memory_notes(result)]
        if found["shift"]:
            notes.append(
                "Change: (shifted − clean) / clean, of accuracy shifted − clean. Intervals: "
                f"{METHOD}. A mean averages every sample over its sets first. They are of the "
                "images, not of the training."
            )
        if any(row["accuracy"] is None for row in found["shift"]):
            notes.append(
                "– : no accuracy, for labels are unknown, not kept by the shift, or of other "
                "classes."
            )
        if found["scale"]:
            others = "; all networks: of all points of all networks" if len(networks) > 1 else ""
            notes.append(
                f"Pareto front, of this network's points{others}: none is as accurate for less "
                "energy, or more accurate for no more. The scale is a factor on every base "
                "threshold; own: the thresholds the network comes with. Nothing is chosen here: "
                "the curve is measured on the set shown, and a scale chosen by it must be judged "
                "on another."
            )
    required = requirement_notes(results.records.get("requirements", ()))
    return [*notes, *_convention_notes(results), *required]


def _profile_notes(first: Row) -> list[str]:
    made = [first[f"profile_{key}"] for key in ("node", "format", "obtained")]
    origin = f" ({', '.join(filter(None, made))})" if any(made) else ""
    choices = ", ".join(
        f"{name.replace('macs', 'MACs').replace('_', ' ')} {value}"
        for name, value in first["choices"].items()
        if name != "event_frames"
    )
    return [
        f"Profile {first['profile']}{origin}: {first['profile_includes']}. Source: "
        f"{first['profile_source']}.",
        "SynOps: every spike times the outputs it reaches, exact at borders. MACs: padding "
        f"excluded. Choices: {choices} (docs/energy.md). Other: biases, batch norms, residual "
        "additions, pooling, products.",
        f"Not included: {', '.join(first['not_included'])}.",
        "ANN: the same layers on values, dense, each once, in the same number format.",
    ]


def _network_notes(result: Row) -> list[str]:
    """Layers that were not counted or never fired, and operations without a price."""
    checkpoint, neurons = label_of(result), result["neurons"]
    notes = [f"Uncounted layers of {checkpoint}: {_uncounted(result) or 'none'}."]
    silent = [neuron["name"] for neuron in neurons if neuron["spikes"] == 0]
    if silent:
        more = f" and {len(silent) - 5} more" if len(silent) > 5 else ""
        notes.append(
            f"No spike on any sample in {len(silent)} of {len(neurons)} spiking layers of "
            f"{network_of(result)}: {', '.join(silent[:5])}{more}."
        )
    missing = []
    for one in result["unpriced"]:
        detail = f", {one['detail']}" if one["detail"] else ""
        what = f"{one['operation']} of {one['part']}{detail}"
        number = ",.3g" if one["part"] == "regulation" else ",.0f"  # shares of a step
        missing.append(f"{one['count']:{number}} {what} ({one['reason']})")
    if missing:
        notes.append(
            f"Not priced by {result['profile']}, and so in no sum of {checkpoint}: "
            f"{'; '.join(missing)}."
        )
    return notes + ([_adapting_note(result)] if "regulation" in result else [])


def _adapting_note(result: Row) -> str:
    """What adapting cost, in an inference and beside it."""
    found = result["regulation"]
    took = (
        f"adapting to {result['data']} took {found['passes']:,} sample passes more, "
        f"{found['once_pj'] / 1e6:,.4g} µJ at the energy of an inference each, in no sum here"
        if found["passes"]
        else f"adapting to {result['data']} took no pass more"
    )
    if found["protocol"] == "episodic":
        took += "; while the evaluated samples run nothing is counted and nothing moves"
    elif found["operations"]:
        took += (
            "; regulation, in the sum: an addition per spike that is counted, and the steps that "
            f"move {found['thresholds']:,} thresholds, shared by the samples of the stream"
        )
    return f"{label_of(result)}: {took}."


def _uncounted(found: Mapping[str, Any]) -> str:
    return "; ".join(f"{entry['name']} ({entry['reason']})" for entry in found["uncounted"])


def _memory_notes(result: Row) -> list[str]:
    found = result["memory"]
    if found is None:
        return []
    notes = [
        f"Memory: {found['source']}; words of {found['word_bits']} bits, an access carries "
        f"{found['access_bits']}.",
        *found["notes"],
        "Its computation follows the article's equations (borders reach as far as the middle), so "
        "it differs from the account's.",
    ]
    if found["uncounted"]:
        notes.append(f"Outside the memory model, of {label_of(result)}: {_uncounted(found)}.")
    return notes


def _convention_notes(results: Results) -> list[str]:
    """What each convention counts, and how to read the steps from one to another."""
    notes = []
    for totals in results.records.get("conventions", ()):
        convention = CONVENTIONS[totals["convention"]]
        told = f"{totals['convention']} ({convention.source}): {convention.rule}."
        notes.append(" ".join([told, *totals["notes"]]))
    steps = results.records.get("ledger", ())
    if steps:
        notes.append(
            "Ledger: start + steps = end exactly, for every layer; each step is counted on its "
            "own; steps that change nothing are left out."
        )
    ends = dict.fromkeys(row[end] for row in steps for end in ("start", "end"))
    judging = [name for name in ends if CONVENTIONS[name].judges_calls]
    if judging:
        notes.append(
            f"{', '.join(judging)}: MAC or AC is decided by the values of a whole call, so the "
            f"numbers hold for batches of {steps[0]['batch_size']} consecutive samples; at another "
            "batch size they differ."
        )
    return notes
