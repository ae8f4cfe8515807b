"""A whole energy evaluation: which sets, which threshold scales, one recording per network and set,
results from all of them.

`ahsar_eval.energy` holds the counts, prices and statistics and sees no network.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data import EventSet, SampleSet, Split, open_splits, parse
from ahsar_eval.data.split import split_of
from ahsar_eval.energy.choices import EVENT_FRAMES, Choices
from ahsar_eval.energy.conventions import reconcile, totals
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.result import EnergyResult, accuracy_per_uj, samples_key, with_fronts
from ahsar_eval.energy.shift import Change, ShiftedEnergy, contrasts_of, under_shift, with_means
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.energy_request import pairs_of, requested, shift_of
from ahsar_eval.evaluation.energy_tables import ENERGY
from ahsar_eval.evaluation.networks import load_networks
from ahsar_eval.evaluation.requests import EnergyRequest, NetworkOptions, Thresholds
from ahsar_eval.evaluation.sets import named_or_given, set_notes, trained_on, warn_if_trained_on
from ahsar_eval.provenance import provenance
from ahsar_eval.recording import Recording, describe
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

_ORIGIN = ("checkpoint", "thresholds", "data", "profile")


@dataclass(frozen=True)
class EnergyPlan:
    """One network and every split it will see."""

    runner: Runner
    clean: Split
    shifted: tuple[Split, ...] = ()

    @property
    def splits(self) -> tuple[Split, ...]:
        """The set as it is, then its shifts."""
        return (self.clean, *self.shifted)


@dataclass(frozen=True, eq=False)
class NetworkEnergy:
    """What one network gave, a list per profile: results on the set as it is, shifts with their
    means, points of the curve; conventions and ledgers.
    """

    plan: EnergyPlan
    clean: list[EnergyResult]
    shifted: list[list[ShiftedEnergy]]
    curve: list[list[dict[str, Any]]]
    conventions: list[dict[str, Any]]
    ledgers: list[dict[str, Any]]


def planned(
    checkpoints: Sequence[str],
    request: EnergyRequest,
    network: NetworkOptions,
    thresholds: Thresholds | None = None,
) -> tuple[list[EnergyPlan], EnergyRequest]:
    """A plan for each checkpoint by name, and the request with what was left open in it; whatever
    can be refused is refused here, before the first pass. Raises kinds of `AhsarError`.
    """
    request, name = requested(request, thresholds), request.data_name or None
    runners = load_networks(checkpoints, network, thresholds, data_name=name, data=request.data)
    if name is None:
        request = replace(request, data_name=trained_on(runners))
    return [plan(request, runner) for runner in runners], request


def plan(request: EnergyRequest, runner: Runner) -> EnergyPlan:
    """Open every set that `runner`'s network will see and build the network: what can be refused is
    refused before the first pass.

    Raises `DataError` and `UsageError`.
    """
    clean = named_or_given(request.data_name, request, runner)
    view, how = runner.view, (request.seed, request.data)
    if request.shifts and clean.shift is not None:
        raise UsageError(
            f"{request.data_name} is a shifted set already, and a shift is compared with the set "
            "as it is; name that one"
        )
    shifted: list[Split] = []
    for text in request.shifts:
        if isinstance(request.data_name, SampleSet):
            kind = "events" if isinstance(request.data_name, EventSet) else "npz"
            variants = parse(f"{kind}:given:{text}").variants
            found = [split_of(request.data_name, view, *one, *how) for one in variants]
        else:
            name = shift_of(text, request.data_name)
            found = open_splits(name, view, seed=request.seed, options=request.data)
        for split in found:
            if split.identity in {other.identity for other in shifted}:
                raise UsageError(f"the shift {split.name} was named twice; name it once")
            _check_same_samples(split, clean)
            shifted.append(split)
    frame_notes((clean, *shifted), request.choices)
    warn_if_trained_on(runner, clean)
    _ = runner.network
    return EnergyPlan(runner, clean, tuple(shifted))


def frame_notes(splits: Sequence[Split], choices: Choices) -> list[str]:
    """How frames of events are charged, where there are any. Raises `UsageError` where there are
    none to replay.
    """
    taken = choices.event_frames
    if any(split.modality == "events" for split in splits):
        return [
            f"Frames of events: {taken}, for {EVENT_FRAMES[taken]} (--event-frames; "
            "--input-kind goes before it)."
        ]
    if taken == "replayed":
        raise UsageError(
            f"--event-frames replayed is for event recordings, and {splits[0].source.name} "
            "holds images; leave it out"
        )
    return []


def own_scale(runner: Runner) -> float | None:
    """The one factor that a network's own thresholds are of its base thresholds; None where each
    layer has its own.
    """
    if runner.scale is not None:
        return runner.scale
    return None if runner.checkpoint.has_scales else runner.checkpoint.fixed_scale


def energy_results(request: EnergyRequest, plans: Sequence[EnergyPlan]) -> Results:
    """Record what is not recorded yet and price it; one pass over each set and scale serves all
    profiles. Records and arrays are those of `records_of`.
    """
    networks = [run(request, one) for one in plans]
    records, arrays = records_of(networks)
    splits = [split for one in plans for split in one.splits]
    return Results(
        kind=ENERGY,
        records=records,
        facts=provenance(seed=request.seed, checkpoints=[_facts(one) for one in plans]),
        said=[*set_notes(splits), *frame_notes(splits, request.choices)],
        by=("memory",) if request.memory else (),
        arrays=arrays,
    )


def _facts(planned: EnergyPlan) -> dict[str, Any]:
    shifts = {"shifts": [describe(split) for split in planned.shifted]} if planned.shifted else {}
    return {**planned.runner.facts(), "data": describe(planned.clean), **shifts}


def run(request: EnergyRequest, planned: EnergyPlan) -> NetworkEnergy:
    """Record what is not recorded yet of one network and price it under every profile."""
    runner, profiles = planned.runner, range(len(request.profiles))

    def priced(recording: Recording, of: Runner) -> list[EnergyResult]:
        return [
            estimate(
                recording,
                profile,
                checkpoint=runner.checkpoint.name,
                thresholds=of.thresholds,
                network=runner.checkpoint.provenance,
                choices=request.choices,
            )
            for profile in request.profiles
        ]

    recording, size, own = runner.recording(planned.clean), runner.batch_size, own_scale(runner)
    clean = priced(recording, runner)
    shifted: list[list[ShiftedEnergy]] = [[] for _ in profiles]
    for split in planned.shifted:
        for i, result in enumerate(priced(runner.recording(split), runner)):
            shifted[i].append(under_shift(result, clean[i]))
    shifted = [with_means(shifted[i], clean[i].samples, planned.clean.name) for i in profiles]
    points = [(own, True, clean)] if request.scales else []
    for scale in request.scales:
        if scale != own:  # the network's own thresholds: recorded already
            other = runner.at_scale(scale)
            points.append((scale, False, priced(other.recording(planned.clean), other)))
    curve = [[point_of(at[i], scale, is_own) for scale, is_own, at in points] for i in profiles]
    pairs = pairs_of(request.explain, request.conventions)
    conventions = [totals(recording, name, size).to_dict() for name in request.conventions]
    ledgers = [reconcile(recording, *pair, size).to_dict() for pair in pairs]
    return NetworkEnergy(planned, clean, shifted, curve, conventions, ledgers)


# --- rows


def records_of(
    networks: Sequence[NetworkEnergy],
) -> tuple[dict[str, list[Row]], dict[str, NDArray[np.float64]]]:
    """Everything found, networks in the order given below each profile: "result" (everything of a
    network on the set as it is, nested), its rows "layer", "neurons", "operations", "account" and
    "total"; "shifts" (nested) with rows "shift" and "shift layer": every shift and severity, then
    the means of a shift over its severities and of all shifts; "contrast" where exactly two
    networks met the same samples; "scale", ascending; "conventions" and "ledgers" (nested) with
    rows "convention" and "ledger". And the energy of each sample as arrays (`samples_key`).
    """
    records: dict[str, list[Row]] = defaultdict(list)
    arrays = {}
    for i in range(len(networks[0].clean)):
        for network in networks:
            _add_result(records, network.clean[i])
            arrays[samples_key(vars(network.clean[i]))] = network.clean[i].samples["energy_pj"]
            for one in network.shifted[i]:
                _add_shift(records, one)
                if one.members == 1:
                    arrays[samples_key(vars(one))] = one.samples["energy_pj"]
        records["contrast"] += [{"row": "contrast", **row} for row in _contrasts(networks, i)]
        records["scale"] += with_fronts([row for each in networks for row in each.curve[i]])
    for network in networks:
        named = {name: getattr(network.clean[0], name) for name in _ORIGIN[:3]}
        for found in network.conventions:
            records["conventions"].append({**named, **found})
            records["convention"] += _convention_rows(named, found)
        for found in network.ledgers:
            records["ledgers"].append({**named, **found})
            records["ledger"] += _ledger_rows(named, found)
    return {name: rows for name, rows in records.items() if rows}, arrays


def _contrasts(networks: Sequence[NetworkEnergy], i: int) -> Iterator[dict[str, Any]]:
    """Changes of two networks compared under profile `i`, where both met the same samples."""
    sources = {network.plan.clean.source.identity for network in networks}
    if len(networks) != 2 or len(sources) > 1:
        return
    first, second = (network.shifted[i] for network in networks)
    for one in first:
        same, twins = (
            [other for other in some if other.data == one.data] for some in (first, second)
        )
        if len(same) == len(twins) == 1 and one.members == twins[0].members:
            yield from contrasts_of(
                one, twins[0], [network.clean[i].samples for network in networks]
            )


def _of(row: str, one: EnergyResult | ShiftedEnergy) -> dict[str, Any]:
    """What a flat row is, and what it is of."""
    return {"row": row, **{name: getattr(one, name) for name in _ORIGIN}}


def _summary(result: EnergyResult) -> dict[str, Any]:
    names = ("n", "accuracy", "mean_rate", "total_acs", "total_macs", "total_energy_pj")
    return {
        **{name: getattr(result, name) for name in names},
        "accuracy_per_uj": accuracy_per_uj(result.accuracy, result.total_energy_pj),
    }


def point_of(result: EnergyResult, scale: float | None, own: bool) -> dict[str, Any]:
    """A network at one setting of its thresholds: `scale` is the factor on every base threshold,
    None where its own thresholds have no single one; `own` marks the setting it is used with.
    """
    return {**_of("scale", result), "scale": scale, "own": own, **_summary(result)}


def _add_result(records: dict[str, list[Row]], result: EnergyResult) -> None:
    found = result.to_dict()
    records["result"].append(found)
    names = {"name": "layer", "updates": "neuron_updates", "operations": "count"}
    for row, part in (("layer", "layers"), ("neurons", "neurons"), ("operations", "operators")):
        for one in found[part]:
            kept = {names.get(name, name): value for name, value in one.items()}
            if row == "operations":
                del kept["acs"], kept["macs"]
            records[row].append({**_of(row, result), **kept})
    records["account"] += [{**_of("account", result), **one} for one in found["parts"]]
    spread = {"energy_std_pj": result.total_energy_std_pj}
    spread |= {f"energy_quantile_{at}_pj": value for at, value in result.quantiles_pj.items()}
    records["total"].append({**_of("total", result), **_summary(result), **spread})


def _add_shift(records: dict[str, list[Row]], one: ShiftedEnergy) -> None:
    energies = one.samples["energy_pj"]
    mean = {quantity: float(values.mean()) for quantity, values in one.samples.items()}
    row = {
        **_of("shift", one),
        "kind": "set" if one.members == 1 else "mean",
        "set": one.set,
        "shift": one.shift or None,
        "severity": one.severities[0] if one.members == 1 else None,
        "members": one.members,
        "n": len(energies),
        "accuracy": mean.get("accuracy"),
        "mean_rate": mean.get("rate"),
        "total_acs": mean["synops"],
        "total_energy_pj": mean["energy_pj"],
        "energy_std_pj": float(energies.std(ddof=1)) if len(energies) > 1 else 0.0,
    }
    layers = [{**layer, "changes": _nested(layer["changes"])} for layer in one.layers]
    records["shifts"].append({**row, "changes": _nested(one.changes), "layers": layers})
    records["shift"].append({**row, **_flat(one.changes)})
    of = {**_of("shift layer", one), "shift": one.shift, "severity": one.severities[0]}
    for layer in one.layers:
        numbers = {name: layer[name] for name in ("kind", "rate", "acs", "energy_pj")}
        changes = _flat(layer["changes"])
        records["shift layer"].append({**of, "layer": layer["name"], **numbers, **changes})


def _nested(changes: Mapping[str, Change]) -> dict[str, dict[str, float | None]]:
    return {name: asdict(change) for name, change in changes.items()}


def _flat(changes: Mapping[str, Change]) -> dict[str, float | None]:
    flat: dict[str, float | None] = {}
    for name, change in changes.items():
        word = f"{name.removesuffix('_pj')}_change"
        flat |= {word: change.value, f"{word}_low": change.low, f"{word}_high": change.high}
    return flat


def _convention_rows(named: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One per convention and layer, and one for the whole (layer 'total'); totals exact, over all
    samples.
    """
    of = {"row": "convention", **named}
    of |= {name: found[name] for name in ("convention", "samples", "batch_size")}
    lines = [("total", "", found), *((one["layer"], one["part"], one) for one in found["layers"])]
    for name, value in found["extra_total"].items():
        lines.append(("total", name, {"macs_total": 0, "acs_total": value}))
    return [
        {**of, "layer": layer, "part": part, **_numbers(one, found["samples"])}
        for layer, part, one in lines
    ]


def _ledger_rows(named: Mapping[str, Any], found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Start, every step that changes something (layer 'total' and each layer), end; totals exact,
    over all samples.
    """
    start, end = found["start"], found["end"]
    of = {"row": "ledger", **named, "start": start["convention"], "end": end["convention"]}
    of |= {name: start[name] for name in ("samples", "batch_size")}
    lines = [("start", "total", start)]
    for step in found["steps"]:
        lines.append((step["name"], "total", step))
        lines += [(step["name"], one["layer"], one) for one in step["layers"]]
    return [
        {**of, "step": name, "layer": layer, **_numbers(one, start["samples"])}
        for name, layer, one in [*lines, ("end", "total", end)]
    ]


def _numbers(one: Mapping[str, Any], samples: int) -> dict[str, Any]:
    exact = {name: one[name] for name in ("macs_total", "acs_total")}
    means = {
        name.replace("total", "per_inference"): float(Fraction(value) / samples)
        for name, value in exact.items()
    }
    return {**means, **exact}


def _check_same_samples(split: Split, clean: Split) -> None:
    """That sample i of both is the same one. Raises `UsageError`."""
    source = clean.source
    if split.source.identity == source.identity:
        return
    if split.source.copies_of == source.name and np.array_equal(split.labels, clean.labels):
        return
    raise UsageError(
        f"{split.name} does not hold the samples of {clean.name} in their order, so nothing can be "
        "compared; name a shift of it"
    )
