"""From a recording to energy: every counted operation at a price (docs/energy.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ahsar_eval.energy.account import Account, Entry, Rules, account
from ahsar_eval.energy.ann import ann_energy, break_even, synapses_of
from ahsar_eval.energy.choices import Choices
from ahsar_eval.energy.lemaire import LemaireResult, lemaire
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.energy.result import (
    Access,
    EnergyResult,
    LayerEnergy,
    NeuronActivity,
    OperatorEnergy,
    PartEnergy,
)
from ahsar_eval.recording import Recording, SynapseActivity
from ahsar_eval.recording.labels import same_classes

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class PricedEntry(Entry):
    """One line of an account with its price; None is no price, `covered` that the price of an AC
    already holds it.
    """

    price_pj: float | None
    covered: bool = False

    @property
    def energy_pj(self) -> float | None:
        """Mean over samples; None without a price."""
        return None if self.price_pj is None else self.mean * self.price_pj


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
    provenance does), where that is known. Everything that `account`
    counts is priced where the profile has a price, and listed in `unpriced` where it has none;
    layers without a rule are in `uncounted`. Nothing is priced at zero.
    """
    choices = choices or Choices()
    rules, counted = Rules(recording, choices), account(recording, choices)
    lines = priced(recording, counted, profile)
    layers = tuple(_layer(rules, synapse, lines) for synapse in recording.synapses)
    neurons = tuple(
        NeuronActivity(
            name=layer.name,
            neurons=layer.neurons,
            spikes=float(layer.spikes.mean()),
            rate=recording.rate(layer),
            threshold=float(recording.thresholds[layer.name]),
            updates=layer.neurons * recording.timesteps,
            energy_pj=energy_of(_of(lines, layer=layer.name, part="neurons")),
        )
        for layer in recording.layers
    )
    operators = tuple(
        OperatorEnergy(
            name=operator.name,
            part=own[0].part,
            operations=sum(line.mean for line in own),
            energy_pj=energy_of(own),
            acs=_count(own, part="products", operation="ac"),
            macs=_count(own, part="products", operation="mac"),
        )
        for operator in recording.operators
        if (own := _of(lines, layer=operator.name))
    )
    per_sample = np.zeros(len(recording))
    for line in lines:
        if line.price_pj is not None:
            per_sample += line.counts * line.price_pj
    rows: list[LayerEnergy | NeuronActivity | OperatorEnergy] = [*layers, *neurons, *operators]
    total = sum(row.energy_pj or 0.0 for row in rows)
    known = [
        (layer.acs, synapses)
        for layer, synapse in zip(layers, recording.synapses, strict=True)
        if layer.synops_per_synapse is not None and (synapses := synapses_of(recording, synapse))
    ]
    acs, synapses = (sum(numbers) for numbers in zip(*known, strict=True)) if known else (0, 0)
    intensity = acs / synapses if known else None
    parts = {
        part: sum(line.energy_pj or 0.0 for line in _of(lines, part=part))
        for part in dict.fromkeys(line.part for line in lines if line.price_pj is not None)
    }
    without_price = [
        line for line in lines if line.price_pj is None and not line.covered and line.counts.any()
    ]
    return EnergyResult(
        checkpoint=checkpoint,
        thresholds=thresholds,
        data=str(recording.split["name"]),
        n=len(recording),
        timesteps=recording.timesteps,
        profile=profile.name,
        profile_includes=profile.includes,
        profile_source=profile.source,
        layers=layers,
        neurons=neurons,
        total_acs=sum(layer.acs for layer in layers)
        + _count(lines, part="products", operation="ac"),
        total_macs=sum(layer.macs for layer in layers)
        + _count(lines, part="products", operation="mac"),
        total_energy_pj=total,
        total_energy_std_pj=float(per_sample.std(ddof=1)) if len(recording) > 1 else 0.0,
        accuracy=_accuracy(recording, network or {}),
        uncounted=tuple({"name": one.name, "reason": one.reason} for one in counted.uncounted),
        per_sample_pj=per_sample,
        synaptic_energy_pj=parts.get("synapses", 0.0),
        totals_by_part=parts,
        quantiles_pj={str(level): float(np.quantile(per_sample, level)) for level in _QUANTILES},
        choices=choices.to_dict(),
        operators=operators,
        parts=tuple(
            PartEnergy(
                line.layer, line.part, line.operation, line.detail, line.mean, line.energy_pj
            )
            for line in lines
        ),
        accesses=tuple(
            Access(entry.layer, entry.operation, entry.detail, entry.mean)
            for entry in rules.accesses(counted)
        ),
        unpriced=unpriced_lines(lines),
        synops_per_synapse=intensity,
        mean_rate=recording.mean_rate,
        rate_per_neuron=recording.rate_per_neuron,
        ann=ann_energy(
            recording,
            profile,
            choices,
            spiking_pj=total,
            unpriced=[(line.part, line.operation) for line in without_price],
        ),
        break_even=break_even(intensity, recording.rate_per_neuron, recording.timesteps),
        memory=_memory(recording, profile, choices),
        profile_node=profile.node,
        profile_format=profile.number_format,
        profile_obtained=profile.obtained,
    )


def priced(recording: Recording, counted: Account, profile: Profile) -> list[PricedEntry]:
    """Every line of the account with its price.

    Where a chip publishes the price of a neuron's update, with a spike and without, each layer's
    updates stand in two lines in place of their single operations. A neuron that fires several
    times in a step is active once.
    """
    lines: list[PricedEntry] = []
    layers = {layer.name: layer for layer in recording.layers}
    for entry in counted.entries:
        covered = entry.part in profile.covers
        if entry.part != "neurons" or profile.neuron_active_pj is None or covered:
            price = None if covered else profile.price(entry.operation)
            lines.append(PricedEntry(**vars(entry), price_pj=price, covered=covered))
        elif layer := layers.pop(entry.layer, None):
            updates = layer.neurons * recording.timesteps
            active = np.minimum(layer.spikes, updates).astype(np.int64)
            for detail, counts, price in (
                ("active", active, profile.neuron_active_pj),
                ("inactive", updates - active, profile.neuron_inactive_pj),
            ):
                lines.append(PricedEntry(layer.name, "neurons", "update", detail, counts, price))
    return lines


def energy_of(lines: Sequence[PricedEntry]) -> float | None:
    """Σ energy of what is priced; None where nothing is."""
    known = [line.energy_pj for line in lines if line.energy_pj is not None]
    return sum(known) if known else None


def unpriced_lines(lines: Sequence[PricedEntry]) -> tuple[dict[str, Any], ...]:
    """Counted operations without a price, by part, operation and detail: their mean count per
    inference, layers and the reason.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for line in lines:
        if line.price_pj is not None or not line.counts.any():
            continue
        reason = (
            "the price of a synaptic operation already holds it"
            if line.covered
            else "the profile has no price for it"
        )
        kind = {"part": line.part, "operation": line.operation, "detail": line.detail}
        empty = {**kind, "count": 0.0, "layers": [], "reason": reason}
        listed = found.setdefault((*kind.values(), line.covered), empty)
        listed["count"] += line.mean
        listed["layers"].append(line.layer)
    return tuple(found.values())


def _of(lines: Sequence[PricedEntry], **wanted: str) -> list[PricedEntry]:
    return [
        line
        for line in lines
        if all(getattr(line, name) == value for name, value in wanted.items())
    ]


def _count(lines: Sequence[PricedEntry], **wanted: str) -> float:
    return sum(line.mean for line in _of(lines, **wanted))


def _layer(rules: Rules, synapse: SynapseActivity, lines: Sequence[PricedEntry]) -> LayerEnergy:
    recording = rules.recording
    fed_by = next((layer for layer in recording.layers if layer.name == synapse.source), None)
    own = _of(lines, layer=synapse.name)
    synaptic, others = _of(own, part="synapses"), _of(own, part="bias")
    acs = _count(synaptic, operation="ac")
    values = rules.takes_values(synapse)
    seen = None if synapse.kind == "analog" else synapse.seen
    effective = synapse.operations if seen is None else seen.fan_out_ops.sum(1)
    synapses = None if values else synapses_of(recording, synapse)
    return LayerEnergy(
        name=synapse.name,
        input=synapse.kind,
        source=synapse.source,
        input_spikes=None if fed_by is None else float(fed_by.spikes.mean()),
        input_rate=None if fed_by is None else recording.rate(fed_by),
        acs=acs,
        macs=_count(synaptic, operation="mac"),
        effective_macs=float(effective.mean()) if values else 0.0,
        macs_all_steps=float(synapse.dense_operations * recording.timesteps) if values else 0.0,
        energy_pj=energy_of([*synaptic, *others]),
        synaptic_pj=energy_of(synaptic),
        other_pj=energy_of(others) if others or synapse.geometry is None else 0.0,
        synops_per_synapse=acs / synapses if synapses else None,
    )


def _accuracy(recording: Recording, network: Mapping[str, Any]) -> float | None:
    labelled = not bool((recording.labels < 0).any()) and bool(recording.split["labels_preserved"])
    if not labelled or not same_classes(network, recording.split):
        return None
    return float((recording.predictions == recording.labels).mean())


def _memory(recording: Recording, profile: Profile, choices: Choices) -> LemaireResult | None:
    described = any(synapse.geometry is not None for synapse in recording.synapses)
    complete = None not in (profile.memory_pj, profile.word_bits, profile.mac_pj, profile.ac_pj)
    return lemaire(recording, profile, choices=choices) if described and complete else None
