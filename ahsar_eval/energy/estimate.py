"""From a recording to energy: every counted operation at a price (docs/energy.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ahsar_eval.energy.account import Account, Entry, select
from ahsar_eval.energy.ann import ann_energy, break_even, synapses_of
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.lemaire import lemaire
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.energy.regulation import told
from ahsar_eval.energy.result import NOT_INCLUDED, EnergyResult, PerSample, Row
from ahsar_eval.recording import Recording, SynapseActivity, same_classes

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def estimate(
    recording: Recording,
    profile: Profile,
    *,
    checkpoint: str,
    thresholds: str = "replay",
    network: Mapping[str, Any] | None = None,
    choices: Choices | None = None,
) -> EnergyResult:
    """Energy per inference of a recording under `profile` and `choices` (None: the defaults).

    `network` says what the network's classes mean (`label_space` and `classes`, as a checkpoint's
    provenance does), where that is known. Everything that an `Account`
    counts is priced where the profile has a price, and listed in `unpriced` where it has none;
    layers without a rule are in `uncounted`. Nothing is priced at zero.
    """
    account = Account(recording, profile, choices or Choices())
    lines = account.entries
    # Connections of the layers that accumulate, None where their number is not known.
    synapses = {
        synapse.name: synapses_of(recording, synapse)
        for synapse in recording.synapses
        if not account.takes_values(synapse)
    }
    layers = [_layer(account, one, synapses.get(one.name)) for one in recording.synapses]
    neurons = [
        {
            "name": layer.name,
            "neurons": layer.neurons,
            "spikes": float(layer.spikes.mean()),
            "rate": recording.rate(layer),
            "threshold": recording.thresholds.get(layer.name),
            "updates": layer.neurons * recording.timesteps,
            "energy_pj": energy_of(select(lines, layer=layer.name, part="neurons")),
        }
        for layer in recording.layers
    ]
    operators = [
        {
            "name": operator.name,
            "part": own[0].part,
            "operations": _count(own),
            "energy_pj": energy_of(own),
            "acs": _count(own, operation="ac"),
            "macs": _count(own, operation="mac"),
        }
        for operator in recording.operators
        if (own := select(lines, layer=operator.name))
    ]
    energies = nothing = np.zeros(len(recording))
    synops: dict[str, PerSample] = {}
    for line in lines:
        if line.price_pj is not None:
            energies = energies + line.counts * line.price_pj
        if line.operation == "ac":
            synops[line.layer] = synops.get(line.layer, nothing) + line.counts
    samples = {"energy_pj": energies, "synops": sum(synops.values(), nothing)}
    if recording.sample_rates is not None:
        samples["rate"] = recording.sample_rates
    of_known = recording.labels >= 0
    labelled = of_known.any() and recording.split["labels_preserved"]
    if labelled and same_classes(network or {}, recording.split):
        right = recording.predictions == recording.labels
        samples["accuracy"] = right[of_known].astype(np.float64)
    adapting = _adapting(recording, lines)
    counted = (*layers, *neurons, *operators, *adapting.values())
    total = sum(row["energy_pj"] or 0.0 for row in counted)
    known = {name: count for name, count in synapses.items() if count}
    driven = sum(layer["acs"] for layer in layers if layer["name"] in known)
    intensity = driven / sum(known.values()) if known else None
    parts = {
        part: sum(line.energy_pj or 0.0 for line in select(lines, part=part))
        for part in dict.fromkeys(line.part for line in lines if line.price_pj is not None)
    }
    acs, macs = (
        sum(_count(lines, part=part, operation=operation) for part in ("synapses", "products"))
        for operation in ("ac", "mac")
    )
    unpriced = [line for line in lines if line.price_pj is None and line.counts.any()]
    row = {
        "checkpoint": checkpoint,
        "thresholds": thresholds,
        "data": str(recording.split["name"]),
        "n": len(recording),
        "timesteps": recording.timesteps,
        "profile": profile.name,
        "profile_includes": profile.includes,
        "profile_source": profile.source,
        "layers": layers,
        "neurons": neurons,
        "total_acs": acs,
        "total_macs": macs,
        "total_energy_pj": total,
        "total_energy_std_pj": float(energies.std(ddof=1)) if len(recording) > 1 else 0.0,
        "accuracy": float(samples["accuracy"].mean()) if "accuracy" in samples else None,
        "uncounted": [vars(one) for one in account.uncounted],
        "synaptic_energy_pj": parts.get("synapses", 0.0),
        "totals_by_part": parts,
        "quantiles_pj": {str(level): float(np.quantile(energies, level)) for level in _QUANTILES},
        "choices": asdict(account.choices),
        "operators": operators,
        "parts": [
            {
                **{name: getattr(line, name) for name in ("layer", "part", "operation", "detail")},
                "count": line.mean,
                "energy_pj": line.energy_pj,
            }
            for line in lines
        ],
        "accesses": account.accesses(),
        "unpriced": unpriced_rows(unpriced),
        "synops_per_synapse": intensity,
        "mean_rate": recording.mean_rate,
        "rate_per_neuron": recording.rate_per_neuron,
        "ann": ann_energy(
            account,
            total,
            [(line.part, line.operation) for line in unpriced if not line.covered],
        ),
        "break_even": break_even(intensity, recording.rate_per_neuron, recording.timesteps),
        "memory": lemaire(account),
        "profile_node": profile.node,
        "profile_format": profile.number_format,
        "profile_obtained": profile.obtained,
        "not_included": NOT_INCLUDED,
    }
    for one in adapting.values():
        row |= {
            "adaptation": told(recording),
            "regulation": one | {"once_pj": one["passes"] * total},
        }
    spikes = {layer.name: layer.spikes.astype(np.float64) for layer in recording.layers}
    return EnergyResult(row, recording.split, samples, synops, spikes)


def _adapting(recording: Recording, lines: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """What "regulation" costs where a network adapted, in an inference and before it."""
    facts = recording.provenance.get("adaptation")
    if facts is None:
        return {}
    own = select(lines, part="regulation")
    kept = ("modes", "protocol", "n", "passes")
    found = {name: facts[name] for name in kept} | {"thresholds": facts.get("thresholds", 0)}
    return {"regulation": {**found, "operations": _count(own), "energy_pj": energy_of(own)}}


def energy_of(lines: Sequence[Entry]) -> float | None:
    """Σ energy of what is priced; None where nothing is."""
    known = [line.energy_pj for line in lines if line.energy_pj is not None]
    return sum(known) if known else None


def unpriced_rows(lines: Sequence[Entry]) -> list[Row]:
    """Counted operations without a price, by part, operation and detail: their mean count per
    inference, layers and the reason.
    """
    alike: dict[tuple[str, str, str, bool], list[Entry]] = {}
    for line in lines:
        kind = (line.part, line.operation, line.detail, line.covered)
        alike.setdefault(kind, []).append(line)
    return [
        {
            "part": part,
            "operation": operation,
            "detail": detail,
            "count": _count(own),
            "layers": [line.layer for line in own],
            "reason": "the price of a synaptic operation already holds it"
            if covered
            else "the profile has no price for it",
        }
        for (part, operation, detail, covered), own in alike.items()
    ]


def _count(lines: Sequence[Entry], **wanted: str) -> float:
    return sum(line.mean for line in select(lines, **wanted))


def _layer(account: Account, synapse: SynapseActivity, synapses: int | None) -> dict[str, Any]:
    """A layer with weights, and its SynOps by connection where it has `synapses` to accumulate
    through.
    """
    recording, fed_by = account.recording, account.spiking.get(synapse.source)
    own = select(account.entries, layer=synapse.name)
    synaptic, others = select(own, part="synapses"), select(own, part="bias")
    acs = _count(synaptic, operation="ac")
    values = account.takes_values(synapse)
    seen = None if synapse.kind == "analog" else synapse.seen
    effective = synapse.operations if seen is None else seen.fan_out_ops.sum(1)
    return {
        "name": synapse.name,
        "input": synapse.kind,
        "source": synapse.source,
        "input_spikes": None if fed_by is None else float(fed_by.spikes.mean()),
        "input_rate": None if fed_by is None else recording.rate(fed_by),
        "acs": acs,
        "macs": _count(synaptic, operation="mac"),
        "effective_macs": float(effective.mean()) if values else 0.0,
        "macs_all_steps": float(synapse.dense_operations * recording.timesteps) if values else 0.0,
        "energy_pj": energy_of([*synaptic, *others]),
        "synaptic_pj": energy_of(synaptic),
        "other_pj": energy_of(others) if others else 0.0,
        "synops_per_synapse": acs / synapses if synapses else None,
    }
